//! Owns writing a chat completion, as chunks or whole.

use std::{collections::BTreeMap, fmt, io::Write};

use serde_json::{Value, json};

use super::{
    super::{
        Usage,
        chat::Signature,
        events::{ChatEvent, Finish},
        free_text::Input,
        ids,
        json::{add, append, push},
        telling::{self, Form},
        translate::ReplyContext,
    },
    reply_out::{annotation, call, image, placed, proven, redacted_block, thinking_block, usage, word},
};

/// Writes an answer.
#[derive(Debug)]
pub(crate) struct Writer {
    ctx: ReplyContext,
    /// The message so far, where it is told whole.
    whole: Option<Value>,
    include_usage: bool,
    /// The part of every chunk that stands before the choices.
    head: Vec<u8>,
    /// Thinking of the block under way, repeated whole in `thinking_blocks` with its signature.
    thinking: String,
    /// How many items each list of the message has.
    items: BTreeMap<&'static str, u32>,
    /// Bytes of text and number of calls so far: a block's place.
    said: (usize, usize),
    /// The latest proof of the text. It is told once, at the end: OpenAI's client for Python joins what comes in pieces.
    signature: Option<Signature>,
    /// The call under way whose arguments are free text, by its number.
    input: Option<(u32, Input)>,
}

impl Writer {
    pub(crate) fn new(ctx: ReplyContext, form: Form) -> Self {
        let message = || json!({"role": "assistant", "content": null, "refusal": null});
        Self {
            ctx,
            whole: (form == Form::Whole).then(message),
            include_usage: form == Form::Stream { include_usage: true },
            head: Vec::new(),
            thinking: String::new(),
            items: BTreeMap::new(),
            said: (0, 0),
            signature: None,
            input: None,
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        let head = &mut self.head;
        head.extend_from_slice(b"data: {\"id\":");
        push(head, &ids::prefixed("chatcmpl-", &self.ctx.id));
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        push(head, &self.ctx.created);
        head.extend_from_slice(b",\"model\":");
        push(head, &self.ctx.model);
        self.delta(&json!({"role": "assistant", "content": "", "refusal": null}), None, out);
    }

    fn open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b",\"choices\":[{\"index\":0,\"delta\":");
    }

    fn close(&self, finish: Option<Finish>, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"logprobs\":null,\"finish_reason\":");
        push(out, &finish.map(|reason| word(reason, &self.ctx.asked)));
        out.extend_from_slice(b"}]");
        if self.include_usage {
            out.extend_from_slice(b",\"usage\":null");
        }
        out.extend_from_slice(b"}\n\n");
    }

    /// Appends a chunk, of which a whole completion has none.
    fn delta(&self, delta: &Value, finish: Option<Finish>, out: &mut Vec<u8>) {
        if self.whole.is_none() {
            self.open(out);
            push(out, delta);
            self.close(finish, out);
        }
    }

    /// A delta of one string, without a tree.
    fn one(&self, before: fmt::Arguments<'_>, text: &str, after: &str, out: &mut Vec<u8>) {
        self.open(out);
        // A vector takes every write.
        drop(out.write_fmt(before));
        push(out, text);
        out.extend_from_slice(after.as_bytes());
        self.close(None, out);
    }

    /// Goes on with a text of the message.
    fn text(&mut self, member: &str, text: &str, out: &mut Vec<u8>) {
        match &mut self.whole {
            Some(message) => append(&mut message[member], text),
            None => self.one(format_args!("{{\"{member}\":"), text, "}", out),
        }
    }

    /// Adds members that come at once.
    fn members(&mut self, delta: Value, out: &mut Vec<u8>) {
        self.delta(&delta, None, out);
        if let (Some(Value::Object(message)), Value::Object(delta)) = (&mut self.whole, delta) {
            message.extend(delta);
        }
    }

    /// Adds an item to a list.
    fn item(&mut self, list: &'static str, mut item: Value, out: &mut Vec<u8>) {
        if let Some(message) = &mut self.whole {
            add(&mut message[list], item);
            return;
        }
        let number = self.items.entry(list).or_default();
        item["index"] = (*number).into();
        *number += 1;
        self.delta(&json!({list: [item]}), None, out);
    }

    fn block(&mut self, block: Value, out: &mut Vec<u8>) {
        self.item("thinking_blocks", placed(block, self.said.0, self.said.1), out);
    }

    fn call(&mut self, number: u32, name: &str, call: Value, out: &mut Vec<u8>) {
        self.said.1 += 1;
        self.end_input(out);
        if self.ctx.asked.by_functions() {
            self.members(json!({"function_call": call}), out);
            return;
        }
        if self.ctx.asked.is_free_text(name) {
            self.input = Some((number, Input::default()));
        }
        self.item("tool_calls", call, out);
    }

    fn arguments(&mut self, number: u32, text: &str, out: &mut Vec<u8>) {
        if let Some((_, input)) = self.input.as_mut().filter(|(known, _)| *known == number) {
            let text = input.add(text);
            self.input(number, &text, out);
        } else {
            self.go_on(number, ["function", "arguments"], text, out);
        }
    }

    fn input(&mut self, number: u32, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.go_on(number, ["custom", "input"], text, out);
        }
    }

    fn end_input(&mut self, out: &mut Vec<u8>) {
        if let Some((number, mut input)) = self.input.take() {
            self.input(number, &input.end(), out);
        }
    }

    /// Goes on with what a call bears.
    fn go_on(&mut self, number: u32, [kind, member]: [&str; 2], text: &str, out: &mut Vec<u8>) {
        let functions = self.ctx.asked.by_functions();
        if let Some(message) = &mut self.whole {
            let path = if functions { "/function_call".to_owned() } else { format!("/tool_calls/{number}/{kind}") };
            if let Some(call) = message.pointer_mut(&path) {
                append(&mut call[member], text);
            }
        } else if functions {
            self.one(format_args!("{{\"function_call\":{{\"arguments\":"), text, "}}", out);
        } else {
            let before = format_args!("{{\"tool_calls\":[{{\"index\":{number},\"{kind}\":{{\"{member}\":");
            self.one(before, text, "}}]}", out);
        }
    }
}

