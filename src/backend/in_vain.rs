//! Owns how many requests were in vain at a backend since its last good answer: whole answers waited for, of which nothing is
//! seen before their end, so that a backend that hangs looks like a slow one; and requests that it found wrong, at once, so that
//! it looks as if it had nothing to do.

use std::time::Duration;

use crate::clock::Stamped;

/// Time in which half of it is forgotten: a backend may be well again, and only a request can tell.
const HALF_LIFE: Duration = Duration::from_secs(30);

/// Most that count. A client that asks wrongly, and quickly, must not keep others off a backend by as many as it has sent.
const MOST: u32 = 64;

/// Vain requests of one kind, for one model on one backend.
#[derive(Debug, Default)]
pub struct InVain {
    /// How many, and when the last one ended.
    waits: Stamped,
}

impl InVain {
    /// There was one more.
    pub fn one_more(&self, now: Duration) {
        self.waits.change(now, |count, age| left(count, age).saturating_add(1).min(MOST));
    }

    /// The backend has answered something.
    pub fn answered(&self) {
        self.waits.clear();
    }

    /// How many count at `now`: half as many as `HALF_LIFE` before, in whole numbers.
    pub fn at(&self, now: Duration) -> u32 {
        let (count, age) = self.waits.read(now);
        left(count, age)
    }
}

fn left(count: u32, age: Duration) -> u32 {
    if count == 0 {
        return 0;
    }
    (f64::from(count) * (-age.div_duration_f64(HALF_LIFE)).exp2()).round() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn vain_waits_add_up_fade_and_end_with_an_answer() {
        let (in_vain, second) = (InVain::default(), Duration::from_secs(1));
        let all = [(0, 1), (1, 2), (2, 3), (3, 4)];
        for (at, count) in all {
            in_vain.one_more(at * second);
            assert_eq!(in_vain.at(at * second), count);
        }
        assert_eq!([33, 63, 93, 200].map(|at| in_vain.at(at * second)), [2, 1, 1, 0]);
        in_vain.answered();
        assert_eq!(in_vain.at(3 * second), 0);
    }

    proptest! {
        #[test]
        fn no_more_count_than_there_were_and_never_more_later(
            waits in prop::collection::vec(0..100_000u64, 1..100), start in 0..u64::from(u32::MAX) * 2, later in 0..1_000_000u64,
        ) {
            let (in_vain, mut now) = (InVain::default(), Duration::from_millis(start));
            for wait in &waits {
                now += Duration::from_millis(*wait);
                in_vain.one_more(now);
            }
            let count = in_vain.at(now);
            prop_assert!((1..=waits.len().min(MOST as usize)).contains(&(count as usize)));
            prop_assert!(in_vain.at(now + Duration::from_millis(later)) <= count);
        }
    }
}
