//! Owns what is learned of a backend from its first tokens: how long they take, and whether requests wait for each other.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;

/// An idle estimate drifts over this time: finagle's default decay. In the simulation from 10 to 60 s are equal, since who
/// gets requests is not idle; between two real servers with little to do 60 s left one aside for minutes.
pub const TAU: Duration = Duration::from_secs(10);

/// Where it drifts to, as a share of the pool's median: a little better than the others, so that who is idle is asked again
/// some day even where the others have nothing to do.
const HOPE: f64 = 0.8;

/// Share of the way that a sample moves a fresh estimate, up as down: samples are of one request each, and one is no trend.
const GAIN: f64 = 0.2;

/// The same for `serial`, which is a property of the server and changes with nothing but its settings.
const SLOW: f64 = 0.02;

/// Spread of the work, in squared logarithms, that stands in for the spread seen until there are samples: a few in
/// a row that happen to agree prove nothing.
const PRIOR: f64 = 0.2;

/// Less spread than this says nothing of a slope: under an even load what was learned before stays.
const LEAST_SPREAD: f64 = 0.01;

/// What a router has to know of a backend's first tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Seconds to first token of an empty prompt with nothing in front; 0: nothing measured yet.
    pub seconds: f64,
    /// Whether requests wait for each other: 0 served side by side, as behind a provider's front door; 1 in turn, as on one
    /// server. Time to first token grows with the work in front to this power.
    pub serial: f64,
    /// When it was last measured.
    pub at: Duration,
}

impl Estimate {
    /// Nothing measured yet.
    pub const UNKNOWN: Self = Self { seconds: 0.0, serial: 0.0, at: Duration::ZERO };

    /// The estimate at `now`, drifting to just below `median` (seconds) while idle; never to zero.
    #[must_use]
    pub fn drifted(self, now: Duration, median: f64) -> Self {
        if self.seconds <= 0.0 {
            return Self { seconds: median, ..self };
        }
        let hoped = HOPE * median;
        Self { seconds: hoped + (self.seconds - hoped) * self.kept(now), ..self }
    }

    /// How much of it is still to be believed at `now`.
    fn kept(self, now: Duration) -> f64 {
        (-now.saturating_sub(self.at).as_secs_f64() / TAU.as_secs_f64()).exp()
    }
}

/// The median of what is known, in seconds: of an even number the lower middle one. With the upper one, of two backends
/// the slower would drift to itself, and never be asked again while the other has room.
pub fn median(seconds: impl Iterator<Item = f64>) -> Option<f64> {
    let mut known: Vec<f64> = seconds.filter(|s| *s > 0.0).collect();
    known.sort_unstable_by(f64::total_cmp);
    known.get(known.len().saturating_sub(1) / 2).copied()
}

/// The estimate: learned by whoever holds a lease, published in one word for routers. Seconds as f32 above; `serial` in
/// 255ths, then the time in seconds, which wraps after half a year.
#[derive(Debug, Default)]
pub struct EstimateCell {
    published: AtomicU64,
    /// The pool's median, seconds as f32; 0: nothing is known.
    median: AtomicU32,
    learner: Mutex<Learner>,
}

impl EstimateCell {
    const TIME: u64 = (1 << 24) - 1;

    /// The estimate as last published.
    pub fn read(&self) -> Estimate {
        let word = self.published.load(Relaxed);
        Estimate {
            seconds: f64::from(f32::from_bits((word >> 32) as u32)),
            serial: f64::from((word >> 24) as u8) / 255.0,
            at: Duration::from_secs(word & Self::TIME),
        }
    }

    /// What to expect at `now`; `first_guess` as long as nobody in the pool knows.
    pub fn at(&self, now: Duration, first_guess: Duration) -> Estimate {
        let median = f64::from(f32::from_bits(self.median.load(Relaxed)));
        self.read().drifted(now, if median > 0.0 { median } else { first_guess.as_secs_f64() })
    }

    /// Tells the pool's median, seconds.
    pub fn tell(&self, median: f64) {
        self.median.store((median as f32).to_bits(), Relaxed);
    }

    /// Learns, unless another thread does at this moment: one sample of many is no loss, a wait would be.
    pub(super) fn learn(&self, take: impl FnOnce(&mut Learner)) {
        let Some(mut learner) = self.learner.try_lock() else { return };
        take(&mut learner);
        let Estimate { seconds, serial, at } = learner.estimate;
        let (seconds, serial) = (u64::from((seconds as f32).to_bits()), (serial * 255.0).round() as u64);
        self.published.store(seconds << 32 | serial << 24 | at.as_secs() & Self::TIME, Relaxed);
    }
}

