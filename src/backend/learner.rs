//! Owns how a backend's estimate is learned from its answers: pure, with a memory of a few numbers.

use std::time::Duration;

use super::estimate::{Estimate, kept};

/// Share of the way that a sample moves an estimate, up as down, once there are a few: samples are of one request each, and
/// one is no trend. The first few are averaged.
const GAIN: f64 = 0.2;

/// The same for `serial`, which is a property of the server and changes with nothing but its settings. The first fifty are
/// averaged: until a fleet knows whether requests wait for each other, a first wave is dealt out by guess.
const SLOW: f64 = 0.02;

/// Tokens after which an answer's pace counts as much as all before it, at most: one step in which another's long prompt is
/// read is as long as ten others, so a short answer says little.
const PACED: f64 = 2000.0;

/// Spread of the work, in squared logarithms, that stands in for the spread seen until there are samples: a few in
/// a row that happen to agree prove nothing. It counts as so many samples without a slope; 5 and 10 are equally good.
const PRIOR: f64 = 0.2;
const PRIOR_SAMPLES: f64 = 5.0;

/// Less spread than this says nothing of a slope: under an even load what was learned before stays.
const LEAST_SPREAD: f64 = 0.01;

/// Slopes this close to 0 or to 1 count as it. What is known of the work has errors (bytes for tokens, one number for what a
/// request costs besides), and errors in what a regression runs over flatten its slope (regression dilution; Spearman, 1904),
/// the more so the less the work varies, as it does under a long queue. Behind a hundred requests, slopes of 0.9 and 1 put the
/// estimates of two equal servers 1.6 times apart. From 0.1 to 0.3 are equally good (`examples/balance`).
const END: f64 = 0.2;

/// Learns an estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learner {
    /// As of the last sample.
    pub estimate: Estimate,
    /// First tokens that were measured.
    measured: u32,
    /// Samples behind the estimate of seconds: the measured ones, and waits without a first token that were longer than
    /// the estimate.
    samples: u32,
    /// Tokens that the pace is of.
    tokens: u32,
    /// When a pace was last measured.
    paced: Duration,
    /// Running means of ln(work) and ln(seconds), and how they vary together: the slope of a regression that forgets.
    mean_work: f64,
    mean_time: f64,
    variance: f64,
    covariance: f64,
}

impl Default for Learner {
    fn default() -> Self {
        Self {
            estimate: Estimate::UNKNOWN,
            measured: 0,
            samples: 0,
            tokens: 0,
            paced: Duration::ZERO,
            mean_work: 0.0,
            mean_time: 0.0,
            variance: PRIOR,
            covariance: 0.0,
        }
    }
}

impl Learner {
    /// Takes a measured time to first token, and the work that stood between (`Busy::work`): the request's own and all in
    /// front of it. Divided by as much of that as matters here, a queue is not held against a backend twice: as its queue
    /// and as its speed. Where requests are served side by side nothing is divided, or the busiest would look fastest.
    pub fn sample(&mut self, first_token: Duration, work: f64, now: Duration) {
        let work = work.max(1.0);
        let (log_work, log_time) = (work.ln(), first_token.as_secs_f64().max(1e-6).ln());
        if self.measured == 0 {
            (self.mean_work, self.mean_time) = (log_work, log_time);
        }
        let (more_work, more_time) = (log_work - self.mean_work, log_time - self.mean_time);
        let gain = SLOW.max(1.0 / (PRIOR_SAMPLES + 1.0 + f64::from(self.measured)));
        self.measured = self.measured.saturating_add(1);
        self.mean_work += gain * more_work;
        self.mean_time += gain * more_time;
        self.variance = (1.0 - gain) * (self.variance + gain * more_work * more_work);
        self.covariance = (1.0 - gain) * (self.covariance + gain * more_work * more_time);
        if self.variance > LEAST_SPREAD {
            let slope = self.covariance / self.variance;
            self.estimate.serial = ((slope - END) / (1.0 - 2.0 * END)).clamp(0.0, 1.0);
        }
        self.blend(first_token, work, now);
    }

