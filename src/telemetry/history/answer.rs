//! Owns the answer to a question about history: points along time with counts, quantiles and the histograms behind
//! them.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    messages::{Ask, Untold},
    tally::{Key, Tally},
};
use crate::{
    backend::{
        histogram::{FIRST_TOKEN, REQUEST},
        report::{Quantiles, millis},
        sketch::Sketch,
    },
    clock::timestamp,
    error::{Class, Owner},
    settings::{Money, NO_BACKEND},
    telemetry::story::{CANCELLED, LET_GO, SUCCESS},
};

/// Most points of one answer, at some 700 bytes each: a day of a hundred backends' models by five minutes. What goes out at once
/// is in memory as a whole.
pub const POINTS: usize = 30_000;

/// An answer as it goes out.
#[derive(Debug, Clone)]
pub struct Told {
    /// Itself, as JSON.
    pub json: Vec<u8>,
    /// Nothing happened.
    pub is_empty: bool,
}

/// The answer to a question about history.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// Start of the first step, RFC 3339.
    pub from: String,
    /// End of the last step, RFC 3339.
    pub to: String,
    /// Seconds per point.
    pub step_s: i64,
    /// Upper bounds of `latency_counts`, seconds; the last count is of everything above them.
    pub latency_bounds_s: &'static [f64],
    /// Upper bounds of `first_token_counts`, seconds.
    pub first_token_bounds_s: &'static [f64],
    /// By time, backend and model; steps without attempts have none.
    pub points: Vec<Point>,
    /// Gate changes and restarts, oldest first.
    pub events: Vec<Event>,
}

impl Answer {
    pub(super) fn told(&self) -> Told {
        // Plain numbers and words always serialise.
        let mut json = serde_json::to_vec(self).unwrap_or_default();
        json.push(b'\n');
        Told { json, is_empty: self.points.is_empty() && self.events.is_empty() }
    }
}

/// One model on one backend over one step.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// Start of the step, RFC 3339.
    pub at: String,
    /// The backend; `none` where no backend was found.
    pub backend: Arc<str>,
    /// The public model; `other` for unknown ones.
    pub model: Arc<str>,
    /// Attempts; one more than requests for every retry and failover.
    pub attempts: u64,
    /// Complete answers.
    pub success: u64,
    /// The request was at fault.
    pub caller_fault: u64,
    /// The backend was; where none was found, Greenroom.
    pub failure: u64,
    /// The client left.
    pub cancelled: u64,
    /// Another attempt was quicker, or the failure was none of the backend's.
    pub let_go: u64,
    /// Successes among successes and failures.
    pub success_rate: Option<f64>,
    /// Attempts by outcome.
    pub outcomes: BTreeMap<Cow<'static, str>, u64>,
    /// Attempts by the reason for their backend.
    pub routes: BTreeMap<Cow<'static, str>, u64>,
    /// Whole successful attempts, milliseconds.
    pub latency_ms: Spread,
    /// First tokens of streams, milliseconds.
    pub first_token_ms: Spread,
    /// Counts behind `latency_ms`, to be added up over points.
    pub latency_counts: Vec<u64>,
    /// Counts behind `first_token_ms`.
    pub first_token_counts: Vec<u64>,
    /// Prompt tokens.
    pub tokens_in: u64,
    /// Generated tokens.
    pub tokens_out: u64,
    /// Prompt tokens read from a cache.
    pub tokens_cached: u64,
    /// Generated tokens spent on reasoning.
    pub tokens_reasoning: u64,
    /// Requests that named their backend.
    pub pins: u64,
    /// Requests whose stream broke off here, and whose answer another backend completed.
    pub rescued: u64,
    /// What attempts cost, as far as that is known of any.
    pub cost_usd: Option<Money>,
}

/// Mean and quantiles, milliseconds; null while nothing was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Quantiles.
    #[serde(flatten)]
    pub quantiles: Quantiles,
}

impl Spread {
    fn of(times: &Sketch) -> Self {
        let total = times.total();
        let mean = (total > 0).then(|| millis(times.seconds() / total as f64));
        Self { mean, quantiles: Quantiles::of(Some(times)) }
    }
}

