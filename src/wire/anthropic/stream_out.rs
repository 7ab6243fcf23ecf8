//! Owns writing a Messages reply, whole and as a stream.

use serde_json::{Map, Value, json};

use super::super::{
    Protocol, Usage,
    chat::{Part, Signature},
    events::{ChatEvent, ChatReply, Finish, StreamWriter},
    ids,
    json::{arguments, push, push_text},
    translate::ReplyContext,
};

/// Writes a whole reply.
pub(crate) fn whole(reply: &ChatReply, ctx: &ReplyContext) -> Value {
    let id = reply.id.as_deref().unwrap_or(&ctx.id);
    let (mut content, mut calls) = (Vec::new(), 0);
    for part in &reply.parts {
        match part {
            Part::Text { text, .. } | Part::Refusal(text) => content.push(json!({"type": "text", "text": text})),
            Part::Thinking { text, signature } => {
                let signature = signature.as_ref().map(|s| s.spelled(Protocol::Anthropic)).unwrap_or_default();
                content.push(json!({"type": "thinking", "thinking": text, "signature": signature}));
            }
            Part::Redacted(data) => content.push(json!({"type": "redacted_thinking", "data": data})),
            Part::ToolCall { id: given, name, arguments: text, signature } => {
                if let Some(signature) = signature {
                    carry(signature, &mut content);
                }
                let call_id = ids::call(Some(given), id, calls);
                calls += 1;
                content.push(json!({"type": "tool_use", "id": call_id, "name": name, "input": arguments(text)}));
            }
            _ => {}
        }
    }
    let reason = reply.finish.unwrap_or(if calls == 0 { Finish::Stop } else { Finish::ToolCalls });
    json!({
        "id": ids::prefixed("msg_", id),
        "type": "message",
        "role": "assistant",
        "model": reply.model.as_deref().unwrap_or(&ctx.model),
        "content": content,
        "stop_reason": word(reason, reply.stop_sequence.as_deref()),
        "stop_sequence": reply.stop_sequence,
        "usage": usage(reply.usage.unwrap_or_default()),
    })
}

/// Puts a call's signature into the thinking block before it, the one place that Messages clients echo.
fn carry(signature: &Signature, content: &mut Vec<Value>) {
    if let Some(last) = content.last_mut().filter(|b| b["type"] == "thinking" && b["signature"] == "") {
        last["signature"] = signature.spelled(Protocol::Anthropic).into();
        return;
    }
    content.push(json!({"type": "thinking", "thinking": "", "signature": signature.spelled(Protocol::Anthropic)}));
}

fn word(reason: Finish, stop_sequence: Option<&str>) -> &'static str {
    match reason {
        Finish::Stop if stop_sequence.is_some() => "stop_sequence",
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter => "refusal",
    }
}

/// Counts in Anthropic's words: input without what a cache had to do with.
fn usage(count: Usage) -> Value {
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

/// Writes events.
#[derive(Debug)]
pub(crate) struct Writer {
    ctx: ReplyContext,
    started: bool,
    /// Number of the next block.
    next: u32,
    open: Open,
}

#[derive(Debug, PartialEq)]
enum Open {
    Nothing,
    Text(u32),
    Thinking(u32),
    /// A call's number and its block's: readers give calls one after the other.
    Call(u32, u32),
}

impl Writer {
    pub(crate) fn new(ctx: ReplyContext) -> Self {
        Self { ctx, started: false, next: 0, open: Open::Nothing }
    }

    fn begin(&mut self, id: Option<&str>, model: Option<&str>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            id.clone_into(&mut self.ctx.id);
        }
        let message = json!({
            "id": ids::prefixed("msg_", &self.ctx.id),
            "type": "message",
            "role": "assistant",
            "model": model.unwrap_or(&self.ctx.model),
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage(Usage::default()),
        });
        send("message_start", &[("message", message)], out);
    }

    fn block(&mut self, block: Value, out: &mut Vec<u8>) -> u32 {
        let index = self.next;
        self.next += 1;
        send("content_block_start", &[("index", index.into()), ("content_block", block)], out);
        index
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Open::Text(index) | Open::Thinking(index) | Open::Call(_, index) =
            std::mem::replace(&mut self.open, Open::Nothing)
        {
            stop(index, out);
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        let index = if let Open::Text(index) = self.open {
            index
        } else {
            self.close(out);
            let index = self.block(json!({"type": "text", "text": ""}), out);
            self.open = Open::Text(index);
            index
        };
        delta(index, "text_delta", "text", text, out);
    }

    fn thinking(&mut self, out: &mut Vec<u8>) -> u32 {
        if let Open::Thinking(index) = self.open {
            return index;
        }
        self.close(out);
        let index = self.block(json!({"type": "thinking", "thinking": "", "signature": ""}), out);
        self.open = Open::Thinking(index);
        index
    }

    fn sign(&mut self, signature: &Signature, out: &mut Vec<u8>) {
        let index = self.thinking(out);
        delta(index, "signature_delta", "signature", &signature.spelled(Protocol::Anthropic), out);
        self.close(out);
    }
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &ChatEvent<'_>, out: &mut Vec<u8>) {
        if let ChatEvent::Start { id, model, .. } = event {
            self.begin(id.as_deref(), model.as_deref(), out);
            return;
        }
        self.begin(None, None, out);
        match event {
            ChatEvent::Text(text) | ChatEvent::Refusal(text) => self.text(text, out),
            ChatEvent::Thinking(text) => {
                let index = self.thinking(out);
                delta(index, "thinking_delta", "thinking", text, out);
            }
            // Without one the block stays open: the next call may bring it.
            ChatEvent::ThinkingEnd(Some(signature)) => self.sign(signature, out),
            ChatEvent::Redacted(data) => {
                self.close(out);
                let index = self.block(json!({"type": "redacted_thinking", "data": data}), out);
                stop(index, out);
            }
            ChatEvent::ToolCall { index: call, id, name, signature } => {
                if let Some(signature) = signature {
                    self.sign(signature, out);
                }
                self.close(out);
                let id = ids::call(id.as_deref(), &self.ctx.id, *call);
                let index = self.block(json!({"type": "tool_use", "id": id, "name": name, "input": {}}), out);
                self.open = Open::Call(*call, index);
            }
            ChatEvent::Arguments { index: call, text } => {
                if let Open::Call(number, index) = self.open
                    && number == *call
                {
                    delta(index, "input_json_delta", "partial_json", text, out);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, reason: Finish, stop_sequence: Option<&str>, count: Option<Usage>, out: &mut Vec<u8>) {
        self.begin(None, None, out);
        self.close(out);
        let delta = json!({"stop_reason": word(reason, stop_sequence), "stop_sequence": stop_sequence});
        send("message_delta", &[("delta", delta), ("usage", usage(count.unwrap_or_default()))], out);
        send("message_stop", &[], out);
    }
}

fn stop(index: u32, out: &mut Vec<u8>) {
    send("content_block_stop", &[("index", index.into())], out);
}

fn send(kind: &str, members: &[(&str, Value)], out: &mut Vec<u8>) {
    let mut map = Map::new();
    map.insert("type".into(), kind.into());
    for (name, value) in members {
        map.insert((*name).into(), value.clone());
    }
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    push(out, &map);
    out.extend_from_slice(b"\n\n");
}

/// A delta of one string, without a tree.
fn delta(index: u32, kind: &str, member: &str, text: &str, out: &mut Vec<u8>) {
    let head = format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":\"{kind}\",\"{member}\":"
    );
    out.extend_from_slice(head.as_bytes());
    push_text(out, text);
    out.extend_from_slice(b"}}\n\n");
}
