//! Owns what one user has used of all limits together: whether a request is let in, and which limit says no. Pure.

#[cfg(test)]
mod tests;

use std::{num::NonZeroU64, time::Duration};

use super::{
    bucket::{Bucket, Standing},
    day::Day,
};
use crate::{
    error::{Dimension, Refused, SOON, Unit},
    settings::{Limits, Money},
};

/// How one limit stands, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The limit.
    pub dimension: Dimension,
    /// Its size.
    pub limit: u64,
    /// What is used of it, with what is set aside; more than its size is owed.
    pub used: u64,
    /// What is left.
    pub left: u64,
    /// Time until all of it is there again, if nothing more is used.
    pub reset: Duration,
}

/// What a user has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    most_at_once: Option<NonZeroU64>,
    in_flight: u64,
    /// Tokens set aside for requests under way. Most of them may come back.
    set_aside: u64,
    buckets: Vec<(Dimension, Bucket)>,
}

/// The tokens that a request is expected to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Estimated tokens of the prompt.
    pub prompt: u64,
    /// Most tokens that the answer may have; 0 where the request does not say.
    pub answer: u64,
}

impl Account {
    /// An account of which nothing was used.
    pub(super) fn new(limits: &Limits) -> Self {
        let bucket = |dimension: Dimension| Some((dimension, Bucket::new(limits.of(dimension)?, dimension.window()?)));
        let buckets = Dimension::ALL.into_iter().filter_map(bucket).collect();
        Self { most_at_once: limits.of(Dimension::MaxInFlight), in_flight: 0, set_aside: 0, buckets }
    }

