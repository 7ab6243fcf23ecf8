//! The ways to choose a backend that are compared, each as its original has it, behind one trait.
//!
//! Rivals get nginx's own rule for failures: after one, a backend is left alone for ten seconds (`max_fails=1`,
//! `fail_timeout=10s`). Most of the originals have none, and would lose the fleet with a failing backend by that alone.

use rand::{RngExt, rngs::StdRng};

use crate::{fleet::Known, server::Server, trace::Request};

/// Seconds a rival leaves a backend alone after a failure.
const LEFT_ALONE: f64 = 10.0;
/// Seconds in which a peak-EWMA forgets: the default of finagle, and of linkerd's profiles.
const DECAY: f64 = 10.0;
/// Seconds a peak-EWMA takes a backend's time to be before it knows: tower's documented default.
const FIRST_GUESS: f64 = 1.0;

/// What there is to see when a request is dealt; only the oracle looks at servers and failures.
pub(crate) struct View<'a> {
    pub now: f64,
    pub request: &'a Request,
    /// Who has failed it.
    pub tried: Option<usize>,
    pub servers: &'a [Server],
    pub failing: &'a [bool],
}

/// How long a backend took for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// Seconds to its last token.
    pub total: f64,
    /// Seconds from its first token to its last.
    pub streamed: f64,
}

/// A way to choose, told of everything a proxy sees.
pub(crate) trait Policy {
    /// Name in tables.
    fn name(&self) -> &'static str;
    /// A run begins with these backends.
    fn begin(&mut self, known: &[Known]);
    /// The backend for a request; none: it is refused.
    fn choose(&mut self, view: &View<'_>, rng: &mut StdRng) -> Option<usize>;
    /// A request of `backend` got its first token after so many seconds.
    fn first_token(&mut self, backend: usize, seconds: f64, request: &Request, now: f64);
    /// A request of `backend` ended well.
    fn done(&mut self, backend: usize, request: &Request, took: Took, now: f64);
    /// A request of `backend` failed.
    fn failed(&mut self, backend: usize, request: &Request, now: f64);
}

/// What a rival compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    RoundRobin,
    Random,
    LeastConnections,
    WeightedLeastConnections,
    /// Two at random, the one with fewer requests under way.
    TwoChoices,
    /// linkerd's: two at random, pending requests and peak-EWMA both until the first data.
    EwmaFirst,
    /// finagle's and tower's: the same until the end.
    EwmaEnd,
    /// Knows every length, queue and speed, and takes the earliest end.
    Oracle,
}

#[derive(Clone, Copy, Debug)]
struct Backend {
    weight: f64,
    waiting: u32,
    streaming: u32,
    ewma: f64,
    measured: f64,
    left_alone_until: f64,
}

impl Backend {
    fn under_way(&self) -> f64 {
        f64::from(self.waiting + self.streaming)
    }

    fn decayed(&self, now: f64) -> f64 {
        self.ewma * (-(now - self.measured) / DECAY).exp()
    }

    /// Jumps up to a higher sample at once, sinks towards a lower one.
    fn measure(&mut self, sample: f64, now: f64) {
        let keep = (-(now - self.measured) / DECAY).exp();
        self.ewma = if sample > self.ewma { sample } else { self.ewma * keep + sample * (1.0 - keep) };
        self.measured = now;
    }
}

/// A rival.
#[derive(Debug)]
pub(crate) struct Rival {
    rule: Rule,
    backends: Vec<Backend>,
    turn: usize,
}

/// All rivals, the oracle last.
pub(crate) fn rivals() -> Vec<Box<dyn Policy>> {
    let rules = [
        Rule::RoundRobin,
        Rule::Random,
        Rule::LeastConnections,
        Rule::WeightedLeastConnections,
        Rule::TwoChoices,
        Rule::EwmaFirst,
        Rule::EwmaEnd,
        Rule::Oracle,
    ];
    rules
        .into_iter()
        .map(|rule| -> Box<dyn Policy> { Box::new(Rival { rule, backends: Vec::new(), turn: 0 }) })
        .collect()
}

