//! Owns the report on a backend for operators: facts and gates in words.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use serde::Serialize;

use super::{
    estimate::{Estimate, Usual},
    gate::{GateCell, KINDS},
    load::{self, Busy},
    sketch::Sketch,
    state::{Standing, State, states},
    vitals::{Lane, Vitals},
};
use crate::{
    clock,
    error::{Class, Owner},
    settings,
};

/// One backend, as `/admin/backends` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Configured name.
    pub name: String,
    /// Wire protocol.
    pub protocol: &'static str,
    /// In one word.
    pub state: State,
    /// Why, in words.
    pub reason: String,
    /// Requests before their first token.
    pub waiting: u32,
    /// Prompt tokens of these, estimated.
    pub waiting_tokens: u64,
    /// Requests after it.
    pub streaming: u32,
    /// Limit on both together.
    pub max_in_flight: u32,
    /// Attempts by outcome.
    pub requests: Requests,
    /// Failed attempts by class, whoever was at fault; classes without any are left out.
    pub failures_by_class: BTreeMap<&'static str, u64>,
    /// Successes among successes and failures; null before the first.
    pub success_rate: Option<f64>,
    /// Whole successful attempts, milliseconds.
    pub latency_ms: Quantiles,
    /// First tokens, milliseconds.
    pub first_token_ms: Quantiles,
    /// First-token estimate of the model asked for most, seconds.
    pub first_token_estimate_s: f64,
    /// Cost of one more request to it for the model asked for most, as routers compare it.
    pub cost: f64,
    /// The last failure.
    pub last_error: Option<LastErrorReport>,
    /// Why what its `api_key_file` holds now cannot be used, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fault: Option<String>,
    /// End of the last complete answer.
    pub last_success: Option<String>,
    /// Until the gate lets a probe pass.
    pub reopens_in_ms: Option<u64>,
    /// Failures in a row, of the whole backend or of the model that has most.
    pub consecutive_failures: u32,
    /// How often the gate of the whole backend changed, by what it changed to.
    pub transitions: Transitions,
    /// Its actor's restarts.
    pub restarts: Restarts,
    /// Since it was configured, seconds.
    pub uptime_s: u64,
    /// Requests pinned to it.
    pub pins: u64,
    /// Its models.
    pub models: Vec<LaneReport>,
}

/// Changes of a gate, by what it changed to; what it never changed to is left out.
pub type Transitions = BTreeMap<&'static str, u64>;

/// Attempts by outcome.
#[derive(Debug, Clone, Serialize)]
pub struct Requests {
    /// All that ended. Greenroom's own failures are counted only here.
    pub total: u64,
    /// Complete answers, and prompts that were counted.
    pub success: u64,
    /// The request was at fault.
    pub caller_fault: u64,
    /// The backend was.
    pub failure: u64,
    /// The client left.
    pub cancelled: u64,
    /// Another attempt was quicker, or what ended it was none of the backend's doing.
    pub let_go: u64,
}

/// Quantiles, milliseconds; null while nothing was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

