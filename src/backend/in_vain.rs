//! Owns how often whole answers of a backend were waited for in vain since its last sign of life: nothing is seen of them before
//! their end, so that a backend that hangs looks like one that takes its time.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Time in which half of it is forgotten: who hung may be well again, and only a request can tell.
const HALF_LIFE: Duration = Duration::from_secs(30);

/// Vain waits of one model on one backend.
#[derive(Debug, Default)]
pub struct InVain {
    /// How many, and when the last one ended, milliseconds on the process clock; 0: none.
    word: AtomicU64,
}

impl InVain {
    /// One more was given up.
    pub fn one_more(&self, now: Duration) {
        let grown = |word| Some(u64::from(left(word, now).saturating_add(1)) << 32 | u64::from(millis(now)));
        let _ = self.word.fetch_update(Relaxed, Relaxed, grown);
    }

    /// The backend has answered something.
    pub fn answered(&self) {
        if self.word.load(Relaxed) != 0 {
            self.word.store(0, Relaxed);
        }
    }

    /// How many count at `now`: half as many as `HALF_LIFE` before, in whole numbers.
    pub fn at(&self, now: Duration) -> u32 {
        left(self.word.load(Relaxed), now)
    }
}

fn left(word: u64, now: Duration) -> u32 {
    let count = (word >> 32) as u32;
    if count == 0 {
        return 0;
    }
    // Both wrap around alike, every 49 days.
    let age = Duration::from_millis(millis(now).wrapping_sub(word as u32).into());
    (f64::from(count) * (-age.div_duration_f64(HALF_LIFE)).exp2()).round() as u32
}

fn millis(now: Duration) -> u32 {
    now.as_millis() as u32
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
            prop_assert!((1..=waits.len()).contains(&(count as usize)));
            prop_assert!(in_vain.at(now + Duration::from_millis(later)) <= count);
        }
    }
}
