//! Owns the queue of a model and how fast it moves: how long the request at its head has waited for a place lately, and what that
//! means for a new one.

use std::{sync::atomic::AtomicU32, time::Duration};

use tokio::sync::Semaphore;

use crate::clock::Stamped;

/// How far one wait moves the expectation towards itself.
const STEP: f64 = 0.25;

/// If nobody has left a queue for this long, beyond twice the usual time, its pace is unknown.
const STALE: Duration = Duration::from_secs(10);

/// The queue of one model.
#[derive(Debug)]
pub struct Queue {
    /// How many wait.
    pub waiting: AtomicU32,
    /// Held by the request that is next.
    pub turn: Semaphore,
    /// How fast it moves.
    pub pace: Pace,
}

impl Queue {
    /// One in which nobody waits.
    pub(super) fn new() -> Self {
        Self { waiting: AtomicU32::new(0), turn: Semaphore::new(1), pace: Pace::default() }
    }
}

/// How fast a queue moves. Only the request at its head writes this, and all in it read it; while there are places nobody
/// does.
#[derive(Debug, Default)]
pub struct Pace {
    /// Milliseconds from one place to the next, and when that was last learned; 0: unknown.
    usual: Stamped,
}

impl Pace {
    /// The request at the head of the queue was given a place, after it had `waited` there.
    pub fn moved(&self, waited: Duration, now: Duration) {
        let usual = self.usual(now).map_or(waited, |usual| usual.mul_f64(1.0 - STEP) + waited.mul_f64(STEP));
        self.usual.write(usual.as_millis().clamp(1, u128::from(u32::MAX)) as u32, now);
    }

    /// The time that `ahead` requests in front will take at least; `None` if that is not known. Requests in front may give up,
    /// and the one at the head may have waited for a while already. So the wait at the head does not count: with nobody in
    /// front it is zero.
    pub fn wait(&self, ahead: u32, now: Duration) -> Option<Duration> {
        Some(self.usual(now)?.saturating_mul(ahead))
    }

    fn usual(&self, now: Duration) -> Option<Duration> {
        let (usual, age) = self.usual.read(now);
        let usual = Duration::from_millis(usual.into());
        (!usual.is_zero() && age <= 2 * usual + STALE).then_some(usual)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wait_is_told_by_those_before_and_forgotten_when_nobody_has_left_for_long() {
        let pace = Pace::default();
        assert_eq!(pace.wait(3, 5 * SECOND), None);
        pace.moved(2 * SECOND, 5 * SECOND);
        assert_eq!(pace.wait(3, 6 * SECOND), Some(6 * SECOND));
        assert_eq!(pace.wait(0, 6 * SECOND), Some(Duration::ZERO));
        assert_eq!(pace.wait(3, 20 * SECOND), None);
        // What is forgotten does not weigh on what is learned next.
        pace.moved(SECOND, 30 * SECOND);
        assert_eq!(pace.wait(1, 30 * SECOND), Some(SECOND));
    }

    proptest! {
        #[test]
        fn what_is_expected_lies_among_what_was_seen(
            waits in prop::collection::vec(1..10_000u64, 1..50), start in 0..u64::from(u32::MAX) * 2,
        ) {
            let (pace, mut now) = (Pace::default(), Duration::from_millis(start));
            for wait in &waits {
                now += Duration::from_millis(*wait);
                pace.moved(Duration::from_millis(*wait), now);
            }
            let expected = pace.wait(1, now).expect("it was learned just now").as_millis() as u64;
            let (least, most) = (waits.iter().min(), waits.iter().max());
            prop_assert!(Some(&(expected + 1)) >= least && Some(&expected) <= most, "{expected}");
        }
    }
}
