//! Owns how limited users are told what is left to them: `x-ratelimit-*` as OpenAI sends it, `anthropic-ratelimit-*` as Anthropic does.

use std::{io::Write, time::Duration};

use super::bucket::Standing;
use crate::{clock, error::Unit};

/// Adds the header lines of one kind of limit, as OpenAI names them: the wait is a duration.
pub(super) fn openai(unit: Unit, standing: &Standing, out: &mut Vec<u8>) {
    let (unit, reset) = (unit.as_str(), go_duration(standing.reset));
    for (name, value) in [("limit", standing.limit), ("remaining", standing.remaining)] {
        // Writing to a vector cannot fail.
        let _ = write!(out, "x-ratelimit-{name}-{unit}: {value}\r\n");
    }
    let _ = write!(out, "x-ratelimit-reset-{unit}: {reset}\r\n");
}

/// Added to a time, makes its whole seconds round up.
const ALMOST: Duration = Duration::from_nanos(999_999_999);

/// The same as Anthropic names them: the wait is given as a time of day, in whole seconds, never too early.
pub(super) fn anthropic(unit: Unit, standing: &Standing, now: Duration, out: &mut Vec<u8>) {
    let unit = unit.as_str();
    for (name, value) in [("limit", standing.limit), ("remaining", standing.remaining)] {
        // Writing to a vector cannot fail.
        let _ = write!(out, "anthropic-ratelimit-{unit}-{name}: {value}\r\n");
    }
    let reset = clock::rfc3339(now + standing.reset + ALMOST);
    let _ = write!(out, "anthropic-ratelimit-{unit}-reset: {reset}\r\n");
}

/// A duration as Go prints it (`time.Duration.String`), which is the form of OpenAI's headers: `0s`, `20ms`, `1.5s`, `6m0s`,
/// `24h0m0s`. In milliseconds, rounded up: a client that comes a fraction sooner is too early.
fn go_duration(time: Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    if (1..1000).contains(&millis) {
        return format!("{millis}ms");
    }
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let mut text = match (hours, minutes) {
        (0, 0) => String::new(),
        (0, minutes) => format!("{minutes}m"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    };
    let (seconds, fraction) = (millis / 1000 % 60, millis % 1000);
    text.push_str(&seconds.to_string());
    if fraction > 0 {
        text.push_str(format!(".{fraction:03}").trim_end_matches('0'));
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        for (micros, text) in [
            (0, "0s"),
            (1, "1ms"),
            (20_000, "20ms"),
            (999_001, "1s"),
            (1_000_000, "1s"),
            (1_500_000, "1.5s"),
            (8_640_000, "8.64s"),
            (60_000_000, "1m0s"),
            (360_000_000, "6m0s"),
            (3_600_000_000, "1h0m0s"),
            (86_399_001_500, "23h59m59.002s"),
            (86_400_000_000, "24h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_micros(micros)), text, "{micros}");
        }
    }

    /// Reads what Go prints.
    fn read(text: &str) -> Option<f64> {
        let mut rest = text;
        let mut part = |unit: &str| {
            let Some((number, behind)) = rest.split_once(unit) else { return Some(0.0) };
            rest = behind;
            number.parse::<f64>().ok()
        };
        if let Some(millis) = text.strip_suffix("ms") {
            return Some(millis.parse::<f64>().ok()? / 1000.0);
        }
        Some(part("h")? * 3600.0 + part("m")? * 60.0 + part("s")?)
    }

    proptest! {
        #[test]
        fn a_printed_duration_is_never_too_short_and_at_most_a_millisecond_too_long(nanos in 0..200_000_000_000_000_u64) {
            let time = Duration::from_nanos(nanos);
            let told = read(&go_duration(time)).expect("a duration");
            let over = told - time.as_secs_f64();
            prop_assert!((-1e-9..0.001).contains(&over), "{time:?} {told}");
        }

        #[test]
        fn a_time_of_day_that_is_told_is_never_too_early_and_less_than_a_second_too_late(nanos in 0..200_000_000_000_000_u64) {
            let (now, reset) = (Duration::from_secs(5), Duration::from_nanos(nanos));
            let mut out = Vec::new();
            anthropic(Unit::Requests, &Standing { limit: 1, remaining: 0, reset }, now, &mut out);
            let text = String::from_utf8(out).expect("text");
            let told = text.lines().find_map(|line| line.strip_prefix("anthropic-ratelimit-requests-reset: "));
            let told = humantime::parse_rfc3339(told.expect("a line")).expect("a moment");
            let over = told.duration_since(clock::wall(now + reset)).expect("not before it is over");
            prop_assert!(over < Duration::from_secs(1), "{over:?}");
        }

        #[test]
        fn no_standing_whatever_breaks_a_line(limit: u64, remaining: u64, reset: u64, now: u64) {
            let standing = Standing { limit, remaining, reset: Duration::from_nanos(reset) };
            let mut out = Vec::new();
            openai(Unit::Tokens, &standing, &mut out);
            anthropic(Unit::Tokens, &standing, Duration::from_nanos(now), &mut out);
            let text = String::from_utf8(out).expect("text");
            prop_assert_eq!(text.matches("\r\n").count(), 6);
            prop_assert!(text.lines().all(|line| line.split_once(": ").is_some_and(|(_, value)| !value.is_empty())));
        }
    }
}
