//! Owns how long a provider wants to be left alone, in whichever of its words it says so.

use std::time::{Duration, SystemTime};

use crate::{backend::breaker::LONGEST_WAIT, wire::Fault};

/// When the provider wants to be asked again: the first of the known headers that says so, else the body.
pub fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>, fault: &Fault, wall: SystemTime) -> Option<Duration> {
    let millis = |name| header(name)?.trim().parse::<f64>().ok().and_then(|ms| seconds(ms / 1000.0));
    let until = |at: SystemTime| at.duration_since(wall).unwrap_or(Duration::ZERO);
    let plain = || {
        let text = header("retry-after")?.trim();
        text.parse().ok().and_then(seconds).or_else(|| httpdate::parse_http_date(text).ok().map(until))
    };
    // Of the resets, those whose budget is used up are meant.
    let text = |name: String| header(&name).map(str::trim);
    let openai = || {
        let of = |kind: &str| {
            let spent = text(format!("x-ratelimit-remaining-{kind}"))? == "0";
            spent.then(|| go_duration(text(format!("x-ratelimit-reset-{kind}"))?))?
        };
        ["requests", "tokens"].into_iter().filter_map(of).max()
    };
    let anthropic = || {
        let of = |kind: &str| {
            let spent = text(format!("anthropic-ratelimit-{kind}-remaining"))? == "0";
            let at = text(format!("anthropic-ratelimit-{kind}-reset"))?;
            spent.then(|| humantime::parse_rfc3339_weak(at).ok().map(until))?
        };
        ["requests", "tokens", "input-tokens", "output-tokens"].into_iter().filter_map(of).max()
    };
    millis("retry-after-ms")
        .or_else(|| millis("x-ms-retry-after-ms"))
        .or_else(plain)
        .or_else(openai)
        .or_else(anthropic)
        .or(fault.retry_after)
        .map(|wait| wait.min(LONGEST_WAIT))
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// Durations such as `1s`, `6m0s`, `20ms`, `1.5s`, as Go prints them; bare numbers are seconds.
fn go_duration(text: &str) -> Option<Duration> {
    if let Ok(number) = text.parse() {
        return seconds(number);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|n| *n > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| digits + n);
        total += number
            * match &rest[digits..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    seconds(total)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_retry_after_is_read_in_order() {
        /// Headers, and the seconds to read from them.
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<f64>);
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(107));
        let wall = UNIX_EPOCH + Duration::from_secs(100);
        let cases: [Case<'_>; 9] = [
            (&[("retry-after-ms", "1500"), ("retry-after", "9")], Some(1.5)),
            (&[("x-ms-retry-after-ms", "20")], Some(0.02)),
            (&[("retry-after", "2")], Some(2.0)),
            (&[("retry-after", &date)], Some(7.0)),
            (&[("x-ratelimit-reset-requests", "6m0s"), ("x-ratelimit-remaining-requests", "0")], Some(360.0)),
            (&[("x-ratelimit-reset-tokens", "20ms"), ("x-ratelimit-remaining-tokens", "0")], Some(0.02)),
            (&[("x-ratelimit-reset-tokens", "20ms"), ("x-ratelimit-remaining-tokens", "50")], None),
            (
                &[
                    ("anthropic-ratelimit-tokens-reset", "1970-01-01T00:01:50Z"),
                    ("anthropic-ratelimit-tokens-remaining", "0"),
                ],
                Some(10.0),
            ),
            (&[("retry-after", "soon")], None),
        ];
        for (headers, want) in cases {
            let get = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
            let found = retry_after(get, &Fault::default(), wall);
            assert_eq!(found.map(|d| d.as_secs_f64()), want, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_value_whatever_panics(text in ".*") {
            let header = |_: &str| Some(text.as_str());
            let _ = retry_after(header, &Fault::default(), SystemTime::now());
            let _ = go_duration(&text);
        }
    }
}
