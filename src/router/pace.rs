//! Owns how fast a queue moves: how long those who were next have waited for a place lately, and what that means for who comes.

use std::time::Duration;

use crate::clock::Stamped;

/// Share of the way that one wait moves what is expected.
const STEP: f64 = 0.25;

/// A queue that nobody has left for so long, beyond twice what was usual, is one of which nothing is known.
const STALE: Duration = Duration::from_secs(10);

/// How fast a queue moves. Written only by whoever has the turn, read by all; by nobody while there are places.
#[derive(Debug, Default)]
pub struct Pace {
    /// Milliseconds from one place to the next, and when that was last learned; 0: unknown.
    usual: Stamped,
}

impl Pace {
    /// Who was next has been given a place, after `waited` at the head of the queue.
    pub fn moved(&self, waited: Duration, now: Duration) {
        let usual = self.usual(now).map_or(waited, |usual| usual.mul_f64(1.0 - STEP) + waited.mul_f64(STEP));
        self.usual.write(usual.as_millis().clamp(1, u128::from(u32::MAX)) as u32, now);
    }

    /// How long `ahead` who stand in front will take at least; `None` where that is not known. Who stands there may give up, and
    /// who is next may have waited for a while: it is for them to find out, so nobody in front is no wait.
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
