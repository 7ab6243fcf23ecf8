//! Owns a story as people read it: the ledger's report, and durations as milliseconds.

use std::{ops::Not, time::Duration};

use serde::{Serialize, Serializer};

use super::{AttemptNote, RescueOutcome, Story};
use crate::{
    clock,
    error::Class,
    settings::Money,
    wire::{Usage, trace_context::TraceId},
};

/// The outcome of what was answered.
pub const SUCCESS: &str = "success";
/// The outcome of what its client left.
pub const CANCELLED: &str = "cancelled";
/// The outcome of an attempt that came to nothing through no fault of its backend's, such as one that was beaten.
pub const LET_GO: &str = "let_go";

/// How a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was answered.
    Success,
    /// It was not.
    Failure,
    /// Its client left.
    Cancelled,
}

impl Ending {
    /// All of them in words, for tables indexed by ending.
    pub const WORDS: [&str; 3] = [SUCCESS, "failure", CANCELLED];

    /// What the class of its failure makes of it.
    pub fn of(class: Option<Class>) -> Self {
        match class {
            None => Self::Success,
            Some(Class::CallerCancelled) => Self::Cancelled,
            Some(_) => Self::Failure,
        }
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// A story as the ledger and explanations show it.
#[derive(Debug, Serialize)]
pub struct StoryReport<'a> {
    /// `x-request-id`.
    pub id: &'a str,
    /// The trace that has its spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// When it came, RFC 3339.
    pub received: String,
    /// The user's name.
    pub user: &'a str,
    /// The public model.
    pub model: &'a str,
    /// What was asked, in a word of a closed set.
    pub endpoint: &'a str,
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
    /// What all attempts cost, as far as that is known of any.
    pub cost_usd: Option<Money>,
    /// Tokens or cost are estimated, since a provider has not counted them all.
    #[serde(skip_serializing_if = "Not::not")]
    pub estimated: bool,
    /// What became of a broken stream's rescue.
    pub rescue: Option<&'static str>,
    /// All attempts.
    pub attempts: &'a [AttemptNote],
    /// The choice that found no backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'a serde_json::Value>,
}

impl Story {
    /// How it went, once it has ended.
    pub fn outcome(&self) -> Option<Ending> {
        self.ended.map(|_| Ending::of(self.class))
    }

    /// Whether its tokens, or the cost of any attempt, are estimated.
    pub fn is_estimated(&self) -> bool {
        self.estimated || self.attempts.iter().any(|attempt| attempt.estimated)
    }

    /// Tokens, if the provider has counted them.
    pub fn counted(&self) -> Option<Usage> {
        self.usage.filter(|_| !self.estimated)
    }

    /// The story without secrets, for people.
    pub fn report(&self) -> StoryReport<'_> {
        StoryReport {
            id: &self.id,
            trace_id: self.trace.and_then(|trace| trace.told()),
            received: clock::rfc3339(self.received),
            user: &self.user.name,
            model: &self.model,
            endpoint: self.endpoint,
            pin: self.pin.as_deref(),
            stream: self.stream,
            backend: self.served().map(|attempt| &*attempt.backend),
            status: self.status,
            outcome: self.outcome().map_or("running", Ending::as_str),
            class: self.class.map(Class::as_str),
            message: self.message.as_deref(),
            first_token_ms: self.first_token.map(ms),
            total_ms: ms(self.total()),
            tokens_in: self.usage.map(|usage| usage.input),
            tokens_out: self.usage.map(|usage| usage.output),
            cost_usd: self.cost(),
            estimated: self.is_estimated(),
            rescue: self.rescue.map(RescueOutcome::as_str),
            attempts: &self.attempts,
            decision: self.decision.as_deref(),
        }
    }
}

/// A duration as milliseconds with so many decimals, one to three: for log lines and headers, where formatting floats would be
/// the dearest part. Their number is known when this is compiled, since dividing by what is not would be the next dearest.
pub struct Millis<const DECIMALS: u32>(pub Duration);

impl<const DECIMALS: u32> Millis<DECIMALS> {
    /// Appends it to `text`.
    pub fn push_to(&self, text: &mut String) {
        let (unit, scale) = const { (10_u64.pow(3 - DECIMALS), 10_u64.pow(DECIMALS)) };
        // Longer than half a million years is not waited for.
        let micros = self.0.as_secs().saturating_mul(1_000_000).saturating_add(self.0.subsec_micros().into());
        let rounded = micros.saturating_add(unit / 2) / unit;
        text.push_str(itoa::Buffer::new().format(rounded / scale));
        text.push('.');
        let rest = (rounded % scale) as u32;
        for place in (0..DECIMALS).rev() {
            text.push(char::from(b'0' + (rest / 10_u32.pow(place) % 10) as u8));
        }
    }
}

pub(super) fn as_ms<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(ms(*time))
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
pub(super) fn as_maybe_ms<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
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
            let (mut three, mut one) = (String::new(), String::new());
            Millis::<3>(time).push_to(&mut three);
            Millis::<1>(time).push_to(&mut one);
            prop_assert_eq!(three, format!("{:.3}", ms(time)));
            let rounded: f64 = one.parse().expect("a number");
            prop_assert!((rounded - ms(time)).abs() <= 0.0501);
        }
    }
}
