//! Owns how long to wait before an actor is rebuilt, and when to stop rebuilding it: a function of its recent restarts.

use std::{collections::VecDeque, time::Duration};

use crate::pause::{doubled, jittered};

/// Restarts within `WINDOW` after which an actor is given up.
pub const MAX_RESTARTS: usize = 10;

/// Over which restarts are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// First wait; doubles with each restart in the window.
const FIRST: Duration = Duration::from_millis(10);

/// Longest wait: queued messages sit it out.
const LONGEST: Duration = Duration::from_secs(2);

/// The restarts of one actor.
#[derive(Debug, Clone, Default)]
pub struct Intensity {
    recent: VecDeque<Duration>,
}

/// What to do after a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Rebuild after this wait.
    Restart(Duration),
    /// It keeps failing: leave it dead.
    GiveUp,
}

impl Intensity {
    /// Notes a panic at `now`; `jitter` from 0 to 1.
    pub fn panicked(&mut self, now: Duration, jitter: f64) -> Next {
        let start = now.saturating_sub(WINDOW);
        self.recent.retain(|at| *at > start || start.is_zero());
        if self.recent.len() >= MAX_RESTARTS {
            return Next::GiveUp;
        }
        let wait = doubled(FIRST, self.recent.len() as u32, LONGEST);
        self.recent.push_back(now);
        Next::Restart(jittered(wait, jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_the_eleventh_panic_in_a_minute_is_the_last() {
        let mut intensity = Intensity::default();
        let second = Duration::from_secs(100);
        let waits: Vec<Next> = (0..11).map(|_| intensity.panicked(second, 0.0)).collect();
        assert_eq!(waits[0], Next::Restart(Duration::from_millis(10)));
        assert_eq!(waits[3], Next::Restart(Duration::from_millis(80)));
        assert_eq!(waits[9], Next::Restart(Duration::from_secs(2)));
        assert_eq!(waits[10], Next::GiveUp);
    }

    #[test]
    fn panics_far_apart_are_each_the_first() {
        let mut intensity = Intensity::default();
        for n in 1..100 {
            let next = intensity.panicked(WINDOW * n, 0.0);
            assert_eq!(next, Next::Restart(FIRST));
        }
    }
}