/// Learns an estimate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learner {
    /// As of the last sample.
    pub estimate: Estimate,
    /// Running means of ln(work) and ln(seconds), and how they vary together: the slope of a regression that forgets.
    mean_work: f64,
    mean_time: f64,
    variance: f64,
    covariance: f64,
}

impl Default for Learner {
    fn default() -> Self {
        let estimate = Estimate::UNKNOWN;
        Self { estimate, mean_work: 0.0, mean_time: 0.0, variance: PRIOR, covariance: 0.0 }
    }
}

impl Learner {
    /// Takes a measured time to first token, and the work that stood between (`Busy::work`): the request's own and all in
    /// front of it. Divided by as much of that as matters here, a queue is not held against a backend twice: as its queue
    /// and as its speed. Where requests are served side by side nothing is divided, or the busiest would look fastest.
    pub fn sample(&mut self, first_token: Duration, work: f64, now: Duration) {
        let work = work.max(1.0);
        let (log_work, log_time) = (work.ln(), first_token.as_secs_f64().max(1e-6).ln());
        if self.estimate.seconds <= 0.0 {
            (self.mean_work, self.mean_time) = (log_work, log_time);
        }
        let (more_work, more_time) = (log_work - self.mean_work, log_time - self.mean_time);
        self.mean_work += SLOW * more_work;
        self.mean_time += SLOW * more_time;
        self.variance = (1.0 - SLOW) * (self.variance + SLOW * more_work * more_work);
        self.covariance = (1.0 - SLOW) * (self.covariance + SLOW * more_work * more_time);
        if self.variance > LEAST_SPREAD {
            self.estimate.serial = (self.covariance / self.variance).clamp(0.0, 1.0);
        }
        self.blend(first_token, work, now);
    }

    /// Takes a wait that was given up without a first token: it can only raise.
    pub fn at_least(&mut self, waited: Duration, work: f64, now: Duration) {
        let known = self.estimate;
        if known.seconds > 0.0 && self.own(waited, work) > known.seconds {
            self.blend(waited, work, now);
        }
    }

    fn blend(&mut self, time: Duration, work: f64, now: Duration) {
        let own = self.own(time, work);
        let known = &mut self.estimate;
        // What is old gives way: the first sample after a pause is not held back by what was true before it.
        let gain = if known.seconds > 0.0 { 1.0 - (1.0 - GAIN) * known.kept(now) } else { 1.0 };
        known.seconds += gain * (own - known.seconds);
        known.at = now;
    }

    fn own(&self, time: Duration, work: f64) -> f64 {
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
    fn an_idle_estimate_drifts_to_just_below_the_median_and_not_to_zero() {
        let slow = learned([(8.0, 1.0)]);
        assert!((slow.drifted(secs(0.0), 1.0).seconds - 8.0).abs() < 1e-9);
        assert!((slow.drifted(secs(600.0), 1.0).seconds - HOPE).abs() < 0.01);
    }

    #[test]
    fn the_slower_of_two_is_asked_again_though_the_faster_has_room() {
        let (slow, fast) = (learned([(8.0, 1.0)]), learned([(1.0, 1.0)]));
        let median = median([slow, fast, Estimate::UNKNOWN].iter().map(|known| known.seconds)).expect("two are known");
        assert!(slow.drifted(secs(120.0), median).seconds < 1.0);
    }

    #[test]
    fn a_high_sample_blends_in_and_does_not_jump() {
        let mut learner = Learner::default();
        learner.sample(secs(1.0), 1.0, secs(1.0));
        learner.sample(secs(11.0), 1.0, secs(1.0));
        assert!((learner.estimate.seconds - 3.0).abs() < 1e-9);
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
    fn an_even_load_does_not_unlearn_what_a_varied_one_taught() {
        // Chance has the slightly longer queues answered slightly faster.
        let even = [(0.5, 5.0), (0.49, 5.1)].into_iter().cycle().take(2000);
        let estimate = learned(works().map(|work| (0.1 * work, work)).chain(even));
        assert!((estimate.seconds - 0.1).abs() < 0.02 && estimate.serial > 0.9, "{estimate:?}");
    }

    #[test]
    fn a_wait_without_a_first_token_only_raises() {
        let mut learner = Learner::default();
        learner.at_least(secs(5.0), 1.0, secs(0.0));
        assert_eq!(learner.estimate, Estimate::UNKNOWN);
        learner.sample(secs(1.0), 1.0, secs(1.0));
        learner.at_least(secs(0.5), 1.0, secs(2.0));
        assert!((learner.estimate.seconds - 1.0).abs() < 1e-9);
        learner.at_least(secs(6.0), 1.0, secs(1.0));
        assert!((learner.estimate.seconds - 2.0).abs() < 1e-9);
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
