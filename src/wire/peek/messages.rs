//! Owns looking into Anthropic Messages answers that pass through untouched.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{legible, parsed};
use crate::wire::{
    Malformed, Observed,
    anthropic::{fault, usage::RawUsage},
    course::{self, Moves},
    json::{Text, maybe_text, says_nothing},
};

/// What one event's data means under the event's name, which some servers do not repeat in it.
pub fn frame<'a>(name: Option<&str>, data: &'a [u8]) -> Result<Observed<'a>, Malformed> {
    legible(name, data, event)
}

fn event<'a>(name: Option<&str>, data: &'a [u8]) -> Result<Observed<'a>, Malformed> {
    let event = parsed(data);
    if (event.is_err() || name == Some("error"))
        && let Some(fault) = fault::of_event(name, data)
    {
        return Ok(Observed::error(fault));
    }
    let event: Event<'a> = event?;
    let mut seen = Observed { intricate: true, ..Observed::default() };
    match event.kind.as_ref().map(|Text(kind)| &**kind).or(name).unwrap_or_default() {
        "content_block_delta" => {
            seen.content = true;
            let text = event.delta.and_then(|delta| delta.text.or(delta.thinking).or(delta.partial_json));
            let text = Text::or_empty(text);
            // A frame that borrows its text may be known at sight by it, whatever the name of its event.
            seen.text = if event.kind.is_some() { text } else { Cow::Owned(text.into_owned()) };
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
        "error" => seen.fault = Some(fault::told(data)),
        _ => {}
    }
    seen.moves = Moves::of(0, seen.content, seen.finish);
    Ok(seen)
}

/// What a whole answer means: a message, or how many tokens one has. An object that is neither, nor an error, is malformed.
pub fn whole(data: &[u8]) -> Result<Observed<'static>, Malformed> {
    let answer: Answer<'_> = parsed(data)?;
    let is_error = answer.kind.is_some_and(|Text(kind)| kind == "error");
    let failed = is_error || answer.error.is_some_and(|error| !says_nothing(&error));
    if !failed && answer.content.is_none() && answer.input_tokens.is_none() {
        return Err(Malformed("it has no content and no count of tokens".into()));
    }
    let fault = failed.then(|| fault::told(data));
    Ok(Observed { usage: answer.usage.map(Into::into), fault, finish: true, ..Observed::default() })
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
    message: Option<Message>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    usage: Option<RawUsage>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
    content: Option<Vec<IgnoredAny>>,
    input_tokens: Option<IgnoredAny>,
    usage: Option<RawUsage>,
    error: Option<Value>,
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
    #[serde(borrow, deserialize_with = "maybe_text", default)]
    thinking: Option<Text<'a>>,
    #[serde(borrow, deserialize_with = "maybe_text", default)]
    partial_json: Option<Text<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Usage;

    #[test]
    fn an_anthropic_streams_milestones_are_seen() {
        let start = frame(None, br#"{"type":"message_start","message":{"usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}}"#);
        assert_eq!(start.expect("start").usage, Some(Usage { input: 7, output: 1, cached: 4, ..Usage::default() }));
        let whole = br#"{"type":"message_start","message":{"content":[{"type":"tool_use"}],"stop_reason":"tool_use"}}"#;
        assert!(frame(None, whole).is_ok_and(|seen| seen.content && seen.finish));
        let empty = br#"{"type":"message_start","message":{"content":[],"stop_reason":null}}"#;
        assert!(frame(None, empty).is_ok_and(|seen| !seen.content && !seen.finish));
        for none in [
            &br#"{"type":"message_start","message":{"stop_reason":""}}"#[..],
            br#"{"type":"message_delta","delta":{"stop_reason":""}}"#,
        ] {
            assert!(frame(None, none).is_ok_and(|seen| !seen.finish));
        }
        let delta = br#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
        assert!(frame(None, delta).expect("delta").content);
        for (kind, member, want) in [
            ("thinking_delta", r#""thinking":"hmm""#, "hmm"),
            ("input_json_delta", r#""partial_json":"{}""#, "{}"),
            ("signature_delta", r#""signature":"c2ln""#, ""),
            ("thinking_delta", r#""thinking":7"#, ""),
        ] {
            let event = format!(r#"{{"type":"content_block_delta","delta":{{"type":"{kind}",{member}}}}}"#);
            let seen = frame(None, event.as_bytes()).expect("a delta");
            assert_eq!((&*seen.text, seen.content, seen.intricate), (want, true, true), "its length is what counts");
        }
        assert!(frame(None, br#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#).expect("finish").finish);
        assert!(frame(None, br#"{"type":"message_stop"}"#).expect("stop").done);
        assert!(!frame(None, br#"{"type":"ping"}"#).expect("ping").content);
        let fault =
            frame(None, br#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#).expect("error").fault;
        assert_eq!(fault.expect("fault").kind, "overloaded_error");
        assert!(frame(None, b"{").is_err());
        let told = |data: &'static str| super::whole(data.as_bytes()).expect("an answer").fault.map(|f| f.message);
        assert_eq!(told(r#"{"error":{"message":"x"}}"#).as_deref(), Some("x"), "some leave the type out");
        assert_eq!(told(r#"{"type":"message","content":[],"error":null}"#), None);
        assert_eq!(told(r#"{"input_tokens":3}"#), None);
        for stray in ["{}", r#"{"type":"message","content":null}"#, r#"{"content":"a"}"#] {
            assert!(super::whole(stray.as_bytes()).is_err(), "{stray}");
        }
    }
}
