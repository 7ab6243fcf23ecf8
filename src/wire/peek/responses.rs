//! Owns looking into OpenAI Responses answers that pass through untouched.

use serde::Deserialize;

use super::parsed;
use crate::wire::{Fault, Malformed, Observed, Usage, counts, course::Moves};

/// What one event's data means.
pub fn frame(data: &[u8]) -> Result<Observed<'static>, Malformed> {
    if data == b"[DONE]" {
        return Ok(Observed { done: true, ..Observed::default() });
    }
    let event: Event = parsed(data)?;
    let mut seen = Observed { intricate: true, ..Observed::default() };
    let kind = event.kind.as_str();
    // A search, or an image that comes in parts, is under way long before there is any text.
    seen.content = kind.rsplit('.').next() == Some("delta") || kind.contains("_call.");
    match kind {
        "response.completed" | "response.incomplete" => {
            seen.finish = true;
            seen.done = true;
            seen.usage = event.response.and_then(|response| response.usage).map(Into::into);
        }
        "response.failed" => {
            let error = event.response.and_then(|response| response.error).unwrap_or_default();
            seen.fault = Some(error.into());
        }
        "error" => {
            let flat = RawError { code: event.code, message: event.message };
            seen.fault = Some(event.error.unwrap_or(flat).into());
        }
        _ => {}
    }
    seen.moves = Moves::of(0, seen.content, seen.finish);
    Ok(seen)
}

/// What a whole answer means.
pub fn whole(data: &[u8]) -> Result<Observed<'static>, Malformed> {
    let response: Response = parsed(data)?;
    let fault = response.error.map(Into::into);
    Ok(Observed { usage: response.usage.map(Into::into), fault, finish: true, ..Observed::default() })
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    response: Option<Response>,
    error: Option<RawError>,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    usage: Option<RawUsage>,
    error: Option<RawError>,
}

#[derive(Deserialize, Default)]
struct RawError {
    code: Option<String>,
    message: Option<String>,
}

impl From<RawError> for Fault {
    fn from(raw: RawError) -> Self {
        Self { code: raw.code.unwrap_or_default(), message: raw.message.unwrap_or_default(), ..Self::default() }
    }
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
        assert!(frame(br#"{"type":"response.output_text.delta","delta":"a"}"#).expect("delta").content);
        for (kind, content) in [
            ("response.created", false),
            ("response.output_item.added", false),
            ("response.web_search_call.searching", true),
            ("response.image_generation_call.partial_image", true),
        ] {
            let event = format!(r#"{{"type":"{kind}","response":{{}}}}"#);
            assert_eq!(frame(event.as_bytes()).expect("an event").content, content, "{kind}");
        }
        let done = frame(br#"{"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":2}}}"#);
        let done = done.expect("completed");
        assert!(done.finish && done.done);
        assert_eq!(done.usage, Some(Usage { input: 1, output: 2, ..Usage::default() }));
        let failed = frame(br#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"x"}}}"#);
        assert_eq!(failed.expect("failed").fault.expect("fault").code, "server_error");
    }
}
