//! Owns the process's one monotonic clock, as a `Duration` since start, so that pure code takes `now` as a plain value.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

static START: OnceLock<(Instant, SystemTime)> = OnceLock::new();

fn start() -> &'static (Instant, SystemTime) {
    START.get_or_init(|| (Instant::now(), SystemTime::now()))
}

/// Time since the process first asked.
pub fn now() -> Duration {
    start().0.elapsed()
}

/// A moment on this clock as the runtime's timers know it.
pub fn instant(at: Duration) -> Instant {
    start().0 + at
}

/// The wall-clock time of a moment on this clock, for people and logs.
pub fn wall(at: Duration) -> SystemTime {
    start().1 + at
}

/// A moment as RFC 3339 text in UTC, to the second.
pub fn rfc3339(at: Duration) -> String {
    humantime::format_rfc3339_seconds(wall(at)).to_string()
}
