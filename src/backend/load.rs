//! Owns the load of a backend as the router sees it, and the cost of one more request: pure numbers, no clock.

use super::estimate::Estimate;

/// Prompt tokens whose prefill takes about as long as the fixed part of a first token: 80 ms at 12,000 tokens a second,
/// which NVIDIA publishes for Llama 3.3 70B on two H100. From 200 to 2,000 the choices are equally good
/// (`examples/balance`).
const PREFILL_TOKENS: f64 = 1000.0;

/// Tokens whose time counts besides the first's: a line of text. With none a long answer goes to whoever begins it a moment
/// sooner, at half the pace. From 10 to 40 are equally good (`examples/balance`).
const LINE: f64 = 20.0;

/// How much longer a full house of streams makes a token; 0.1 and 0.3 are equally good.
const CROWD: f64 = 0.3;

/// What is under way at a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Busy {
    /// Requests before their first token.
    pub waiting: u32,
    /// Prompt tokens of these.
    pub waiting_tokens: u64,
    /// Requests after their first token.
    pub streaming: u32,
}

impl Busy {
    /// The work until all that wait have their first token if they are served in turn, as a multiple of an empty prompt's.
    pub fn work(self) -> f64 {
        f64::from(self.waiting) + self.prefill()
    }

    fn prefill(self) -> f64 {
        self.waiting_tokens as f64 / PREFILL_TOKENS
    }
}

/// How many times as long a token takes with so many streams under way: they share the server's steps.
pub fn crowd(streaming: u32, slots: f64) -> f64 {
    1.0 + CROWD * f64::from(streaming) / slots
}

/// What one more request would cost on a backend, in relative seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Until its first token.
    pub first_token: f64,
    /// Until its first line of text: lowest wins.
    pub line: f64,
}

/// What one more request would cost on a backend. Of a `weight` of three a backend counts as three times as large: its queue
/// goes three times as fast, and it has three times the slots. What is measured, the pace, is not divided: that part is the same
/// for all, and the whole divided by three would be three times as cheap until hundreds of streams made up for it.
pub fn cost(estimate: Estimate, busy: Busy, slots: u32, weight: f64) -> Cost {
    // On a server that works side by side, the length of other prompts delays nobody.
    let queue = 1.0 + f64::from(busy.waiting) + estimate.serial * busy.prefill();
    let first_token = estimate.seconds * queue / weight;
    Cost { first_token, line: first_token + LINE * estimate.pace * crowd(busy.streaming, f64::from(slots) * weight) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn known(seconds: f64, serial: f64) -> Estimate {
        Estimate { seconds, serial, pace: 0.02, at: Duration::ZERO }
    }

    fn cost(estimate: Estimate, busy: Busy, slots: u32, weight: f64) -> f64 {
        super::cost(estimate, busy, slots, weight).line
    }

    #[test]
    fn one_long_prompt_in_front_costs_more_than_three_short_ones_where_they_are_served_in_turn() {
        let long = Busy { waiting: 1, waiting_tokens: 20_000, streaming: 0 };
        let short = Busy { waiting: 3, waiting_tokens: 600, streaming: 0 };
        assert!(cost(known(1.0, 1.0), long, 16, 1.0) > cost(known(1.0, 1.0), short, 16, 1.0));
        assert!(cost(known(1.0, 0.0), long, 16, 1.0) < cost(known(1.0, 0.0), short, 16, 1.0));
    }

    #[test]
    fn who_begins_a_moment_sooner_at_half_the_pace_costs_more() {
        let sooner = Estimate { pace: 0.04, ..known(0.1, 1.0) };
        let later = known(0.2, 1.0);
        assert!(cost(sooner, Busy::default(), 16, 1.0) > cost(later, Busy::default(), 16, 1.0));
    }

    #[test]
    fn three_times_the_weight_comes_to_three_times_the_streams() {
        let mut streaming = [0, 0];
        let of = |streaming, weight| cost(known(0.05, 1.0), Busy { streaming, ..Busy::default() }, 16, weight);
        for _ in 0..600 {
            streaming[usize::from(of(streaming[1], 3.0) < of(streaming[0], 1.0))] += 1;
        }
        let ratio = f64::from(streaming[1]) / f64::from(streaming[0]);
        assert!((2.8..3.4).contains(&ratio), "{streaming:?}");
    }

    proptest! {
        #[test]
        fn cost_rises_with_every_load_and_falls_with_weight(
            first in 0.001..100.0f64, serial in 0.01..1.0f64, waiting in 0u32..1000, waiting_tokens in 0u64..10_000_000,
            streaming in 0u32..1000, slots in 1u32..256, weight in 0.1..10.0f64,
        ) {
            let busy = Busy { waiting, waiting_tokens, streaming };
            let base = cost(known(first, serial), busy, slots, weight);
            let slower = Estimate { pace: 0.03, ..known(first, serial) };
            prop_assert!(cost(slower, busy, slots, weight) > base);
            prop_assert!(base.is_finite() && base > 0.0);
            prop_assert!(cost(known(first * 1.1, serial), busy, slots, weight) > base);
            let more = [
                Busy { waiting: waiting + 1, ..busy },
                Busy { waiting_tokens: waiting_tokens + 1, ..busy },
                Busy { streaming: streaming + 1, ..busy },
            ];
            for busier in more {
                prop_assert!(cost(known(first, serial), busier, slots, weight) > base);
            }
            prop_assert!(cost(known(first, serial), busy, slots, weight * 1.1) < base);
        }
    }
}
