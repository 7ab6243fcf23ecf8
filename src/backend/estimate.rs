//! Owns what to expect of a backend's answers: how long a first token takes, whether requests wait for each other, at what
//! pace tokens follow; and the words of memory in which that is published.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;

use super::learner::Learner;

/// An idle estimate drifts over this time: finagle's default decay. In the simulation from 10 to 60 s are equal, since who
/// gets requests is not idle; between two real servers with little to do 60 s left one aside for minutes.
pub const TAU: Duration = Duration::from_secs(10);

/// Where it drifts to, and what is expected of a backend that was never measured, as a share of the pool's median: a
/// little better than the others, so that an idle backend is asked again some day even if the others have nothing to
/// do.
const HOPE: f64 = 0.8;

/// Estimates this close to the pool's median, as a share of it, count as equal to it: samples are few and unlike, so among equal
/// servers they come out a fifth apart, and a router that believes them fills one server's batch twice as full as another's.
/// Up to twice this far the difference returns; beyond that it is believed as it is. In the simulation 0.2 to 0.35 are equal.
const EVEN: f64 = 0.2;

/// While no pace is known, a first token counts as long as this many further ones: few enough to decide nothing but
/// ties.
const GUESSED: f64 = 50.0;

/// What a router has to know of a backend's answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Seconds to first token of an empty prompt with nothing in front; 0: nothing measured yet.
    pub seconds: f64,
    /// Whether requests wait for each other: 0 served side by side, as behind a provider's front door; 1 in turn, as on one
    /// server. Time to first token grows with the work in front to this power.
    pub serial: f64,
    /// Seconds from one token to the next with no other stream; 0: nothing measured yet.
    pub pace: f64,
    /// When a first token, or a wait for one that was given up, was last measured.
    pub at: Duration,
}

/// What is usual in a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usual {
    /// Median seconds to first token.
    pub seconds: f64,
    /// Median seconds from one token to the next.
    pub pace: f64,
}

impl Usual {
    /// What is usual, given what is known of each; `None`: nothing is.
    pub fn of(known: impl Iterator<Item = Estimate> + Clone) -> Option<Self> {
        let seconds = median(known.clone().map(|one| one.seconds))?;
        Some(Self { seconds, pace: median(known.map(|one| one.pace)).unwrap_or(seconds / GUESSED) })
    }

    /// Before anything has been measured.
    pub fn guessed(first_token: Duration) -> Self {
        let seconds = first_token.as_secs_f64();
        Self { seconds, pace: seconds / GUESSED }
    }
}

impl Estimate {
    /// Nothing measured yet.
    pub const UNKNOWN: Self = Self { seconds: 0.0, serial: 0.0, pace: 0.0, at: Duration::ZERO };

    /// What to expect at `now`: what was learned, evened with what is `usual` in the pool where it is near to that, drifting
    /// to just below it while idle; never zero.
    #[must_use]
    pub fn expected(self, now: Duration, usual: Usual) -> Self {
        let kept = kept(self.at, now);
        Self {
            seconds: expected(self.seconds, usual.seconds, kept),
            pace: expected(self.pace, usual.pace, kept),
            ..self
        }
    }
}

/// How much of what was measured `at` some time is still to be believed at `now`.
pub(super) fn kept(at: Duration, now: Duration) -> f64 {
    (-now.saturating_sub(at).as_secs_f64() / TAU.as_secs_f64()).exp()
}

fn expected(known: f64, median: f64, kept: f64) -> f64 {
    let hoped = HOPE * median;
    if known <= 0.0 {
        return hoped;
    }
    hoped + (evened(known, median) - hoped) * kept
}

/// `known` as it counts beside the pool's `median`: it changes steadily, and is never farther off than it is.
fn evened(known: f64, median: f64) -> f64 {
    let (off, even) = (known - median, EVEN * median);
    let far = off.abs();
    if far >= 2.0 * even { known } else { median + (2.0 * (far - even)).max(0.0).copysign(off) }
}

/// The median of what is known: of an even number the lower middle one. With the upper one, of two backends
/// the slower would drift to itself, and never be asked again while the other has room.
fn median(seconds: impl Iterator<Item = f64>) -> Option<f64> {
    let mut known: Vec<f64> = seconds.filter(|s| *s > 0.0).collect();
    known.sort_unstable_by(f64::total_cmp);
    known.get(known.len().saturating_sub(1) / 2).copied()
}

/// The estimate: learned by whoever holds a lease, published for routers.
#[derive(Debug, Default)]
pub struct EstimateCell {
    /// Seconds as f32 above; `serial` in 255ths, then the time in seconds, of which half a year is told apart.
    first_token: AtomicU64,
    /// As f32.
    pace: AtomicU32,
    /// What is usual in the pool: seconds as f32 above, pace as f32 below; 0: nothing is known.
    usual: AtomicU64,
    learner: Mutex<Learner>,
}

impl EstimateCell {
    const TIME: u64 = (1 << 24) - 1;

    /// The estimate as last published.
    pub fn read(&self) -> Estimate {
        let word = self.first_token.load(Relaxed);
        Estimate {
            seconds: float(word >> 32),
            serial: f64::from((word >> 24) as u8) / 255.0,
            pace: float(self.pace.load(Relaxed).into()),
            at: Duration::from_secs(word & Self::TIME),
        }
    }

