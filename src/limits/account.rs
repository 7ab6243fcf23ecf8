//! Owns what one user has used of all limits together: whether a request is let in, and which limit says no. Pure.

use std::{num::NonZeroU64, time::Duration};

use super::bucket::{Bucket, Standing};
use crate::{
    error::{Dimension, Error, Unit},
    settings::Limits,
};

/// Wait that is named where too many requests run: none of them has said when it ends.
const SOON: Duration = Duration::from_secs(1);

/// What a user has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    most_at_once: Option<NonZeroU64>,
    in_flight: u64,
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

/// A request that is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The limit that says no.
    pub dimension: Dimension,
    /// Its size.
    pub limit: u64,
    /// When to come back; in whole milliseconds, as clients are told it.
    pub wait: Duration,
}

impl From<Refused> for Error {
    fn from(Refused { dimension, limit, wait }: Refused) -> Self {
        Self::Limited { dimension, limit, retry_after: wait }
    }
}

impl Account {
    /// One of which nothing was used.
    pub(super) fn new(limits: &Limits) -> Self {
        let bucket = |dimension: Dimension| Some((dimension, Bucket::new(limits.of(dimension)?, dimension.window()?)));
        let buckets = Dimension::ALL.into_iter().filter_map(bucket).collect();
        Self { most_at_once: limits.of(Dimension::MaxInFlight), in_flight: 0, buckets }
    }

    /// As it is under other limits. What was used of a limit that stays, if with another size, stays used.
    #[must_use]
    pub(super) fn under(&self, limits: &Limits, now: Duration) -> Self {
        let mut new = Self { in_flight: self.in_flight, ..Self::new(limits) };
        for (dimension, bucket) in &mut new.buckets {
            let old = self.buckets.iter().find(|(known, _)| known == dimension);
            if let Some(((_, old), size)) = old.zip(limits.of(*dimension)) {
                *bucket = old.resized(size, now);
            }
        }
        new
    }

    /// Lets a request in and sets its tokens aside, or says which limit keeps it out: of several the one that does so for longest. Tells
    /// how many tokens were set aside. `need` is `None` for what uses no tokens.
    pub(super) fn admit(&mut self, need: Option<Need>, now: Duration) -> Result<u64, Refused> {
        let aside = need.map(|need| self.aside(need));
        let crowd = self.most_at_once.filter(|most| self.in_flight >= most.get());
        let crowd = crowd.map(|most| Refused { dimension: Dimension::MaxInFlight, limit: most.get(), wait: SOON });
        let spent = self.buckets.iter().filter_map(|(dimension, bucket)| {
            let wait = bucket.wait(units(*dimension, aside)?, now)?;
            Some(Refused { dimension: *dimension, limit: bucket.standing(now).limit, wait: whole_millis(wait) })
        });
        if let Some(refused) = crowd.into_iter().chain(spent).max_by_key(|refused| refused.wait) {
            return Err(refused);
        }
        for (dimension, bucket) in &mut self.buckets {
            if let Some(units) = units(*dimension, aside) {
                *bucket = bucket.with(units, 0, now);
            }
        }
        self.in_flight += 1;
        Ok(aside.unwrap_or(0))
    }

    /// Tokens to set aside. What an answer may have is taken at its word only as far as the smallest limit goes: clients name millions,
    /// and nobody shall owe what nobody has said. What a prompt has is there for all to see.
    fn aside(&self, need: Need) -> u64 {
        let of_tokens = self.buckets.iter().filter(|(dimension, _)| dimension.unit() == Unit::Tokens);
        let least = of_tokens.map(|(_, bucket)| bucket.size()).min().unwrap_or(0);
        need.prompt.saturating_add(need.answer.min(least.saturating_sub(need.prompt)))
    }

    /// Puts the tokens that a request has used in the place of those set aside for it.
    pub(super) fn settle(&mut self, aside: u64, used: u64, now: Duration) {
        for (dimension, bucket) in &mut self.buckets {
            if dimension.unit() == Unit::Tokens {
                *bucket = bucket.with(used, aside, now);
            }
        }
    }

