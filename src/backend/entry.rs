//! Owns what a backend needs to know of a request that enters: what it wants, and which gates it passes as their probe.

use std::time::Duration;

use super::vitals::{Lane, Vitals};
use crate::upstream::Endpoint;

/// What a request wants of a backend, as far as its judge and its learner care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// An answer as a stream, whose first token is seen.
    Stream,
    /// A whole answer, of which nothing is seen before its end.
    Whole,
    /// How many tokens a prompt has: no model answers that.
    Count,
}

/// A request that enters.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What it wants.
    pub want: Want,
    /// Where it asks, if that is beside chat: not every server has each of these.
    pub beside_chat: Option<Endpoint>,
    /// Another backend of the same priority could have taken it.
    pub has_choice: bool,
    /// Which gates it probes.
    pub probes: Probes,
    /// Its prompt's tokens, estimated.
    pub prompt_tokens: u64,
    /// When.
    pub at: Duration,
}

/// The gates that a lease passed as their single probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probes {
    /// The gate of the whole backend.
    pub backend: bool,
    /// The gate of the model on it.
    pub model: bool,
}

impl Probes {
    /// Whether it probes none.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Takes the places at `now`, both or none; nobody else can take them for the time of `alone`.
    pub(super) fn begin(self, backend: &Vitals, lane: &Lane, now: Duration, alone: Duration) -> bool {
        if self.backend && !backend.gate.start_probe(now, alone) {
            return false;
        }
        if self.model && !lane.gate.start_probe(now, alone) {
            Self { model: false, ..self }.end(backend, lane, now);
            return false;
        }
        true
    }

    /// Gives the places back that were taken at `since`.
    pub(super) fn end(self, backend: &Vitals, lane: &Lane, since: Duration) {
        if self.backend {
            backend.gate.end_probe(since);
        }
        if self.model {
            lane.gate.end_probe(since);
        }
    }
}
