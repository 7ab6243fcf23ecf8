//! Owns the words for how a backend and its models stand: the states that operators, metrics and reports know.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use serde::{Serialize, Serializer};

use super::{
    gate::{Gate, Why},
    vitals::{Lane, Vitals},
};

/// A gate in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Takes requests.
    Healthy,
    /// Takes requests, with care: it failed a short while ago, one of its models is out, or whole answers were waited for in vain.
    Degraded,
    /// The breaker is open: takes none.
    Open,
    /// The next request is its probe.
    HalfOpen,
    /// Drained by an operator.
    Draining,
    /// Its actor was given up.
    GaveUp,
}

impl State {
    /// All states, for those who show each of them.
    pub const ALL: [Self; 6] =
        [Self::Healthy, Self::Degraded, Self::Open, Self::HalfOpen, Self::Draining, Self::GaveUp];

    /// The word, as it is serialised too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Draining => "draining",
            Self::GaveUp => "gave_up",
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A state, and why, in words.
#[derive(Debug, Clone)]
pub struct Standing {
    /// In one word.
    pub state: State,
    /// Why.
    pub reason: String,
}

/// How a backend stands, and each of its models.
pub fn states(vitals: &Vitals, lanes: &[Arc<Lane>], now: Duration) -> (Standing, Vec<Standing>) {
    let models: Vec<_> = lanes.iter().map(|lane| of_lane(lane, now)).collect();
    let gate = vitals.gate.read();
    let own = of_gate(gate, now, vitals.consecutive.load(Relaxed));
    // Its own gate decides; where that is open, its models' gates do.
    if !gate.takes() {
        return (own, models);
    }
    let all = || lanes.iter().zip(&models);
    let is_out = |standing: &Standing| matches!(standing.state, State::Open | State::HalfOpen);
    let slow = || all().find(|(_, standing)| standing.state == State::Degraded && own.state == State::Healthy);
    let whole = match all().find(|(_, standing)| is_out(standing)).or_else(slow) {
        None => own,
        Some((_, first)) if models.iter().all(is_out) => first.clone(),
        Some((lane, first)) => Standing { state: State::Degraded, reason: format!("{}: {}", lane.model, first.reason) },
    };
    (whole, models)
}

fn of_lane(lane: &Lane, now: Duration) -> Standing {
    let standing = of_gate(lane.gate.read(), now, lane.consecutive.load(Relaxed));
    match lane.in_vain.at(now) {
        in_vain @ 2.. if standing.state == State::Healthy => {
            Standing { state: State::Degraded, reason: format!("{in_vain} answers waited for in vain since its last") }
        }
        _ => standing,
    }
}

/// How a gate stands.
fn of_gate(gate: Gate, now: Duration, consecutive: u32) -> Standing {
    let (state, reason) = match gate {
        Gate::Shut(until, why) if now < until => {
            let wait = until.saturating_sub(now).as_secs_f64();
            (State::Open, format!("{}; tried again in {wait:.1} s", why.words()))
        }
        Gate::Shut(_, why) => (State::HalfOpen, format!("{}; the next request is its probe", why.words())),
        Gate::Held(why @ Why::GivenUp) => (State::GaveUp, why.words().to_owned()),
        Gate::Held(why) => (State::Draining, why.words().to_owned()),
        _ if consecutive == 1 => (State::Degraded, "its last request failed".to_owned()),
        _ if consecutive > 1 => (State::Degraded, format!("{consecutive} failures in a row")),
        Gate::Ramp(limit) if limit > 1 => (State::Healthy, format!("taking requests; ramping up, {limit} at a time")),
        _ => (State::Healthy, "taking requests".to_owned()),
    };
    Standing { state, reason }
}
