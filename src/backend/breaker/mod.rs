//! Owns when a gate shuts, for how long, and how it opens again: a function of (state, outcome, now).

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{
    gate::{Gate, Why},
    window::Window,
};
use crate::{
    pause::{doubled, jittered},
    settings::BreakerSettings,
};

/// Time shut for bad credentials, an exhausted account or an unknown model: only an operator cures these, so ask rarely.
/// Busbar uses the same half hour.
const HARD_DOWN: Duration = Duration::from_secs(30 * 60);

/// Longest `Retry-After` taken at its word; a provider that says more is asked once a day all the same.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A failure, as far as the breaker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Counts towards consecutive failures and the ratio.
    Counted {
        /// What the provider asked to wait, if it did; no time at all is none.
        retry_after: Option<Duration>,
    },
    /// Shuts for the time the provider asked for, or a backoff.
    CoolDown(Option<Duration>),
    /// Shuts for long.
    Hard(Why),
    /// The model was not found. Shuts at once if it has never answered, and for long if it is `told` to be missing. Otherwise it
    /// was there and may be again, like a deployment that takes its time or a server behind a page: that counts as any failure
    /// does, and only the backoff goes further up.
    Missing {
        /// The provider speaks of the model.
        told: bool,
    },
}

/// The breaker of one gate. Successes are not told one by one while the gate is open: the count of them so far comes
/// along with each failure, so that a success costs the hot path nothing.
#[derive(Debug, Clone)]
pub struct Breaker {
    settings: BreakerSettings,
    gate: Gate,
    consecutive: u32,
    /// Trips since the gate was last fully open; the exponent of the backoff.
    trips: u32,
    /// How many of the latest of these, in a row, were for a model not found: the exponent of its own backoff.
    missing: u32,
    successes_at_last_failure: u64,
    window: Window,
    full_ramp: u32,
}

impl Breaker {
    /// A breaker that starts from a gate as published before, so that a rebuilt actor forgets nothing, and from the count of
    /// successes by then, so that those to come are seen beside the first failure.
    pub fn new(settings: BreakerSettings, full_ramp: u32, gate: Gate, successes: u64) -> Self {
        Self {
            settings,
            gate,
            consecutive: 0,
            trips: 0,
            missing: 0,
            successes_at_last_failure: successes,
            window: Window::begin(successes),
            full_ramp,
        }
    }

    /// The gate as it should be published.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Failures in a row.
    pub fn consecutive(&self) -> u32 {
        self.consecutive
    }

    /// A failure at `now`; `successes` is the count of successes so far, `jitter` from 0 to 1.
    pub fn failed(&mut self, failure: Failure, probe: bool, successes: u64, now: Duration, jitter: f64) {
        if matches!(self.gate, Gate::Held(_)) {
            return;
        }
        // There are fewer than before once a reload has taken a model away: that is no success.
        if successes > self.successes_at_last_failure {
            self.consecutive = 0;
        }
        self.successes_at_last_failure = successes;
        self.consecutive = self.consecutive.saturating_add(1);
        self.window.note(now, successes, true, &self.settings);
        let (named, why) = match failure {
            Failure::Hard(why) => (HARD_DOWN, why),
            Failure::Missing { told: true } if successes == 0 => (HARD_DOWN, Why::ModelMissing),
            Failure::Missing { .. } if probe || successes == 0 || self.has_too_many(now, successes) => {
                (Duration::ZERO, Why::ModelMissing)
            }
            Failure::CoolDown(Some(wait)) | Failure::Counted { retry_after: Some(wait) } if !wait.is_zero() => {
                (wait.min(LONGEST_WAIT), Why::RateLimit)
            }
            Failure::CoolDown(_) => (Duration::ZERO, Why::Crowded),
            Failure::Counted { .. } if probe || self.has_too_many(now, successes) => (Duration::ZERO, Why::Failures),
            Failure::Counted { .. } | Failure::Missing { .. } => return,
        };
        // Another kind of failure does not mean that an empty account was filled.
        let spent = matches!(self.gate, Gate::Shut(_, Why::NoQuota)) && !matches!(failure, Failure::Hard(_));
        let why = if spent { Why::NoQuota } else { why };
        // Requests that were under way when the gate shut fail one after the other: they prolong nothing on their own.
        let straggler = matches!(self.gate, Gate::Shut(..)) && !probe;
        if straggler && named.is_zero() {
            return;
        }
        let wait = if straggler || !named.is_zero() { named } else { self.backoff(why, jitter) };
        let until = now + wait;
        match self.gate {
            Gate::Shut(already, _) if already >= until && !probe => {}
            _ => self.gate = Gate::Shut(until, why),
        }
        if !straggler {
            self.trips = self.trips.saturating_add(1);
            self.missing = if why == Why::ModelMissing { self.missing.saturating_add(1) } else { 0 };
        }
    }

