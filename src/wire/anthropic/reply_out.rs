//! Owns writing a whole Messages reply.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::{
    Protocol, Usage,
    chat::Part,
    events::{ChatReply, Finish},
    ids,
    json::Arguments,
    translate::ReplyContext,
};
use super::search;

/// A message. No tree of values: that would not keep the digits of a call's arguments.
#[derive(Serialize)]
pub(crate) struct Written<'a> {
    id: String,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
    usage: Value,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Block<'a> {
    Plain(Value),
    Call { r#type: &'static str, id: String, name: &'a str, input: Arguments<'a> },
}

/// Writes a reply.
pub(crate) fn write<'a>(reply: &'a ChatReply, ctx: &'a ReplyContext) -> Written<'a> {
    let id = reply.id.as_deref().unwrap_or(&ctx.id);
    let (mut content, mut calls, mut searched, mut searches, mut letters) = (Vec::new(), 0, 0, 0, 0);
    let plain = Block::Plain;
    for part in &reply.parts {
        match part {
            // As in a stream, of which an empty text is no block: sent back, it would be refused.
            Part::Text { text, .. } if text.is_empty() => {}
            Part::Text { text, .. } => {
                let mut block = json!({"type": "text", "text": text});
                let from = letters;
                letters += text.chars().count();
                let cited = search::citations(&reply.citations, from, letters);
                if !cited.is_empty() {
                    block["citations"] = Value::Array(cited);
                }
                content.push(plain(block));
            }
            Part::Refusal(text) => content.push(plain(json!({"type": "text", "text": text}))),
            Part::Search(search) => {
                content.extend(search::blocks(search, id, searched).map(plain));
                (searched, searches) = (searched + 1, searches + search.count());
            }
            Part::Thinking { text, signature } => {
                let signature = signature.as_ref().map(|s| s.spelled(Protocol::Anthropic)).unwrap_or_default();
                content.push(plain(json!({"type": "thinking", "thinking": text, "signature": signature})));
            }
            Part::Redacted(data) => content.push(plain(json!({"type": "redacted_thinking", "data": data}))),
            Part::ToolCall { id: given, name, arguments, .. } => {
                let id = ids::call(Some(given), id, calls);
                calls += 1;
                content.push(Block::Call { r#type: "tool_use", id, name, input: Arguments(arguments) });
            }
            _ => {}
        }
    }
    let stop = ctx.asked.stopped_at(reply.stop_sequence.as_deref());
    let mut usage = usage(reply.usage.unwrap_or_default());
    search::counted(searches, &mut usage);
    Written {
        id: ids::prefixed("msg_", id),
        r#type: "message",
        role: "assistant",
        model: ctx.public.as_deref().or(reply.model.as_deref()).unwrap_or(&ctx.model),
        content,
        stop_reason: word(reply.finish, stop),
        stop_sequence: stop,
        usage,
    }
}

/// A stop reason's word.
pub(crate) fn word(reason: Finish, stop_sequence: Option<&str>) -> &'static str {
    match reason {
        Finish::Stop if stop_sequence.is_some() => "stop_sequence",
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::Refused | Finish::ContentFilter => "refusal",
    }
}

/// Counts in Anthropic's words: input without what a cache had to do with.
pub(crate) fn usage(count: Usage) -> Value {
    let mut out = json!({
        "input_tokens": count.input.saturating_sub(count.cached).saturating_sub(count.written),
        "cache_creation_input_tokens": count.written,
        "cache_read_input_tokens": count.cached,
        "output_tokens": count.output,
    });
    if count.reasoning > 0 {
        out["output_tokens_details"] = json!({"thinking_tokens": count.reasoning});
    }
    out
}
