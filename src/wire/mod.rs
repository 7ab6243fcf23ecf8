//! Owns what goes over the wire, between protocols: pure functions of bytes, without sockets, clocks or actors.

pub mod answer_limit;
mod anthropic;
mod asked;
mod calls_in;
mod chat;
pub mod count;
mod counts;
pub mod course;
pub mod embed;
pub(crate) mod end_user;
pub mod envelope;
mod events;
mod extent;
pub mod faults;
pub mod foreign;
mod free_text;
mod gemini;
mod google_limits;
pub mod http1;
mod ids;
mod json;
pub mod limit;
mod members;
mod mime;
pub mod naming;
mod openai;
mod own_thinking;
pub mod partial;
pub mod peek;
pub mod prompt;
mod refused;
mod responses;
mod scan;
mod schema;
mod signature;
mod source;
pub mod sse;
mod telling;
#[cfg(test)]
mod tests;
pub mod thoughts;
pub mod too_long;
mod tool_names;
pub mod torn;
pub mod trace_context;
pub mod translate;
mod turns;
mod web;
mod words;

use std::{borrow::Cow, time::Duration};

use self::course::Moves;
pub use self::openai::fault::GaveUp;

/// What a backend speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// OpenAI chat completions.
    Openai,
    /// Anthropic Messages.
    Anthropic,
    /// Gemini `generateContent`.
    Gemini,
}

impl Protocol {
    /// The word in settings and admin output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }
}

/// Whose API answers behind OpenAI's protocol, as far as that is known: some take less than others, some more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Host {
    /// Nobody who is known.
    #[default]
    Other,
    /// Mistral, whatever the model is called: it refuses every member that it does not know, and takes ids of its own form only.
    Mistral,
    /// `OpenRouter`, which takes what many makers' models do, and puts it into each one's words.
    OpenRouter,
}

/// Tokens as the provider counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub input: u64,
    /// Generated tokens, reasoning included.
    pub output: u64,
    /// Prompt tokens read from a cache.
    pub cached: u64,
    /// Prompt tokens written to a cache.
    pub written: u64,
    /// Generated tokens spent on reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// What is counted of answers, as labels name it.
    pub const KINDS: [&str; 4] = ["input", "output", "cached", "reasoning"];

    /// The counts of these kinds.
    pub fn counts(self) -> [u64; Self::KINDS.len()] {
        [self.input, self.output, self.cached, self.reasoning]
    }

    /// Those of prompt and answer together, if any were counted and no more than a model can have used.
    pub fn total(self) -> Option<u64> {
        Some(self.input.saturating_add(self.output)).filter(|tokens| (1..=MOST).contains(tokens))
    }

    /// Counts of a later event; one that counts no prompt, or no answer, leaves that as it was counted. So does one whose prompt
    /// has shrunk together with what of it was cached: its sender leaves that out.
    #[must_use]
    pub fn after(self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        let uncached = self.cached < earlier.cached || self.written < earlier.written;
        let prompt = if self.input == 0 || (uncached && self.input < earlier.input) { earlier } else { self };
        let answer = if self.output == 0 { earlier } else { self };
        let Self { input, cached, written, .. } = prompt;
        Self { input, cached, written, output: answer.output, reasoning: answer.reasoning }
    }
}

/// Tokens beyond which a count is a backend's mistake: no model takes so many, and it would keep a limited user out for years.
const MOST: u64 = 50_000_000;

/// A provider's error in normalised words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fault {
    /// HTTP status, if there was one.
    pub status: Option<u16>,
    /// Error type.
    pub kind: String,
    /// Error code.
    pub code: String,
    /// Message.
    pub message: String,
    /// Offending member.
    pub param: Option<String>,
    /// When to ask again, where the body says so.
    pub retry_after: Option<Duration>,
}

/// What one frame, or one whole answer, meant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed<'a> {
    /// It carries content: text, tool arguments, reasoning. Not: role only, pings, comments.
    pub content: bool,
    /// It carries a finish reason.
    pub finish: bool,
    /// Which choices it goes on with, and which it ends.
    pub moves: Moves,
    /// It is the end marker.
    pub done: bool,
    /// Token counts.
    pub usage: Option<Usage>,
    /// Token counts are all it carries.
    pub usage_only: bool,
    /// It is an error.
    pub fault: Option<Fault>,
    /// Its finish reason is this one, a failure for whoever has heard nothing before.
    pub gave_up: Option<GaveUp>,
    /// Assistant text it carries, for a rescue. Where it is intricate, which rescues leave alone, it may be another text, and
    /// only its length counts.
    pub text: Cow<'a, str>,
    /// It carries something that a rescue cannot replay: tool calls, refusals, reasoning, more than one choice, log
    /// probabilities.
    pub intricate: bool,
}

impl Observed<'_> {
    /// An error, and nothing else.
    fn error(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    /// Without what it borrows.
    fn owned(self) -> Observed<'static> {
        let Self { content, finish, moves, done, usage, usage_only, fault, gave_up, text, intricate } = self;
        let text = Cow::Owned(text.into_owned());
        Observed { content, finish, moves, done, usage, usage_only, fault, gave_up, text, intricate }
    }
}

/// Bytes that are not what the protocol says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);
