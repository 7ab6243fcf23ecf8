//! Owns the objects of a Responses reply: the response itself and its output items.

use serde_json::{Value, json};

use super::{
    super::{
        Usage,
        chat::{Part, Signature},
        events::{ChatReply, Finish},
        free_text, ids,
        translate::ReplyContext,
        web::{Citation, Search},
    },
    UNSIGNED,
    calls_out::Kind,
};

/// Writes a whole reply.
pub(crate) fn write(reply: &ChatReply, ctx: &ReplyContext) -> Value {
    let id = reply.id.as_deref().unwrap_or(&ctx.id);
    let (mut output, mut content, mut calls): (Vec<Value>, Vec<Value>, u32) = (Vec::new(), Vec::new(), 0);
    let mut letters = 0;
    for part in &reply.parts {
        match part {
            // As in a stream, of which an empty text is no part.
            Part::Text { text, .. } | Part::Refusal(text) if text.is_empty() => continue,
            Part::Text { text, .. } => {
                let from = letters;
                letters += text.chars().count();
                let cited = reply.citations.iter().filter(|one| from <= one.from && one.from < letters);
                let annotations: Vec<Value> = cited.map(|one| annotation(one, from)).collect();
                content.push(text_part(text, &annotations));
                continue;
            }
            Part::Refusal(text) => {
                content.push(refusal_part(text));
                continue;
            }
            _ => {}
        }
        message(id, &mut content, &mut output);
        if let Part::ToolCall { signature: Some(signature), .. } = part {
            sign(id, signature, &mut output);
        }
        let at = output.len();
        match part {
            Part::Thinking { text, signature } => {
                output.push(reasoning(&item_id("rs_", id, at), text, Some(&proof(signature.as_ref()))));
            }
            Part::Search(made) => output.push(search(&item_id("ws_", id, at), made, searched(made))),
            Part::Redacted(data) => output.push(reasoning(&item_id("rs_", id, at), "", Some(&redacted(data)))),
            Part::ToolCall { id: given, name, arguments, signature } => {
                let call_id = ids::call(Some(given), id, calls);
                calls += 1;
                let kind = Kind::of(name, &ctx.asked);
                let said = match kind {
                    Kind::FreeText => free_text::input(arguments),
                    Kind::Function | Kind::Search => or_none(arguments).to_owned(),
                };
                let own = ctx.asked.names().own(name);
                output.push(kind.item(&item_id(kind.prefix(), id, at), &call_id, own, &said, signature.as_ref()));
            }
            _ => {}
        }
    }
    message(id, &mut content, &mut output);
    let reason = reply.finish.unwrap_or(Finish::Stop);
    // What was cut is the last. Reasoning has no status here.
    if let (Some(_), Some(last)) = (incomplete(reason), output.last_mut().and_then(|item| item.get_mut("status"))) {
        *last = status(reason).into();
    }
    let model = reply.model.as_deref().unwrap_or(&ctx.model);
    let mut out = response(id, reply.created.unwrap_or(ctx.created), model, "in_progress", &output);
    ctx.asked.repeat(&mut out);
    finish(&mut out, reason, reply.usage);
    out
}

fn message(id: &str, content: &mut Vec<Value>, output: &mut Vec<Value>) {
    if !content.is_empty() {
        let at = output.len();
        output.push(message_item(&item_id("msg_", id, at), "completed", content));
        content.clear();
    }
}

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

/// Puts a call's signature into the reasoning before it, too: of that clients give back what is encrypted, of a call many
/// nothing that OpenAI's has not.
fn sign(id: &str, signature: &Signature, output: &mut Vec<Value>) {
    match output.last_mut() {
        Some(last) if last["type"] == "reasoning" && last["encrypted_content"] == UNSIGNED => {
            last["encrypted_content"] = signature.tagged().into();
        }
        _ => {
            let item = reasoning(&item_id("rs_", id, output.len()), "", Some(&signature.tagged()));
            output.push(item);
        }
    }
}

/// What stands as a signed, or unsigned, item's encrypted content.
pub(crate) fn proof(signature: Option<&Signature>) -> String {
    signature.map_or_else(|| UNSIGNED.to_owned(), Signature::tagged)
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
