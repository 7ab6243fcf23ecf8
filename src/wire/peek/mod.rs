//! Owns looking into OpenAI answers that pass through untouched: is this content, the end, an error, the token count?

mod fault;
pub mod messages;
mod pattern;
pub mod responses;
mod visitors;
mod whole;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use self::fault::fault;
pub use self::{
    fault::error_body,
    pattern::Pattern,
    whole::{other, whole},
};
use crate::wire::{Malformed, Observed, Usage, counts, scan};

/// The end marker's data.
const DONE: &[u8] = b"[DONE]";

/// What one frame's data means.
pub fn frame(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    if data == DONE {
        return Ok(Observed { done: true, ..Observed::default() });
    }
    body(data)
}

/// Reads JSON. As text first: what is skipped or borrowed is checked for UTF-8 nowhere else.
fn parsed<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Malformed> {
    json(scan::text(data).map_err(Malformed)?)
}

fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Malformed> {
    serde_json::from_str(text).map_err(|error| Malformed(error.to_string()))
}

fn body(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    let chunk: Chunk<'_> = parsed(data)?;
    let Choices { count, finish, content, intricate, text } = chunk.choices;
    let usage = chunk.usage.map(Into::into);
    Ok(Observed {
        usage_only: count == 0 && usage.is_some(),
        usage,
        model: chunk.model.map(|m| m.0),
        fault: chunk.error.and_then(fault),
        choiceless: count == 0,
        intricate,
        finish,
        content,
        text,
        ..Observed::default()
    })
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Choices<'a>,
    #[serde(default)]
    usage: Option<RawUsage>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(borrow, default)]
    model: Option<Text<'a>>,
}

/// What all choices together mean.
#[derive(Default)]
struct Choices<'a> {
    count: usize,
    finish: bool,
    content: bool,
    intricate: bool,
    text: Cow<'a, str>,
}

impl<'a> Choices<'a> {
    fn add(&mut self, choice: Choice<'a>) {
        self.count += 1;
        self.finish |= choice.finish_reason.is_some();
        self.intricate |= choice.index != 0 || self.count > 1;
        let Some(delta) = choice.delta.or(choice.message) else {
            if let Some(Text(text)) = choice.text {
                self.content |= !text.is_empty();
                self.text = text;
            }
            return;
        };
        let said = [delta.reasoning_content, delta.reasoning, delta.refusal].iter().flatten().any(|t| !t.0.is_empty());
        let there = [delta.tool_calls, delta.function_call, delta.audio, delta.annotations].iter().any(|p| p.0);
        self.intricate |= said || there;
        self.content |= said || there;
        match delta.content {
            Content::Text(text) if !text.is_empty() => {
                self.content = true;
                self.text = text;
            }
            Content::Parts => {
                self.content = true;
                self.intricate = true;
            }
            Content::Text(_) => {}
        }
    }
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    message: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow, default)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Text<'a>>,
    #[serde(default)]
    tool_calls: Presence,
    #[serde(default)]
    function_call: Presence,
    #[serde(default)]
    audio: Presence,
    #[serde(default)]
    annotations: Presence,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A message's content: text, or parts that nobody looks into here.
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts,
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Text(Cow::Borrowed(""))
    }
}

/// Whether a member is there and says something: neither null nor an empty list.
#[derive(Clone, Copy, Default)]
struct Presence(bool);

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawUsage {
    #[serde(deserialize_with = "counts::count")]
    prompt_tokens: u64,
    #[serde(deserialize_with = "counts::count")]
    completion_tokens: u64,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    #[serde(rename = "cached_tokens")]
    #[serde(deserialize_with = "counts::maybe")]
    cached: Option<u64>,
    #[serde(rename = "cache_write_tokens")]
    #[serde(deserialize_with = "counts::maybe")]
    written: Option<u64>,
    #[serde(rename = "reasoning_tokens")]
    #[serde(deserialize_with = "counts::maybe")]
    reasoning: Option<u64>,
}

impl From<RawUsage> for Usage {
    fn from(raw: RawUsage) -> Self {
        let prompt = raw.prompt_tokens_details.unwrap_or_default();
        Self {
            input: raw.prompt_tokens,
            output: raw.completion_tokens,
            cached: prompt.cached.unwrap_or(0),
            written: prompt.written.unwrap_or(0),
            reasoning: raw.completion_tokens_details.and_then(|d| d.reasoning).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_frame_is_not_content_and_text_is() {
        let role =
            frame(br#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#);
        assert_eq!(role, Ok(Observed::default()));
        let text =
            frame(br#"{"choices":[{"index":0,"delta":{"content":"h\u00e9"},"finish_reason":null}]}"#).expect("text");
        assert!(text.content && !text.intricate);
        assert_eq!(text.text, "hé");
    }

    #[test]
    fn tool_arguments_and_reasoning_are_content() {
        for delta in [r#"{"tool_calls":[{"index":0}]}"#, r#"{"reasoning_content":"hm"}"#, r#"{"refusal":"no"}"#] {
            let data = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            let seen = frame(data.as_bytes()).expect("frame");
            assert!(seen.content && seen.intricate, "{delta}");
        }
    }

    #[test]
    fn usage_finish_end_and_errors_are_seen() {
        let usage = frame(br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}"#);
        assert_eq!(usage.expect("usage").usage, Some(Usage { input: 3, output: 4, cached: 2, ..Usage::default() }));
        assert!(frame(br#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#).expect("finish").finish);
        assert!(frame(b"[DONE]").expect("end").done);
        let fault = frame(br#"{"error":{"message":"busy","type":"server_error","code":503}}"#).expect("error").fault;
        assert_eq!(fault.expect("fault").status, Some(503));
        assert!(frame(b"{\"choices\":").is_err());
    }

    #[test]
    fn a_frame_that_is_not_utf_8_is_malformed_wherever_the_odd_byte_stands() {
        assert!(frame(b"{\"choices\":[],\"note\":\"\xff\"}").is_err());
        assert!(frame(b"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xc3\"}}]}").is_err());
        assert!(messages::frame(b"{\"type\":\"ping\",\"x\":\"\xff\"}").is_err());
    }

    #[test]
    fn error_bodies_of_every_server_are_read() {
        assert_eq!(error_body(401, br#"{"error": "Unauthorized"}"#).message, "Unauthorized");
        assert_eq!(error_body(404, br#"{"detail": "Not Found"}"#).message, "Not Found");
        assert_eq!(error_body(400, br#"{"object":"error","message":"too long","code":400}"#).message, "too long");
        assert_eq!(error_body(502, b"<html>").message, "");
        assert_eq!(error_body(429, br#"{"error":{"code":"insufficient_quota"}}"#).code, "insufficient_quota");
    }
}
