//! Owns the settings of failover: how often, for how long and for what share of requests it is tried again.

use std::time::Duration;

use serde_json::Value;

use super::section::{Problems, Section};

/// Most attempts of a request: more backends than a model has, and each waits its turn.
const MOST_ATTEMPTS: u64 = 100;

/// `[failover]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Failover {
    /// Attempts per request, the first included.
    pub max_attempts: u32,
    /// The whole request, over all attempts.
    pub deadline: Duration,
    /// Retries allowed, as a share of recent requests that ended well.
    pub retry_budget: f64,
    /// Second backends started at the soft first-token threshold, as a share of recent requests that ended well.
    pub hedge_budget: f64,
    /// When the head and a comment go out though no content has come.
    pub keepalive_after: Duration,
    /// Pause between comments after that.
    pub keepalive_every: Duration,
}

impl Failover {
    pub(super) fn read(value: Value, problems: &Problems) -> Self {
        let mut s = Section::open("failover", value, problems);
        let max_attempts = s.count("max_attempts", MOST_ATTEMPTS);
        let retry_budget = s.share("retry_budget");
        let hedge_budget = s.share("hedge_budget");
        let deadline = s.time("deadline");
        let keepalive_after = s.time("keepalive_after");
        let keepalive_every = s.pause("keepalive_every");
        s.finish();
        Self { max_attempts, deadline, retry_budget, hedge_budget, keepalive_after, keepalive_every }
    }
}
