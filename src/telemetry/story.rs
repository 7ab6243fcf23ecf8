//! Owns the story of one request: what was tried, who served it, how it ended; told once, in the log line and the headers.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use serde::{Serialize, Serializer};

use super::phase::Phase;
use crate::{
    clock,
    error::{Class, Error},
    settings::User,
    wire::Usage,
};

/// Why this backend: the token in `x-greenroom-route`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteReason {
    /// It had the lowest cost of several.
    LeastLoaded,
    /// There was no other.
    OnlyCandidate,
    /// The client named it.
    Pinned,
    /// Another failed before.
    Failover,
    /// Another was too slow.
    Hedged,
}

impl RouteReason {
    /// The token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least_loaded",
            Self::OnlyCandidate => "only_candidate",
            Self::Pinned => "pinned",
            Self::Failover => "failover",
            Self::Hedged => "hedged",
        }
    }
}

/// One attempt, as the ledger shows it.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptNote {
    /// The backend.
    pub backend: Arc<str>,
    /// Its own name for the model.
    pub upstream_model: Arc<str>,
    /// Why this backend.
    pub route: RouteReason,
    /// Start, after the request came.
    #[serde(rename = "started_ms", serialize_with = "as_ms")]
    pub started: Duration,
    /// Duration; absent while it runs.
    #[serde(rename = "duration_ms", serialize_with = "as_maybe_ms")]
    pub duration: Option<Duration>,
    /// How it ended: `success`, `cancelled`, or a class of failure.
    pub outcome: Option<&'static str>,
    /// The backend's status.
    pub status: Option<u16>,
    /// What happened, in words.
    pub message: Option<String>,
    /// How the choice came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<serde_json::Value>,
}

/// The story so far.
#[derive(Debug, Clone)]
pub struct Story {
    /// `x-request-id`.
    pub id: Arc<str>,
    /// Who asks.
    pub user: Arc<User>,
    /// The public model.
    pub model: Arc<str>,
    /// The backend named in the body.
    pub pin: Option<Arc<str>>,
    /// Streamed?
    pub stream: bool,
    /// When it came.
    pub received: Duration,
    /// The head went out before there was a backend to name in it.
    pub early_head: bool,
    /// All attempts.
    pub attempts: Vec<AttemptNote>,
    /// Index of the attempt that serves the client.
    pub served_by: Option<usize>,
    /// Time to the first content, or to the whole answer.
    pub first_token: Option<Duration>,
    /// Tokens as the provider counted them.
    pub usage: Option<Usage>,
    /// The status the client got.
    pub status: u16,
    /// How it ended, if it failed.
    pub class: Option<Class>,
    /// What the client was told, if it failed.
    pub message: Option<String>,
    /// How the choice came about that found no backend, if the client may know.
    pub decision: Option<serde_json::Value>,
    /// What became of a broken stream's rescue.
    pub rescue: Option<&'static str>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// Time spent waiting for a place while all backends were full, if any was.
    pub queued: Option<Duration>,
    /// Time spent per `Phase`, over all attempts.
    pub spent: [Duration; Phase::ALL.len()],
}

/// Hears of each request's end.
pub type Listener = Rc<dyn Fn(Story)>;

/// The story being told. Dropped without an end, it tells that the client left.
#[derive(Clone)]
pub struct Telling(Rc<Inner>);

/// Why a story is always there to be read.
const WHOLE: &str = "a story is taken only by the drop of its last teller";

struct Inner {
    /// Taken out only when it is over.
    story: RefCell<Option<Story>>,
    listener: Listener,
}

impl Telling {
    /// Begins.
    pub fn new(story: Story, listener: Listener) -> Self {
        Self(Rc::new(Inner { story: RefCell::new(Some(story)), listener }))
    }

    /// Reads the story so far.
    pub fn read<T>(&self, read: impl FnOnce(&Story) -> T) -> T {
        read(self.0.story.borrow().as_ref().expect(WHOLE))
    }

    /// Adds to it.
    pub fn write<T>(&self, write: impl FnOnce(&mut Story) -> T) -> T {
        write(self.0.story.borrow_mut().as_mut().expect(WHOLE))
    }

    /// Time from the request's arrival to `now`.
    pub fn until(&self, now: Duration) -> Duration {
        now.saturating_sub(self.read(|s| s.received))
    }

    /// A phase that began at `began` is over.
    pub fn spent(&self, phase: Phase, began: Duration) {
        let time = clock::now().saturating_sub(began);
        self.write(|story| story.spent[phase as usize] += time);
    }

    /// An attempt begins; returns its number.
    pub fn attempt(&self, note: AttemptNote) -> usize {
        self.write(|story| {
            story.attempts.push(note);
            story.attempts.len() - 1
        })
    }

    /// An attempt ended.
    pub fn attempt_ended(&self, number: usize, outcome: &'static str, status: Option<u16>, message: Option<String>) {
        self.write(|story| {
            if let Some(note) = story.attempts.get_mut(number)
                && note.outcome.is_none()
            {
                note.duration = Some(clock::now().saturating_sub(story.received + note.started));
                note.outcome = Some(outcome);
                note.status = status;
                note.message = message;
            }
        });
    }

