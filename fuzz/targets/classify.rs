//! Owns fuzzing what is made of a provider's error: its body, its class, its wishes for waiting.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use greenroom::{
    exchange::retry_after::retry_after,
    upstream::classify::classify,
    wire::{Protocol, translate},
};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [choice, high, low, rest @ ..] = input else { return };
    let status = u16::from_be_bytes([*high, *low]);
    // Up to a line feed it is a header's value, from there on the body.
    let cut = rest.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (header, body) = rest.split_at(cut);
    let header = std::str::from_utf8(header).ok();
    let names = ["retry-after", "retry-after-ms", "x-ratelimit-reset-requests", "anthropic-ratelimit-tokens-reset"];
    let name = names[usize::from(choice / 4) % names.len()];
    let spent = |asked: &str| asked.contains("remaining").then_some("0");
    let fault = match choice % 4 {
        0 | 1 => translate::fault(Protocol::Openai, status, body),
        2 => translate::fault(Protocol::Anthropic, status, body),
        _ => translate::fault(Protocol::Gemini, status, body),
    };
    assert_eq!(classify(&fault), classify(&fault.clone()));
    let wall = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let _ = retry_after(|asked| if asked == name { header } else { spent(asked) }, &fault, wall);
});
