//! Owns the history of one minute: attempts of one model on one backend by route and outcome, in a form that adds up.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use hashbrown::Equivalent;

use crate::{
    backend::{
        histogram::{FIRST_TOKEN, REQUEST},
        sketch::Sketch,
    },
    clock,
    error::Class,
    settings::Money,
    telemetry::{
        counts::Labels,
        story::{AttemptNote, CANCELLED, RouteReason, SUCCESS, Story},
    },
};

/// Seconds that one row covers.
pub const MINUTE: i64 = 60;

/// Route of requests that no backend was found for.
const NO_ROUTE: &str = "none";

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Start of the minute, seconds since the epoch.
    pub at: i64,
    /// The backend, or `none`.
    pub backend: Arc<str>,
    /// The public model, or `other`.
    pub model: Arc<str>,
    /// Why this backend: a token of `x-greenroom-route`, or `none`.
    pub route: Cow<'static, str>,
}

/// What a row is found by.
#[derive(Hash)]
pub(super) struct Wanted<'a> {
    at: i64,
    backend: &'a Arc<str>,
    model: &'a Arc<str>,
    route: &'static str,
}

impl Equivalent<Key> for Wanted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.at == key.at && *self.backend == key.backend && *self.model == key.model && self.route == key.route
    }
}

impl From<Wanted<'_>> for Key {
    fn from(wanted: Wanted<'_>) -> Self {
        let (backend, model) = (wanted.backend.clone(), wanted.model.clone());
        Self { at: wanted.at, backend, model, route: wanted.route.into() }
    }
}

/// What happened in that minute.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// Attempts by outcome: `success`, `cancelled`, `let_go`, or a class of failure.
    pub outcomes: BTreeMap<Cow<'static, str>, u64>,
    /// Whole attempts that succeeded.
    pub latency: Sketch,
    /// First tokens of streams.
    pub first_token: Sketch,
    /// Tokens: input, output, cached, reasoning.
    pub tokens: [u64; 4],
    /// Requests that named their backend.
    pub pins: u64,
    /// Requests whose stream broke off here, and whose answer another backend completed.
    pub rescued: u64,
    /// What they cost, as far as that is known of any.
    pub cost: Option<Money>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            outcomes: BTreeMap::new(),
            latency: Sketch::empty(REQUEST),
            first_token: Sketch::empty(FIRST_TOKEN),
            tokens: [0; 4],
            pins: 0,
            rescued: 0,
            cost: None,
        }
    }
}

impl Tally {
    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
        self.latency.merge(&other.latency);
        self.first_token.merge(&other.first_token);
        for (mine, theirs) in self.tokens.iter_mut().zip(other.tokens) {
            *mine += theirs;
        }
        self.pins += other.pins;
        self.rescued += other.rescued;
        self.pay(other.cost);
    }

    /// Attempts in all.
    pub fn total(&self) -> u64 {
        self.outcomes.values().sum()
    }

    fn pay(&mut self, cost: Option<Money>) {
        self.cost = self.cost.into_iter().chain(cost).reduce(Money::plus);
    }

    fn count(&mut self, outcome: &'static str) {
        *self.outcomes.entry(Cow::Borrowed(outcome)).or_default() += 1;
    }
}

/// Adds a story to the rows it belongs to, each attempt to its own backend's.
pub(super) fn tell(story: &Story, labels: Labels<'_>, mut row: impl FnMut(Wanted<'_>, &mut dyn FnMut(&mut Tally))) {
    let at = minute(story.ended.unwrap_or_else(clock::now));
    let model = labels.model;
    if story.attempts.is_empty() {
        let outcome = story.class.map_or(SUCCESS, Class::as_str);
        let route = if story.pin.is_some() { RouteReason::Pinned.as_str() } else { NO_ROUTE };
        // Not the pinned one, which was not asked: a refusal would count as its failure.
        row(Wanted { at, backend: labels.backend, model, route }, &mut |tally| {
            tally.count(outcome);
            tally.pins += u64::from(story.pin.is_some());
        });
    }
    for (n, attempt) in story.attempts.iter().enumerate() {
        let served = story.served_by == Some(n);
        let wanted = Wanted { at, backend: &attempt.backend, model, route: attempt.route.as_str() };
        row(wanted, &mut |tally| add(tally, story, attempt, served));
    }
}

fn add(tally: &mut Tally, story: &Story, attempt: &AttemptNote, served: bool) {
    let outcome = attempt.outcome.unwrap_or(CANCELLED);
    tally.count(outcome);
    tally.pins += u64::from(story.pin.is_some());
    tally.pay(attempt.cost);
    if let Some(time) = attempt.duration.filter(|_| outcome == SUCCESS) {
        tally.latency.add(time);
    }
    tally.rescued += u64::from(served && story.is_rescued());
    if let Some(first) = story.first_token.filter(|_| served && story.stream) {
        tally.first_token.add(first.saturating_sub(attempt.started));
    }
    // After a rescue, the tokens of the backend that completed the answer, which need not be the one named to the
    // client.
    let used = outcome == SUCCESS || served && story.class.is_some();
    if let Some(usage) = story.usage.filter(|_| used) {
        for (count, n) in tally.tokens.iter_mut().zip(usage.counts()) {
            *count += n;
        }
    }
}

/// Start of the minute of a moment on the process clock, seconds since the epoch.
fn minute(at: Duration) -> i64 {
    clock::unix_at(at).div_euclid(MINUTE) * MINUTE
}