    /// A success that was told: while the gate is not fully open.
    pub fn succeeded(&mut self, probe: bool) {
        self.consecutive = 0;
        self.gate = match self.gate {
            Gate::Shut(..) if probe => Gate::Ramp(1),
            Gate::Ramp(limit) if self.is_last_step(limit) => self.opened(),
            Gate::Ramp(limit) => Gate::Ramp(limit.max(1) * 2),
            // A success of a request that was under way when the gate shut proves nothing about now.
            other => other,
        };
    }

    /// An answer to a request that was at fault itself. It ends a row of failures and is no success: where others fail all the same,
    /// their share of the answers tells.
    pub fn alive(&mut self) {
        self.consecutive = 0;
    }

    /// The first token of an answer, told while the gate is not fully open. Others are let in, but a backend that breaks off what
    /// it begins has not recovered: failures in a row count on, and the last step is that of a complete answer.
    pub fn begun(&mut self, probe: bool) {
        self.gate = match self.gate {
            Gate::Shut(..) if probe => {
                self.consecutive = 0;
                // It still has a place itself, and keeps it for as long as its answer takes.
                Gate::Ramp(2)
            }
            Gate::Ramp(limit) if !self.is_last_step(limit) => Gate::Ramp(limit.max(1) * 2),
            other => other,
        };
    }

    /// The answer whose first token was told is complete: its own step of the ramp was made then.
    pub fn completed(&mut self) {
        self.consecutive = 0;
        if matches!(self.gate, Gate::Ramp(limit) if self.is_last_step(limit)) {
            self.gate = self.opened();
        }
    }

    fn is_last_step(&self, limit: u32) -> bool {
        limit.saturating_mul(2) >= self.full_ramp
    }

    fn opened(&mut self) -> Gate {
        (self.trips, self.missing) = (0, 0);
        self.window.clear();
        Gate::Open
    }

    /// Notes the count of successes, so that the ratio leaves out what is older than its window.
    pub fn tick(&mut self, now: Duration, successes: u64) {
        self.window.note(now, successes, false, &self.settings);
    }

    /// Holds the gate until an operator releases it.
    pub fn hold(&mut self, why: Why) {
        self.gate = Gate::Held(why);
    }

    /// Forgets all failures, and opens by ramp what they have shut. A gate that an operator holds stays held: only a release ends
    /// that.
    pub fn reset(&mut self) {
        if matches!(self.gate, Gate::Shut(..)) {
            self.gate = Gate::Ramp(1);
        }
        self.forget();
    }

    /// Ends a hold, and forgets what was before it.
    pub fn release(&mut self) {
        self.gate = Gate::Ramp(1);
        self.forget();
    }

    fn forget(&mut self) {
        self.consecutive = 0;
        (self.trips, self.missing) = (0, 0);
        self.window.clear();
    }

    /// Takes new thresholds; what was learned stays.
    pub fn adopt(&mut self, settings: BreakerSettings, full_ramp: u32) {
        self.settings = settings;
        self.full_ramp = full_ramp;
    }

    /// Whether too many have failed, in a row or among all in the window.
    fn has_too_many(&self, now: Duration, successes: u64) -> bool {
        let in_a_row = self.settings.failures > 0 && self.consecutive >= self.settings.failures;
        in_a_row || self.window.is_bad(now, successes, &self.settings)
    }

    /// `min × 2^trips`, less up to half of it, so that several proxies do not probe in step. A model not found may be kept out for
    /// longer than others, and so by its own trips alone: a single 404 behind an outage tells little.
    fn backoff(&self, why: Why, jitter: f64) -> Duration {
        let (trips, most) = match why {
            Why::ModelMissing => (self.missing, HARD_DOWN),
            _ => (self.trips, self.settings.backoff_max),
        };
        jittered(doubled(self.settings.backoff_min, trips, most), jitter)
    }
}