    /// A request that was let in has ended.
    pub(super) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// How the tightest of the limits stands that count this over time.
    pub(super) fn standing(&self, unit: Unit, now: Duration) -> Option<Standing> {
        let of_unit = self.buckets.iter().filter(|(dimension, _)| dimension.unit() == unit);
        of_unit.map(|(_, bucket)| bucket.standing(now)).min_by(Standing::tighter)
    }
}

/// How much of a limit over time a request takes, if any.
fn units(dimension: Dimension, aside: Option<u64>) -> Option<u64> {
    match dimension.unit() {
        Unit::Requests => Some(1),
        Unit::Tokens => aside,
    }
}

/// Rounded up: who comes back a fraction sooner would be refused again.
fn whole_millis(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// An account with these limits, in the order of `Dimension::ALL`; 0 for none.
    fn account(sizes: [u64; 5]) -> Account {
        Account::new(&Limits::new(sizes.map(NonZeroU64::new)))
    }

    fn admit(it: &mut Account, prompt: u64, answer: u64, now: Duration) -> Result<u64, Refused> {
        it.admit(Some(Need { prompt, answer }), now)
    }

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn of_several_limits_the_one_that_keeps_out_for_longest_is_told() {
        let mut it = account([1, 1, 1, 0, 0]);
        assert_eq!(it.admit(None, NOW), Ok(0));
        let told = it.admit(None, NOW).expect_err("all of it is used");
        let day = Duration::from_hours(24);
        assert_eq!(told, Refused { dimension: Dimension::RequestsPerDay, limit: 1, wait: day });
        let told = it.admit(None, NOW + day).expect_err("one is under way");
        assert_eq!(told, Refused { dimension: Dimension::MaxInFlight, limit: 1, wait: SOON });
        it.leave();
        assert_eq!(it.admit(None, NOW + day), Ok(0));
    }

    #[test]
    fn what_is_larger_than_all_there_is_gets_in_when_nothing_is_used_and_owes() {
        let mut it = account([0, 0, 0, 100, 1000]);
        assert_eq!(admit(&mut it, 10, 0, NOW), Ok(10));
        let told = admit(&mut it, 500, 0, NOW).expect_err("something is used");
        assert_eq!((told.dimension, told.wait), (Dimension::TokensPerMinute, Duration::from_secs(6)));
        assert_eq!(admit(&mut it, 500, 0, NOW + told.wait), Ok(500));
        let told = admit(&mut it, 1, 0, NOW + told.wait).expect_err("it owes");
        assert_eq!(told.wait, Duration::from_millis(240_600));
    }

    #[test]
    fn the_answer_that_a_request_may_have_makes_nobody_owe() {
        let mut it = account([0, 0, 0, 100, 1000]);
        assert_eq!(admit(&mut it, 10, u64::MAX, NOW), Ok(100));
        let left = |it: &Account| it.standing(Unit::Tokens, NOW).expect("limited").remaining;
        assert_eq!(left(&it), 0);
        it.settle(100, 30, NOW);
        assert_eq!(left(&it), 70);
        assert_eq!(admit(&mut account([1, 0, 0, 0, 0]), 10, u64::MAX, NOW), Ok(10), "no limit, nothing to set aside");
    }

    #[test]
    fn what_uses_no_tokens_is_let_in_by_who_owes_them() {
        let mut it = account([0, 5, 0, 100, 0]);
        it.settle(0, 1000, NOW);
        assert!(admit(&mut it, 1, 0, NOW).is_err());
        assert_eq!(it.admit(None, NOW), Ok(0));
        assert_eq!(it.standing(Unit::Requests, NOW).map(|standing| standing.remaining), Some(4));
    }

    #[test]
    fn other_limits_keep_what_was_used_of_those_that_stay() {
        let mut it = account([2, 10, 0, 100, 0]);
        admit(&mut it, 40, 0, NOW).expect("room");
        let it = it.under(&Limits::new([1, 20, 30, 0, 0].map(NonZeroU64::new)), NOW);
        assert_eq!(
            it.standing(Unit::Requests, NOW).map(|standing| (standing.limit, standing.remaining)),
            Some((20, 19))
        );
        assert_eq!(it.standing(Unit::Tokens, NOW), None);
        assert_eq!(it.clone().admit(None, NOW).map_err(|told| told.dimension), Err(Dimension::MaxInFlight));
    }

    #[derive(Debug, Clone)]
    enum Event {
        Comes(Option<Need>),
        Ends(u64),
        Passes(u64),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let comes = proptest::option::of((0..300_u64, 0..300_u64))
            .prop_map(|need| Event::Comes(need.map(|(prompt, answer)| Need { prompt, answer })));
        let ends = (0..400_u64).prop_map(Event::Ends);
        let passes = (0..100_000_u64).prop_map(Event::Passes);
        vec(prop_oneof![3 => comes, 2 => ends, 1 => passes], 1..80)
    }

    proptest! {
        #[test]
        fn what_is_refused_changes_nothing_and_is_let_in_when_it_was_told_to_come_unless_others_are_in_the_way(
            sizes in proptest::array::uniform5(0..200_u64), events in events(),
        ) {
            let (mut it, mut now, mut inside) = (account(sizes), NOW, Vec::new());
            for event in events {
                match event {
                    Event::Passes(millis) => now += Duration::from_millis(millis),
                    Event::Ends(used) => {
                        if let Some(aside) = inside.pop() {
                            it.settle(aside, used, now);
                            it.leave();
                        }
                    }
                    Event::Comes(need) => {
                        let before = it.clone();
                        match it.admit(need, now) {
                            Ok(aside) => inside.push(aside),
                            Err(told) => {
                                prop_assert_eq!(&it, &before);
                                prop_assert_eq!(told.limit, sizes[told.dimension as usize]);
                                prop_assert!(told.wait.subsec_nanos() % 1_000_000 == 0 && !told.wait.is_zero());
                                let mut later = it.clone();
                                later.in_flight = 0;
                                prop_assert!(later.admit(need, now + told.wait).is_ok(), "{:?}", told);
                            }
                        }
                    }
                }
                prop_assert_eq!(it.in_flight, inside.len() as u64);
                prop_assert!(sizes[0] == 0 || it.in_flight <= sizes[0]);
            }
        }

        #[test]
        fn whatever_is_set_aside_no_more_tokens_are_used_than_fit_in_beside_the_last_ones(
            size in 1..200_u64, events in events(),
        ) {
            // Each request that is let in uses what its prompt has, and is settled with some of it.
            let (mut it, mut now, mut used) = (account([0, 0, 0, size, 0]), NOW, 0);
            let (mut inside, mut most, mut largest) = (Vec::new(), 0, 0);
            for event in events {
                match event {
                    Event::Passes(millis) => now += Duration::from_millis(millis),
                    Event::Comes(need) => {
                        let may_use = need.map_or(0, |need| need.prompt + need.answer);
                        if let Ok(aside) = it.admit(need, now) {
                            inside.push((aside, may_use));
                            (most, largest) = (most.max(inside.len() as u128), largest.max(may_use));
                        }
                    }
                    Event::Ends(tokens) => {
                        if let Some((aside, may_use)) = inside.pop() {
                            let tokens = tokens.min(may_use);
                            it.settle(aside, tokens, now);
                            used += tokens;
                        }
                    }
                }
                let leaked = u128::from(size) * now.saturating_sub(NOW).as_nanos() / Duration::from_secs(60).as_nanos();
                // Those under way at once may come to owe what they use beyond what was set aside.
                let owed = u128::from(largest) * (most + 1);
                prop_assert!(u128::from(used) <= u128::from(size) + leaked + owed);
            }
        }
    }
}
