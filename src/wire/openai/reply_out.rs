//! Owns writing a whole chat completion.

use serde_json::{Value, json};

use super::super::{
    Protocol, Usage,
    asked::Asked,
    chat::{Part, Signature, Source},
    events::{ChatReply, Finish},
    free_text, ids,
    translate::ReplyContext,
    web::Citation,
};

/// Writes a reply.
pub(crate) fn write(reply: &ChatReply, ctx: &ReplyContext) -> Value {
    let id = reply.id.as_deref().unwrap_or(&ctx.id);
    let (mut text, mut refusal, mut thinking) = (String::new(), String::new(), String::new());
    let (mut calls, mut blocks, mut images, mut signature) = (Vec::new(), Vec::new(), Vec::new(), None);
    for part in &reply.parts {
        match part {
            Part::Text { text: more, signature: proof } => {
                text.push_str(more);
                signature = proof.as_ref().or(signature);
            }
            Part::Refusal(more) => refusal.push_str(more),
            Part::Thinking { text: more, signature } => {
                thinking.push_str(more);
                let block = signature.as_ref().and_then(|signature| thinking_block(more, signature));
                blocks.extend(block.map(|block| placed(block, text.len(), calls.len())));
            }
            Part::Image { source, signature, .. } => images.push(image(source, signature.as_ref())),
            Part::Redacted(data) => blocks.push(placed(redacted_block(data), text.len(), calls.len())),
            Part::ToolCall { id: given, name, arguments, signature } => {
                let call_id = ids::call(Some(given), id, calls.len() as u32);
                calls.push(call(&ctx.asked, &call_id, name, arguments, signature.as_ref()));
            }
            _ => {}
        }
    }
    let message = json!({"role": "assistant", "content": some_text(text), "refusal": some_text(refusal)});
    let mut message = proven(message, signature);
    if !thinking.is_empty() {
        message["reasoning_content"] = thinking.into();
    }
    let functions = ctx.asked.by_functions();
    // There is room for one.
    if let Some(call) = calls.first().filter(|_| functions) {
        message["function_call"] = call.clone();
        calls.clear();
    }
    let annotations = reply.citations.iter().map(annotation).collect();
    for (name, list) in
        [("images", images), ("annotations", annotations), ("thinking_blocks", blocks), ("tool_calls", calls)]
    {
        if !list.is_empty() {
            message[name] = list.into();
        }
    }
    let mut out = json!({
        "id": ids::prefixed("chatcmpl-", id),
        "object": "chat.completion",
        "created": reply.created.unwrap_or(ctx.created),
        "model": reply.model.as_deref().unwrap_or(&ctx.model),
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": word(reply.finish, &ctx.asked)}],
    });
    if let Some(count) = &reply.usage {
        out["usage"] = usage(count);
    }
    out
}

/// A source of the text.
pub(crate) fn annotation(citation: &Citation) -> Value {
    json!({"type": "url_citation", "url_citation": citation.annotation(0)})
}

fn some_text(text: String) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

/// An image that the model made, as `OpenRouter` tells it, whose words clients know: the chat API itself has none for it.
pub(crate) fn image(source: &Source, signature: Option<&Signature>) -> Value {
    proven(json!({"type": "image_url", "image_url": {"url": source.to_url()}}), signature)
}

/// A call, told to a client that asked so: with its arguments, or its input.
pub(crate) fn call(asked: &Asked, id: &str, name: &str, arguments: &str, signature: Option<&Signature>) -> Value {
    let call = if asked.by_functions() {
        json!({"name": name, "arguments": arguments})
    } else if asked.is_free_text(name) {
        json!({"id": id, "type": "custom", "custom": {"name": name, "input": free_text::input(arguments)}})
    } else {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
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