    /// Takes a wait that was given up without a first token. It can only raise the estimate. A backend that was never
    /// measured is `expected` to take so many seconds. A longer wait then stands in for its first sample; otherwise a
    /// silent backend would look faster than all others for good.
    pub fn at_least(&mut self, waited: Duration, work: f64, expected: f64, now: Duration) {
        let known = if self.samples > 0 { self.estimate.seconds } else { expected };
        if self.without_queue(waited, work) > known {
            self.blend(waited, work, now);
        }
    }

    /// Takes the pace of an answer of which so many tokens followed the first. `crowd` is how much longer the other
    /// streams make a token (`load::crowd`). It is divided out; otherwise a busier backend would look slower.
    pub fn pace(&mut self, per_token: Duration, tokens: u32, crowd: f64, now: Duration) {
        let own = per_token.as_secs_f64().max(1e-6) / crowd.max(1.0);
        let tokens = tokens.max(1);
        let (before, more) = (f64::from(self.tokens).min(PACED), f64::from(tokens));
        let gain = 1.0 - (1.0 - more / (before + more)) * kept(self.paced, now);
        self.estimate.pace += gain * (own - self.estimate.pace);
        (self.tokens, self.paced) = (self.tokens.saturating_add(tokens), now);
    }

    fn blend(&mut self, time: Duration, work: f64, now: Duration) {
        let own = self.without_queue(time, work);
        let known = &mut self.estimate;
        self.samples = self.samples.saturating_add(1);
        let gain = GAIN.max(1.0 / f64::from(self.samples));
        // What is old gives way: the first sample after a pause is not held back by what was true before it.
        let gain = 1.0 - (1.0 - gain) * kept(known.at, now);
        known.seconds += gain * (own - known.seconds);
        known.at = now;
    }

