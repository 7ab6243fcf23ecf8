//! Owns what requests cost, summed up for the metrics page.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    exposition::{Page, pair},
    grown::{Grown, Pair},
    story::Story,
};
use crate::settings::Money;

/// Money that only grows.
#[derive(Debug, Default)]
pub(super) struct Sum(AtomicU64);

impl Sum {
    pub(super) fn add(&self, money: Money) {
        // Never fails: there always is a next value.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |sum| Some(Money(sum).plus(money).0));
    }

    pub(super) fn read(&self) -> Money {
        Money(self.0.load(Relaxed))
    }
}

/// What attempts cost, by backend and model.
#[derive(Debug, Default)]
pub struct Costs(Grown<Pair, Sum>);

impl Costs {
    /// A request has ended: what each of its attempts cost.
    pub(super) fn record(&self, story: &Story, model: &Arc<str>) {
        for attempt in &story.attempts {
            if let Some(cost) = attempt.cost {
                self.0.of_pair(&attempt.backend, model, |sum| sum.add(cost));
            }
        }
    }

    /// This model has a price at this backend: a series that starts at zero shows its first increase as one.
    pub fn begin(&self, backend: &Arc<str>, model: &Arc<str>) {
        self.0.of_pair(backend, model, |_| {});
    }

    /// Forgets all other pairs.
    pub(super) fn keep(&self, is_wanted: impl Fn(&Pair) -> bool) {
        self.0.keep(is_wanted);
    }

    /// Their part of the page.
    pub(super) fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let all = self.0.sorted();
        page.counters(
            "cost_usd_total",
            "What attempts cost, in US dollars, by the prices of the settings and the tokens that providers counted, or estimated.",
            all.iter().map(|((backend, model), sum)| (pair(backend, model), sum.read().dollars())),
        )
    }
}