    /// The end, good or bad. Only the first counts.
    pub fn end(&self, status: u16, error: Option<&Error>) {
        self.write(|story| {
            if story.ended.is_none() {
                story.ended = Some(clock::now());
                story.status = status;
                story.class = error.map(Error::class);
                story.message = error.map(|e| e.face().message);
            }
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(mut story) = self.story.get_mut().take() else { return };
        if story.ended.is_none() {
            story.ended = Some(clock::now());
            story.status = 499;
            story.class = Some(Class::CallerCancelled);
        }
        (self.listener)(story);
    }
}

impl Story {
    /// The attempt that served the client, else the last one.
    pub fn served(&self) -> Option<&AttemptNote> {
        self.served_by.and_then(|n| self.attempts.get(n)).or(self.attempts.last())
    }

    /// Time from arrival to end.
    pub fn total(&self) -> Duration {
        self.ended.unwrap_or_else(clock::now).saturating_sub(self.received)
    }
}

/// A story as the ledger and explanations show it.
#[derive(Debug, Serialize)]
pub struct StoryReport<'a> {
    /// `x-request-id`.
    pub id: &'a str,
    /// When it came, RFC 3339.
    pub received: String,
    /// The user's name.
    pub user: &'a str,
    /// The public model.
    pub model: &'a str,
    /// The backend named in the body.
    pub pin: Option<&'a str>,
    /// Streamed?
    pub stream: bool,
    /// The backend that served it.
    pub backend: Option<&'a str>,
    /// The status the client got; 499 if it left.
    pub status: u16,
    /// `success`, `cancelled`, `failure`, or `running`.
    pub outcome: &'static str,
    /// Class of failure.
    pub class: Option<&'static str>,
    /// What the client was told.
    pub message: Option<&'a str>,
    /// Time to the first content, milliseconds.
    pub first_token_ms: Option<f64>,
    /// Total time, milliseconds.
    pub total_ms: f64,
    /// Prompt tokens.
    pub tokens_in: Option<u64>,
    /// Generated tokens.
    pub tokens_out: Option<u64>,
    /// What became of a broken stream's rescue.
    pub rescue: Option<&'static str>,
    /// All attempts.
    pub attempts: &'a [AttemptNote],
    /// The choice that found no backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'a serde_json::Value>,
}

impl Story {
    /// In one word, how it went.
    pub fn outcome(&self) -> &'static str {
        match self.class {
            _ if self.ended.is_none() => "running",
            None => "success",
            Some(Class::CallerCancelled) => "cancelled",
            Some(_) => "failure",
        }
    }

    /// The story without secrets, for people.
    pub fn report(&self) -> StoryReport<'_> {
        StoryReport {
            id: &self.id,
            received: clock::rfc3339(self.received),
            user: &self.user.name,
            model: &self.model,
            pin: self.pin.as_deref(),
            stream: self.stream,
            backend: self.served().map(|attempt| &*attempt.backend),
            status: self.status,
            outcome: self.outcome(),
            class: self.class.map(Class::as_str),
            message: self.message.as_deref(),
            first_token_ms: self.first_token.map(ms),
            total_ms: ms(self.total()),
            tokens_in: self.usage.map(|usage| usage.input),
            tokens_out: self.usage.map(|usage| usage.output),
            rescue: self.rescue,
            attempts: &self.attempts,
            decision: self.decision.as_ref(),
        }
    }
}

/// A duration as milliseconds with so many decimals, at most three: for log lines and headers, where formatting floats
/// would be the dearest part.
pub struct Millis(pub Duration, pub u32);

impl Millis {
    /// Appends it to `text`.
    pub fn push_to(&self, text: &mut String) {
        let digits = self.1.min(3);
        let unit = 10_u64.pow(3 - digits);
        // Longer than half a million years is not waited for.
        let rounded = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX).saturating_add(unit / 2) / unit;
        let scale = 10_u64.pow(digits);
        let mut buffer = itoa::Buffer::new();
        text.push_str(buffer.format(rounded / scale));
        if digits > 0 {
            text.push('.');
            let rest = buffer.format(rounded % scale);
            text.push_str(&"000"[..(digits as usize).saturating_sub(rest.len())]);
            text.push_str(rest);
        }
    }
}

fn as_ms<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(ms(*time))
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn as_maybe_ms<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(ms).serialize(to)
}

/// A duration in milliseconds, to the microsecond.
pub fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn durations_read_as_floats_would(micros in 0_u64..1_000_000_000) {
            let time = Duration::from_micros(micros);
            let text = |digits| {
                let mut text = String::new();
                Millis(time, digits).push_to(&mut text);
                text
            };
            prop_assert_eq!(text(3), format!("{:.3}", ms(time)));
            let rounded: f64 = text(1).parse().expect("a number");
            prop_assert!((rounded - ms(time)).abs() <= 0.0501);
        }
    }
}
