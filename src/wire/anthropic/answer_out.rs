//! Owns writing a Messages reply, as a stream or whole.

use serde_json::{Map, Value, json};

use super::{
    super::{
        Protocol, Usage,
        events::{ChatEvent, Finish},
        ids,
        json::push,
        members::Members,
        sse,
        telling::{self, Form},
        translate::ReplyContext,
        web::{Citation, Search},
    },
    reply_out::{Block, Message, usage, word},
    search,
};

/// Writes an answer.
#[derive(Debug)]
pub(crate) struct Writer {
    ctx: ReplyContext,
    /// The blocks so far, where they are told whole.
    whole: Option<Vec<Block>>,
    /// Number of blocks so far, and what the last one is as long as it is under way.
    blocks: u32,
    open: Open,
    /// The pages that the text under way has named.
    cited: Vec<String>,
    /// Letters of all text so far, and before that text.
    letters: usize,
    begin: usize,
    /// Searches so far, and the blocks of them.
    searches: usize,
    searched: usize,
}

#[derive(Debug, PartialEq)]
enum Open {
    Nothing,
    /// Words, which are either a refusal or not.
    Text(bool),
    Thinking,
    /// A call, by its number: readers give them one after the other.
    Call(u32),
    /// What has nothing to be added by later events.
    Told,
}

impl Writer {
    pub(crate) fn new(ctx: ReplyContext, form: Form) -> Self {
        Self {
            ctx,
            whole: (form == Form::Whole).then(Vec::new),
            blocks: 0,
            open: Open::Nothing,
            cited: Vec::new(),
            letters: 0,
            begin: 0,
            searches: 0,
            searched: 0,
        }
    }

    fn message<'a>(&'a self, reason: Option<&'static str>, stop: Option<&'a str>, usage: Value) -> Message<'a> {
        Message {
            id: ids::prefixed("msg_", &self.ctx.id),
            r#type: "message",
            role: "assistant",
            model: self.ctx.public.as_deref().unwrap_or(&self.ctx.model),
            content: self.whole.as_deref().unwrap_or_default(),
            stop_reason: reason,
            stop_sequence: stop,
            usage,
        }
    }

    fn begin(&self, count: Option<Usage>, out: &mut Vec<u8>) {
        // What is told here is of the prompt: some clients add the answer's up over all events.
        let usage = usage(count.map(|count| Usage { output: 0, reasoning: 0, ..count }).unwrap_or_default());
        self.send("message_start", &[("message", json!(self.message(None, None, usage)))], out);
    }

    /// Appends an event, of which a whole message has none.
    fn send(&self, kind: &str, members: &[(&str, Value)], out: &mut Vec<u8>) {
        if self.whole.is_none() {
            let mut map = Map::new();
            map.set("type", kind);
            for (name, value) in members {
                map.set(name, value.clone());
            }
            sse::write(kind, &map, out);
        }
    }

    /// Begins a block.
    fn block(&mut self, open: Open, block: Value, out: &mut Vec<u8>) {
        self.close(out);
        let index = self.blocks;
        self.blocks += 1;
        self.open = open;
        match &mut self.whole {
            Some(blocks) => blocks.push(Block::new(block)),
            None => self.send("content_block_start", &[("index", index.into()), ("content_block", block)], out),
        }
    }

    /// The number of the block under way, and it itself, where they are told whole.
    fn under_way(&mut self) -> (u32, Option<&mut Block>) {
        (self.blocks.saturating_sub(1), self.whole.as_mut().and_then(|blocks| blocks.last_mut()))
    }

    /// Goes on with a text of the block under way, without a tree.
    fn delta(&mut self, kind: &str, member: &str, text: &str, out: &mut Vec<u8>) {
        let (index, block) = self.under_way();
        if let Some(block) = block {
            block.go_on(member, text);
            return;
        }
        let head = format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":\"{kind}\",\"{member}\":"
        );
        out.extend_from_slice(head.as_bytes());
        push(out, text);
        out.extend_from_slice(b"}}\n\n");
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.open, Open::Nothing) != Open::Nothing {
            let (index, _) = self.under_way();
            self.send("content_block_stop", &[("index", index.into())], out);
        }
    }

    fn text(&mut self, text: &str, refusal: bool, out: &mut Vec<u8>) {
        // An empty text is no block: sent back, it would be refused.
        if text.is_empty() {
            return;
        }
        if self.open != Open::Text(refusal) {
            self.cited.clear();
            self.begin = self.letters;
            self.block(Open::Text(refusal), json!({"type": "text", "text": ""}), out);
        }
        self.letters += if refusal { 0 } else { text.chars().count() };
        self.delta("text_delta", "text", text, out);
    }

    fn thinking(&mut self, out: &mut Vec<u8>) {
        if self.open != Open::Thinking {
            self.block(Open::Thinking, json!({"type": "thinking", "thinking": "", "signature": ""}), out);
        }
    }

    /// Names a source of the text under way, once. Of a text that has ended nothing more can be said.
    fn cite(&mut self, citation: &Citation, out: &mut Vec<u8>) {
        let url = &citation.page.url;
        if self.open != Open::Text(false) || citation.from < self.begin || self.cited.contains(url) {
            return;
        }
        self.cited.push(url.clone());
        let citation = search::citation(citation);
        let (index, block) = self.under_way();
        if let Some(block) = block {
            block.cite(citation);
            return;
        }
        let delta = json!({"type": "citations_delta", "citation": citation});
        self.send("content_block_delta", &[("index", index.into()), ("delta", delta)], out);
    }

    fn search(&mut self, search: &Search, out: &mut Vec<u8>) {
        let [mut call, result] = search::blocks(search, &self.ctx.id, self.searched);
        (self.searched, self.searches) = (self.searched + 1, self.searches + search.count());
        let input = std::mem::replace(&mut call["input"], json!({}));
        self.block(Open::Told, call, out);
        self.delta("input_json_delta", "partial_json", &input.to_string(), out);
        self.block(Open::Told, result, out);
        self.close(out);
    }
}

