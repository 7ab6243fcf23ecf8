//! Owns reading a whole Messages reply.

use serde_json::Value;

use super::{
    super::{
        Malformed, Protocol,
        chat::{Part, Signature},
        events::ChatReply,
        json::{owned, text},
    },
    fault,
    stream_in::finish,
    usage::RawUsage,
};

/// Reads a body; an error body gives a reply with a fault.
pub(crate) fn read(body: &[u8]) -> Result<ChatReply, Malformed> {
    let value: Value = serde_json::from_slice(body).map_err(|error| Malformed(error.to_string()))?;
    if text(&value, "type") == "error" || value.get("error").is_some_and(|e| !e.is_null()) {
        let fault = fault::detail(value.get("error").unwrap_or(&Value::Null));
        return Ok(ChatReply { fault: Some(fault), ..ChatReply::default() });
    }
    let Some(content) = value.get("content").and_then(Value::as_array) else {
        return Err(Malformed("a message without content".into()));
    };
    let reason = value.get("stop_reason").and_then(Value::as_str);
    let mut parts: Vec<Part> = content.iter().filter_map(part).collect();
    if reason == Some("refusal") {
        parts.extend(
            value.pointer("/stop_details/explanation").and_then(Value::as_str).map(|t| Part::Refusal(t.into())),
        );
    }
    let usage = match value.get("usage") {
        None | Some(Value::Null) => None,
        Some(usage) => {
            let raw: RawUsage =
                serde::Deserialize::deserialize(usage).map_err(|e: serde_json::Error| Malformed(e.to_string()))?;
            Some(raw.into())
        }
    };
    Ok(ChatReply {
        id: owned(&value, "id"),
        created: None,
        model: owned(&value, "model"),
        parts,
        finish: reason.map(finish),
        stop_sequence: owned(&value, "stop_sequence"),
        usage,
        fault: None,
    })
}

fn part(block: &Value) -> Option<Part> {
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
            arguments: block.get("input").filter(|i| i.is_object()).map_or_else(|| "{}".to_owned(), Value::to_string),
            signature: None,
        },
        // What the provider's own tools did: not part of the answer.
        _ => return None,
    })
}