    /// The account under other limits. What was used of a limit stays used if that limit stays, even with another size.
    #[must_use]
    pub(super) fn under(&self, limits: &Limits, now: Duration) -> Self {
        let mut new = Self { in_flight: self.in_flight, set_aside: self.set_aside, ..Self::new(limits) };
        for (dimension, bucket) in &mut new.buckets {
            let old = self.buckets.iter().find(|(known, _)| known == dimension);
            if let Some(((_, old), size)) = old.zip(limits.of(*dimension)) {
                *bucket = old.resized(size, now);
            }
        }
        new
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// How all limits stand.
    pub(super) fn uses(&self, now: Duration) -> Vec<Use> {
        let at_once = self.most_at_once.map(|most| Use {
            dimension: Dimension::MaxInFlight,
            limit: most.get(),
            used: self.in_flight,
            left: most.get().saturating_sub(self.in_flight),
            reset: Duration::ZERO,
        });
        let of = |(dimension, bucket): &(Dimension, Bucket)| {
            let Standing { limit, remaining, reset } = bucket.standing(now);
            Use { dimension: *dimension, limit, used: bucket.used(now), left: remaining, reset }
        };
        at_once.into_iter().chain(self.buckets.iter().map(of)).collect()
    }

    /// How the limits stand that are kept over a restart: which, their size, when all of it is there again. None of which
    /// nothing was ever used. Without what is set aside: after a kill nobody would give it back.
    pub(super) fn days(&self) -> impl Iterator<Item = (Dimension, (NonZeroU64, Duration))> {
        let kept = self.buckets.iter().filter(|(dimension, _)| Day::is_kept(*dimension));
        let settled = |(dimension, bucket): &(Dimension, Bucket)| {
            let aside = if dimension.unit() == Unit::Tokens { self.set_aside } else { 0 };
            // As of when it was last used, so that it stays the same until it is used again.
            (*dimension, bucket.with(0, aside, Duration::ZERO).state())
        };
        kept.map(settled).filter(|(_, (_, whole_at))| !whole_at.is_zero())
    }

    /// Puts a limit, of which nothing was used yet, to where it stood before a restart, as a reload would.
    pub(super) fn restore(&mut self, day: &Day, now: Duration) {
        for (dimension, bucket) in self.buckets.iter_mut().filter(|(dimension, _)| *dimension == day.dimension) {
            if let Some(window) = dimension.window() {
                let (size, _) = bucket.state();
                *bucket =
                    Bucket::whole_after(day.size, window, day.whole_at.saturating_sub(now), now).resized(size, now);
            }
        }
    }

    /// Lets a request in and sets its tokens aside, or says which limit keeps it out: of several, the one that does so for
    /// longest. Returns how many tokens were set aside. `need` is `None` for a request that uses no tokens.
    pub(super) fn admit(&mut self, need: Option<Need>, now: Duration) -> Result<u64, Refused> {
        let aside = need.map(|need| self.aside(need, now));
        let crowd = self.most_at_once.filter(|most| self.in_flight >= most.get());
        let crowd = crowd.map(|most| Refused { dimension: Dimension::MaxInFlight, limit: most.get(), wait: SOON });
        let spent = self.buckets.iter().filter_map(|(dimension, bucket)| {
            let units = units(*dimension, aside)?;
            let wait = bucket.wait(units, now)?;
            let without = match dimension.unit() {
                Unit::Requests | Unit::Dollars => wait,
                Unit::Tokens => bucket.with(0, self.set_aside, now).wait(units, now).unwrap_or_default(),
            };
            let wait = whole_millis(wait.min(without.max(SOON)));
            Some(Refused { dimension: *dimension, limit: bucket.standing(now).limit, wait })
        });
        if let Some(refused) = crowd.into_iter().chain(spent).max_by_key(|refused| refused.wait) {
            return Err(refused);
        }
        let tokens = aside.unwrap_or(0);
        self.count(Unit::Requests, 1, 0, now);
        self.count(Unit::Tokens, tokens, 0, now);
        self.in_flight += 1;
        self.set_aside = self.set_aside.saturating_add(tokens);
        Ok(tokens)
    }

    /// Tokens to set aside: those of the prompt, which can be seen, and those that the answer may have, but of these no more
    /// than are left. Clients name millions, and nobody should owe or wait for tokens that may never be used.
    fn aside(&self, need: Need, now: Duration) -> u64 {
        let of_tokens = self.buckets.iter().filter(|(dimension, _)| dimension.unit() == Unit::Tokens);
        let left = of_tokens.map(|(_, bucket)| bucket.standing(now).remaining).min().unwrap_or(0);
        need.prompt.saturating_add(need.answer.min(left.saturating_sub(need.prompt)))
    }

    /// Counts the tokens that a request has used in place of those set aside for it.
    pub(super) fn settle(&mut self, aside: u64, used: u64, now: Duration) {
        self.set_aside = self.set_aside.saturating_sub(aside);
        self.count(Unit::Tokens, used, aside, now);
    }

    /// Counts what a request has cost.
    pub(super) fn pay(&mut self, cost: Money, now: Duration) {
        self.count(Unit::Dollars, cost.0, 0, now);
    }

    /// Counts what was taken and given back in all buckets of this unit.
    fn count(&mut self, unit: Unit, taken: u64, given_back: u64, now: Duration) {
        for (_, bucket) in self.buckets.iter_mut().filter(|(dimension, _)| dimension.unit() == unit) {
            *bucket = bucket.with(taken, given_back, now);
        }
    }

    /// A request that was let in has ended.
    pub(super) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// How the tightest limit of this unit stands.
    pub(super) fn standing(&self, unit: Unit, now: Duration) -> Option<Standing> {
        let of_unit = self.buckets.iter().filter(|(dimension, _)| dimension.unit() == unit);
        of_unit.map(|(_, bucket)| bucket.standing(now)).min_by(Standing::tighter)
    }
}

/// How much of a limit a request needs to be let in, if any. Its cost is not known yet and nothing is set aside for it: it is
/// let in while any money is left.
fn units(dimension: Dimension, aside: Option<u64>) -> Option<u64> {
    match dimension.unit() {
        Unit::Requests => Some(1),
        Unit::Tokens => aside,
        Unit::Dollars => aside.map(|_| 1),
    }
}

/// Rounded up: a client that comes back a fraction sooner would be refused again.
fn whole_millis(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}
