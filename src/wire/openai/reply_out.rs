//! Owns the parts of a chat completion, as they stand in a whole one and in chunks.

use serde_json::{Value, json};

use super::super::{
    Protocol, Usage,
    asked::Asked,
    chat::{Signature, Source},
    events::Finish,
    web::Citation,
};

/// A source of the text.
pub(crate) fn annotation(citation: &Citation) -> Value {
    json!({"type": "url_citation", "url_citation": citation.annotation(0)})
}

/// An image that the model made, as `OpenRouter` tells it, whose words clients know: the chat API itself has none for it.
pub(crate) fn image(source: &Source, signature: Option<&Signature>) -> Value {
    proven(json!({"type": "image_url", "image_url": {"url": source.to_url()}}), signature)
}

/// A call, told to a client that asked so, before its arguments or its input.
pub(crate) fn call(asked: &Asked, id: &str, name: &str, signature: Option<&Signature>) -> Value {
    let call = if asked.by_functions() {
        json!({"name": name, "arguments": ""})
    } else if asked.is_free_text(name) {
        json!({"id": id, "type": "custom", "custom": {"name": name, "input": ""}})
    } else {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": ""}})
    };
    proven(call, signature)
}

/// Signed thinking as clients echo it. An OpenAI-style server signs nothing.
pub(crate) fn thinking_block(text: &str, signature: &Signature) -> Option<Value> {
    let proof = signature.spelled(Protocol::Anthropic);
    (signature.origin != Protocol::Openai).then(|| json!({"type": "thinking", "thinking": text, "signature": proof}))
}

/// Encrypted thinking as clients echo it.
pub(crate) fn redacted_block(data: &str) -> Value {
    json!({"type": "redacted_thinking", "data": data})
}

/// A block that says after how many bytes of the text and how many calls it came. Anthropic wants all thinking back in its
/// place, and a chat message has none for it; what comes before all else says nothing.
pub(crate) fn placed(mut block: Value, text: usize, calls: usize) -> Value {
    if text > 0 || calls > 0 {
        block["after"] = json!({"text": text, "calls": calls});
    }
    block
}

/// Adds a signature where Google's own OpenAI endpoint has it.
pub(crate) fn proven(mut told: Value, signature: Option<&Signature>) -> Value {
    if let Some(signature) = signature {
        told["extra_content"] = json!({"google": {"thought_signature": signature.value}});
    }
    told
}

/// A finish reason's word, for a client that asked in these words.
pub(crate) fn word(reason: Finish, asked: &Asked) -> &'static str {
    match reason {
        // As OpenAI ends a refusal.
        Finish::Stop | Finish::Refused => "stop",
        Finish::Length => "length",
        Finish::ToolCalls if asked.by_functions() => "function_call",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
    }
}

/// Counts in OpenAI's words.
pub(crate) fn usage(count: &Usage) -> Value {
    let mut out = json!({
        "prompt_tokens": count.input,
        "completion_tokens": count.output,
        "total_tokens": count.input.saturating_add(count.output),
        "prompt_tokens_details": {"cached_tokens": count.cached},
        "completion_tokens_details": {"reasoning_tokens": count.reasoning},
    });
    if count.written > 0 {
        out["prompt_tokens_details"]["cache_write_tokens"] = count.written.into();
    }
    out
}
