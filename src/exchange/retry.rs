//! Owns judging failures: what class an answer is of, how long its provider wants to be left alone, what of it may be told.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    backend::breaker::LONGEST_WAIT,
    error::{Class, Failed, Told},
    wire::Fault,
};

/// Codes and types of an account without money or quota: a wait does not cure these.
const QUOTA: [&str; 9] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
];
const OVERLOAD: [&str; 4] = ["server_is_overloaded", "overloaded_error", "overloaded", "engine_overloaded"];
const RATE: [&str; 5] = ["rate_limit_exceeded", "rate_limit_error", "slow_down", "requests", "resource_exhausted"];
const CONTEXT: [&str; 3] = ["context_length_exceeded", "string_above_max_length", "exceed_context_size_error"];
const CONTENT: [&str; 6] = [
    "content_filter",
    "content_policy_violation",
    "invalid_prompt",
    "responsibleaipolicyviolation",
    "content_blocked",
    "safety",
];
const CREDENTIALS: [&str; 4] = ["invalid_api_key", "authentication_error", "permission_error", "unauthenticated"];

/// The class of a provider's error, by its status and its words. A fault inside of a 200 has no status of its own.
pub fn classify(fault: &Fault) -> Class {
    let code = fault.code.to_ascii_lowercase();
    let kind = fault.kind.to_ascii_lowercase();
    let says = |list: &[&str]| list.contains(&code.as_str()) || list.contains(&kind.as_str());
    if says(&QUOTA) {
        return Class::ProviderQuota;
    }
    let caller = |status: Option<u16>| status.is_none_or(|s| matches!(s, 400 | 413 | 422));
    if caller(fault.status) {
        // Some providers have no code for it, so that the words must do.
        let words = fault.message.to_ascii_lowercase();
        if says(&CONTEXT)
            || ["maximum context length", "prompt is too long", "context window"].iter().any(|w| words.contains(w))
        {
            return Class::ProviderContextLength;
        }
        if says(&CONTENT) {
            return Class::ProviderContentFilter;
        }
        if words.contains("credit balance is too low") {
            return Class::ProviderQuota;
        }
    }
    match fault.status {
        Some(401 | 403 | 451) => Class::ProviderAuth,
        Some(402) => Class::ProviderQuota,
        Some(404) => Class::ProviderModelMissing,
        Some(code @ (408 | 429 | 500..)) if matches!(code, 503 | 529) || says(&OVERLOAD) => Class::ProviderOverloaded,
        Some(429) => Class::ProviderRatelimit,
        Some(408 | 500..) => Class::ProviderServer,
        Some(400..500) if code == "model_not_found" => Class::ProviderModelMissing,
        Some(400..500) => Class::CallerInvalid,
        Some(_) => Class::ProviderInvalid,
        None if says(&OVERLOAD) => Class::ProviderOverloaded,
        None if says(&RATE) => Class::ProviderRatelimit,
        None if says(&CREDENTIALS) => Class::ProviderAuth,
        None if code == "model_not_found" => Class::ProviderModelMissing,
        None if kind == "invalid_request_error" => Class::CallerInvalid,
        None => Class::ProviderServer,
    }
}

