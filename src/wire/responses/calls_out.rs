//! Owns a call under way in a Responses stream: a function's arguments, or a free-text tool's input.

use serde_json::{Value, json};

use super::{
    super::{chat::Signature, free_text::Input},
    reply_out,
};

/// An event's type and its members.
pub(super) type Event = (&'static str, Value);

/// A call that has begun.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    /// Place among the output items.
    pub(super) at: usize,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) signature: Option<Signature>,
    /// Reads the text out of the arguments, where the tool's input is free.
    pub(super) input: Option<Input>,
    /// Arguments, or input, so far.
    pub(super) said: String,
}

impl Call {
    fn item_id(&self, reply: &str) -> String {
        reply_out::item_id(if self.input.is_some() { "ctc_" } else { "fc_" }, reply, self.at)
    }

    /// The item as it stands.
    pub(super) fn item(&self, reply: &str) -> Value {
        let write = if self.input.is_some() { reply_out::free_text_call } else { reply_out::call };
        write(&self.item_id(reply), &self.id, &self.name, &self.said, self.signature.as_ref())
    }

    /// Takes a piece of the arguments.
    pub(super) fn add(&mut self, piece: &str, reply: &str) -> Option<Event> {
        match &mut self.input {
            Some(input) => {
                let text = input.add(piece);
                self.say(&text, reply)
            }
            None => self.say(piece, reply),
        }
    }

    /// No more pieces come.
    pub(super) fn rest(&mut self, reply: &str) -> Option<Event> {
        let rest = match &mut self.input {
            Some(input) => input.end(),
            None if self.said.trim().is_empty() => reply_out::or_none("").to_owned(),
            None => return None,
        };
        self.say(&rest, reply)
    }

    fn say(&mut self, more: &str, reply: &str) -> Option<Event> {
        if more.is_empty() {
            return None;
        }
        self.said.push_str(more);
        let kind = if self.input.is_some() {
            "response.custom_tool_call_input.delta"
        } else {
            "response.function_call_arguments.delta"
        };
        Some((kind, json!({"item_id": self.item_id(reply), "output_index": self.at, "delta": more})))
    }

    /// What tells that all is said.
    pub(super) fn done(&self, reply: &str) -> Event {
        let (id, at, said) = (self.item_id(reply), self.at, self.said.as_str());
        if self.input.is_some() {
            let members = json!({"item_id": id, "output_index": at, "input": said});
            return ("response.custom_tool_call_input.done", members);
        }
        let members = json!({"item_id": id, "output_index": at, "name": self.name, "arguments": said});
        ("response.function_call_arguments.done", members)
    }
}
