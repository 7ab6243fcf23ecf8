//! Owns the frames of chat streams as the scripted backends send them, and what the tests read out of them.

use serde_json::{Value, json};

/// The last frame of a complete stream.
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// A frame with any JSON.
pub(crate) fn data(json: &Value) -> String {
    format!("data: {json}\n\n")
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    data(&json!({
        "id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }))
}

/// The opening frame, which is not content.
pub(crate) fn role() -> String {
    chunk(&json!({"role": "assistant", "content": ""}), None)
}

/// A frame with text.
pub(crate) fn text(text: &str) -> String {
    chunk(&json!({"content": text}), None)
}

/// The frame with the finish reason.
pub(crate) fn finish() -> String {
    chunk(&json!({}), Some("stop"))
}

/// The frame that carries nothing but token counts.
pub(crate) fn usage(prompt: u64, completion: u64) -> String {
    data(&json!({
        "id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m", "choices": [],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }))
}

/// The text of all content frames in a streamed body.
pub(crate) fn text_of(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let frames = body.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    frames.filter_map(|frame| Some(frame["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
}

/// The error object of a streamed body's error frame.
pub(crate) fn error_of(body: &[u8]) -> Option<Value> {
    let body = String::from_utf8_lossy(body);
    let mut frames = body.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    frames.find_map(|mut frame| frame.get_mut("error").map(Value::take))
}

/// Whether a streamed body claims to be complete.
pub(crate) fn is_done(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("[DONE]")
}
