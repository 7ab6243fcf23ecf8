//! Owns `greenroom monitor`: check again and again, a live table, and a word to a webhook when something changes.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use actix_web::http::Method;
use clap::Args;
use futures_util::future::{Either, join_all, select};
use serde_json::json;
use tokio::time::sleep;

use super::{
    check::ping,
    client::{Aim, Answer, Client, Server, Whom, first_words, run as run_work, verdict},
    complain, say,
    table::{spark, table, width},
    words::Lang,
};
use crate::upstream::plain::Plain;

/// Check at an interval, show a live table, tell a webhook of changes
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  greenroom monitor --interval 60 --webhook https://hooks.example.com/T0/B0")]
pub(super) struct Monitor {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    whom: Whom,
    /// Seconds between two checks
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
    interval: f64,
    /// Gets a Slack-compatible {"text": ...} when a backend fails or recovers
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Failures in a row before a backend counts as failing
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    failures: u32,
    /// One check, then exit: 0 only if all are healthy
    #[arg(long)]
    once: bool,
    /// So many checks, then exit
    #[arg(long, value_name = "N", conflicts_with = "once")]
    count: Option<u32>,
    /// Stream the answers, and measure the first token
    #[arg(long)]
    streaming: bool,
    /// Language
    #[arg(long)]
    lang: Option<Lang>,
}

/// Latencies shown in the plot.
const SHOWN: usize = 20;

/// What is known of one backend.
struct Watched {
    aim: Aim,
    checks: u32,
    good: u32,
    failures: u32,
    failing: bool,
    seconds: Vec<f64>,
    says: String,
}

impl Watched {
    /// Takes an answer; true if the backend's state has changed.
    fn take(&mut self, answer: &Answer, failures: u32) -> bool {
        self.checks += 1;
        self.says = first_words(answer.error.as_ref().unwrap_or(&answer.text), 200);
        self.seconds.push(answer.seconds);
        if self.seconds.len() > SHOWN {
            self.seconds.remove(0);
        }
        let before = self.failing;
        if answer.healthy {
            self.good += 1;
            self.failures = 0;
            self.failing = false;
        } else {
            self.failures += 1;
            self.failing = self.failures >= failures;
        }
        before != self.failing
    }
}

pub(super) fn run(monitor: &Monitor) -> ExitCode {
    run_work(async {
        let client = Client::new(&monitor.server);
        let lang = Lang::chosen(monitor.lang);
        let aims = client.aims(&monitor.whom).await?;
        if aims.is_empty() {
            return Err(lang.no_backends().to_owned());
        }
        let fresh = |aim| Watched {
            aim,
            checks: 0,
            good: 0,
            failures: 0,
            failing: false,
            seconds: Vec::new(),
            says: String::new(),
        };
        let mut watched: Vec<Watched> = aims.into_iter().map(fresh).collect();
        let mut left = if monitor.once { Some(1) } else { monitor.count };
        let live = std::io::stdout().is_terminal() && left != Some(1);
        let interval = Duration::try_from_secs_f64(monitor.interval).map_err(|error| format!("--interval: {error}"))?;
        let interrupted = {
            let watch = async {
                loop {
                    round(monitor, &client, &mut watched, lang).await;
                    show(&watched, lang, live);
                    left = left.map(|n| n.saturating_sub(1));
                    if left == Some(0) {
                        return;
                    }
                    sleep(interval).await;
                }
            };
            // Ctrl-C ends the watch with its summary, not in the middle of a line.
            let (watch, ctrl_c) = (std::pin::pin!(watch), std::pin::pin!(tokio::signal::ctrl_c()));
            let ended = select(watch, ctrl_c).await;
            matches!(ended, Either::Right(_))
        };
        if interrupted {
            show(&watched, lang, false);
        }
        Ok(verdict(watched.iter().all(|w| w.failures == 0)))
    })
}

async fn round(monitor: &Monitor, client: &Client, watched: &mut [Watched], lang: Lang) {
    let question = ping(monitor.streaming);
    let answers = join_all(watched.iter().map(|w| client.ask(&w.aim, &question))).await;
    for (one, answer) in watched.iter_mut().zip(&answers) {
        if one.take(answer, monitor.failures)
            && let Some(webhook) = &monitor.webhook
        {
            let what = if one.failing { lang.fails() } else { lang.recovered() };
            tell(webhook, &format!("{} {what}: {}", one.aim.backend, one.says)).await;
        }
    }
}

/// Posts a change; a webhook that fails is told of and does not end the watch.
async fn tell(webhook: &str, text: &str) {
    let body = json!({"text": text}).to_string();
    let plain = Plain::default();
    let sent = tokio::time::timeout(Duration::from_secs(10), plain.send(Method::POST, webhook, &[], Some(body))).await;
    match sent {
        Ok(Ok(reply)) if (200..300).contains(&reply.status) => {}
        Ok(Ok(reply)) => complain(format_args!("the webhook answered {}", reply.status)),
        Ok(Err(why)) => complain(format_args!("the webhook cannot be reached: {why}")),
        Err(_) => complain("the webhook did not answer in time"),
    }
}

fn show(watched: &[Watched], lang: Lang, live: bool) {
    let rows: Vec<Vec<String>> = watched
        .iter()
        .map(|one| {
            let share = f64::from(one.good) / f64::from(one.checks.max(1)) * 100.0;
            vec![
                one.aim.backend.clone(),
                if one.failures > 0 { lang.failing() } else { lang.healthy() }.to_owned(),
                format!("{share:.0} % ({} {})", one.checks, lang.after_checks()),
                format!("{:.2} s", one.seconds.last().copied().unwrap_or(0.0)),
                format!("{:<SHOWN$}", spark(&one.seconds)),
                one.says.clone(),
            ]
        })
        .collect();
    let head = [lang.backend(), lang.state(), lang.success(), lang.time(), lang.latency(), lang.says()];
    let text = table(&head, &rows, width());
    // On a terminal the table stays in place; a pipe gets it anew each time.
    let home = if live { "\x1b[H\x1b[2J" } else { "" };
    say(format_args!("{home}{}", text.trim_end()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_recovery_is_one() {
        let aim = Aim { backend: "a".into(), model: "m".into() };
        let mut one =
            Watched { aim, checks: 0, good: 0, failures: 0, failing: false, seconds: vec![], says: String::new() };
        let answer = |healthy| Answer {
            backend: "a".into(),
            model: "m".into(),
            healthy,
            status: None,
            seconds: 0.1,
            first_token_seconds: None,
            tokens: None,
            finish_reason: None,
            served_by: None,
            text: String::new(),
            error: None,
        };
        let changes: Vec<bool> =
            [true, false, false, false, true, true].iter().map(|h| one.take(&answer(*h), 2)).collect();
        assert_eq!(changes, [false, false, true, false, true, false]);
    }
}
