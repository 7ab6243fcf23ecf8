//! Owns the calls of a Responses reply: of a function, of a free-text tool, of the client's search for tools. In a stream they
//! are under way for a while.

use serde_json::{Value, json};

use super::{
    super::{asked::Asked, chat::Signature, free_text::Input, json::arguments, openai::reply_out::proven},
    reply_out,
};

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    FreeText,
    Search,
}

impl Kind {
    /// Told by the name that the provider calls.
    pub(super) fn of(name: &str, asked: &Asked) -> Self {
        // A model may leave a namespace out.
        if asked.is_free_text(asked.names().told(name)) {
            Self::FreeText
        } else if asked.is_search(name) {
            Self::Search
        } else {
            Self::Function
        }
    }

    /// What an item's id begins with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Function => "fc_",
            Self::FreeText => "ctc_",
            Self::Search => "tsc_",
        }
    }
}

/// An event's type and its members.
pub(super) type Event = (&'static str, Value);

/// A call that has begun.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    /// Place among the output items.
    pub(super) at: usize,
    pub(super) id: String,
    /// The namespace, where the tool stands in one.
    pub(super) space: Option<String>,
    pub(super) name: String,
    pub(super) signature: Option<Signature>,
    pub(super) kind: Kind,
    /// Reads the text out of the arguments, where the tool's input is free.
    pub(super) input: Input,
    /// Arguments, or input, so far.
    pub(super) said: String,
}

impl Call {
    fn item_id(&self, reply: &str) -> String {
        reply_out::item_id(self.kind.prefix(), reply, self.at)
    }

    /// The item as it stands, with this status.
    pub(super) fn item(&self, reply: &str, status: &str) -> Value {
        let said = self.said.as_str();
        let (kind, key, said) = match self.kind {
            Kind::Function => ("function_call", "arguments", said.into()),
            Kind::FreeText => ("custom_tool_call", "input", said.into()),
            Kind::Search => ("tool_search_call", "arguments", arguments(said)),
        };
        let mut item = json!({"id": self.item_id(reply), "type": kind, "status": status, "call_id": self.id});
        if self.kind == Kind::Search {
            item["execution"] = "client".into();
        } else {
            item["name"] = self.name.as_str().into();
        }
        item[key] = said;
        if let Some(space) = &self.space {
            item["namespace"] = space.as_str().into();
        }
        proven(item, self.signature.as_ref())
    }

    /// Takes a piece of the arguments.
    pub(super) fn add(&mut self, piece: &str, reply: &str) -> Option<Event> {
        if self.kind == Kind::FreeText {
            let text = self.input.add(piece);
            return self.say(&text, reply);
        }
        self.say(piece, reply)
    }

    /// No more pieces come.
    pub(super) fn rest(&mut self, reply: &str) -> Option<Event> {
        let rest = match self.kind {
            Kind::FreeText => self.input.end(),
            _ if self.said.trim().is_empty() => reply_out::or_none("").to_owned(),
            _ => return None,
        };
        self.say(&rest, reply)
    }

    fn say(&mut self, more: &str, reply: &str) -> Option<Event> {
        if more.is_empty() {
            return None;
        }
        self.said.push_str(more);
        let kind = match self.kind {
            Kind::FreeText => "response.custom_tool_call_input.delta",
            Kind::Function => "response.function_call_arguments.delta",
            // Its item comes whole.
            Kind::Search => return None,
        };
        Some((kind, json!({"item_id": self.item_id(reply), "output_index": self.at, "delta": more})))
    }

    /// What tells that all is said.
    pub(super) fn done(&self, reply: &str) -> Option<Event> {
        let (id, at, said) = (self.item_id(reply), self.at, self.said.as_str());
        Some(match self.kind {
            Kind::FreeText => {
                let members = json!({"item_id": id, "output_index": at, "input": said});
                ("response.custom_tool_call_input.done", members)
            }
            Kind::Function => {
                let members = json!({"item_id": id, "output_index": at, "name": self.name, "arguments": said});
                ("response.function_call_arguments.done", members)
            }
            Kind::Search => return None,
        })
    }
}
