//! Greenroom as a policy: the library's own estimate, cost, choice, breaker and gate, with the default settings.

use std::time::Duration;

use greenroom::{
    backend::{
        breaker::{Blow, Breaker},
        gate::{Admission, Gate, GateCell},
        load::{self, Estimate},
    },
    router::choose::{Bid, choose},
    settings::BreakerSettings,
};
use rand::rngs::StdRng;

use crate::{
    policies::{Known, Policy, View},
    trace::Request,
};

/// `expected_first_token`, seconds.
const EXPECTED_FIRST_TOKEN: f64 = 1.0;

struct Backend {
    known: Known,
    waiting: u32,
    streaming: u32,
    estimate: Estimate,
    breaker: Breaker,
    gate: GateCell,
    probing: bool,
    successes: u64,
}

impl Backend {
    fn publish(&mut self, probe: bool) {
        if probe {
            self.probing = false;
            self.gate.end_probe();
        }
        self.gate.publish(self.breaker.gate());
    }
}

/// The policy.
#[derive(Default)]
pub(crate) struct Greenroom {
    backends: Vec<Backend>,
}

fn breaker_settings() -> BreakerSettings {
    BreakerSettings {
        failures: 3,
        window: Duration::from_secs(30),
        min_samples: 10,
        error_ratio: 0.5,
        backoff_min: Duration::from_secs(1),
        backoff_max: Duration::from_mins(1),
    }
}

impl Policy for Greenroom {
    fn name(&self) -> &'static str {
        "Greenroom"
    }

    fn begin(&mut self, known: &[Known]) {
        let new = |known: &Known| Backend {
            known: *known,
            waiting: 0,
            streaming: 0,
            estimate: Estimate::UNKNOWN,
            breaker: Breaker::new(breaker_settings(), known.slots, Gate::Open),
            gate: GateCell::default(),
            probing: false,
            successes: 0,
        };
        self.backends = known.iter().map(new).collect();
    }

    fn choose(&mut self, view: &View<'_>, rng: &mut StdRng) -> Option<usize> {
        let now = Duration::from_secs_f64(view.now);
        let mut measured: Vec<_> = self.backends.iter().map(|b| b.estimate.seconds).filter(|s| *s > 0.0).collect();
        measured.sort_unstable_by(f64::total_cmp);
        let median = measured.get(measured.len() / 2).copied().unwrap_or(EXPECTED_FIRST_TOKEN);
        let admission = |b: &Backend| b.gate.admission(now, b.waiting + b.streaming, false);
        let bid = |index: usize| {
            let b = &self.backends[index];
            let first_token = b.estimate.value(now, median);
            let cost = load::cost(first_token, b.waiting, b.streaming, b.known.slots, b.known.weight);
            match admission(b) {
                Admission::Welcome => Some(Bid { reluctant: false, cost }),
                Admission::Reluctant => Some(Bid { reluctant: true, cost }),
                Admission::Probe => Some(Bid { reluctant: false, cost: 0.0 }),
                Admission::Refused(..) => None,
            }
        };
        let chosen = choose(self.backends.len(), bid, rng)?;
        let backend = &mut self.backends[chosen];
        if admission(backend) == Admission::Probe {
            backend.probing = backend.gate.start_probe();
        }
        backend.waiting += 1;
        Some(chosen)
    }

    fn first_token(&mut self, backend: usize, seconds: f64, request: &Request, now: f64) {
        let backend = &mut self.backends[backend];
        backend.waiting -= 1;
        backend.streaming += 1;
        let (first_token, now) = (Duration::from_secs_f64(seconds), Duration::from_secs_f64(now));
        backend.estimate = backend.estimate.sample(first_token, f64::from(request.prompt), now);
    }

    fn done(&mut self, backend: usize, _: f64, _: f64) {
        let backend = &mut self.backends[backend];
        backend.streaming -= 1;
        backend.successes += 1;
        let probe = backend.probing;
        if probe || backend.breaker.gate() != Gate::Open {
            backend.breaker.succeeded(probe);
            backend.publish(probe);
        }
    }

    fn failed(&mut self, backend: usize, now: f64) {
        let backend = &mut self.backends[backend];
        backend.waiting -= 1;
        let (probe, now) = (backend.probing, Duration::from_secs_f64(now));
        // Jitter keeps several proxies apart; there is one here, and a run is to be repeatable.
        backend.breaker.failed(Blow::Counted { retry_after: None }, probe, backend.successes, now, 0.5);
        backend.publish(probe);
    }
}