impl telling::Writer for Writer {
    fn event(&mut self, event: &ChatEvent<'_>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start { id, model, created, usage } => {
                self.ctx.begin(id.as_deref(), model.as_deref(), *created);
                self.begin(*usage, out);
            }
            ChatEvent::Text(text) => self.text(text, false, out),
            ChatEvent::Refusal(text) => self.text(text, true, out),
            ChatEvent::Thinking(text) => {
                self.thinking(out);
                self.delta("thinking_delta", "thinking", text, out);
            }
            // Without one the block stays open: the next call may bring it.
            ChatEvent::ThinkingEnd(Some(signature)) => {
                self.thinking(out);
                self.delta("signature_delta", "signature", &signature.spelled(Protocol::Anthropic), out);
                self.close(out);
            }
            ChatEvent::Redacted(data) => {
                self.block(Open::Told, json!({"type": "redacted_thinking", "data": data}), out);
                self.close(out);
            }
            ChatEvent::Cite(citation) => self.cite(citation, out),
            ChatEvent::Search(search) => self.search(search, out),
            ChatEvent::ToolCall { index: call, id, name, .. } => {
                let id = ids::call(id.as_deref(), &self.ctx.id, *call);
                self.block(Open::Call(*call), json!({"type": "tool_use", "id": id, "name": name, "input": {}}), out);
            }
            ChatEvent::Arguments { index: call, text } if self.open == Open::Call(*call) => {
                self.delta("input_json_delta", "partial_json", text, out);
            }
            _ => {}
        }
    }

    fn finish(&mut self, reason: Finish, stop_sequence: Option<&str>, count: Option<Usage>, out: &mut Vec<u8>) {
        self.close(out);
        let stop = self.ctx.asked.stopped_at(stop_sequence);
        let reason = word(reason, stop);
        let mut usage = usage(count.unwrap_or_default());
        search::counted(self.searches, &mut usage);
        if self.whole.is_some() {
            push(out, &self.message(Some(reason), stop, usage));
            return;
        }
        let delta = json!({"stop_reason": reason, "stop_sequence": stop});
        self.send("message_delta", &[("delta", delta), ("usage", usage)], out);
        self.send("message_stop", &[], out);
    }
}