/// A gate change or a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, RFC 3339.
    pub at: String,
    /// The backend.
    pub backend: String,
    /// Which of its models; null for all of them.
    pub model: Option<String>,
    /// `gate` or `restart`.
    pub event: String,
    /// The state after it.
    pub state: String,
    /// Why, in words.
    pub text: String,
}

/// What rows add up to, and their attempts by route.
type Sum = (Tally, BTreeMap<Cow<'static, str>, u64>);

/// Adds rows up to points.
pub(super) struct Gathering<'a> {
    ask: &'a Ask,
    /// By start of the step, backend and model.
    points: BTreeMap<(i64, Arc<str>, Arc<str>), Sum>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(ask: &'a Ask) -> Self {
        Self { ask, points: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, key: Key, tally: &Tally) -> Result<(), Untold> {
        let at = self.ask.from + (key.at - self.ask.from).div_euclid(self.ask.step) * self.ask.step;
        let (sum, routes) = self.points.entry((at, key.backend, key.model)).or_default();
        sum.merge(tally);
        *routes.entry(key.route).or_default() += tally.total();
        if self.points.len() > POINTS { Err(Untold::TooMuch) } else { Ok(()) }
    }

    pub(super) fn answer(self, events: Vec<Event>) -> Answer {
        let points = self.points.into_iter().map(|((at, backend, model), (tally, routes))| {
            let owned = |owner: Owner| -> u64 {
                let is_owned = |outcome: &str| {
                    let class = Class::ALL.into_iter().find(|class| class.as_str() == outcome);
                    // Clients that left are counted apart.
                    class.is_some_and(|class| class.owner() == owner && class != Class::CallerCancelled)
                };
                tally.outcomes.iter().filter(|(name, _)| is_owned(name)).map(|(_, count)| count).sum()
            };
            let of = |outcome: &str| tally.outcomes.get(outcome).copied().unwrap_or(0);
            let (attempts, success) = (tally.total(), of(SUCCESS));
            let cancelled = of(CANCELLED) + of(Class::CallerCancelled.as_str());
            let (caller_fault, let_go) = (owned(Owner::Caller), of(LET_GO));
            // What is Greenroom's own doing is held against no backend, as in a backend's report.
            let own = if *backend == *NO_BACKEND { 0 } else { owned(Owner::Greenroom) };
            let failure = attempts - success - cancelled - let_go - caller_fault - own;
            let judged = success + failure;
            let [tokens_in, tokens_out, tokens_cached, tokens_reasoning] = tally.tokens;
            Point {
                at: timestamp(at),
                backend,
                model,
                attempts,
                success,
                caller_fault,
                failure,
                cancelled,
                let_go,
                success_rate: (judged > 0).then(|| success as f64 / judged as f64),
                routes,
                latency_ms: Spread::of(&tally.latency),
                first_token_ms: Spread::of(&tally.first_token),
                outcomes: tally.outcomes,
                latency_counts: tally.latency.histogram().counts,
                first_token_counts: tally.first_token.histogram().counts,
                tokens_in,
                tokens_out,
                tokens_cached,
                tokens_reasoning,
                pins: tally.pins,
                rescued: tally.rescued,
                cost_usd: tally.cost,
            }
        });
        Answer {
            from: timestamp(self.ask.from),
            to: timestamp(self.ask.to),
            step_s: self.ask.step,
            latency_bounds_s: REQUEST,
            first_token_bounds_s: FIRST_TOKEN,
            points: points.collect(),
            events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_greenroom_itself_failed_at_is_held_against_no_backend() {
        let ask = Ask { backend: None, model: None, from: 0, to: 60, step: 60 };
        let mut gathering = Gathering::new(&ask);
        for backend in ["a", NO_BACKEND] {
            let key = Key { at: 0, backend: backend.into(), model: "m".into(), route: "pinned".into() };
            let outcomes = [(SUCCESS, 3), ("gateway_internal", 1), ("provider_server", 1)];
            let outcomes = outcomes.map(|(outcome, count)| (outcome.into(), count)).into();
            gathering.add(key, &Tally { outcomes, ..Tally::default() }).expect("few points");
        }
        let told = gathering.answer(Vec::new()).points;
        let told: Vec<_> = told.iter().map(|p| (&*p.backend, p.attempts, p.failure, p.success_rate)).collect();
        assert_eq!(told, [("a", 5, 1, Some(0.75)), (NO_BACKEND, 5, 2, Some(0.6))]);
    }
}