impl telling::Writer for Writer {
    fn event(&mut self, event: &ChatEvent<'_>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start { id, model, created, .. } => {
                self.ctx.begin(id.as_deref(), model.as_deref(), *created);
                self.begin(out);
            }
            ChatEvent::Text(text) => {
                self.said.0 += text.len();
                self.text("content", text, out);
            }
            ChatEvent::Refusal(text) => self.text("refusal", text, out),
            ChatEvent::Thinking(text) => {
                self.thinking.push_str(text);
                self.text("reasoning_content", text, out);
            }
            ChatEvent::ThinkingEnd(signature) => {
                let thinking = std::mem::take(&mut self.thinking);
                if let Some(block) = signature.as_ref().and_then(|signature| thinking_block(&thinking, signature)) {
                    self.block(block, out);
                }
            }
            ChatEvent::Redacted(data) => self.block(redacted_block(data), out),
            ChatEvent::Image { source, signature } => self.item("images", image(source, signature.as_ref()), out),
            ChatEvent::Cite(citation) => self.item("annotations", annotation(citation), out),
            ChatEvent::TextSignature(signature) => self.signature = Some(signature.clone()),
            // A `function_call` has room for one.
            ChatEvent::ToolCall { index: 1.., .. } | ChatEvent::Arguments { index: 1.., .. }
                if self.ctx.asked.by_functions() => {}
            ChatEvent::ToolCall { index, id, name, signature } => {
                let id = ids::call(id.as_deref(), &self.ctx.id, *index);
                let call = call(&self.ctx.asked, &id, name, signature.as_ref());
                self.call(*index, name, call, out);
            }
            ChatEvent::Arguments { index, text } => self.arguments(*index, text, out),
            _ => {}
        }
    }

    fn finish(&mut self, reason: Finish, _stop_sequence: Option<&str>, count: Option<Usage>, out: &mut Vec<u8>) {
        self.end_input(out);
        if let Some(signature) = self.signature.take() {
            self.members(proven(json!({}), Some(&signature)), out);
        }
        if let Some(message) = self.whole.take() {
            let reason = word(reason, &self.ctx.asked);
            let mut told = json!({
                "id": ids::prefixed("chatcmpl-", &self.ctx.id),
                "object": "chat.completion",
                "created": self.ctx.created,
                "model": self.ctx.model,
                "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}],
            });
            if let Some(count) = &count {
                told["usage"] = usage(count);
            }
            push(out, &told);
            return;
        }
        self.delta(&json!({}), Some(reason), out);
        if self.include_usage {
            out.extend_from_slice(&self.head);
            out.extend_from_slice(b",\"choices\":[],\"usage\":");
            push(out, &usage(&count.unwrap_or_default()));
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
