//! Owns the first-token estimate and the cost of one more request: pure numbers, no clock.

use std::time::Duration;

/// A lower sample pulls the estimate down, and an idle one drifts to the pool's median, over this time. It has to exceed
/// a typical answer, or the estimate would be forgotten while one answer runs.
pub const TAU: Duration = Duration::from_secs(60);

/// Share of the way that one higher sample pulls the estimate up: a blend, since one long prompt is no trend.
const RISE: f64 = 0.3;

/// Prompt tokens whose prefill takes about as long as the fixed part of a first token; scales samples of long prompts down.
const PREFILL_TOKENS: f64 = 4000.0;

/// Bytes of a request body that make one prompt token, near enough.
const BYTES_PER_TOKEN: f64 = 4.0;

/// The prompt tokens in a body of so many bytes, estimated.
pub fn prompt_tokens(body_bytes: usize) -> f64 {
    body_bytes as f64 / BYTES_PER_TOKEN
}

/// How much longer than an empty prompt's this prompt's first token takes.
pub fn prefill_factor(prompt_tokens: f64) -> f64 {
    1.0 + prompt_tokens / PREFILL_TOKENS
}

/// Time to first token of a backend for an empty prompt, as learned from streamed requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Seconds; 0: nothing measured yet.
    pub seconds: f64,
    /// When it was last measured.
    pub at: Duration,
}

impl Estimate {
    /// Nothing measured yet.
    pub const UNKNOWN: Self = Self { seconds: 0.0, at: Duration::ZERO };

    /// Takes a measured time to first token.
    #[must_use]
    pub fn sample(self, first_token: Duration, prompt_tokens: f64, now: Duration) -> Self {
        let sample = first_token.as_secs_f64() / prefill_factor(prompt_tokens);
        if self.seconds <= 0.0 {
            return Self { seconds: sample, at: now };
        }
        let seconds = if sample > self.seconds {
            self.seconds + RISE * (sample - self.seconds)
        } else {
            let keep = keep(now.saturating_sub(self.at));
            sample * (1.0 - keep) + self.seconds * keep
        };
        Self { seconds, at: now }
    }

    /// Takes a wait that was given up without a first token: it can only raise.
    #[must_use]
    pub fn at_least(self, waited: Duration, prompt_tokens: f64, now: Duration) -> Self {
        let floor = waited.as_secs_f64() / prefill_factor(prompt_tokens);
        if self.seconds > 0.0 && floor > self.seconds { self.sample(waited, prompt_tokens, now) } else { self }
    }

    /// The estimate at `now`, drifting towards `median` (seconds) while idle; never to zero.
    pub fn value(self, now: Duration, median: f64) -> f64 {
        if self.seconds <= 0.0 {
            return median;
        }
        let keep = keep(now.saturating_sub(self.at));
        median + (self.seconds - median) * keep
    }
}

fn keep(elapsed: Duration) -> f64 {
    (-elapsed.as_secs_f64() / TAU.as_secs_f64()).exp()
}

/// What one more request would cost on a backend, in relative seconds to its first token: lowest wins.
pub fn cost(first_token: f64, waiting: u32, streaming: u32, slots: u32, weight: f64) -> f64 {
    first_token * (1.0 + f64::from(waiting)) * (1.0 + f64::from(streaming) / f64::from(slots.max(1))) / weight
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    #[test]
    fn an_idle_estimate_drifts_to_the_median_and_not_to_zero() {
        let slow = Estimate::UNKNOWN.sample(secs(8.0), 0.0, secs(0.0));
        assert!((slow.value(secs(0.0), 1.0) - 8.0).abs() < 1e-9);
        assert!((slow.value(secs(600.0), 1.0) - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_high_sample_blends_in_and_does_not_jump() {
        let known = Estimate::UNKNOWN.sample(secs(1.0), 0.0, secs(0.0)).sample(secs(11.0), 0.0, secs(1.0));
        assert!((known.seconds - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_long_prompt_is_not_held_against_the_backend() {
        let short = Estimate::UNKNOWN.sample(secs(1.0), 0.0, secs(0.0));
        let long = Estimate::UNKNOWN.sample(secs(6.0), 20_000.0, secs(0.0));
        assert!((short.seconds - long.seconds).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn cost_rises_with_every_load_and_falls_with_weight(
            first in 0.001..100.0f64, waiting in 0u32..1000, streaming in 0u32..1000, slots in 1u32..256, weight in 0.1..10.0f64,
        ) {
            let base = cost(first, waiting, streaming, slots, weight);
            prop_assert!(base.is_finite() && base > 0.0);
            prop_assert!(cost(first * 1.1, waiting, streaming, slots, weight) > base);
            prop_assert!(cost(first, waiting + 1, streaming, slots, weight) > base);
            prop_assert!(cost(first, waiting, streaming + 1, slots, weight) > base);
            prop_assert!(cost(first, waiting, streaming, slots, weight * 1.1) < base);
        }

        #[test]
        fn an_estimate_stays_between_its_samples(samples in proptest::collection::vec(0.001..100.0f64, 1..50)) {
            let mut estimate = Estimate::UNKNOWN;
            for (n, sample) in samples.iter().enumerate() {
                estimate = estimate.sample(secs(*sample), 0.0, secs(n as f64));
            }
            let low = samples.iter().copied().fold(f64::MAX, f64::min);
            let high = samples.iter().copied().fold(0.0, f64::max);
            prop_assert!(estimate.seconds >= low - 1e-6 && estimate.seconds <= high + 1e-6);
        }
    }
}
