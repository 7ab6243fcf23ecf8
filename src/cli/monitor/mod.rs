//! Owns `greenroom monitor`: check again and again, a live table, and a word to a webhook when something changes.

mod show;
mod webhook;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use futures_util::future::{join_all, select};
use tokio::time::sleep;

use self::{
    show::{Show, shown, summary},
    webhook::Webhook,
};
use super::{
    aim::{Aim, Whom},
    answer::{Answer, Verdict},
    check::ping,
    client::{Client, Server, run_work, seconds},
    table::first_words,
    try_say,
    words::Lang,
};

/// Check at an interval, show a live table, tell a webhook of changes
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  greenroom monitor --interval 60 --webhook https://hooks.example.com/T0/B0")]
pub(super) struct Monitor {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    whom: Whom,
    /// Seconds between two checks
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = seconds)]
    interval: Duration,
    /// Gets a Slack-compatible {"text": ...} when a backend fails or recovers
    #[arg(long, value_name = "URL", value_parser = webhook_address)]
    webhook: Option<String>,
    /// Failures in a row before a backend counts as failing
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    failures: u32,
    /// One check, then exit: 0 only if all are healthy
    #[arg(long)]
    once: bool,
    /// This many checks, then exit
    #[arg(long, value_name = "N", conflicts_with = "once", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Stream the answers, and measure the first token
    #[arg(long)]
    streaming: bool,
    /// Language
    #[arg(long)]
    lang: Option<Lang>,
}

/// An address that can be posted to.
fn webhook_address(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("must be an address that starts with http:// or https://".to_owned()),
    }
}

/// Latencies shown in the plot.
const SHOWN: usize = 12;

/// How a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not asked yet.
    Unknown,
    Healthy,
    /// It has failed, but not often enough in a row to count as failing.
    Suspect,
    Failing,
}

/// What is known of one backend.
struct Watched {
    aim: Aim,
    state: State,
    /// The verdict on the last answer.
    verdict: Verdict,
    /// A webhook that hears of changes has last heard that it fails.
    told_failing: bool,
    checks: u32,
    good: u32,
    /// In a row.
    failures: u32,
    /// The last `SHOWN` times, seconds.
    recent: Vec<f64>,
    min: f64,
    max: f64,
    sum: f64,
    says: String,
}

impl Watched {
    fn new(aim: Aim) -> Self {
        Self {
            aim,
            state: State::Unknown,
            verdict: Verdict::Fails,
            told_failing: false,
            checks: 0,
            good: 0,
            failures: 0,
            recent: Vec::new(),
            min: f64::MAX,
            max: 0.0,
            sum: 0.0,
            says: String::new(),
        }
    }

    /// Takes an answer; true if that is news: it fails now, or has recovered.
    fn take(&mut self, answer: &Answer, failures: u32) -> bool {
        self.checks += 1;
        self.verdict = answer.verdict();
        self.says = first_words(answer.error.as_ref().unwrap_or(&answer.text), 200);
        self.recent.push(answer.seconds);
        if self.recent.len() > SHOWN {
            self.recent.remove(0);
        }
        self.failures = if answer.healthy { 0 } else { self.failures.saturating_add(1) };
        self.state = match self.failures {
            0 => State::Healthy,
            n if n < failures => State::Suspect,
            _ => State::Failing,
        };
        if answer.healthy {
            self.good += 1;
            self.min = self.min.min(answer.seconds);
            self.max = self.max.max(answer.seconds);
            self.sum += answer.seconds;
        }
        let failing = match self.state {
            State::Failing => true,
            State::Healthy => false,
            State::Unknown | State::Suspect => self.told_failing,
        };
        std::mem::replace(&mut self.told_failing, failing) != failing
    }

    fn state(&self, lang: Lang) -> &'static str {
        match self.state {
            State::Unknown => "-",
            State::Healthy => lang.healthy(),
            State::Suspect => lang.suspect(),
            State::Failing => lang.failing(),
        }
    }

    fn success(&self) -> String {
        if self.checks == 0 {
            return "-".to_owned();
        }
        let share = f64::from(self.good) / f64::from(self.checks) * 100.0;
        format!("{share:.0} % ({}/{})", self.good, self.checks)
    }
}