/// When the provider wants to be asked again: the first of the known headers that says so, else the body.
pub fn retry_after<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
    fault: &Fault,
    wall: std::time::SystemTime,
) -> Option<Duration> {
    let millis = |name| header(name)?.trim().parse::<f64>().ok().and_then(|ms| seconds(ms / 1000.0));
    let until = |at: std::time::SystemTime| at.duration_since(wall).unwrap_or(Duration::ZERO);
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

/// A provider's error inside of a stream or of a 200.
pub(super) fn fault_in_stream(fault: &Fault) -> Failed {
    let class = classify(fault);
    Failed {
        status: fault.status,
        retry_after: fault.retry_after,
        told: told(class, fault, None),
        ..Failed::new(class, format!("it reported an error in its answer ({})", words(fault)))
    }
}

/// A provider's own words, where the fault is the caller's and so is for the caller to read; `body` goes out in their place.
pub(super) fn told(class: Class, fault: &Fault, body: Option<Bytes>) -> Option<Told> {
    let is_callers =
        matches!(class, Class::CallerInvalid | Class::ProviderContextLength | Class::ProviderContentFilter);
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    is_callers.then(|| Told {
        kind: or(&fault.kind, "invalid_request_error"),
        code: fault.code.clone(),
        message: or(&fault.message, "The backend refused the request."),
        param: fault.param.clone(),
        body,
    })
}

/// Longest type or code that is shown.
const LONGEST_WORD: usize = 64;

/// A fault's type and code, which are safe to show; never its free text, not where a type or a code should be either.
pub(super) fn words(fault: &Fault) -> String {
    let is_word = |text: &&str| {
        (1..=LONGEST_WORD).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let mut parts: Vec<&str> = [fault.kind.as_str(), fault.code.as_str()].into_iter().filter(is_word).collect();
    parts.dedup();
    if parts.is_empty() { "no details".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn fault(status: u16, kind: &str, code: &str, message: &str) -> Fault {
        Fault {
            status: Some(status),
            kind: kind.into(),
            code: code.into(),
            message: message.into(),
            ..Fault::default()
        }
    }

    #[test]
    fn money_and_passing_limits_are_told_apart() {
        for (fault, class) in [
            (fault(429, "insufficient_quota", "insufficient_quota", ""), Class::ProviderQuota),
            (fault(429, "requests", "rate_limit_exceeded", ""), Class::ProviderRatelimit),
            (fault(429, "rate_limit_error", "enforced_spend_limit_reached", ""), Class::ProviderQuota),
            (fault(402, "", "", ""), Class::ProviderQuota),
            (fault(400, "invalid_request_error", "", "Your credit balance is too low to access"), Class::ProviderQuota),
            (fault(529, "overloaded_error", "", ""), Class::ProviderOverloaded),
            (fault(500, "", "context_length_exceeded", ""), Class::ProviderServer),
            (fault(400, "", "context_length_exceeded", ""), Class::ProviderContextLength),
            (
                fault(400, "invalid_request_error", "", "prompt is too long: 210000 tokens"),
                Class::ProviderContextLength,
            ),
            (fault(400, "invalid_request_error", "content_policy_violation", ""), Class::ProviderContentFilter),
            (fault(404, "", "model_not_found", ""), Class::ProviderModelMissing),
            (fault(422, "", "", ""), Class::CallerInvalid),
            (fault(403, "", "", ""), Class::ProviderAuth),
            (fault(408, "", "", ""), Class::ProviderServer),
            (fault(302, "", "", ""), Class::ProviderInvalid),
        ] {
            assert_eq!(classify(&fault), class, "{fault:?}");
        }
    }

    #[test]
    fn an_error_in_an_answer_that_is_the_callers_is_told_in_the_providers_words() {
        let within = |status, kind: &str, code: &str| {
            fault_in_stream(&Fault { status, ..fault(0, kind, code, "Too many tools.") })
        };
        for (failed, class) in [
            (within(None, "invalid_request_error", "bad_tools"), Class::CallerInvalid),
            (within(None, "", "context_length_exceeded"), Class::ProviderContextLength),
            (within(None, "", "content_filter"), Class::ProviderContentFilter),
            (within(Some(400), "", "400"), Class::CallerInvalid),
        ] {
            assert_eq!(failed.class, class);
            assert_eq!(failed.told.map(|told| told.message).as_deref(), Some("Too many tools."));
            assert!(!failed.message.contains("tools."), "{}", failed.message);
        }
        for failed in
            [within(None, "server_error", ""), within(Some(401), "", "401"), within(None, "", "model_not_found")]
        {
            assert_eq!(failed.told, None, "{}", failed.message);
        }
    }

    #[test]
    fn free_text_is_not_shown_where_a_type_or_a_code_should_be() {
        assert_eq!(words(&fault(401, "Bad key sk-123 given", "invalid_api_key", "")), "invalid_api_key");
        assert_eq!(words(&fault(401, &"x".repeat(99), "", "")), "no details");
    }

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
