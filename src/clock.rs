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

/// Nanoseconds from the epoch to the process's start, by the wall clock when it was last looked at.
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// The wall clock is followed only once it has moved by this much: if each small step were, the same moment told twice would differ.
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

/// A number and when it was written, in one word of memory: both change by one instruction, and are read as they stood together.
#[derive(Debug, Default)]
pub struct Stamped(AtomicU64);

impl Stamped {
    /// The number and its age, to the millisecond; 0 where nothing was written. Ages wrap around, every 49 days.
    pub fn read(&self, now: Duration) -> (u32, Duration) {
        unstamped(self.0.load(Relaxed), now)
    }

    /// Writes it.
    pub fn write(&self, number: u32, now: Duration) {
        self.0.store(stamped(number, now), Relaxed);
    }

    /// Writes what `change` makes of the number and its age.
    pub fn change(&self, now: Duration, change: impl Fn(u32, Duration) -> u32) {
        let changed = |word| {
            let (number, age) = unstamped(word, now);
            Some(stamped(change(number, age), now))
        };
        let _ = self.0.fetch_update(Relaxed, Relaxed, changed);
    }

    /// Writes 0, unless it is there already: a word that nobody writes is read without waiting for other threads.
    pub fn clear(&self) {
        if self.0.load(Relaxed) != 0 {
            self.0.store(0, Relaxed);
        }
    }
}

fn stamped(number: u32, now: Duration) -> u64 {
    u64::from(number) << 32 | u64::from(now.as_millis() as u32)
}

fn unstamped(word: u64, now: Duration) -> (u32, Duration) {
    let age = (now.as_millis() as u32).wrapping_sub(word as u32);
    ((word >> 32) as u32, Duration::from_millis(age.into()))
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
    unix_at(now()).cast_unsigned()
}

/// A moment on this clock as seconds from the epoch, by the wall clock.
pub fn unix_at(at: Duration) -> i64 {
    wall(at).duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

/// A moment on this clock as nanoseconds from the epoch, by the wall clock.
pub fn unix_nanos(at: Duration) -> u64 {
    nanos(wall(at))
}

/// A moment on this clock as RFC 3339 text in UTC, to the second.
pub fn rfc3339(at: Duration) -> String {
    timestamp(unix_at(at))
}

/// The last second of the year 9999: RFC 3339 has no later ones.
const LAST: i64 = 253_402_300_799;

/// Seconds since the epoch as RFC 3339 text in UTC, as far as that goes.
pub fn timestamp(unix: i64) -> String {
    let since = Duration::from_secs(unix.clamp(0, LAST) as u64);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_and_its_age_are_read_as_written(
            number: u32, change in 0..1000u32, at in 0..u64::from(u32::MAX) * 3, later in 0..u64::from(u32::MAX),
        ) {
            let (stamped, at, later) = (Stamped::default(), Duration::from_millis(at), Duration::from_millis(later));
            stamped.write(number, at);
            prop_assert_eq!(stamped.read(at + later), (number, later));
            stamped.change(at + later, |number, age| number.wrapping_add(change).wrapping_add(age.as_millis() as u32));
            let changed = number.wrapping_add(change).wrapping_add(later.as_millis() as u32);
            prop_assert_eq!(stamped.read(at + later), (changed, Duration::ZERO));
            stamped.clear();
            prop_assert_eq!(stamped.read(at).0, 0);
        }
    }

    #[test]
    fn any_number_of_seconds_has_a_text() {
        assert_eq!(timestamp(1_700_000_040), "2023-11-14T22:14:00Z");
        assert_eq!(timestamp(i64::MIN), "1970-01-01T00:00:00Z");
        for late in [LAST, LAST + 1, i64::MAX] {
            assert_eq!(timestamp(late), "9999-12-31T23:59:59Z");
        }
    }

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