    /// What to expect at `now`; `first_guess` as long as nobody in the pool knows.
    pub fn at(&self, now: Duration, first_guess: Duration) -> Estimate {
        let usual = match self.usual.load(Relaxed) {
            0 => Usual::guessed(first_guess),
            word => Usual { seconds: float(word >> 32), pace: float(word) },
        };
        let known = self.read();
        // Only the lower bits of its time are kept. One that seems to lie far ahead was written by another thread just now.
        let age = now.as_secs().wrapping_sub(known.at.as_secs()) & Self::TIME;
        let age = if age > Self::TIME / 2 { 0 } else { age };
        Estimate { at: now.saturating_sub(Duration::from_secs(age)), ..known }.expected(now, usual)
    }

    /// Tells what is usual in the pool.
    pub fn tell(&self, usual: Usual) {
        self.usual.store(bits(usual.seconds) << 32 | bits(usual.pace), Relaxed);
    }

    /// Learns, unless another thread does at this moment: one sample of many is no loss, a wait would be.
    pub(super) fn learn(&self, take: impl FnOnce(&mut Learner)) {
        let Some(mut learner) = self.learner.try_lock() else { return };
        take(&mut learner);
        let Estimate { seconds, serial, pace, at } = learner.estimate;
        let serial = (serial * 255.0).round() as u64;
        self.first_token.store(bits(seconds) << 32 | serial << 24 | at.as_secs() & Self::TIME, Relaxed);
        self.pace.store((pace as f32).to_bits(), Relaxed);
    }
}

fn bits(value: f64) -> u64 {
    u64::from((value as f32).to_bits())
}

/// The lower half of a word, as `bits` made it.
fn float(word: u64) -> f64 {
    f64::from(f32::from_bits(word as u32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    fn learned(seconds: f64) -> Estimate {
        Estimate { seconds, ..Estimate::UNKNOWN }
    }

    fn usual(seconds: f64) -> Usual {
        Usual { seconds, pace: 0.02 }
    }

    #[test]
    fn an_idle_estimate_drifts_to_just_below_the_median_and_not_to_zero() {
        let slow = learned(8.0);
        assert!((slow.expected(secs(0.0), usual(1.0)).seconds - 8.0).abs() < 1e-9);
        assert!((slow.expected(secs(600.0), usual(1.0)).seconds - HOPE).abs() < 0.01);
    }

    #[test]
    fn the_slower_of_two_is_asked_again_though_the_faster_has_room() {
        let (slow, fast) = (learned(8.0), learned(1.0));
        let usual = Usual::of([slow, fast, Estimate::UNKNOWN].into_iter()).expect("two are known");
        assert!(slow.expected(secs(120.0), usual).seconds < 1.0);
    }

    #[test]
    fn equals_are_not_told_apart_by_chance_but_the_slow_and_the_fast_are() {
        for (learned_s, expected_s) in
            [(0.85, 1.0), (1.15, 1.0), (1.3, 1.2), (1.4, 1.4), (8.0, 8.0), (0.6, 0.6), (0.1, 0.1)]
        {
            let one = learned(learned_s).expected(secs(0.0), usual(1.0));
            assert!((one.seconds - expected_s).abs() < 1e-6, "{learned_s}: {one:?}");
        }
    }

    #[test]
    fn who_streams_for_nobody_is_hoped_to_keep_a_little_more_than_the_usual_pace() {
        let slow = Estimate { pace: 0.1, ..learned(1.0) };
        let pace_at = |s| slow.expected(secs(s), usual(1.0)).pace;
        assert!((pace_at(0.0) - 0.1).abs() < 1e-6 && (pace_at(600.0) - HOPE * 0.02).abs() < 1e-4);
        assert!((Estimate::UNKNOWN.expected(secs(0.0), usual(1.0)).pace - HOPE * 0.02).abs() < 1e-9);
    }

    #[test]
    fn what_is_published_is_what_was_learned() {
        let cell = EstimateCell::default();
        let first_guess = secs(0.5);
        assert_eq!(cell.at(secs(3.0), first_guess), Estimate::UNKNOWN.expected(secs(3.0), Usual::guessed(first_guess)));
        cell.learn(|learner| {
            learner.sample(secs(2.0), 1.0, secs(3.0));
            learner.pace(secs(0.25), 10, 1.0, secs(3.0));
        });
        cell.tell(Usual { seconds: 0.25, pace: 0.0625 });
        let known = cell.at(secs(3.0), first_guess);
        assert_eq!((known.seconds, known.pace, known.at), (2.0, 0.25, secs(3.0)));
        let idle = cell.at(secs(900.0), first_guess);
        assert!((idle.seconds - HOPE * 0.25).abs() < 1e-6 && (idle.pace - HOPE * 0.0625).abs() < 1e-6, "{idle:?}");
    }

    #[test]
    fn what_was_learned_counts_as_well_after_years_as_on_the_first_day() {
        for began in [1.0, 2.0_f64.powi(24) - 1.0, 2.0_f64.powi(24), 1e8] {
            let cell = EstimateCell::default();
            cell.learn(|learner| learner.sample(secs(2.0), 1.0, secs(began)));
            cell.tell(usual(0.25));
            let expected_at = |now| cell.at(secs(now), secs(0.5)).seconds;
            assert!((expected_at(began) - 2.0).abs() < 1e-9, "{began}");
            // Asked by a thread whose time is a little behind.
            assert!((expected_at(began - 1.0) - 2.0).abs() < 1e-9, "{began}");
            assert!(expected_at(began + 600.0) < 0.25, "{began}");
        }
    }

    proptest! {
        #[test]
        fn who_is_slower_is_never_expected_to_be_faster(a in 0.01..100.0f64, more in 1.0..3.0f64, median in 0.01..100.0f64) {
            let (fast, slow) = (evened(a, median), evened(a * more, median));
            prop_assert!(fast <= slow * 1.000_001, "{} {}", fast, slow);
            prop_assert!((fast - median).abs() <= (a - median).abs() * 1.000_001);
        }
    }
}
