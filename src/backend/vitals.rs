//! Owns the facts about a backend and its models: counts, histograms, published gates. Read and written without messages;
//! they outlive the actor.
//!
//! Counts belong to a name in the settings and outlive the provider behind it: a changed key resets no counter. Places
//! belong to a server, so that a new key lets in nobody beyond the limit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::{
    estimate::EstimateCell,
    gate::{Gate, GateCell},
    histogram::{FIRST_TOKEN, Histogram, PER_TOKEN, REQUEST},
    in_vain::InVain,
    journal::Journal,
    places::{Load, Places},
    sketch::SketchCell,
};
use crate::{clock, error::Class, upstream::Endpoint, wire::Usage};

/// The last failure of a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct LastError {
    /// Its class.
    pub class: Class,
    /// What happened; never a credential or a message's content.
    pub message: String,
    /// When.
    pub at: Duration,
}

/// Facts about one backend: those of its name, and those of the provider behind it.
#[derive(Debug)]
pub struct Vitals {
    /// The backend's configured name.
    pub name: Arc<str>,
    /// The gate of the whole backend.
    pub gate: GateCell,
    /// Failures of the whole backend in a row, as its actor counts them.
    pub consecutive: AtomicU32,
    /// The last failure.
    pub last_error: ArcSwapOption<LastError>,
    /// Why what its `api_key_file` holds now cannot be used, if so.
    pub key_fault: ArcSwapOption<String>,
    /// Changes of its gates, restarts of its actor.
    pub journal: Journal,
    /// Requests under way.
    pub load: Arc<Load>,
    /// What is counted of its name, whoever is behind it.
    pub counts: Arc<BackendCounts>,
    lanes: ArcSwap<Vec<Arc<Lane>>>,
}

/// Counts of a backend's name.
#[derive(Debug)]
pub struct BackendCounts {
    /// Restarts of its actor.
    pub restarts: AtomicU32,
    /// What the last restart was for.
    pub last_cause: ArcSwapOption<String>,
    /// Milliseconds on the process clock, plus one; 0: never.
    last_success: AtomicU64,
    /// Requests pinned to it.
    pub pins: AtomicU64,
    /// Since when it is configured.
    pub since: Duration,
}

/// Facts about one public model on one backend.
#[derive(Debug)]
pub struct Lane {
    /// The public model.
    pub model: Arc<str>,
    /// The backend's own name for it.
    pub upstream_model: Arc<str>,
    /// The gate of this model on this backend.
    pub gate: GateCell,
    /// The model's failures in a row, as the backend's actor counts them.
    pub consecutive: AtomicU32,
    /// How fast it answers, as routers see it.
    pub estimate: EstimateCell,
    /// Whole answers waited for in vain.
    pub in_vain: InVain,
    /// Requests that it found wrong.
    pub blamed: InVain,
    /// Its complete answers, to weigh its failures against. Those of an earlier provider behind the name are not among
    /// them.
    pub answered: AtomicU64,
    /// The endpoints beside chat that were among these, a bit each.
    served: AtomicU16,
    /// Places of the model's requests.
    pub places: Arc<Places>,
    /// The longest answer that its provider says it gives, tokens; 0: it has not said.
    pub most_tokens: AtomicU64,
    /// What is counted of its public name, whichever model is behind it.
    pub counts: Arc<LaneCounts>,
}

/// Counts of a public model on a backend.
#[derive(Debug)]
pub struct LaneCounts {
    /// How requests ended.
    pub outcomes: Outcomes,
    /// Whole attempts that succeeded.
    pub latency: SketchCell,
    /// First tokens of streams.
    pub first_token: SketchCell,
    /// Time per output token of streams.
    pub per_token: Histogram,
    /// Tokens: input, output, cached, reasoning.
    pub tokens: [AtomicU64; 4],
}

impl Default for LaneCounts {
    fn default() -> Self {
        Self {
            outcomes: Outcomes::default(),
            latency: SketchCell::new(REQUEST),
            first_token: SketchCell::new(FIRST_TOKEN),
            per_token: Histogram::new(PER_TOKEN),
            tokens: Default::default(),
        }
    }
}

/// How attempts ended.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// Complete answers.
    pub success: AtomicU64,
    /// Prompts whose tokens were counted: no answers of a model.
    pub counted: AtomicU64,
    /// Clients that left.
    pub cancelled: AtomicU64,
    /// Given up by Greenroom: another attempt was quicker, or the backend was not to blame for the end.
    pub let_go: AtomicU64,
    failed: [AtomicU64; Class::ALL.len()],
}

impl Outcomes {
    pub(super) fn count(&self, class: Class) {
        self.failed[class as usize].fetch_add(1, Relaxed);
    }

    /// Attempts that did what they were to do.
    pub fn good(&self) -> u64 {
        self.success.load(Relaxed) + self.counted.load(Relaxed)
    }

    /// Attempts that failed with this class.
    pub fn of(&self, class: Class) -> u64 {
        self.failed[class as usize].load(Relaxed)
    }

