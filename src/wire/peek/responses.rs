//! Owns looking into OpenAI Responses answers that pass through untouched.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{DONE, legible, parsed};
use crate::wire::{
    Malformed, Observed, Usage, counts,
    course::Moves,
    json::Text,
    openai::fault::{detail, told},
};

/// What one event's data means under the event's name, which some servers do not repeat in it.
pub fn frame(name: Option<&str>, data: &[u8]) -> Result<Observed<'static>, Malformed> {
    // Some servers write one behind the event that ends the answer, where nobody reads any more; by itself it ends none.
    if data == DONE {
        return Err(Malformed("an end marker in front of the end".into()));
    }
    legible(name, data, event).map(Observed::owned)
}

fn event<'a>(name: Option<&str>, data: &'a [u8]) -> Result<Observed<'a>, Malformed> {
    // Whatever it says.
    if name == Some("error") {
        return Ok(Observed::error(told(data)));
    }
    let event: Event<'a> = parsed(data)?;
    let mut seen = Observed { intricate: true, ..Observed::default() };
    let kind = event.kind.as_ref().map(|Text(kind)| &**kind).or(name).unwrap_or_default();
    // A search, or an image that comes in parts, is under way long before there is any text.
    seen.content = kind.rsplit('.').next() == Some("delta") || kind.contains("_call.");
    match kind {
        "response.completed" | "response.incomplete" => {
            seen.finish = true;
            seen.done = true;
            seen.usage = event.response.and_then(|response| response.usage).map(Into::into);
        }
        "response.failed" => {
            let error = event.response.and_then(|response| response.error).and_then(detail);
            seen.fault = Some(error.unwrap_or_default());
        }
        "error" => seen.fault = Some(told(data)),
        _ => {}
    }
    // Some servers tell one in an event of another type, or of none.
    seen.fault = seen.fault.or_else(|| event.error.and_then(detail));
    seen.moves = Moves::of(0, seen.content, seen.finish);
    Ok(seen)
}

/// What a whole answer means. An object without a list of output and without an error is malformed.
pub fn whole(data: &[u8]) -> Result<Observed<'static>, Malformed> {
    let response: Response = parsed(data)?;
    let fault = response.error.and_then(detail);
    if fault.is_none() && response.output.is_none() {
        return Err(Malformed("it has no output".into()));
    }
    Ok(Observed { usage: response.usage.map(Into::into), fault, finish: true, ..Observed::default() })
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Text<'a>>,
    response: Option<Response>,
    /// In whatever shape.
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Response {
    output: Option<Vec<IgnoredAny>>,
    usage: Option<RawUsage>,
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawUsage {
    #[serde(deserialize_with = "counts::count")]
    input_tokens: u64,
    #[serde(deserialize_with = "counts::count")]
    output_tokens: u64,
    input_tokens_details: Option<Details>,
    output_tokens_details: Option<Details>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    #[serde(rename = "cached_tokens")]
    #[serde(deserialize_with = "counts::count")]
    cached: u64,
    #[serde(rename = "cache_write_tokens")]
    #[serde(deserialize_with = "counts::count")]
    written: u64,
    #[serde(rename = "reasoning_tokens")]
    #[serde(deserialize_with = "counts::count")]
    reasoning: u64,
}

impl From<RawUsage> for Usage {
    fn from(raw: RawUsage) -> Self {
        let input = raw.input_tokens_details.unwrap_or_default();
        Self {
            input: raw.input_tokens,
            output: raw.output_tokens,
            cached: input.cached,
            written: input.written,
            reasoning: raw.output_tokens_details.map_or(0, |d| d.reasoning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_responses_streams_milestones_are_seen() {
        assert!(frame(None, br#"{"type":"response.output_text.delta","delta":"a"}"#).expect("delta").content);
        for (kind, content) in [
            ("response.created", false),
            ("response.output_item.added", false),
            ("response.web_search_call.searching", true),
            ("response.image_generation_call.partial_image", true),
        ] {
            let event = format!(r#"{{"type":"{kind}","response":{{}}}}"#);
            assert_eq!(frame(None, event.as_bytes()).expect("an event").content, content, "{kind}");
        }
        let done =
            frame(None, br#"{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":2}}}"#);
        let done = done.expect("completed");
        assert!(done.finish && done.done);
        assert_eq!(done.usage, Some(Usage { input: 1, output: 2, ..Usage::default() }));
        let failed =
            frame(None, br#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"x"}}}"#);
        assert_eq!(failed.expect("failed").fault.expect("fault").code, "server_error");
        let none = ["{}", r#"{"stray":1}"#, r#"{"output":null}"#, r#"{"output":"a"}"#];
        assert!(none.iter().all(|stray| whole(stray.as_bytes()).is_err()));
        assert!(
            whole(br#"{"error":"busy"}"#).is_ok_and(|seen| seen.fault.is_some()) && whole(br#"{"output":[]}"#).is_ok()
        );
    }
}
