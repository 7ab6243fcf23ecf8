//! Owns the objects of a Responses reply: the response itself and its output items.

use serde_json::{Value, json};

use super::super::{
    Usage,
    events::Finish,
    ids,
    web::{Citation, Search},
};

/// An item's id: the reply's and the item's place in it.
pub(crate) fn item_id(prefix: &str, id: &str, at: usize) -> String {
    format!("{prefix}{id}_{at}")
}

pub(crate) fn message_item(id: &str, status: &str, content: &[Value]) -> Value {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
}

pub(crate) fn text_part(text: &str, annotations: &[Value]) -> Value {
    json!({"type": "output_text", "text": text, "annotations": annotations, "logprobs": []})
}

/// A source of a text that begins with a letter of this number.
pub(super) fn annotation(citation: &Citation, begin: usize) -> Value {
    let mut annotation = citation.annotation(begin);
    annotation["type"] = "url_citation".into();
    annotation
}

/// A search of the web.
pub(super) fn search(id: &str, search: &Search, status: &str) -> Value {
    let mut action = json!({"type": "search", "query": search.query(), "queries": search.queries});
    if let Ok(pages) = &search.found {
        action["sources"] = pages.iter().map(|page| json!({"type": "url", "url": page.url})).collect();
    }
    json!({"id": id, "type": "web_search_call", "status": status, "action": action})
}

/// How a search ended.
pub(super) fn searched(search: &Search) -> &'static str {
    if search.found.is_ok() { "completed" } else { "failed" }
}

pub(crate) fn refusal_part(text: &str) -> Value {
    json!({"type": "refusal", "refusal": text})
}

/// Encrypted content is the one member that stateless clients echo: it carries the signature.
pub(crate) fn reasoning(id: &str, text: &str, encrypted: Option<&str>) -> Value {
    let summary = if text.is_empty() { json!([]) } else { json!([{"type": "summary_text", "text": text}]) };
    json!({"id": id, "type": "reasoning", "summary": summary, "encrypted_content": encrypted})
}

/// Anthropic's encrypted thinking, as `request_in` reads it back.
pub(crate) fn redacted(data: &str) -> String {
    format!("anthropic:redacted:{data}")
}

/// Arguments as clients parse them, who take no empty text for JSON.
pub(crate) fn or_none(arguments: &str) -> &str {
    if arguments.trim().is_empty() { "{}" } else { arguments }
}

/// The response object around output items, of a request that said nothing: its own words go over it. Members that clients'
/// types demand are there, though null.
pub(crate) fn response(id: &str, created: u64, model: &str, status: &str, output: &[Value]) -> Value {
    json!({
        "id": ids::prefixed("resp_", id),
        "object": "response",
        "created_at": created,
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "max_output_tokens": null,
        "max_tool_calls": null,
        "metadata": {},
        "model": model,
        "output": output,
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "prompt_cache_key": null,
        "reasoning": {"effort": null, "summary": null},
        "safety_identifier": null,
        "service_tier": null,
        "store": false,
        "temperature": null,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": null,
        // Nobody here shortens a prompt, whatever the client would like.
        "truncation": "disabled",
        "usage": null,
        "user": null,
    })
}

/// Why a response is not complete, if it is not.
fn incomplete(reason: Finish) -> Option<&'static str> {
    match reason {
        // A refusal is an answer.
        Finish::Stop | Finish::ToolCalls | Finish::Refused => None,
        Finish::Length => Some("max_output_tokens"),
        Finish::ContentFilter => Some("content_filter"),
    }
}

/// The status of a response, and of the item that it ends with.
pub(crate) fn status(reason: Finish) -> &'static str {
    if incomplete(reason).is_some() { "incomplete" } else { "completed" }
}

/// Sets status and counts of a response that has ended.
pub(crate) fn finish(response: &mut Value, reason: Finish, usage: Option<Usage>) {
    response["status"] = status(reason).into();
    if let Some(reason) = incomplete(reason) {
        response["incomplete_details"] = json!({"reason": reason});
    }
    if let Some(count) = usage {
        response["usage"] = json!({
            "input_tokens": count.input,
            // The SDK's types want both.
            "input_tokens_details": {"cached_tokens": count.cached, "cache_write_tokens": count.written},
            "output_tokens": count.output,
            "output_tokens_details": {"reasoning_tokens": count.reasoning},
            "total_tokens": count.input.saturating_add(count.output),
        });
    }
}
