//! Owns the window for a gate's error ratio: when attempts failed, and how many had succeeded by then. Pure.

use std::{collections::VecDeque, time::Duration};

use crate::settings::BreakerSettings;

/// Entries kept.
const LONGEST: usize = 512;

/// Failures and ticks. The first one tells the successes at the window's beginning, so there always is one.
#[derive(Debug, Clone)]
pub(super) struct Window(VecDeque<Entry>);

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: Duration,
    /// How many successes there had been.
    successes: u64,
    is_failure: bool,
}

impl Window {
    /// Nothing has failed; the successes so far are none of the window's.
    pub(super) fn begin(successes: u64) -> Self {
        Self(VecDeque::from([Entry { at: Duration::ZERO, successes, is_failure: false }]))
    }

    /// Notes a failure, or only the count of successes so far, so that what is older than the window can be left out.
    pub(super) fn note(&mut self, at: Duration, successes: u64, is_failure: bool, settings: &BreakerSettings) {
        if self.0.back().is_some_and(|last| last.successes > successes) {
            // A reload has taken a model away, and its successes with it: nothing before compares with what follows.
            *self = Self::begin(successes);
        }
        let start = at.saturating_sub(settings.window);
        // The last entry before the window stays: it tells the successes at its beginning.
        while self.0.len() > LONGEST || self.0.get(1).is_some_and(|second| second.at <= start) {
            self.0.pop_front();
        }
        self.0.push_back(Entry { at, successes, is_failure });
    }

    /// Whether too many of all have failed.
    pub(super) fn is_bad(&self, now: Duration, successes: u64, settings: &BreakerSettings) -> bool {
        let start = now.saturating_sub(settings.window);
        let failures = self.0.iter().filter(|entry| entry.is_failure && entry.at >= start).count() as u64;
        let before = self.0.front().map_or(successes, |first| first.successes);
        let all = failures + successes.saturating_sub(before);
        all >= u64::from(settings.min_samples.max(1)) && failures as f64 / all as f64 >= settings.error_ratio
    }

    /// Forgets all. What succeeds from the last note on counts.
    pub(super) fn clear(&mut self) {
        *self = Self::begin(self.0.back().map_or(0, |last| last.successes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn settings() -> BreakerSettings {
        BreakerSettings {
            failures: 3,
            window: secs(30),
            min_samples: 4,
            error_ratio: 0.5,
            backoff_min: secs(1),
            backoff_max: secs(60),
        }
    }

    #[test]
    fn a_reload_that_takes_successes_away_does_not_make_failures_of_now_and_then_too_many() {
        let (mut window, settings) = (Window::begin(1000), settings());
        for n in 0..4 {
            window.note(secs(2 * n), 1000 + 9 * n, true, &settings);
            assert!(!window.is_bad(secs(2 * n), 1000 + 9 * n, &settings));
        }
        for n in 0..4 {
            // All but one model are gone: the sum of successes begins anew.
            window.note(secs(10 + 2 * n), 20 + 9 * n, true, &settings);
            assert!(!window.is_bad(secs(10 + 2 * n), 20 + 9 * n, &settings), "{window:?}");
        }
    }

    #[test]
    fn only_failures_within_the_window_count_and_enough_are_enough() {
        let (mut window, settings) = (Window::begin(0), settings());
        for n in 0..3 {
            window.note(secs(n), 0, true, &settings);
        }
        assert!(!window.is_bad(secs(3), 0, &settings));
        window.note(secs(3), 0, true, &settings);
        assert!(window.is_bad(secs(3), 0, &settings) && !window.is_bad(secs(32), 0, &settings));
        window.clear();
        assert!(!window.is_bad(secs(3), 0, &settings));
    }
}
