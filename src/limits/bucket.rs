//! Owns one limit over time as a bucket that refills without a pause: what fits, what is left, when it is full again. Pure.
//!
//! It is the continuous-state leaky bucket of ITU-T I.371 (annex A) and of the ATM Forum's traffic management, known as GCRA: each
//! unit taken fills the bucket, which leaks at `size / window`. Over any time `t` no more than `size + size × t / window` fits in.
//! What is in it is counted in units times the window's nanoseconds, of which `size` leak each nanosecond: all of it is whole
//! numbers, and nothing is rounded away.

use std::{cmp::Ordering, num::NonZeroU64, time::Duration};

/// A limit and what has been taken of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    size: NonZeroU64,
    window: Duration,
    /// Units times nanoseconds of the window that had been taken, and had not leaked, at `at`.
    taken: u128,
    /// On the process's clock.
    at: Duration,
}

/// How a limit stands, as clients are told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its size.
    pub limit: u64,
    /// Whole units that are left.
    pub remaining: u64,
    /// Time until all of it is there again, if nothing more is taken.
    pub reset: Duration,
}

impl Standing {
    /// The tighter one first: by the share that is left, then by the time until all is there again.
    pub(super) fn tighter(&self, other: &Self) -> Ordering {
        let share = |one: &Self, other: &Self| u128::from(one.remaining) * u128::from(other.limit);
        share(self, other).cmp(&share(other, self)).then(other.reset.cmp(&self.reset))
    }
}

impl Bucket {
    /// One of which nothing has been taken.
    pub(super) fn new(size: NonZeroU64, window: Duration) -> Self {
        Self { size, window, taken: 0, at: Duration::ZERO }
    }

    /// One of which so much was taken that all of it is there again after this time.
    pub(super) fn whole_after(size: NonZeroU64, window: Duration, time: Duration, now: Duration) -> Self {
        Self { taken: u128::from(size.get()).saturating_mul(time.as_nanos()), at: now, ..Self::new(size, window) }
    }

    /// Its size, and when all of it is there again: that stays the same until more is taken or given back.
    pub(super) fn state(&self) -> (NonZeroU64, Duration) {
        (self.size, self.at.saturating_add(self.time(self.taken)))
    }

    /// Time from `now` until so many units fit in; `None`: they do now. More than the size fits in when nothing has been
    /// taken; otherwise such a request could never be served.
    pub(super) fn wait(&self, units: u64, now: Duration) -> Option<Duration> {
        let over = self.taken_at(now).saturating_add(self.scaled(units.min(self.size.get())));
        let over = over.saturating_sub(self.scaled(self.size.get()));
        (over > 0).then(|| self.time(over))
    }

    /// The bucket after so many more units were taken and so many given back. Units that do not fit in are owed, and units
    /// given back beyond those taken are lost.
    #[must_use]
    pub(super) fn with(self, taken: u64, given_back: u64, now: Duration) -> Self {
        let sum = self.taken_at(now).saturating_add(self.scaled(taken));
        // Two threads may have read the clock in the other order.
        Self { taken: sum.saturating_sub(self.scaled(given_back)), at: self.at.max(now), ..self }
    }

    /// The bucket under another limit. What was taken stays taken, but nobody waits for longer than a whole window or, if more
    /// was owed, than before.
    #[must_use]
    pub(super) fn resized(self, size: NonZeroU64, now: Duration) -> Self {
        let taken = self.taken_at(now);
        let owed = (taken / u128::from(self.size.get())).saturating_mul(u128::from(size.get()));
        let resized = Self { size, at: self.at.max(now), ..self };
        Self { taken: taken.min(owed.max(resized.scaled(size.get()))), ..resized }
    }

    /// Units that are used, rounded up; more than its size are owed.
    pub(super) fn used(&self, now: Duration) -> u64 {
        u64::try_from(self.taken_at(now).div_ceil(self.window.as_nanos())).unwrap_or(u64::MAX)
    }

    /// How it stands.
    pub(super) fn standing(&self, now: Duration) -> Standing {
        let taken = self.taken_at(now);
        let left = self.scaled(self.size.get()).saturating_sub(taken) / self.window.as_nanos();
        // No more than the size.
        Standing { limit: self.size.get(), remaining: left as u64, reset: self.time(taken) }
    }

