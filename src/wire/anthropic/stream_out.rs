//! Owns writing a Messages stream.

use serde_json::{Map, Value, json};

use super::{
    super::{
        Protocol, Usage,
        chat::Signature,
        events::{ChatEvent, Finish, StreamWriter},
        ids,
        json::push,
        members::Members,
        sse,
        translate::ReplyContext,
        web::{Citation, Search},
    },
    reply_out::{usage, word},
    search,
};

/// Writes events.
#[derive(Debug)]
pub(crate) struct Writer {
    ctx: ReplyContext,
    /// Number of the next block.
    next: u32,
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
    /// A block of words, which are either a refusal or not.
    Text(u32, bool),
    Thinking(u32),
    /// A call's number and its block's: readers give calls one after the other.
    Call(u32, u32),
}

impl Writer {
    pub(crate) fn new(ctx: ReplyContext) -> Self {
        Self { ctx, next: 0, open: Open::Nothing, cited: Vec::new(), letters: 0, begin: 0, searches: 0, searched: 0 }
    }

    fn begin(&mut self, id: Option<&str>, model: Option<&str>, count: Option<Usage>, out: &mut Vec<u8>) {
        if let Some(id) = id {
            id.clone_into(&mut self.ctx.id);
        }
        let message = json!({
            "id": ids::prefixed("msg_", &self.ctx.id),
            "type": "message",
            "role": "assistant",
            "model": self.ctx.public.as_deref().or(model).unwrap_or(&self.ctx.model),
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            // What is told here is of the prompt: some clients add the answer's up over all events.
            "usage": usage(count.map(|count| Usage { output: 0, reasoning: 0, ..count }).unwrap_or_default()),
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
        if let Open::Text(index, _) | Open::Thinking(index) | Open::Call(_, index) =
            std::mem::replace(&mut self.open, Open::Nothing)
        {
            stop(index, out);
        }
    }

    fn text(&mut self, text: &str, refusal: bool, out: &mut Vec<u8>) {
        let index = match self.open {
            Open::Text(index, kind) if kind == refusal => index,
            _ => {
                self.close(out);
                self.cited.clear();
                self.begin = self.letters;
                let index = self.block(json!({"type": "text", "text": ""}), out);
                self.open = Open::Text(index, refusal);
                index
            }
        };
        self.letters += if refusal { 0 } else { text.chars().count() };
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

    /// Names a source of the text under way, once. Of a text that has ended nothing more can be said.
    fn cite(&mut self, citation: &Citation, out: &mut Vec<u8>) {
        let Open::Text(index, false) = self.open else { return };
        if citation.from >= self.begin && !self.cited.contains(&citation.page.url) {
            self.cited.push(citation.page.url.clone());
            let delta = json!({"type": "citations_delta", "citation": search::citation(citation)});
            send("content_block_delta", &[("index", index.into()), ("delta", delta)], out);
        }
    }

    fn search(&mut self, search: &Search, out: &mut Vec<u8>) {
        self.close(out);
        let [mut call, result] = search::blocks(search, &self.ctx.id, self.searched);
        (self.searched, self.searches) = (self.searched + 1, self.searches + search.count());
        let input = std::mem::replace(&mut call["input"], json!({}));
        let index = self.block(call, out);
        delta(index, "input_json_delta", "partial_json", &input.to_string(), out);
        stop(index, out);
        let index = self.block(result, out);
        stop(index, out);
    }

    fn sign(&mut self, signature: &Signature, out: &mut Vec<u8>) {
        let index = self.thinking(out);
        delta(index, "signature_delta", "signature", &signature.spelled(Protocol::Anthropic), out);
        self.close(out);
    }
}

impl StreamWriter for Writer {
    fn event(&mut self, event: &ChatEvent<'_>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start { id, model, usage, .. } => self.begin(id.as_deref(), model.as_deref(), *usage, out),
            ChatEvent::Text(text) => self.text(text, false, out),
            ChatEvent::Refusal(text) => self.text(text, true, out),
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
            ChatEvent::Cite(citation) => self.cite(citation, out),
            ChatEvent::Search(search) => self.search(search, out),
            ChatEvent::ToolCall { index: call, id, name, .. } => {
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
        self.close(out);
        let stop = self.ctx.asked.stopped_at(stop_sequence);
        let delta = json!({"stop_reason": word(reason, stop), "stop_sequence": stop});
        let mut usage = usage(count.unwrap_or_default());
        search::counted(self.searches, &mut usage);
        send("message_delta", &[("delta", delta), ("usage", usage)], out);
        send("message_stop", &[], out);
    }
}

fn stop(index: u32, out: &mut Vec<u8>) {
    send("content_block_stop", &[("index", index.into())], out);
}

fn send(kind: &str, members: &[(&str, Value)], out: &mut Vec<u8>) {
    let mut map = Map::new();
    map.set("type", kind);
    for (name, value) in members {
        map.set(name, value.clone());
    }
    sse::write(kind, &map, out);
}

/// A delta of one string, without a tree.
fn delta(index: u32, kind: &str, member: &str, text: &str, out: &mut Vec<u8>) {
    let head = format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":\"{kind}\",\"{member}\":"
    );
    out.extend_from_slice(head.as_bytes());
    push(out, text);
    out.extend_from_slice(b"}}\n\n");
}
