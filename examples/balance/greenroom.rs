//! Greenroom as a policy: the library's own estimate, cost, choice, breaker and gate, with the default settings. Weights
//! stay at 1 where rivals are told the sizes: speed is measured.

use std::time::Duration;

use greenroom::{
    backend::{
        breaker::{Breaker, Failure},
        estimate::Usual,
        gate::{ALONE, Access, Gate, GateCell},
        learner::Learner,
        load::{self, Busy, Cost},
    },
    router::choose::{Bid, choose, favour},
    settings::{self, BreakerSettings},
};
use rand::{RngExt, rngs::StdRng};

use crate::{
    fleet::Known,
    policies::{Policy, Took, View},
    report::OWN,
    trace::Request,
};

/// `expected_first_token`.
const EXPECTED_FIRST_TOKEN: Duration = Duration::from_secs(1);
/// `weight`.
const WEIGHT: f64 = 1.0;

struct Backend {
    known: Known,
    busy: Busy,
    /// The work until its first token of each request that waits: by the prompt, which here names it well enough.
    works: Vec<(u32, f64)>,
    learner: Learner,
    breaker: Breaker,
    gate: GateCell,
    probing: bool,
    /// When it was last probed.
    probed: Duration,
    successes: u64,
    /// Between 0 and 1, for the next time shut.
    jitter: f64,
}

impl Backend {
    fn take(&mut self, prompt: u32) {
        self.busy.waiting += 1;
        self.busy.waiting_tokens += u64::from(prompt);
        self.works.push((prompt, self.busy.work()));
    }

    /// One waits no longer; the work that stood between it and its first token.
    fn leave(&mut self, prompt: u32) -> f64 {
        self.busy.waiting -= 1;
        self.busy.waiting_tokens -= u64::from(prompt);
        let at = self.works.iter().position(|(own, _)| *own == prompt);
        at.map_or(1.0, |at| self.works.remove(at).1)
    }

    fn publish(&mut self, probe: bool) {
        if probe {
            self.probing = false;
            self.gate.end_probe(self.probed);
        }
        self.gate.publish(self.breaker.gate());
    }
}

/// The policy.
pub(crate) struct Greenroom {
    /// `prefix_affinity`.
    affinity: bool,
    backends: Vec<Backend>,
}

impl Greenroom {
    pub(crate) fn new(affinity: bool) -> Self {
        Self { affinity, backends: Vec::new() }
    }
}

/// The defaults as they are shipped.
fn breaker_settings() -> BreakerSettings {
    const ONE: &str = r#"
        [backends.a]
        protocol = "openai"
        base_url = "http://127.0.0.1:9/v1"
        [models.m]
        backends = [{ backend = "a" }]
        [users.u]
        token = "t"
        models = ["*"]
        backends = ["*"]
    "#;
    settings::parse("defaults", ONE).expect("the least there can be").backends["a"].breaker.clone()
}

impl Policy for Greenroom {
    fn name(&self) -> &'static str {
        OWN[usize::from(self.affinity)]
    }

    fn begin(&mut self, known: &[Known]) {
        let settings = breaker_settings();
        let new = |known: &Known| Backend {
            known: *known,
            busy: Busy::default(),
            works: Vec::new(),
            learner: Learner::default(),
            breaker: Breaker::new(settings.clone(), known.slots, Gate::Open, 0),
            gate: GateCell::default(),
            probing: false,
            probed: Duration::ZERO,
            successes: 0,
            jitter: 0.0,
        };
        self.backends = known.iter().map(new).collect();
    }

    fn choose(&mut self, view: &View<'_>, rng: &mut StdRng) -> Option<usize> {
        let now = Duration::from_secs_f64(view.now);
        let usual = Usual::of(self.backends.iter().map(|b| b.learner.estimate));
        let usual = usual.unwrap_or_else(|| Usual::guessed(EXPECTED_FIRST_TOKEN));
        let access = |b: &Backend| b.gate.access(now, b.busy.waiting + b.busy.streaming, false, ALONE);
        let bid = |index: usize| {
            let b = &self.backends[index];
            let estimate = b.learner.estimate.expected(now, usual);
            let cost = load::cost(estimate, b.busy, b.known.slots, WEIGHT);
            match access(b) {
                _ if view.tried == Some(index) => None,
                Access::Welcome => Some(Bid { reluctant: false, cost }),
                Access::Reluctant => Some(Bid { reluctant: true, cost }),
                Access::Probe => Some(Bid { reluctant: false, cost: Cost::default() }),
                Access::Refused(..) => None,
            }
        };
        let count = self.backends.len();
        let mut chosen = choose(count, bid, rng)?;
        if self.affinity {
            chosen = favour(chosen, count, u64::from(view.request.group), |index| index as u64, bid);
        }
        let backend = &mut self.backends[chosen];
        if access(backend) == Access::Probe {
            (backend.probing, backend.probed) = (backend.gate.start_probe(now, ALONE), now);
        }
        backend.jitter = rng.random();
        backend.take(view.request.prompt);
        Some(chosen)
    }

    fn first_token(&mut self, backend: usize, seconds: f64, request: &Request, now: f64) {
        let backend = &mut self.backends[backend];
        let work = backend.leave(request.prompt);
        backend.busy.streaming += 1;
        let (first_token, now) = (Duration::from_secs_f64(seconds), Duration::from_secs_f64(now));
        backend.learner.sample(first_token, work, now);
        if backend.probing || backend.breaker.gate() != Gate::Open {
            backend.breaker.begun(backend.probing);
            backend.publish(backend.probing);
        }
    }

    fn done(&mut self, backend: usize, request: &Request, took: Took, now: f64) {
        let backend = &mut self.backends[backend];
        let rest = request.answer.saturating_sub(1);
        backend.busy.streaming -= 1;
        if rest > 0 {
            let per_token = Duration::from_secs_f64(took.streamed / f64::from(rest));
            let crowd = load::crowd(backend.busy.streaming, backend.known.slots.into());
            backend.learner.pace(per_token, rest, crowd, Duration::from_secs_f64(now));
        }
        backend.successes += 1;
        if backend.breaker.gate() != Gate::Open {
            backend.breaker.completed();
            backend.publish(false);
        }
    }

    fn failed(&mut self, backend: usize, request: &Request, now: f64) {
        let backend = &mut self.backends[backend];
        backend.leave(request.prompt);
        let (probe, now) = (backend.probing, Duration::from_secs_f64(now));
        backend.breaker.failed(Failure::Counted { retry_after: None }, probe, backend.successes, now, backend.jitter);
        backend.publish(probe);
    }
}