pub(super) fn run(monitor: &Monitor) -> ExitCode {
    run_work(async {
        let lang = Lang::chosen(monitor.lang);
        let client = Client::new(&monitor.server, lang);
        let aims = client.aims(&monitor.whom).await?;
        let mut watched: Vec<Watched> = aims.into_iter().map(Watched::new).collect();
        let show = match (monitor.once, io::stdout().is_terminal()) {
            (true, _) => Show::Table,
            (false, true) => Show::Live,
            (false, false) => Show::Lines,
        };
        let webhook = monitor.webhook.clone().map(Webhook::new);
        let mut left = if monitor.once { Some(1) } else { monitor.count };
        {
            let watch = async {
                loop {
                    round(monitor, &client, &mut watched, webhook.as_ref(), lang).await;
                    // Nobody reads any more: each further check would be paid for nothing.
                    if shown(&watched, lang, show).is_err() {
                        return;
                    }
                    left = left.map(|n| n - 1);
                    if left == Some(0) {
                        return;
                    }
                    sleep(monitor.interval).await;
                }
            };
            // Ctrl-C ends the watch with its summary, not in the middle of a line; asked first, since it is heard from then on.
            select(std::pin::pin!(tokio::signal::ctrl_c()), std::pin::pin!(watch)).await;
        }
        if let Some(webhook) = webhook {
            webhook.finish().await;
        }
        if show != Show::Table {
            // Whoever has stopped reading wants no summary either.
            let _ = try_say(format_args!("\n{}", summary(&watched, lang)));
        }
        Ok(watched.iter().map(|one| one.verdict).max().unwrap_or(Verdict::Well))
    })
}

async fn round(monitor: &Monitor, client: &Client, watched: &mut Vec<Watched>, webhook: Option<&Webhook>, lang: Lang) {
    let question = ping(monitor.streaming);
    let backends = watched.iter().filter(|one| !one.aim.is_unserved);
    let mut answers = join_all(backends.map(|one| client.ask(&one.aim, &question))).await;
    if let Some(unserved) = client.unserved(&monitor.whom).await {
        let served = watched.iter().filter(|one| one.aim.is_unserved).map(|one| &one.aim);
        let served = served.filter(|aim| unserved.iter().all(|answer| answer.aim() != **aim));
        answers.extend(served.map(|aim| Answer { healthy: true, ..Answer::none(aim) }));
        answers.extend(unserved);
    }
    for answer in &answers {
        let known = watched.iter().position(|one| one.aim == answer.aim());
        let at = known.unwrap_or_else(|| {
            watched.push(Watched::new(answer.aim()));
            watched.len() - 1
        });
        let one = &mut watched[at];
        if one.take(answer, monitor.failures)
            && let Some(webhook) = webhook
        {
            let what = if one.told_failing { lang.fails() } else { lang.recovered() };
            webhook.tell(format!("{} {what}: {}", one.aim.name(), one.says));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(healthy: bool) -> Answer {
        Answer { healthy, ..Answer::healthy_after(0.1) }
    }

    #[test]
    fn a_change_is_told_once_and_recovery_is_one() {
        let mut one = Watched::new(Aim::of("a", "m"));
        let answers = [true, false, false, false, true, false, true];
        let news: Vec<bool> = answers.iter().map(|healthy| one.take(&answer(*healthy), 2)).collect();
        assert_eq!(news, [false, false, true, false, true, false, false]);
    }

    #[test]
    fn a_backend_counts_as_failing_only_after_so_many_failures() {
        let mut one = Watched::new(Aim::of("a", "m"));
        assert_eq!((one.state, one.success()), (State::Unknown, "-".to_owned()));
        let states: Vec<State> = [false, false, false, true]
            .iter()
            .map(|healthy| {
                one.take(&answer(*healthy), 3);
                one.state
            })
            .collect();
        assert_eq!(states, [State::Suspect, State::Suspect, State::Failing, State::Healthy]);
        assert_eq!(one.success(), "25 % (1/4)");
    }
}