impl Quantiles {
    /// The quantiles of what was measured.
    pub fn of(times: Option<&Sketch>) -> Self {
        let at = |q| times.and_then(|times| times.quantile(q)).map(millis);
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

/// Seconds as milliseconds, to the hundredth.
pub fn millis(seconds: f64) -> f64 {
    (seconds * 1e5).round() / 100.0
}

/// The last failure.
#[derive(Debug, Clone, Serialize)]
pub struct LastErrorReport {
    /// Class label.
    pub class: &'static str,
    /// What happened.
    pub message: String,
    /// When, RFC 3339.
    pub at: String,
}

/// Restarts of an actor.
#[derive(Debug, Clone, Serialize)]
pub struct Restarts {
    /// How many.
    pub count: u32,
    /// What the last one was for.
    pub last_cause: Option<String>,
}

/// One public model on a backend.
#[derive(Debug, Clone, Serialize)]
pub struct LaneReport {
    /// Public name.
    pub model: String,
    /// The backend's own name for it.
    pub upstream_model: String,
    /// In one word.
    pub state: State,
    /// Why, in words.
    pub reason: String,
    /// Until the gate lets a probe pass.
    pub reopens_in_ms: Option<u64>,
    /// How often its gate changed, by what it changed to.
    pub transitions: Transitions,
    /// Requests that wait in the model's queue, for a place at any of its backends. Told by whoever has the table.
    pub queued: u32,
    /// Requests before their first token.
    pub waiting: u32,
    /// Requests after it.
    pub streaming: u32,
    /// First-token estimate, seconds.
    pub first_token_estimate_s: f64,
    /// Whether requests wait for each other: 0 served side by side, 1 in turn.
    pub serial: f64,
    /// Estimated time from one token to the next with no other stream, seconds.
    pub token_estimate_s: f64,
}

impl Report {
    /// Puts a backend's facts into words; `weight`: what the routing table says of its models.
    pub fn of(vitals: &Vitals, settings: &settings::Backend, weight: impl Fn(&str) -> f64) -> Self {
        let now = clock::now();
        let lanes = vitals.lanes();
        let requests = requests(&lanes);
        let judged = requests.success + requests.failure;
        let expected = settings.expected_first_token;
        let consecutive = vitals.consecutive.load(Relaxed);
        let (Standing { state, reason }, of_models) = states(vitals, &lanes, now);
        let models = lanes.iter().zip(of_models).map(|(lane, status)| LaneReport::of(lane, status, now, expected));
        let models: Vec<_> = models.collect();
        let busiest = lanes.iter().max_by_key(|lane| lane.counts.outcomes.success.load(Relaxed));
        let first_guess = Estimate::UNKNOWN.expected(now, Usual::guessed(expected));
        let estimate = busiest.map_or(first_guess, |lane| lane.estimate.at(now, expected));
        let weight = busiest.map_or(settings.weight, |lane| weight(&lane.model));
        let busy = vitals.load.busy();
        let blames = busiest.map_or(0, |lane| lane.blames(now));
        let own = reopens_in_ms(&vitals.gate, now);
        Self {
            name: vitals.name.to_string(),
            protocol: settings.protocol.as_str(),
            state,
            reason,
            waiting: busy.waiting,
            waiting_tokens: busy.waiting_tokens,
            streaming: busy.streaming,
            max_in_flight: settings.max_in_flight,
            success_rate: (judged > 0).then(|| requests.success as f64 / judged as f64),
            requests,
            failures_by_class: failures(&lanes),
            latency_ms: Quantiles::of(merged(&lanes, |lane| lane.counts.latency.read()).as_ref()),
            first_token_ms: Quantiles::of(merged(&lanes, |lane| lane.counts.first_token.read()).as_ref()),
            first_token_estimate_s: estimate.seconds,
            cost: load::cost(estimate, Busy { waiting: busy.waiting + blames, ..busy }, settings.slots, weight).line,
            last_error: vitals.last_error.load().as_ref().map(|last| LastErrorReport {
                class: last.class.as_str(),
                message: last.message.clone(),
                at: clock::rfc3339(last.at),
            }),
            // Vitals outlive a reload, by which the key may have come to stand in the settings.
            key_fault: (settings.api_key_file.as_ref()).and(vitals.key_fault.load().as_ref()).map(ToString::to_string),
            last_success: vitals.last_success().map(clock::rfc3339),
            reopens_in_ms: own.or_else(|| {
                let shut = matches!(state, State::Open | State::HalfOpen);
                models.iter().filter_map(|m| m.reopens_in_ms).min().filter(|_| shut)
            }),
            consecutive_failures: lanes.iter().map(|l| l.consecutive.load(Relaxed)).fold(consecutive, u32::max),
            transitions: transitions(&vitals.gate),
            restarts: Restarts {
                count: vitals.counts.restarts.load(Relaxed),
                last_cause: vitals.counts.last_cause.load().as_ref().map(ToString::to_string),
            },
            uptime_s: now.saturating_sub(vitals.counts.since).as_secs(),
            pins: vitals.counts.pins.load(Relaxed),
            models,
        }
    }
}

impl LaneReport {
    fn of(lane: &Lane, Standing { state, reason }: Standing, now: Duration, expected: Duration) -> Self {
        let estimate = lane.estimate.at(now, expected);
        Self {
            model: lane.model.to_string(),
            upstream_model: lane.upstream_model.to_string(),
            state,
            reason,
            reopens_in_ms: reopens_in_ms(&lane.gate, now),
            transitions: transitions(&lane.gate),
            queued: 0,
            waiting: lane.places.waiting(),
            streaming: lane.places.streaming(),
            first_token_estimate_s: estimate.seconds,
            serial: estimate.serial,
            token_estimate_s: estimate.pace,
        }
    }
}

fn reopens_in_ms(gate: &GateCell, now: Duration) -> Option<u64> {
    gate.read().reopens_in(now).map(|wait| wait.as_millis() as u64)
}

fn transitions(gate: &GateCell) -> Transitions {
    KINDS.into_iter().zip(gate.transitions()).filter(|(_, count)| *count > 0).collect()
}

fn requests(lanes: &[Arc<Lane>]) -> Requests {
    let sum = |of: &dyn Fn(&Lane) -> u64| lanes.iter().map(|lane| of(lane)).sum::<u64>();
    let owned = |owner| sum(&|lane| lane.counts.outcomes.sum(|class: Class| class.owner() == owner));
    let success = sum(&|lane| lane.counts.outcomes.good());
    let (caller_fault, failure) = (owned(Owner::Caller), owned(Owner::Backend));
    let cancelled = sum(&|lane| lane.counts.outcomes.cancelled.load(Relaxed));
    let let_go = sum(&|lane| lane.counts.outcomes.let_go.load(Relaxed));
    let total = success + caller_fault + failure + owned(Owner::Greenroom) + cancelled + let_go;
    Requests { total, success, caller_fault, failure, cancelled, let_go }
}

fn failures(lanes: &[Arc<Lane>]) -> BTreeMap<&'static str, u64> {
    let mut by_class = BTreeMap::new();
    for class in Class::ALL {
        let count = lanes.iter().map(|lane| lane.counts.outcomes.of(class)).sum::<u64>();
        if count > 0 {
            // Some share a label.
            *by_class.entry(class.as_str()).or_default() += count;
        }
    }
    by_class
}

fn merged(lanes: &[Arc<Lane>], of: impl Fn(&Lane) -> Sketch) -> Option<Sketch> {
    lanes.iter().map(|lane| of(lane)).reduce(|mut all, one| {
        all.merge(&one);
        all
    })
}
