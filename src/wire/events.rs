//! Owns the internal representation of answers, whole and streamed, and what a protocol's stream reader is.

use std::borrow::Cow;

use super::{
    Fault, Malformed, Usage,
    chat::{Signature, Source},
    json::{Text, filled},
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

/// One step of an answer. Tool calls are numbered from nought in the order they begin.
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
    /// Held back until the end, because some providers repeat it; the last one counts.
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

/// Reads a provider's stream, frame by frame.
pub(crate) trait StreamReader {
    /// Appends what the frame's data means.
    fn frame<'a>(&mut self, event: Option<&str>, data: &'a [u8], out: &mut Vec<ChatEvent<'a>>)
    -> Result<(), Malformed>;
}