    fn taken_at(&self, now: Duration) -> u128 {
        let leaked = u128::from(self.size.get()).saturating_mul(now.saturating_sub(self.at).as_nanos());
        self.taken.saturating_sub(leaked)
    }

    /// A window has fewer than 2^47 nanoseconds, so nothing here comes near an overflow.
    fn scaled(&self, units: u64) -> u128 {
        u128::from(units) * self.window.as_nanos()
    }

    /// The time in which this leaks, rounded up.
    fn time(&self, taken: u128) -> Duration {
        let nanos = taken.div_ceil(u128::from(self.size.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const NANO: Duration = Duration::from_nanos(1);

    fn bucket(size: u64) -> Bucket {
        Bucket::new(NonZeroU64::new(size).expect("not zero"), MINUTE)
    }

    fn gap() -> impl Strategy<Value = Duration> {
        prop_oneof![0..10_u64, 0..1_000_000_000_u64, 0..90_000_000_000_u64].prop_map(Duration::from_nanos)
    }

    /// A size from one of both ends.
    fn extreme() -> impl Strategy<Value = u64> {
        prop_oneof![1..9_u64, 1..=u64::MAX]
    }

    #[test]
    fn seven_a_minute_are_seven_at_once_and_then_one_in_each_seventh_of_a_minute() {
        let now = Duration::from_secs(5);
        let full = (0..7).fold(bucket(7), |bucket, _| {
            assert_eq!(bucket.wait(1, now), None);
            bucket.with(1, 0, now)
        });
        assert_eq!(full.standing(now), Standing { limit: 7, remaining: 0, reset: MINUTE });
        let wait = full.wait(1, now).expect("full");
        assert_eq!(wait, Duration::from_nanos(8_571_428_572));
        assert_eq!(full.standing(now + wait).remaining, 1);
    }

    #[test]
    fn a_smaller_limit_keeps_what_was_taken_and_makes_nobody_wait_for_days() {
        let (now, size) = (MINUTE, |n| NonZeroU64::new(n).expect("not zero"));
        let taken = bucket(10).with(6, 0, now);
        assert_eq!(taken.resized(size(20), now).standing(now).remaining, 14);
        assert_eq!(taken.resized(size(7), now).standing(now).remaining, 1);
        assert_eq!(taken.resized(size(2), now).standing(now), Standing { limit: 2, remaining: 0, reset: MINUTE });
        let owing = bucket(10).with(30, 0, now);
        assert_eq!(owing.resized(size(5), now).standing(now).reset, 3 * MINUTE);
        assert_eq!(owing.resized(size(30), now).standing(now).reset, MINUTE);
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_lets_more_in_than_the_size_and_what_leaks_meanwhile(
            size in 1..50_u64, asks in vec((gap(), 1..60_u64), 1..60),
        ) {
            let (mut now, mut it, mut let_in) = (Duration::ZERO, bucket(size), Vec::new());
            for (gap, units) in asks {
                now += gap;
                // Larger ones are let in over the size, and owed.
                let units = units.min(size);
                if it.wait(units, now).is_none() {
                    it = it.with(units, 0, now);
                    let_in.push((now, units));
                }
            }
            for (from, (began, _)) in let_in.iter().enumerate() {
                let mut sum = 0;
                for (at, units) in &let_in[from..] {
                    sum += u128::from(*units) * MINUTE.as_nanos();
                    let most = u128::from(size) * (MINUTE + at.saturating_sub(*began)).as_nanos();
                    prop_assert!(sum <= most, "{sum} of {most}");
                }
            }
        }

        #[test]
        fn who_comes_when_told_is_let_in_and_who_comes_sooner_is_not(
            size in 1..1000_u64, taken in 0..3000_u64, units in 1..2000_u64, gap in gap(),
        ) {
            let it = bucket(size).with(taken, 0, MINUTE);
            let now = MINUTE + gap;
            let left = it.standing(now).remaining;
            prop_assert_eq!(it.used(now).min(size) + left, size);
            if let Some(wait) = it.wait(units, now) {
                prop_assert!(wait > Duration::ZERO);
                prop_assert_eq!(it.wait(units, now + wait), None);
                prop_assert!(it.wait(units, now + wait.saturating_sub(NANO)).is_some());
            } else {
                prop_assert!(it.standing(now).remaining >= units.min(size));
            }
        }

        #[test]
        fn after_its_reset_all_is_there_and_anything_fits_in(
            size in 1..1_000_000_000_000_u64, taken in 0..100_000_000_u64, units: u64,
        ) {
            let it = bucket(size).with(taken, 0, MINUTE);
            let reset = it.standing(MINUTE).reset;
            let then = MINUTE + reset;
            prop_assert_eq!(it.standing(then), Standing { limit: size, remaining: size, reset: Duration::ZERO });
            prop_assert_eq!(it.wait(units, then), None);
            if reset > Duration::ZERO {
                prop_assert_eq!(it.wait(size, then.saturating_sub(NANO)), Some(NANO));
            }
        }

        #[test]
        fn one_that_is_made_anew_from_its_state_stands_as_it_stood_whenever_that_is(
            size in 1..1_000_000_000_000_u64, taken in 0..2_000_000_000_000_u64, gap in gap(), later in gap(),
        ) {
            let it = bucket(size).with(taken, 0, MINUTE);
            let ((size, whole_at), now) = (it.state(), MINUTE + gap);
            let anew = Bucket::whole_after(size, MINUTE, whole_at.saturating_sub(now), now);
            let (was, is) = (it.standing(now + later), anew.standing(now + later));
            prop_assert_eq!((is.limit, is.reset), (was.limit, was.reset));
            // In less than a nanosecond so much refills.
            let slack = size.get() / 60_000_000_000 + 1;
            prop_assert!(was.remaining.abs_diff(is.remaining) <= slack && is.remaining <= was.remaining);
            prop_assert_eq!(it.with(0, 0, now).state(), (size, whole_at.max(now)));
        }

        #[test]
        fn no_number_is_too_large(size in extreme(), other in extreme(), numbers in vec(any::<u64>(), 5)) {
            let now = Duration::from_nanos(numbers[0]);
            let it = bucket(size).with(numbers[1], numbers[2], now).with(u64::MAX, numbers[3], Duration::ZERO);
            let other = NonZeroU64::new(other).expect("not zero");
            let it = it.resized(other, now);
            let anew = Bucket::whole_after(other, MINUTE, Duration::from_millis(numbers[2]), now).with(1, 0, now);
            prop_assert!(anew.state().1 >= now);
            let other = other.get();
            prop_assert!(it.standing(now).remaining <= other);
            prop_assert!(it.wait(numbers[4], now).is_none_or(|wait| wait > Duration::ZERO));
        }

        #[test]
        fn what_is_set_aside_and_settled_at_once_is_what_is_used(size in 1..1000_u64, before in 0..500_u64, aside: u64, used: u64) {
            let it = bucket(size).with(before, 0, MINUTE);
            prop_assert_eq!(it.with(aside, 0, MINUTE).with(used, aside, MINUTE), it.with(used, 0, MINUTE));
        }

        #[test]
        fn a_clock_that_another_thread_saw_earlier_gives_nothing_away(size in 1..1000_u64, one in gap(), other in gap()) {
            let late = bucket(size).with(1, 0, one.max(other));
            let early = late.with(1, 0, one.min(other));
            prop_assert_eq!(early, late.with(1, 0, one.max(other)));
        }

        #[test]
        fn another_size_never_makes_anybody_wait_longer_than_a_window_or_than_before(
            size in 1..1000_u64, other in 1..1000_u64, taken in 0..5000_u64, gap in gap(),
        ) {
            let it = bucket(size).with(taken, 0, MINUTE);
            let now = MINUTE + gap;
            let resized = it.resized(NonZeroU64::new(other).expect("not zero"), now).standing(now);
            prop_assert!(resized.reset <= it.standing(now).reset.max(MINUTE));
            prop_assert!(resized.limit == other && resized.remaining <= other);
        }

        #[test]
        fn the_tightest_is_the_one_with_the_least_share_left(
            one in (1..1000_u64, 0..1000_u64), other in (1..1000_u64, 0..1000_u64),
        ) {
            let standing = |(limit, remaining): (u64, u64)| Standing { limit, remaining: remaining.min(limit), reset: MINUTE };
            let (one, other) = (standing(one), standing(other));
            let share = |it: Standing| it.remaining as f64 / it.limit as f64;
            if one.tighter(&other).is_lt() {
                prop_assert!(share(one) < share(other));
            }
            prop_assert_eq!(one.tighter(&other), other.tighter(&one).reverse());
        }
    }
}
