//! Owns the internal representation of replies, whole and streamed, and what a protocol's stream reader and writer are.

use std::borrow::Cow;

use super::{
    Fault, Malformed, Usage,
    chat::{Part, Signature, Source},
    json::{Text, filled},
    tool_names::Names,
    translate::Dialect,
    web::{Citation, Search},
};

/// Why generation ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Finish {
    #[default]
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
    /// A search of the web, made by the provider.
    Search(Search),
    /// A source of text so far.
    Cite(Citation),
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
    /// The beginning of a reply.
    pub(crate) fn start(
        id: Option<Text<'a>>,
        model: Option<Text<'a>>,
        created: Option<u64>,
        usage: Option<Usage>,
    ) -> Self {
        Self::Start { id: filled(id), model: filled(model), created, usage }
    }

    /// Whether a client would take it for a part of the answer. Signatures, sources and block ends are none.
    pub(crate) fn is_content(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Start { .. } | Self::TextSignature(_) | Self::ThinkingEnd(_) | Self::Cite(_) => false,
            _ => true,
        }
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

/// An error for an answer that the client's dialect has no place for: without that part it would look complete.
pub(crate) fn unplaced(what: &str) -> Fault {
    Fault {
        kind: "invalid_request_error".into(),
        code: "unsupported_output".into(),
        message: format!("The model answered with {what}, for which this API has no place."),
        ..Fault::default()
    }
}

/// An error for a stream that is too long to be held: one without an end would fill the memory.
pub(crate) fn endless() -> Fault {
    Fault {
        kind: "invalid_request_error".into(),
        code: "answer_too_long".into(),
        message: "The answer is longer than is translated here. Ask for less at a time.".into(),
        ..Fault::default()
    }
}

/// Events as the client's dialect tells them.
pub(crate) fn prepared<'a>(
    events: Vec<ChatEvent<'a>>,
    to: Dialect,
    names: &Names,
) -> impl Iterator<Item = ChatEvent<'a>> {
    events.into_iter().flat_map(move |mut event| {
        let mut proof = None;
        match &mut event {
            ChatEvent::Image { .. } if to != Dialect::Chat => event = ChatEvent::Fault(unplaced("an image")),
            ChatEvent::ToolCall { name, signature, .. } => {
                if let Some(whole) = names.whole(name) {
                    *name = Cow::Owned(whole.to_owned());
                }
                // Clients of other dialects drop the proof of a call, but return that of the thought before it.
                proof = signature.clone().filter(|_| to != Dialect::Chat);
            }
            _ => {}
        }
        proof.map(|proof| ChatEvent::ThinkingEnd(Some(proof))).into_iter().chain([event])
    })
}

/// A whole reply.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ChatReply {
    pub(crate) id: Option<String>,
    pub(crate) created: Option<u64>,
    pub(crate) model: Option<String>,
    pub(crate) parts: Vec<Part>,
    /// Sources of its text.
    pub(crate) citations: Vec<Citation>,
    pub(crate) finish: Finish,
    pub(crate) stop_sequence: Option<String>,
    pub(crate) usage: Option<Usage>,
}

impl ChatReply {
    /// The reply that these events would have streamed, or the error that it would have ended with. As in a stream, what gives no
    /// reason has not come to its end.
    pub(crate) fn of<'a>(events: impl Iterator<Item = ChatEvent<'a>>) -> Result<Result<Self, Fault>, Malformed> {
        let (mut reply, mut finished) = (Self::default(), false);
        for event in events {
            finished |= matches!(event, ChatEvent::Finish { .. });
            match event {
                ChatEvent::Fault(fault) => return Ok(Err(fault)),
                event => reply.add(event),
            }
        }
        if finished { Ok(Ok(reply)) } else { Err(Malformed("a reply without a finish reason".into())) }
    }

    /// The events of a stream of it, but for its end and what only chat completions tell.
    pub(crate) fn events(&self) -> Vec<ChatEvent<'_>> {
        let [id, model] = [&self.id, &self.model].map(|name| name.as_deref().map(Cow::Borrowed));
        let mut events = vec![ChatEvent::Start { id, model, created: self.created, usage: None }];
        let (mut index, mut letters) = (0, 0);
        for part in &self.parts {
            match part {
                Part::Text { text, .. } => {
                    let from = letters;
                    letters += text.chars().count();
                    events.push(ChatEvent::Text(text.into()));
                    let cited = self.citations.iter().filter(|one| from <= one.from && one.from < letters);
                    events.extend(cited.cloned().map(ChatEvent::Cite));
                }
                Part::Search(search) => events.push(ChatEvent::Search(search.clone())),
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
            ChatEvent::Search(search) => parts.push(Part::Search(search)),
            ChatEvent::Cite(citation) => self.citations.push(citation),
            ChatEvent::Finish { reason, stop_sequence } => {
                self.finish = reason;
                self.stop_sequence = stop_sequence.map(Into::into);
            }
            ChatEvent::Usage(usage) => self.usage = Some(usage),
            ChatEvent::ThinkingEnd(None) | ChatEvent::Fault(_) | ChatEvent::End => {}
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
    /// Appends the frames for one event. The first is a `Start`, and no other; `Finish`, `Usage` and `Fault` never come here.
    fn event(&mut self, event: &ChatEvent<'_>, out: &mut Vec<u8>);
    /// Appends what closes a finished stream.
    fn finish(&mut self, reason: Finish, stop_sequence: Option<&str>, usage: Option<Usage>, out: &mut Vec<u8>);
}
