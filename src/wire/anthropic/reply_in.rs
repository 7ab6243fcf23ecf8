//! Owns reading a whole Messages reply.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    super::{
        Malformed, Protocol,
        chat::{Part, Signature},
        events::ChatReply,
        json::{malformed, owned, text},
    },
    fault,
    stream_in::finish,
    usage::RawUsage,
};

/// Reads a body; an error body gives a reply with a fault.
pub(crate) fn read(body: &[u8]) -> Result<ChatReply, Malformed> {
    let value: Value = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if text(&value, "type") == "error" || value.get("error").is_some_and(|e| !e.is_null()) {
        let fault = fault::detail(value.get("error").unwrap_or(&Value::Null));
        return Ok(ChatReply { fault: Some(fault), ..ChatReply::default() });
    }
    let Some(content) = value.get("content").and_then(Value::as_array) else {
        return Err(Malformed("a message without content".into()));
    };
    // Only in the first event of a stream it is null (API reference).
    let Some(reason) = value.get("stop_reason").and_then(Value::as_str).filter(|reason| !reason.is_empty()) else {
        return Err(Malformed("a message without a stop reason".into()));
    };
    let mut parts: Vec<Part> =
        content.iter().zip(inputs(body, content)).filter_map(|(block, input)| part(block, input)).collect();
    if reason == "refusal" {
        parts.extend(
            value.pointer("/stop_details/explanation").and_then(Value::as_str).map(|t| Part::Refusal(t.into())),
        );
    }
    let usage = match value.get("usage") {
        None | Some(Value::Null) => None,
        Some(usage) => {
            let raw = RawUsage::deserialize(usage).map_err(|error: serde_json::Error| malformed(&error))?;
            Some(raw.into())
        }
    };
    Ok(ChatReply {
        id: owned(&value, "id"),
        created: None,
        model: owned(&value, "model"),
        parts,
        finish: Some(finish(reason)),
        stop_sequence: owned(&value, "stop_sequence"),
        usage,
        fault: None,
    })
}

/// What each block's call is given, as its provider wrote it: a tree of values would not keep the digits.
fn inputs(body: &[u8], content: &[Value]) -> Vec<Option<String>> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: Vec<Block<'a>>,
    }
    #[derive(Deserialize)]
    struct Block<'a> {
        #[serde(borrow, default)]
        input: Option<&'a RawValue>,
    }
    let read = content.iter().any(|block| text(block, "type") == "tool_use").then(|| serde_json::from_slice(body));
    match read {
        Some(Ok(Message { content })) => content.iter().map(|b| b.input.map(|input| input.get().to_owned())).collect(),
        // No call, or a block that is no object.
        _ => content.iter().map(|block| block.get("input").map(Value::to_string)).collect(),
    }
}

fn part(block: &Value, input: Option<String>) -> Option<Part> {
    Some(match text(block, "type") {
        "text" => Part::text(text(block, "text")),
        "thinking" => Part::Thinking {
            text: text(block, "thinking").to_owned(),
            signature: owned(block, "signature")
                .filter(|s| !s.is_empty())
                .map(|s| Signature::new(Protocol::Anthropic, s)),
        },
        "redacted_thinking" => Part::Redacted(text(block, "data").to_owned()),
        "tool_use" => Part::ToolCall {
            id: text(block, "id").to_owned(),
            name: text(block, "name").to_owned(),
            arguments: input.filter(|i| i.starts_with('{')).unwrap_or_else(|| "{}".to_owned()),
            signature: None,
        },
        // What the provider's own tools did: not part of the answer.
        _ => return None,
    })
}
