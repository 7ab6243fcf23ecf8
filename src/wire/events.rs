//! Owns the internal representation of replies, whole and streamed, and what a protocol's stream reader and writer are.

use std::borrow::Cow;

use super::{
    Fault, Malformed, Usage,
    chat::{Part, Signature, Source},
    json::Text,
};

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Length,
    ToolCalls,
    /// The model said no, in words of its own.
    Refused,
    ContentFilter,
}

/// One step of a streamed reply. Tool calls are numbered from nought in the order they begin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ChatEvent<'a> {
    Start {
        id: Option<Cow<'a, str>>,
        model: Option<Cow<'a, str>>,
        created: Option<u64>,
        /// Counts so far, where they are told as early as this.
        usage: Option<Usage>,
    },
    Text(Cow<'a, str>),
    /// A signature for the text so far.
    TextSignature(Signature),
    Refusal(Cow<'a, str>),
    Thinking(Cow<'a, str>),
    /// The thinking block is complete.
    ThinkingEnd(Option<Signature>),
    Redacted(Cow<'a, str>),
    /// An image that the model made.
    Image {
        source: Source,
        signature: Option<Signature>,
    },
    ToolCall {
        index: u32,
        id: Option<Cow<'a, str>>,
        name: Cow<'a, str>,
        signature: Option<Signature>,
    },
    Arguments {
        index: u32,
        text: Cow<'a, str>,
    },
    /// Held back by writers until the end, because some providers repeat it; the last one counts.
    Finish {
        reason: Finish,
        stop_sequence: Option<Cow<'a, str>>,
    },
    /// Counts so far, which those of later events go over.
    Usage(Usage),
    Fault(Fault),
    End,
}

impl<'a> ChatEvent<'a> {
    /// The beginning of a reply. Names that are empty, as some servers send them, are none.
    pub(crate) fn start(
        id: Option<Text<'a>>,
        model: Option<Text<'a>>,
        created: Option<u64>,
        usage: Option<Usage>,
    ) -> Self {
        let some = |name: Option<Text<'a>>| name.map(|Text(name)| name).filter(|name| !name.is_empty());
        Self::Start { id: some(id), model: some(model), created, usage }
    }

    /// Whether it says more of the answer. Arguments do not: what was held back of a call comes where its block ends, be that
    /// behind the finish.
    pub(crate) fn goes_on(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Refusal(_) | Self::Thinking(_) | Self::Redacted(_) | Self::Image { .. } | Self::ToolCall { .. } => {
                true
            }
            _ => false,
        }
    }
}

/// An answer of a kind for which the client's dialect has no place: half of one would look whole.
pub(crate) fn unplaced(what: &str) -> Fault {
    Fault {
        kind: "invalid_request_error".into(),
        code: "unsupported_output".into(),
        message: format!("The model answered with {what}, for which this API has no place."),
        ..Fault::default()
    }
}

/// A whole reply.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ChatReply {
    pub(crate) id: Option<String>,
    pub(crate) created: Option<u64>,
    pub(crate) model: Option<String>,
    pub(crate) parts: Vec<Part>,
    pub(crate) finish: Option<Finish>,
    pub(crate) stop_sequence: Option<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) fault: Option<Fault>,
}

impl ChatReply {
    /// The reply that these events would have streamed.
    pub(crate) fn of(events: Vec<ChatEvent<'_>>) -> Self {
        let mut reply = Self::default();
        for event in events {
            reply.add(event);
        }
        reply
    }

