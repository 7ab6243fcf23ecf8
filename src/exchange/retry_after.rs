//! Owns reading how long a provider wants to be left alone, from whichever header or body says so.

use std::time::{Duration, SystemTime};

use crate::{
    backend::breaker::LONGEST_WAIT,
    error::{Class, Failed},
    wire::{Fault, http1::parse_retry_after},
};

/// When the provider wants to be asked again: the first of the known headers that says so, else the body.
pub fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>, fault: &Fault, wall: SystemTime) -> Option<Duration> {
    let millis = |name| header(name)?.trim().parse::<f64>().ok().and_then(|ms| seconds(ms / 1000.0));
    let until = |at: SystemTime| at.duration_since(wall).unwrap_or(Duration::ZERO);
    let text = |name: String| header(&name).map(str::trim);
    // A reset counts if its budget is used up, or if nothing tells how much of it is left.
    let reset = |left: String, at: String| text(at).filter(|_| text(left).is_none_or(|left| left == "0"));
    let openai = || {
        let names = |kind| (format!("x-ratelimit-remaining-{kind}"), format!("x-ratelimit-reset-{kind}"));
        let resets = ["requests", "tokens"].map(names).into_iter();
        resets.filter_map(|(left, at)| go_duration(reset(left, at)?)).max()
    };
    let anthropic = || {
        let of = |kind: &str| format!("anthropic-ratelimit-{kind}");
        let kinds = ["requests", "tokens", "input-tokens", "output-tokens"].map(of).into_iter();
        let resets = kinds.filter_map(|of| reset(format!("{of}-remaining"), format!("{of}-reset")));
        resets.filter_map(|at| humantime::parse_rfc3339_weak(at).ok().map(until)).max()
    };
    // A provider that may be asked again at once, or in the past, names no wait.
    let sources: [&dyn Fn() -> Option<Duration>; 6] = [
        &|| millis("retry-after-ms"),
        &|| millis("x-ms-retry-after-ms"),
        &|| parse_retry_after(header("retry-after")?, wall),
        &openai,
        &anthropic,
        &|| fault.retry_after,
    ];
    let named = sources.iter().find_map(|named| named().filter(|wait| !wait.is_zero()));
    named.map(|wait| wait.min(LONGEST_WAIT))
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

/// The headers that count for a failure of this class. Those about limits come with every answer, so they count only if the
/// failure is a limit.
pub(super) fn heeded<'a>(class: Class, header: impl Fn(&str) -> Option<&'a str>) -> impl Fn(&str) -> Option<&'a str> {
    let limited = matches!(class, Class::ProviderRatelimit | Class::ProviderOverloaded);
    move |name| if limited || !name.contains("ratelimit") { header(name) } else { None }
}

/// A failure that a provider has told of inside of its answer, with the wait that its head names.
pub(super) fn named_in<'a>(failed: Failed, header: impl Fn(&str) -> Option<&'a str>, wall: SystemTime) -> Failed {
    if !matches!(failed.class, Class::ProviderRatelimit | Class::ProviderOverloaded | Class::ProviderServer) {
        return failed;
    }
    let said = Fault { retry_after: failed.retry_after, ..Fault::default() };
    Failed { retry_after: retry_after(heeded(failed.class, header), &said, wall), ..failed }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_within_an_answer_waits_as_its_head_says_and_as_limits_do_only_where_it_is_one() {
        let head = |name: &str| match name {
            "x-ratelimit-remaining-requests" => Some("0"),
            "x-ratelimit-reset-requests" => Some("7s"),
            _ => None,
        };
        let waits = |class, own: Option<u64>, asks: bool| {
            let failed = Failed { retry_after: own.map(Duration::from_secs), ..Failed::new(class, "") };
            let header = |name: &str| if asks && name == "retry-after" { Some("9") } else { head(name) };
            named_in(failed, header, UNIX_EPOCH).retry_after.map(|wait| wait.as_secs())
        };
        assert_eq!(waits(Class::ProviderRatelimit, None, false), Some(7));
        assert_eq!(waits(Class::ProviderServer, None, false), None);
        assert_eq!(waits(Class::ProviderServer, Some(3), false), Some(3));
        assert_eq!(waits(Class::ProviderServer, Some(3), true), Some(9));
        assert_eq!(waits(Class::ProviderStreamCut, None, true), None);
    }

    #[test]
    fn every_form_of_retry_after_is_read_in_order() {
        /// Headers, and the seconds to read from them.
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<f64>);
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(107));
        let wall = UNIX_EPOCH + Duration::from_secs(100);
        let cases: [Case<'_>; 15] = [
            (&[("retry-after-ms", "1500"), ("retry-after", "9")], Some(1.5)),
            (&[("x-ms-retry-after-ms", "20")], Some(0.02)),
            (&[("retry-after", "2")], Some(2.0)),
            (&[("retry-after", &date)], Some(7.0)),
            (&[("x-ratelimit-reset-requests", "6m0s"), ("x-ratelimit-remaining-requests", "0")], Some(360.0)),
            (&[("x-ratelimit-reset-tokens", "20ms"), ("x-ratelimit-remaining-tokens", "0")], Some(0.02)),
            (&[("x-ratelimit-reset-tokens", "20ms"), ("x-ratelimit-remaining-tokens", "50")], None),
            (&[("x-ratelimit-reset-tokens", "6s")], Some(6.0)),
            (&[("anthropic-ratelimit-input-tokens-reset", "1970-01-01T00:01:50Z")], Some(10.0)),
            (
                &[
                    ("x-ratelimit-reset-tokens", "6m0s"),
                    ("x-ratelimit-remaining-tokens", "50"),
                    ("x-ratelimit-reset-requests", "2s"),
                ],
                Some(2.0),
            ),
            (
                &[
                    ("anthropic-ratelimit-tokens-reset", "1970-01-01T00:01:50Z"),
                    ("anthropic-ratelimit-tokens-remaining", "0"),
                ],
                Some(10.0),
            ),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "0")], None),
            (&[("retry-after-ms", "0"), ("retry-after", "9")], Some(9.0)),
            (&[("retry-after", "Thu, 01 Jan 1970 00:00:09 GMT")], None),
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
