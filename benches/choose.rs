//! The time of one choice among 4, 16 and 1,000 backends, on the code that routers run: an estimate that drifts, its cost, the winner.
//!
//!     cargo bench --bench choose

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use greenroom::{
    backend::{
        estimate::Usual,
        gate::{ALONE, Access, GateCell},
        learner::Learner,
        load::{self, Busy},
    },
    router::choose::{Bid, choose, favour},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

struct Candidate {
    learner: Learner,
    busy: Busy,
    gate: GateCell,
}

fn candidates(count: usize) -> Vec<Candidate> {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut one = || {
        let mut learner = Learner::default();
        learner.sample(Duration::from_millis(rng.random_range(100..1000)), 1.0, Duration::from_secs(1));
        learner.pace(Duration::from_millis(rng.random_range(10..50)), 100, 1.0, Duration::from_secs(2));
        let (waiting, streaming) = (rng.random_range(0..8), rng.random_range(0..16));
        let busy = Busy { waiting, waiting_tokens: u64::from(waiting) * 800, streaming };
        Candidate { learner, busy, gate: GateCell::default() }
    };
    (0..count).map(|_| one()).collect()
}

fn choosing(c: &mut Criterion) {
    let mut rng = SmallRng::seed_from_u64(2);
    let usual = Usual { seconds: 0.3, pace: 0.02 };
    for count in [4, 16, 1000] {
        let field = candidates(count);
        let now = Duration::from_secs(20);
        let bid = |index: usize| {
            let one = &field[index];
            match one.gate.access(now, one.busy.waiting + one.busy.streaming, false, ALONE) {
                Access::Refused(..) => None,
                access => Some(Bid {
                    reluctant: access == Access::Reluctant,
                    cost: load::cost(one.learner.estimate.expected(now, usual), one.busy, 16, 1.0),
                }),
            }
        };
        c.bench_function(&format!("choose among {count}"), |b| {
            b.iter(|| choose(black_box(count), bid, &mut rng));
        });
        c.bench_function(&format!("choose among {count} with an affinity"), |b| {
            b.iter(|| {
                let cheapest = choose(black_box(count), bid, &mut rng)?;
                Some(favour(cheapest, count, black_box(7), |n| n as u64, bid))
            });
        });
    }
}

criterion_group!(benches, choosing);
criterion_main!(benches);