    /// The events of a stream of it, but for its end and what only chat completions tell.
    pub(crate) fn events(&self) -> Vec<ChatEvent<'_>> {
        let [id, model] = [&self.id, &self.model].map(|name| name.as_deref().map(Cow::Borrowed));
        let mut events = vec![ChatEvent::Start { id, model, created: self.created, usage: None }];
        let mut index = 0;
        for part in &self.parts {
            match part {
                Part::Text { text, .. } => events.push(ChatEvent::Text(text.into())),
                Part::Refusal(text) => events.push(ChatEvent::Refusal(text.into())),
                Part::Thinking { text, signature } => {
                    events.extend([ChatEvent::Thinking(text.into()), ChatEvent::ThinkingEnd(signature.clone())]);
                }
                Part::Redacted(data) => events.push(ChatEvent::Redacted(data.into())),
                Part::ToolCall { id, name, arguments, signature } => {
                    let (id, name, signature) = (Some(id.into()), name.into(), signature.clone());
                    events.push(ChatEvent::ToolCall { index, id, name, signature });
                    events.push(ChatEvent::Arguments { index, text: arguments.into() });
                    index += 1;
                }
                _ => {}
            }
        }
        events
    }

    fn add(&mut self, event: ChatEvent<'_>) {
        let parts = &mut self.parts;
        match event {
            ChatEvent::Start { id, model, created, .. } => {
                self.id = id.map(Into::into);
                self.model = model.map(Into::into);
                self.created = created;
            }
            ChatEvent::Text(more) => match parts.last_mut() {
                Some(Part::Text { text, .. }) => text.push_str(&more),
                _ => parts.push(Part::text(more)),
            },
            ChatEvent::TextSignature(found) => match parts.iter_mut().rev().find(|p| matches!(p, Part::Text { .. })) {
                Some(Part::Text { signature, .. }) => *signature = Some(found),
                _ => parts.push(Part::Text { text: String::new(), signature: Some(found) }),
            },
            ChatEvent::Refusal(more) => match parts.last_mut() {
                Some(Part::Refusal(text)) => text.push_str(&more),
                _ => parts.push(Part::Refusal(more.into())),
            },
            // A block that is signed is complete.
            ChatEvent::Thinking(more) => match parts.last_mut() {
                Some(Part::Thinking { text, signature: None }) => text.push_str(&more),
                _ => parts.push(Part::Thinking { text: more.into(), signature: None }),
            },
            ChatEvent::ThinkingEnd(Some(found)) => match parts.last_mut() {
                Some(Part::Thinking { signature: signature @ None, .. }) => *signature = Some(found),
                _ => parts.push(Part::Thinking { text: String::new(), signature: Some(found) }),
            },
            ChatEvent::Redacted(data) => parts.push(Part::Redacted(data.into())),
            ChatEvent::Image { source, signature } => parts.push(Part::Image { source, detail: None, signature }),
            ChatEvent::ToolCall { id, name, signature, .. } => parts.push(Part::ToolCall {
                id: id.map(Into::into).unwrap_or_default(),
                name: name.into(),
                arguments: String::new(),
                signature,
            }),
            ChatEvent::Arguments { text, .. } => {
                if let Some(Part::ToolCall { arguments, .. }) = parts.last_mut() {
                    arguments.push_str(&text);
                }
            }
            ChatEvent::Finish { reason, stop_sequence } => {
                self.finish = Some(reason);
                self.stop_sequence = stop_sequence.map(Into::into);
            }
            ChatEvent::Usage(usage) => self.usage = Some(usage),
            ChatEvent::Fault(fault) => self.fault = Some(fault),
            ChatEvent::ThinkingEnd(None) | ChatEvent::End => {}
        }
    }
}

/// Reads a provider's stream, frame by frame.
pub(crate) trait StreamReader {
    /// Appends what the frame's data means.
    fn frame<'a>(&mut self, event: Option<&str>, data: &'a [u8], out: &mut Vec<ChatEvent<'a>>)
    -> Result<(), Malformed>;
}

/// Writes a client's stream, event by event.
pub(crate) trait StreamWriter {
    /// Appends the frames for one event. `Finish`, `Usage` and `Fault` never come here.
    fn event(&mut self, event: &ChatEvent<'_>, out: &mut Vec<u8>);
    /// Appends what closes a finished stream.
    fn finish(&mut self, reason: Finish, stop_sequence: Option<&str>, usage: Option<Usage>, out: &mut Vec<u8>);
}