    /// Attempts that failed with a class for which `take` is true.
    pub fn sum(&self, take: impl Fn(Class) -> bool) -> u64 {
        Class::ALL.into_iter().filter(|class| take(*class)).map(|class| self.of(class)).sum()
    }
}

impl Lane {
    fn new(model: &str, upstream_model: &str) -> Self {
        Self {
            model: model.into(),
            upstream_model: upstream_model.into(),
            gate: GateCell::starting(Gate::Ramp(1)),
            consecutive: AtomicU32::new(0),
            estimate: EstimateCell::default(),
            in_vain: InVain::default(),
            blamed: InVain::default(),
            answered: AtomicU64::new(0),
            served: AtomicU16::new(0),
            places: Arc::default(),
            most_tokens: AtomicU64::new(0),
            counts: Arc::default(),
        }
    }

    /// Another model, or another provider's, behind the same public name: only the counts go on.
    fn anew(&self, upstream_model: &str) -> Self {
        let new = Self::new(&self.model, upstream_model);
        Self { gate: self.gate.anew(Gate::Ramp(1)), counts: self.counts.clone(), ..new }
    }

    /// It has answered at this endpoint.
    pub(super) fn note_served(&self, endpoint: Endpoint) {
        self.served.fetch_or(1 << endpoint as u16, Relaxed);
    }

    /// Whether it ever has.
    pub(super) fn has_served(&self, endpoint: Endpoint) -> bool {
        self.served.load(Relaxed) & 1 << endpoint as u16 != 0
    }

    /// How many requests that it found wrong count, for the choice, as if they still waited. Such an answer is quick: a backend
    /// that takes sound requests for wrong would always be the least loaded, and get them all. A single one is the client's fault.
    pub fn blames(&self, now: Duration) -> u32 {
        self.blamed.at(now).saturating_sub(1)
    }

    /// Adds the tokens of an answer.
    pub fn add_tokens(&self, usage: Usage) {
        for (count, n) in self.counts.tokens.iter().zip(usage.counts()).filter(|(_, n)| *n > 0) {
            count.fetch_add(n, Relaxed);
        }
    }
}

impl Vitals {
    /// A new backend, about which nothing is known.
    pub fn new(name: &str) -> Self {
        let counts = BackendCounts {
            restarts: AtomicU32::new(0),
            last_cause: ArcSwapOption::empty(),
            last_success: AtomicU64::new(0),
            pins: AtomicU64::new(0),
            since: clock::now(),
        };
        Self::of(name.into(), GateCell::default(), Arc::new(counts))
    }

    /// Another provider behind the same name, which is judged as a new one and begins with this gate. Requests still
    /// under way at the old provider do not count for it; on the same server they keep their places.
    #[must_use]
    pub fn anew(&self, gate: Gate, is_same_server: bool) -> Self {
        let mut new = Self::of(self.name.clone(), self.gate.anew(gate), self.counts.clone());
        if is_same_server {
            new.load = self.load.clone();
        }
        let lanes = self.lanes();
        let lanes = lanes.iter().map(|before| {
            let mut lane = before.anew(&before.upstream_model);
            if is_same_server {
                lane.places = before.places.clone();
            }
            Arc::new(lane)
        });
        new.lanes.store(Arc::new(lanes.collect()));
        new
    }

    fn of(name: Arc<str>, gate: GateCell, counts: Arc<BackendCounts>) -> Self {
        Self {
            name,
            gate,
            consecutive: AtomicU32::new(0),
            last_error: ArcSwapOption::empty(),
            key_fault: ArcSwapOption::empty(),
            journal: Journal::default(),
            load: Arc::default(),
            lanes: ArcSwap::default(),
            counts,
        }
    }

    /// The models it serves.
    pub fn lanes(&self) -> Arc<Vec<Arc<Lane>>> {
        self.lanes.load_full()
    }

    /// One model's lane.
    pub fn lane(&self, model: &str) -> Option<Arc<Lane>> {
        self.lanes.load().iter().find(|lane| &*lane.model == model).cloned()
    }

    /// Sets the models served, each with the backend's own name for it. A lane keeps what it learned as long as both names stay:
    /// under another name of the backend's it is another model, and only the counts of the public name go on.
    pub fn serve(&self, models: &[(&str, &str)]) {
        let old = self.lanes();
        let lane = |&(model, upstream): &(&str, &str)| match old.iter().find(|lane| *lane.model == *model) {
            Some(same) if *same.upstream_model == *upstream => same.clone(),
            Some(before) => Arc::new(Lane { places: before.places.clone(), ..before.anew(upstream) }),
            None => Arc::new(Lane::new(model, upstream)),
        };
        self.lanes.store(Arc::new(models.iter().map(lane).collect()));
    }

    /// Complete answers of this provider so far.
    pub fn successes(&self) -> u64 {
        self.lanes.load().iter().map(|lane| lane.answered.load(Relaxed)).sum()
    }

    /// When the last complete answer ended.
    pub fn last_success(&self) -> Option<Duration> {
        self.counts.last_success.load(Relaxed).checked_sub(1).map(Duration::from_millis)
    }

    pub(super) fn note_success(&self, now: Duration) {
        self.counts.last_success.store(now.as_millis() as u64 + 1, Relaxed);
    }
}