    /// The part of `time` that the queue does not explain: what an empty prompt would have taken with nothing in front.
    fn without_queue(&self, time: Duration, work: f64) -> f64 {
        time.as_secs_f64() / work.max(1.0).powf(self.estimate.serial)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    /// Learned from `samples` of (seconds, work), one a second.
    fn learned(samples: impl IntoIterator<Item = (f64, f64)>) -> Estimate {
        let mut learner = Learner::default();
        for (n, (time, work)) in samples.into_iter().enumerate() {
            learner.sample(secs(time), work, secs(n as f64));
        }
        learner.estimate
    }

    fn works() -> impl Iterator<Item = f64> {
        [1.0, 3.0, 8.0, 2.0, 20.0, 5.0].into_iter().cycle().take(300)
    }

    #[test]
    fn of_a_pace_a_long_answer_tells_more_than_a_short_one_and_other_streams_are_taken_out() {
        let after = |tokens, crowd| {
            let mut learner = Learner::default();
            learner.pace(secs(0.02), 3000, 1.0, secs(1.0));
            learner.pace(secs(0.06), tokens, crowd, secs(1.0));
            learner.estimate.pace
        };
        assert!((after(2000, 1.0) - 0.04).abs() < 1e-6);
        assert!((after(20, 1.0) - 0.0204).abs() < 1e-4);
        assert!((after(2000, 3.0) - 0.02).abs() < 1e-6);
    }

    #[test]
    fn a_high_sample_blends_in_and_does_not_jump() {
        let mut learner = Learner::default();
        (0..8).for_each(|_| learner.sample(secs(1.0), 1.0, secs(1.0)));
        learner.sample(secs(11.0), 1.0, secs(1.0));
        assert!((learner.estimate.seconds - 3.0).abs() < 1e-9);
    }

    #[test]
    fn an_unlucky_first_sample_counts_no_more_than_the_next() {
        let mut learner = Learner::default();
        for (time, pace) in [(3.0, 0.06), (1.0, 0.02), (1.0, 0.02), (1.0, 0.02)] {
            learner.sample(secs(time), 1.0, secs(1.0));
            learner.pace(secs(pace), 100, 1.0, secs(1.0));
        }
        assert!((learner.estimate.seconds - 1.5).abs() < 1e-9 && (learner.estimate.pace - 0.03).abs() < 1e-9);
    }

    #[test]
    fn the_first_sample_after_a_pause_outweighs_what_was_before() {
        let mut learner = Learner::default();
        learner.sample(secs(8.0), 1.0, secs(0.0));
        learner.sample(secs(0.1), 1.0, secs(60.0));
        assert!(learner.estimate.seconds < 0.2, "{learner:?}");
    }

    #[test]
    fn who_serves_in_turn_is_not_slow_for_having_a_queue() {
        let estimate = learned(works().map(|work| (0.1 * work, work)));
        assert!((estimate.seconds - 0.1).abs() < 0.02 && estimate.serial > 0.9, "{estimate:?}");
    }

    #[test]
    fn who_serves_side_by_side_does_not_look_fast_for_being_busy() {
        let estimate = learned(works().map(|work| (0.1, work)));
        assert!((estimate.seconds - 0.1).abs() < 0.001 && estimate.serial < 0.01, "{estimate:?}");
    }

    #[test]
    fn errors_in_the_work_of_a_long_queue_do_not_make_of_equals_a_fast_and_a_slow_one() {
        // Never less than a hundred in front, and that known within a tenth.
        let wave = [(100.0, 1.1), (140.0, 0.9), (170.0, 1.1), (200.0, 1.0), (240.0, 0.9), (180.0, 1.1), (130.0, 0.9)];
        let estimate = learned(wave.into_iter().cycle().take(350).map(|(work, error)| (0.05 * work, work * error)));
        assert!((estimate.seconds - 0.05).abs() < 0.01 && estimate.serial > 0.999, "{estimate:?}");
    }

    #[test]
    fn the_first_wave_tells_whether_requests_wait_for_each_other_but_not_its_first_three_answers() {
        let wave = || [4.0, 8.0, 2.0, 3.0, 12.0, 6.0].into_iter().cycle();
        let serial = |answers, exponent| learned(wave().take(answers).map(|w: f64| (0.1 * w.powf(exponent), w))).serial;
        assert!(serial(12, 1.0) > 0.7 && serial(3, 1.0) < 0.5, "{} {}", serial(12, 1.0), serial(3, 1.0));
        assert!(serial(12, 0.0) < 0.01);
    }

    #[test]
    fn an_even_load_does_not_unlearn_what_a_varied_one_taught() {
        // Chance has the slightly longer queues answered slightly faster.
        let even = [(0.5, 5.0), (0.49, 5.1)].into_iter().cycle().take(2000);
        let estimate = learned(works().map(|work| (0.1 * work, work)).chain(even));
        assert!((estimate.seconds - 0.1).abs() < 0.02 && estimate.serial > 0.9, "{estimate:?}");
    }

    #[test]
    fn a_wait_without_a_first_token_only_raises() {
        let mut learner = Learner::default();
        learner.at_least(secs(5.0), 1.0, 6.0, secs(0.0));
        assert_eq!(learner.estimate, Estimate::UNKNOWN);
        learner.sample(secs(1.0), 1.0, secs(1.0));
        learner.at_least(secs(0.5), 1.0, 0.1, secs(2.0));
        assert!((learner.estimate.seconds - 1.0).abs() < 1e-9);
        learner.at_least(secs(6.0), 1.0, 9.0, secs(1.0));
        assert!((learner.estimate.seconds - 3.5).abs() < 1e-9);
    }

    #[test]
    fn a_wait_that_is_longer_than_expected_stands_in_for_the_first_sample_but_for_no_slope() {
        let (mut learner, mut other) = (Learner::default(), Learner::default());
        learner.at_least(secs(8.0), 1.0, 0.8, secs(0.0));
        assert!((learner.estimate.seconds - 8.0).abs() < 1e-9, "{learner:?}");
        for work in works() {
            learner.sample(secs(0.1 * work), work, secs(1.0));
            other.sample(secs(0.1 * work), work, secs(1.0));
            assert!((learner.estimate.serial - other.estimate.serial).abs() < 1e-9, "{learner:?} {other:?}");
        }
        assert!((learner.estimate.seconds - 0.1).abs() < 0.02, "{learner:?}");
    }

    proptest! {
        #[test]
        fn an_estimate_is_positive_and_no_longer_than_its_longest_sample(
            samples in proptest::collection::vec((0.001..100.0f64, 1.0..1e5f64), 1..80),
        ) {
            let longest = samples.iter().map(|sample| sample.0).fold(0.0, f64::max);
            let estimate = learned(samples);
            prop_assert!(estimate.seconds > 0.0 && estimate.seconds <= longest * 1.000_001, "{:?}", estimate);
            prop_assert!((0.0..=1.0).contains(&estimate.serial), "{:?}", estimate);
        }
    }
}