impl Rival {
    fn cost(&self, index: usize, now: f64) -> f64 {
        let backend = &self.backends[index];
        match self.rule {
            Rule::WeightedLeastConnections => (backend.under_way() + 1.0) / backend.weight,
            Rule::EwmaFirst => backend.decayed(now) * (1.0 + f64::from(backend.waiting)),
            Rule::EwmaEnd => backend.decayed(now) * (1.0 + backend.under_way()),
            _ => backend.under_way(),
        }
    }

    /// The cheapest of `among`; ties at random.
    fn cheapest(&self, among: &[usize], now: f64, rng: &mut StdRng) -> Option<usize> {
        let costs: Vec<_> = among.iter().map(|&index| (self.cost(index, now), rng.random::<u32>(), index)).collect();
        costs.into_iter().min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|best| best.2)
    }
}

impl Policy for Rival {
    fn name(&self) -> &'static str {
        match self.rule {
            Rule::RoundRobin => "round robin",
            Rule::Random => "random",
            Rule::LeastConnections => "least connections",
            Rule::WeightedLeastConnections => "weighted least connections",
            Rule::TwoChoices => "two choices",
            Rule::EwmaFirst => "peak-EWMA to first data",
            Rule::EwmaEnd => "peak-EWMA to end",
            Rule::Oracle => "oracle",
        }
    }

    fn begin(&mut self, known: &[Known]) {
        let new = |known: &Known| Backend {
            weight: known.weight,
            waiting: 0,
            streaming: 0,
            ewma: FIRST_GUESS,
            measured: 0.0,
            left_alone_until: 0.0,
        };
        self.backends = known.iter().map(new).collect();
        self.turn = 0;
    }

    fn choose(&mut self, view: &View<'_>, rng: &mut StdRng) -> Option<usize> {
        let count = self.backends.len();
        let others = || (0..count).filter(|i| view.tried != Some(*i));
        let mut ready: Vec<_> = others().filter(|&i| self.backends[i].left_alone_until <= view.now).collect();
        if ready.is_empty() {
            ready = others().collect();
        }
        let chosen = match self.rule {
            Rule::RoundRobin => {
                self.turn += 1;
                ready[self.turn % ready.len()]
            }
            Rule::Random => ready[rng.random_range(0..ready.len())],
            Rule::LeastConnections | Rule::WeightedLeastConnections => self.cheapest(&ready, view.now, rng)?,
            Rule::TwoChoices | Rule::EwmaFirst | Rule::EwmaEnd => {
                let a = rng.random_range(0..ready.len());
                let b = (a + rng.random_range(1..ready.len().max(2))) % ready.len();
                self.cheapest(&[ready[a], ready[b]], view.now, rng)?
            }
            Rule::Oracle => {
                let end = |index: &usize| view.servers[*index].foresee(view.request, view.now).1;
                let healthy = (0..count).filter(|&i| !view.failing[i]);
                healthy.map(|i| (end(&i), i)).min_by(|a, b| a.0.total_cmp(&b.0))?.1
            }
        };
        self.backends[chosen].waiting += 1;
        Some(chosen)
    }

    fn first_token(&mut self, backend: usize, seconds: f64, _: &Request, now: f64) {
        let backend = &mut self.backends[backend];
        backend.waiting -= 1;
        backend.streaming += 1;
        if self.rule == Rule::EwmaFirst {
            backend.measure(seconds, now);
        }
    }

    fn done(&mut self, backend: usize, _: &Request, took: Took, now: f64) {
        let backend = &mut self.backends[backend];
        backend.streaming -= 1;
        if self.rule == Rule::EwmaEnd {
            backend.measure(took.total, now);
        }
    }

    fn failed(&mut self, backend: usize, _: &Request, now: f64) {
        let backend = &mut self.backends[backend];
        backend.waiting -= 1;
        backend.left_alone_until = now + LEFT_ALONE;
    }
}
