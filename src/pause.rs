//! Owns how long to pause before another try: doubled with each, and jittered, so that many do not come back in step. Pure.

use std::time::Duration;

/// `first`, doubled `times` times, at most `most`.
pub fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(31)).min(most)
}

/// A pause shortened by up to half; `jitter` is from 0 to 1.
pub fn jittered(full: Duration, jitter: f64) -> Duration {
    full.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_double_up_to_a_bound_and_jitter_takes_no_more_than_half(
            first in 1_u64..10_000, times in any::<u32>(), most in 1_u64..10_000_000, jitter in 0.0..=1.0_f64,
        ) {
            let (first, most) = (Duration::from_millis(first), Duration::from_millis(most));
            let full = doubled(first, times, most);
            prop_assert_eq!(doubled(first, 0, most), first.min(most));
            prop_assert_eq!(doubled(first, times.saturating_add(1), most), (2 * full).min(most));
            prop_assert!((full / 2..=full).contains(&jittered(full, jitter)));
        }
    }
}
