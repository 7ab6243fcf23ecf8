//! Owns the process's one monotonic clock, as a `Duration` since start, so that pure code takes `now` as a plain value; and
//! what it is in wall-clock time.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::{Instant, interval};

static START: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds from the epoch to the process's start, by the wall clock of late.
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// How far the wall clock may have moved against this one and not be followed: by less, moments told twice would differ.
const STEP: Duration = Duration::from_millis(100);

/// How often the wall clock is looked at: it is set, and virtual machines sleep.
const LOOK: Duration = Duration::from_secs(1);

fn start() -> Instant {
    *START.get_or_init(|| {
        BEGAN.store(nanos(SystemTime::now()), Relaxed);
        Instant::now()
    })
}

fn nanos(wall: SystemTime) -> u64 {
    wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Time since the process first asked.
pub fn now() -> Duration {
    start().elapsed()
}

/// A moment on this clock as the runtime's timers know it.
pub fn instant(at: Duration) -> Instant {
    start() + at
}

/// The wall-clock time of a moment on this clock, for people and logs.
pub fn wall(at: Duration) -> SystemTime {
    start();
    UNIX_EPOCH + Duration::from_nanos(BEGAN.load(Relaxed)) + at
}

/// Seconds from the epoch to now, by the wall clock.
pub fn unix() -> u64 {
    wall(now()).duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A moment on this clock as nanoseconds from the epoch, by the wall clock.
pub fn unix_nanos(at: Duration) -> u64 {
    nanos(wall(at))
}

/// A moment as RFC 3339 text in UTC, to the second.
pub fn rfc3339(at: Duration) -> String {
    humantime::format_rfc3339_seconds(wall(at)).to_string()
}

/// Follows the wall clock where somebody sets it; never ends.
pub async fn follow() {
    let mut tick = interval(LOOK);
    loop {
        tick.tick().await;
        let (before, at) = (BEGAN.load(Relaxed), now());
        BEGAN.store(followed(before, at, nanos(SystemTime::now())), Relaxed);
    }
}

/// When the process began, given that `now` on this clock is `wall` nanoseconds after the epoch.
fn followed(before: u64, now: Duration, wall: u64) -> u64 {
    let began = wall.saturating_sub(now.as_nanos() as u64);
    if u128::from(began.abs_diff(before)) < STEP.as_nanos() { before } else { began }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_set_is_followed_and_one_that_wavers_is_not() {
        const HOUR: u64 = 3_600_000_000_000;
        let (began, now) = (10 * HOUR, Duration::from_secs(60));
        let told = began + 60_000_000_000;
        for (moved, after) in [(told + 50_000_000, began), (told - 50_000_000, began), (told + 4 * HOUR, 14 * HOUR)] {
            assert_eq!(followed(began, now, moved), after);
        }
        assert_eq!(followed(began, now, told - HOUR), 9 * HOUR);
    }
}
