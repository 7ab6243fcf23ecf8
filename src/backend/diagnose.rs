//! Owns the diagnosis: it tries a backend step by step, and the first step that fails names the fault.

use std::{borrow::Cow, rc::Rc, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::{
    fix::{likely, may_be_foreign, missing},
    trial::{Trial, invalid},
    vouch::Shown,
};
use crate::{error::Failed, settings::Backend, upstream::Client};

/// Longest time for one step, and for a probe that asks a model.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A list of models comes quickly, or not at all.
pub(super) const LIST_PATIENCE: Duration = Duration::from_secs(10);

/// No diagnosis takes longer: every step with its patience used up.
pub const LONGEST: Duration = Duration::from_secs(STEPS.len() as u64 * PATIENCE.as_secs());

/// All steps, in order.
const STEPS: [&str; 8] = ["resolve", "connect", "tls", "credentials", "one token", "stream", "tool call", "usage"];

/// Places in `STEPS`.
pub(super) const TLS: usize = 2;
pub(super) const ONE_TOKEN: usize = 4;

/// One step.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What was tried.
    pub step: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// How long it took, milliseconds.
    pub ms: f64,
    /// What came of it, or what the provider said: status, error type and code, never its free text.
    pub said: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Cow<'static, str>>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should.
    Ok,
    /// Not as it should.
    Failed,
    /// Not tried, since an earlier step failed or there is nothing to try.
    Skipped,
}

/// Tries a backend from name resolution to a tool call. It stops at a failure without which later steps make no sense.
pub async fn diagnose(backend: Arc<Backend>, model: Arc<str>) -> Vec<Step> {
    let doubt = backend.place_doubt().map(|(key, text)| format!("{key} {text}"));
    let mut steps = Steps { taken: Vec::new(), doubt, missing_path: backend.missing_path() };
    try_all(&mut steps, backend, model).await;
    while steps.taken.len() < STEPS.len() {
        steps.skip("an earlier step failed");
    }
    steps.taken
}

async fn try_all(steps: &mut Steps, backend: Arc<Backend>, model: Arc<str>) {
    let (secure, asked) = (backend.address.secure, backend.asks_usage());
    let trial = Trial::new(backend.clone(), Rc::new(Client::new(backend)), model);
    let mut addresses = Vec::new();
    let resolved = within(PATIENCE, async {
        addresses = trial.resolve().await?;
        Ok(addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", "))
    });
    if !steps.enter(resolved.await, "check the host name in base_url, and this machine's DNS") {
        return;
    }
    let connected = within(PATIENCE, trial.connect(addresses)).await;
    if !steps.enter(connected, "check the port in base_url, firewalls, and that the server runs") {
        return;
    }
    if secure {
        let fix = "check the certificate of the server, name a private authority's in SSL_CERT_FILE, or use http:// if it \
                   speaks no TLS";
        if !steps.enter(within(PATIENCE, trial.secure()).await, fix) {
            return;
        }
    } else {
        steps.skip("plain http");
    }
    // Some servers list no models, and some list them to anyone: the next step tells for certain.
    let listed = within(LIST_PATIENCE, async {
        Ok(match trial.list().await? {
            Shown::Reachable => "no models list here; the next steps tell".to_owned(),
            Shown::List(_) | Shown::Completion => "the models list was given".to_owned(),
        })
    });
    let fix = "the provider does not list its models; the next step tells whether that matters";
    steps.enter(listed.await, fix);
    let mut counted = false;
    let answered = within(PATIENCE, async {
        let reply = trial.ask_for_one_token().await?;
        counted = reply.counted;
        Ok("it answered".to_owned())
    });
    let fix = "the provider does not take the question; check the model's name under [models], and api_version";
    if !steps.enter(answered.await, fix) {
        return;
    }
    let mut stream_counted = None;
    let streamed = within(PATIENCE, async {
        stream_counted = Some(trial.stream().await?);
        Ok("it streams".to_owned())
    });
    let fix = "the server does not stream as it should; check its version and settings, or try ask_usage = false";
    steps.enter(streamed.await, fix);
    let called = within(PATIENCE, async {
        let called = trial.call_a_tool().await?.called;
        Ok(if called { "it called the tool" } else { "it takes tools, and answered without" }.to_owned())
    });
    steps.enter(called.await, "the model or server takes no tools; leave it out for clients that need them");
    let usage = async { usage(counted, stream_counted, asked).map(ToOwned::to_owned).map_err(invalid) };
    let fix = "the server counts no tokens, so metrics and history show none; set ask_usage = false for it";
    steps.enter(within(PATIENCE, usage).await, fix);
}

