//! Owns the counts by user, if the operator wants them: requests, tokens and cost, and their part of the metrics page.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    costs::Sum,
    exposition::Page,
    grown::{Grown, Names, Pair},
    story::{Ending, Story},
};
use crate::{settings::Money, wire::Usage};

/// What users asked for. Their names come from the settings, so there are no more series than an operator has written
/// down.
#[derive(Debug, Default)]
pub struct Users {
    /// `server.metrics_by_user` of the settings in force.
    pub counted: AtomicBool,
    /// By user and model.
    spent: Grown<Pair, Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    requests: [AtomicU64; Ending::WORDS.len()],
    tokens: [AtomicU64; Usage::KINDS.len()],
    cost: Sum,
}

impl Users {
    /// A request of one of them has ended.
    pub(super) fn record(&self, story: &Story, model: &Arc<str>) {
        if !self.counted.load(Relaxed) {
            return;
        }
        let name = story.user.name.as_str();
        self.spent.of(
            &Names(name, model),
            || (name.into(), model.clone()),
            |spent| {
                spent.requests[Ending::of(story.class) as usize].fetch_add(1, Relaxed);
                if let Some(cost) = story.cost() {
                    spent.cost.add(cost);
                }
                if let Some(usage) = story.usage {
                    for (count, n) in spent.tokens.iter().zip(usage.counts()) {
                        count.fetch_add(n, Relaxed);
                    }
                }
            },
        );
    }

    /// Forgets all other users and models.
    pub(super) fn keep(&self, is_wanted: impl Fn(&Pair) -> bool) {
        self.spent.keep(is_wanted);
    }

    /// Their part of the page.
    pub(super) fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        if !self.counted.load(Relaxed) {
            return Ok(());
        }
        let all = self.spent.sorted();
        let each = |name: &'static str, values: &'static [&'static str], counts: fn(&Spent) -> &[AtomicU64]| {
            all.iter().flat_map(move |((user, model), spent)| {
                let labels = move |value| vec![("user", &**user), ("model", &**model), (name, value)];
                values.iter().zip(counts(spent)).map(move |(value, count)| (labels(*value), count.load(Relaxed)))
            })
        };
        page.counters(
            "user_requests_total",
            "Client requests that have ended, by the user that sent them.",
            each("outcome", &Ending::WORDS, |spent| &spent.requests),
        )?;
        page.counters(
            "user_tokens_total",
            "Tokens as providers counted them, estimated where a stream ended without its count, by the user that asked.",
            each("direction", &Usage::KINDS, |spent| &spent.tokens),
        )?;
        let costs = all.iter().map(|((user, model), spent)| (user, model, spent.cost.read()));
        page.counters(
            "user_cost_usd_total",
            "What requests cost, in US dollars, by the user that sent them.",
            costs
                .filter(|(_, _, cost)| *cost > Money::default())
                .map(|(user, model, cost)| (vec![("user", &**user), ("model", &**model)], cost.dollars())),
        )
    }
}
