//! Owns looking into Anthropic Messages answers that pass through untouched.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};

use super::parsed;
use crate::wire::{
    Fault, Malformed, Observed, Usage, counts,
    course::{self, Moves},
};

/// What one event's data means.
pub fn frame(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    let event: Event<'_> = parsed(data)?;
    let mut seen = Observed { intricate: true, ..Observed::default() };
    match &*event.kind {
        "content_block_delta" => {
            seen.content = true;
            seen.text = event.delta.and_then(|delta| delta.text).map(|Text(text)| text).unwrap_or_default();
        }
        "message_start" => {
            let message = event.message.unwrap_or_default();
            // One that the provider's own tools made comes whole.
            seen.content = message.content.is_some_and(|blocks| !blocks.is_empty());
            seen.finish = course::said(message.stop_reason).is_some();
            seen.usage = message.usage.map(Into::into);
        }
        "message_delta" => {
            seen.finish = course::said(event.delta.and_then(|delta| delta.stop_reason)).is_some();
            seen.usage = event.usage.map(Into::into);
        }
        "message_stop" => seen.done = true,
        "error" => seen.fault = Some(event.error.unwrap_or_default().into()),
        _ => {}
    }
    seen.moves = Moves::of(0, seen.content, seen.finish);
    Ok(seen)
}

/// What a whole answer means.
pub fn whole(data: &[u8]) -> Result<Observed<'static>, Malformed> {
    let event: Event<'_> = parsed(data)?;
    let fault = (event.kind == "error").then(|| event.error.unwrap_or_default().into());
    Ok(Observed { usage: event.usage.map(Into::into), fault, finish: true, ..Observed::default() })
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    message: Option<Message>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    usage: Option<RawUsage>,
    error: Option<RawError>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message {
    content: Option<Vec<IgnoredAny>>,
    stop_reason: Option<String>,
    usage: Option<RawUsage>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    stop_reason: Option<String>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize, Default)]
struct RawError {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: String,
}

impl From<RawError> for Fault {
    fn from(raw: RawError) -> Self {
        Self { kind: raw.kind, message: raw.message, ..Self::default() }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawUsage {
    #[serde(rename = "input_tokens")]
    #[serde(deserialize_with = "counts::maybe")]
    input: Option<u64>,
    #[serde(rename = "output_tokens")]
    #[serde(deserialize_with = "counts::maybe")]
    output: Option<u64>,
    #[serde(rename = "cache_read_input_tokens")]
    #[serde(deserialize_with = "counts::maybe")]
    cache_read: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens")]
    #[serde(deserialize_with = "counts::maybe")]
    cache_creation: Option<u64>,
}

impl From<RawUsage> for Usage {
    /// Anthropic counts cached prompt tokens beside the others; here they are part of the prompt.
    fn from(raw: RawUsage) -> Self {
        let (cached, written) = (raw.cache_read.unwrap_or(0), raw.cache_creation.unwrap_or(0));
        Self {
            input: raw.input.unwrap_or(0).saturating_add(cached).saturating_add(written),
            output: raw.output.unwrap_or(0),
            cached,
            written,
            reasoning: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anthropic_streams_milestones_are_seen() {
        let start = frame(br#"{"type":"message_start","message":{"usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}}"#);
        assert_eq!(start.expect("start").usage, Some(Usage { input: 7, output: 1, cached: 4, ..Usage::default() }));
        let whole = br#"{"type":"message_start","message":{"content":[{"type":"tool_use"}],"stop_reason":"tool_use"}}"#;
        assert!(frame(whole).is_ok_and(|seen| seen.content && seen.finish));
        let empty = br#"{"type":"message_start","message":{"content":[],"stop_reason":null}}"#;
        assert!(frame(empty).is_ok_and(|seen| !seen.content && !seen.finish));
        for none in [
            &br#"{"type":"message_start","message":{"stop_reason":""}}"#[..],
            br#"{"type":"message_delta","delta":{"stop_reason":""}}"#,
        ] {
            assert!(frame(none).is_ok_and(|seen| !seen.finish));
        }
        let delta = br#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
        assert!(frame(delta).expect("delta").content);
        assert!(frame(br#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#).expect("finish").finish);
        assert!(frame(br#"{"type":"message_stop"}"#).expect("stop").done);
        assert!(!frame(br#"{"type":"ping"}"#).expect("ping").content);
        let fault =
            frame(br#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#).expect("error").fault;
        assert_eq!(fault.expect("fault").kind, "overloaded_error");
        assert!(frame(b"{").is_err());
    }
}
