//! Owns writing a chat completion stream.

use serde_json::{Value, json};

use super::{
    super::{
        Usage,
        chat::Signature,
        events::{ChatEvent, Finish, StreamWriter},
        free_text::Input,
        ids,
        json::push,
        translate::ReplyContext,
    },
    reply_out::{annotation, call, image, placed, proven, redacted_block, thinking_block, usage, word},
};

/// Writes chunks.
#[derive(Debug)]
pub(crate) struct Writer {
    ctx: ReplyContext,
    include_usage: bool,
    /// The part of every chunk that stands before the choices.
    head: Vec<u8>,
    /// Thinking of the block under way, repeated whole in `thinking_blocks` with its signature.
    thinking: String,
    blocks: u32,
    images: u32,
    cited: u32,
    /// Bytes of text and number of calls so far: a block's place.
    said: (usize, usize),
    /// The latest proof of the text. It is told once, at the end: OpenAI's client for Python joins what comes in pieces.
    signature: Option<Signature>,
    /// The call under way whose arguments are free text, by its number.
    input: Option<(u32, Input)>,
}

impl Writer {
    pub(crate) fn new(ctx: ReplyContext, include_usage: bool) -> Self {
        Self {
            ctx,
            include_usage,
            head: Vec::new(),
            thinking: String::new(),
            blocks: 0,
            images: 0,
            cited: 0,
            said: (0, 0),
            signature: None,
            input: None,
        }
    }

    fn begin(&mut self, id: Option<&str>, model: Option<&str>, created: Option<u64>, out: &mut Vec<u8>) {
        if let Some(id) = id {
            id.clone_into(&mut self.ctx.id);
        }
        let head = &mut self.head;
        head.extend_from_slice(b"data: {\"id\":");
        push(head, &ids::prefixed("chatcmpl-", &self.ctx.id));
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        push(head, &created.unwrap_or(self.ctx.created));
        head.extend_from_slice(b",\"model\":");
        push(head, model.unwrap_or(&self.ctx.model));
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

    fn delta(&self, delta: &Value, finish: Option<Finish>, out: &mut Vec<u8>) {
        self.open(out);
        push(out, delta);
        self.close(finish, out);
    }

    /// A delta of one string, without a tree.
    fn one(&self, before: &[u8], text: &str, after: &[u8], out: &mut Vec<u8>) {
        self.open(out);
        out.extend_from_slice(before);
        push(out, text);
        out.extend_from_slice(after);
        self.close(None, out);
    }

    fn free_text(&self, index: u32, text: &str, out: &mut Vec<u8>) {
        if !text.is_empty() {
            let before = format!("{{\"tool_calls\":[{{\"index\":{index},\"custom\":{{\"input\":");
            self.one(before.as_bytes(), text, b"}}]}", out);
        }
    }

    fn end_input(&mut self, out: &mut Vec<u8>) {
        if let Some((index, mut input)) = self.input.take() {
            self.free_text(index, &input.end(), out);
        }
    }

    /// A delta of one item of a list, by its number there.
    fn item(&self, list: &str, mut item: Value, number: u32, out: &mut Vec<u8>) {
        item["index"] = number.into();
        self.delta(&json!({list: [item]}), None, out);
    }

    fn block(&mut self, block: Value, out: &mut Vec<u8>) {
        self.item("thinking_blocks", placed(block, self.said.0, self.said.1), self.blocks, out);
        self.blocks += 1;
    }

    fn begin_call(&mut self, number: u32, name: &str, call: Value, out: &mut Vec<u8>) {
        self.said.1 += 1;
        self.end_input(out);
        if self.ctx.asked.by_functions() {
            self.delta(&json!({"function_call": call}), None, out);
            return;
        }
        if self.ctx.asked.is_free_text(name) {
            self.input = Some((number, Input::default()));
        }
        self.item("tool_calls", call, number, out);
    }

    fn arguments(&mut self, number: u32, text: &str, out: &mut Vec<u8>) {
        if self.ctx.asked.by_functions() {
            self.one(b"{\"function_call\":{\"arguments\":", text, b"}}", out);
        } else if let Some((_, input)) = self.input.as_mut().filter(|(known, _)| *known == number) {
            let text = input.add(text);
            self.free_text(number, &text, out);
        } else {
            let before = format!("{{\"tool_calls\":[{{\"index\":{number},\"function\":{{\"arguments\":");
            self.one(before.as_bytes(), text, b"}}]}", out);
        }
    }
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &ChatEvent<'_>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start { id, model, created, .. } => self.begin(id.as_deref(), model.as_deref(), *created, out),
            ChatEvent::Text(text) => {
                self.said.0 += text.len();
                self.one(b"{\"content\":", text, b"}", out);
            }
            ChatEvent::Refusal(text) => self.one(b"{\"refusal\":", text, b"}", out),
            ChatEvent::Thinking(text) => {
                self.thinking.push_str(text);
                self.one(b"{\"reasoning_content\":", text, b"}", out);
            }
            ChatEvent::ThinkingEnd(signature) => {
                let thinking = std::mem::take(&mut self.thinking);
                if let Some(block) = signature.as_ref().and_then(|signature| thinking_block(&thinking, signature)) {
                    self.block(block, out);
                }
            }
            ChatEvent::Redacted(data) => self.block(redacted_block(data), out),
            ChatEvent::Image { source, signature } => {
                self.item("images", image(source, signature.as_ref()), self.images, out);
                self.images += 1;
            }
            ChatEvent::Cite(citation) => {
                self.item("annotations", annotation(citation), self.cited, out);
                self.cited += 1;
            }
            ChatEvent::TextSignature(signature) => self.signature = Some(signature.clone()),
            // A `function_call` has room for one.
            ChatEvent::ToolCall { index: 1.., .. } | ChatEvent::Arguments { index: 1.., .. }
                if self.ctx.asked.by_functions() => {}
            ChatEvent::ToolCall { index, id, name, signature } => {
                let id = ids::call(id.as_deref(), &self.ctx.id, *index);
                let call = call(&self.ctx.asked, &id, name, "", signature.as_ref());
                self.begin_call(*index, name, call, out);
            }
            ChatEvent::Arguments { index, text } => self.arguments(*index, text, out),
            _ => {}
        }
    }

    fn finish(&mut self, reason: Finish, _stop_sequence: Option<&str>, count: Option<Usage>, out: &mut Vec<u8>) {
        self.end_input(out);
        if let Some(signature) = self.signature.take() {
            self.delta(&proven(json!({}), Some(&signature)), None, out);
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
