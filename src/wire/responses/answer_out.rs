//! Owns writing a Responses reply: a stream, or what is left of one.

use serde_json::{Map, Value, json};

use super::{
    super::{
        Usage,
        events::{ChatEvent, Finish},
        free_text::Input,
        ids,
        json::push,
        members::Members,
        sse,
        telling::{self, Form},
        translate::ReplyContext,
    },
    UNSIGNED,
    calls_out::{Call, Kind},
    message_out::Message,
    reply_out,
};

/// Writes an answer.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(super) ctx: ReplyContext,
    /// Only the response at its end is told.
    whole: bool,
    /// Number of the next event.
    sequence: u64,
    /// Finished items by place.
    pub(super) output: Vec<Value>,
    pub(super) open: Open,
    /// The status of an item that closes now.
    pub(super) status: &'static str,
    /// The letters of all text so far.
    pub(super) letters: usize,
}

#[derive(Debug)]
pub(super) enum Open {
    Nothing,
    Reasoning {
        at: usize,
        text: String,
    },
    Message(Message),
    /// Readers give calls one after the other.
    Call(Call),
}

impl Writer {
    pub(crate) fn new(ctx: ReplyContext, form: Form) -> Self {
        let (output, open, status) = (Vec::new(), Open::Nothing, "completed");
        Self { ctx, whole: form == Form::Whole, sequence: 0, output, open, status, letters: 0 }
    }

    pub(super) fn send(&mut self, kind: &str, members: Value, out: &mut Vec<u8>) {
        if self.whole {
            return;
        }
        let mut map = Map::new();
        map.set("type", kind);
        map.set("sequence_number", self.sequence);
        self.sequence += 1;
        if let Value::Object(members) = members {
            map.extend(members);
        }
        sse::write(kind, &map, out);
    }

    fn response(&self) -> Value {
        let ReplyContext { id, created, model, asked, .. } = &self.ctx;
        let mut response = reply_out::response(id, *created, model, "in_progress", &self.output);
        asked.repeat(&mut response);
        response
    }

    pub(super) fn item_id(&self, prefix: &str, at: usize) -> String {
        reply_out::item_id(prefix, &self.ctx.id, at)
    }

    /// Takes the next place and announces what stands there.
    pub(super) fn place(&mut self, at: usize, item: Value, out: &mut Vec<u8>) {
        self.send("response.output_item.added", json!({"output_index": at, "item": &item}), out);
        self.output.push(item);
    }

    pub(super) fn done(&mut self, at: usize, item: Value, out: &mut Vec<u8>) {
        self.send("response.output_item.done", json!({"output_index": at, "item": &item}), out);
        if let Some(place) = self.output.get_mut(at) {
            *place = item;
        }
    }

    pub(super) fn close(&mut self, encrypted: Option<&str>, out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Reasoning { at, text } => {
                let id = self.item_id("rs_", at);
                if !text.is_empty() {
                    let place = json!({"item_id": id, "output_index": at, "summary_index": 0, "text": text});
                    self.send("response.reasoning_summary_text.done", place, out);
                    let part = json!({"type": "summary_text", "text": text});
                    let place = json!({"item_id": id, "output_index": at, "summary_index": 0, "part": part});
                    self.send("response.reasoning_summary_part.done", place, out);
                }
                let encrypted = encrypted.unwrap_or(UNSIGNED);
                self.done(at, reply_out::reasoning(&id, &text, Some(encrypted)), out);
            }
            Open::Message(message) => self.end_message(message, out),
            Open::Call(mut call) => {
                let rest = call.rest(&self.ctx.id);
                for (kind, members) in rest.into_iter().chain(call.done(&self.ctx.id)) {
                    self.send(kind, members, out);
                }
                self.done(call.at, call.item(&self.ctx.id, self.status), out);
            }
        }
    }

    fn begin_reasoning(&mut self, out: &mut Vec<u8>) {
        if !matches!(self.open, Open::Reasoning { .. }) {
            self.close(None, out);
            let at = self.output.len();
            self.place(at, reply_out::reasoning(&self.item_id("rs_", at), "", None), out);
            self.open = Open::Reasoning { at, text: String::new() };
        }
    }

    fn thinking(&mut self, more: &str, out: &mut Vec<u8>) {
        if more.is_empty() {
            return;
        }
        self.begin_reasoning(out);
        let Open::Reasoning { at, text } = &mut self.open else { return };
        let first = text.is_empty();
        text.push_str(more);
        let at = *at;
        let id = self.item_id("rs_", at);
        if first {
            let part = json!({"type": "summary_text", "text": ""});
            let place = json!({"item_id": id, "output_index": at, "summary_index": 0, "part": part});
            self.send("response.reasoning_summary_part.added", place, out);
        }
        let place = json!({"item_id": id, "output_index": at, "summary_index": 0, "delta": more});
        self.send("response.reasoning_summary_text.delta", place, out);
    }

    fn prove(&mut self, proof: &str, out: &mut Vec<u8>) {
        self.begin_reasoning(out);
        self.close(Some(proof), out);
    }
}

impl telling::Writer for Writer {
    fn event(&mut self, event: &ChatEvent<'_>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start { id, model, created, .. } => {
                self.ctx.begin(id.as_deref(), model.as_deref(), *created);
                for kind in ["response.created", "response.in_progress"] {
                    let response = self.response();
                    self.send(kind, json!({"response": response}), out);
                }
            }
            ChatEvent::Text(text) => self.text(text, false, out),
            ChatEvent::Refusal(text) => self.text(text, true, out),
            ChatEvent::Thinking(text) => self.thinking(text, out),
            // Without one the item stays open: the next call may bring it.
            ChatEvent::ThinkingEnd(Some(signature)) => self.prove(&signature.tagged(), out),
            ChatEvent::Redacted(data) => {
                self.close(None, out);
                self.prove(&reply_out::redacted(data), out);
            }
            ChatEvent::Cite(citation) => self.cite(citation, out),
            ChatEvent::Search(search) => self.search(search, out),
            ChatEvent::ToolCall { index, id, name, signature } => {
                self.close(None, out);
                let at = self.output.len();
                let call_id = ids::call(id.as_deref(), &self.ctx.id, *index);
                let (space, own) = self.ctx.asked.names().own(name);
                let call = Call {
                    number: *index,
                    at,
                    id: call_id,
                    space: space.map(ToOwned::to_owned),
                    name: own.to_owned(),
                    signature: signature.clone(),
                    kind: Kind::of(name, &self.ctx.asked),
                    input: Input::default(),
                    said: String::new(),
                };
                self.place(at, call.item(&self.ctx.id, "in_progress"), out);
                self.open = Open::Call(call);
            }
            ChatEvent::Arguments { index, text } => {
                if let Open::Call(call) = &mut self.open
                    && call.number == *index
                    && let Some((kind, members)) = call.add(text, &self.ctx.id)
                {
                    self.send(kind, members, out);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, reason: Finish, _stop_sequence: Option<&str>, usage: Option<Usage>, out: &mut Vec<u8>) {
        // What was cut is the last. Reasoning has no status here.
        self.status = reply_out::status(reason);
        self.close(None, out);
        let mut response = self.response();
        reply_out::finish(&mut response, reason, usage);
        if self.whole {
            push(out, &response);
            return;
        }
        let kind = if response["status"] == "incomplete" { "response.incomplete" } else { "response.completed" };
        self.send(kind, json!({"response": response}), out);
    }
}