/// Whether tokens are counted in whole answers and, where they are asked for and there was one, in streams.
fn usage(counted: bool, in_stream: Option<bool>, asked: bool) -> Result<&'static str, &'static str> {
    match (counted, in_stream.filter(|_| asked)) {
        (false, _) => Err("no usage in its answers"),
        (true, Some(false)) => Err("no usage in its streams, though they are asked for it"),
        (true, Some(true)) => Ok("tokens are counted, in streams too"),
        (true, None) => Ok("tokens are counted"),
    }
}

/// A step that was taken.
struct Taken {
    done: Result<String, Failed>,
    time: Duration,
    late: bool,
}

async fn within(limit: Duration, work: impl Future<Output = Result<String, Failed>>) -> Taken {
    let began = Instant::now();
    let done = timeout(limit, work).await;
    let late = done.is_err();
    let done = done.unwrap_or_else(|_| Err(invalid(format!("nothing within {limit:?}"))));
    Taken { done, time: began.elapsed(), late }
}

/// The steps so far; each new one is the next of `STEPS`.
struct Steps {
    taken: Vec<Step>,
    /// What may be wrong about where the backend is, as far as its settings show.
    doubt: Option<String>,
    /// The path that its address may lack.
    missing_path: Option<&'static str>,
}

impl Steps {
    fn add(&mut self, outcome: Outcome, time: Duration, said: String, fix: Option<Cow<'static, str>>) {
        // Callers add at most one entry for each of the names.
        let step = STEPS.get(self.taken.len()).copied().unwrap_or_default();
        self.taken.push(Step { step, outcome, ms: time.as_secs_f64() * 1000.0, said, fix });
    }

    fn skip(&mut self, why: &str) {
        self.add(Outcome::Skipped, Duration::ZERO, why.to_owned(), None);
    }

    /// Enters a step that was taken; `fix` is for what the failure's class does not tell. Says whether it went well.
    fn enter(&mut self, Taken { done, time, late }: Taken, fix: &'static str) -> bool {
        let at = self.taken.len();
        let wrong = match done {
            Ok(said) => {
                self.add(Outcome::Ok, time, said, None);
                return true;
            }
            Err(wrong) => wrong,
        };
        let is_astray = at <= ONE_TOKEN && may_be_foreign(wrong.class);
        let fix = match self.doubt.clone().filter(|_| is_astray && !late) {
            Some(doubt) => doubt.into(),
            None if late && at > TLS => {
                "the server takes requests and does not answer; look at its load and logs".into()
            }
            // Up to the connection a step's own fix covers silence, too.
            None if late => fix.into(),
            None if wrong.status == Some(404) && at <= ONE_TOKEN => {
                missing(self.missing_path, likely(wrong.class, at, fix))
            }
            None => likely(wrong.class, at, fix).into(),
        };
        self.add(Outcome::Failed, time, wrong.message, Some(fix));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Class;

    #[test]
    fn where_the_address_shows_what_is_wrong_the_fix_names_that() {
        let fix = |doubt: Option<&str>, class| {
            let mut steps = Steps { taken: Vec::new(), doubt: doubt.map(ToOwned::to_owned), missing_path: None };
            (0..ONE_TOKEN).for_each(|_| steps.skip("not asked"));
            let done = Err(Failed::new(class, ""));
            steps.enter(Taken { done, time: Duration::ZERO, late: false }, "own");
            steps.taken.pop().and_then(|step| step.fix).unwrap_or_default()
        };
        assert_eq!(fix(Some("the doubt"), Class::ProviderAuth), "the doubt");
        assert!(fix(None, Class::ProviderAuth).contains("check api_key"));
        assert!(fix(Some("the doubt"), Class::ProviderQuota).contains("money"));
    }

    #[test]
    fn streams_are_held_to_count_tokens_only_where_they_are_asked() {
        assert!(usage(true, Some(false), true).is_err());
        assert!(usage(true, Some(false), false).is_ok());
        assert!(usage(true, None, true).is_ok());
        assert!(usage(false, Some(true), true).is_err());
    }

    #[test]
    fn a_server_that_takes_requests_and_is_silent_is_not_told_to_be_elsewhere() {
        let mut steps = Steps { taken: Vec::new(), doubt: Some("the doubt".to_owned()), missing_path: None };
        (0..ONE_TOKEN).for_each(|_| steps.skip("not asked"));
        steps.enter(Taken { done: Err(invalid("nothing")), time: PATIENCE, late: true }, "own");
        let fix = steps.taken.pop().and_then(|step| step.fix).unwrap_or_default();
        assert!(fix.contains("load and logs"), "{fix}");
    }
}
