//! Owns translation by way of the internal representation: requests into a provider's protocol, replies and streams
//! back.

use serde_json::Value;

use super::{
    Fault, Host, Malformed, Observed, Protocol, anthropic,
    events::{StreamReader, endless},
    gemini, openai, responses,
    scan::halves,
    telling::{Form, Teller},
    tool_names,
};

pub use super::{
    asked::{Asked, asked},
    refused::{Refused, THREAD_UNSUPPORTED},
    responses::failure::{Received, failed},
};

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI chat completions.
    Chat,
    /// Anthropic Messages.
    Messages,
    /// OpenAI Responses.
    Responses,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// What the backend speaks.
    pub protocol: Protocol,
    /// The provider's name of the model.
    pub model: &'a str,
    /// Tokens to ask for where the client names no limit and the provider demands one.
    pub max_tokens: u32,
    /// The longest answer, tokens, if the provider has told it. It applies to clients that had to name a limit, or
    /// named none.
    pub at_most: Option<u64>,
    /// Whether hints that the provider cannot take are refused instead of dropped.
    pub refuse_unsupported: bool,
    /// Whether a stream is asked for its token counts, where that is a matter of asking.
    pub ask_usage: bool,
    /// Which provider it is, if that matters.
    pub host: Host,
}

/// A request in the provider's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// Its JSON.
    pub body: Vec<u8>,
    /// Fields of the client's that are not in it.
    pub dropped: Vec<String>,
    /// Trials of Anthropic's API that it is part of: its `anthropic-beta`.
    pub trials: Option<&'static str>,
}

/// Whether a model goes on with an assistant's message that stands last. Gemini answers it with a turn of its own, and so does
/// Claude from 4.6 on, which takes none (Anthropic's migration guide).
pub fn goes_on(protocol: Protocol, model: &str) -> bool {
    protocol == Protocol::Anthropic && anthropic::takes_prefill(model)
}

/// Whether a model is known to reason and to count that in an answer's limit, refusing one that leaves no room for it.
pub fn reasons(protocol: Protocol, model: &str) -> bool {
    protocol == Protocol::Openai && openai::reasons(model)
}

/// Tokens that a short question to such a model leaves it for its thoughts beside the answer. With less it may refuse the request
/// (BerriAI/litellm#26987); what it does not use costs nothing.
pub const THOUGHTS: u32 = 1024;

/// Translates a request. `backend` is never passed on.
pub fn request(from: Dialect, body: &[u8], target: &Target<'_>) -> Result<Translated, Refused> {
    let mut chat = match from {
        Dialect::Chat => openai::request_in::read(body),
        Dialect::Messages => anthropic::request_in::read(body),
        Dialect::Responses => responses::request_in::read(body, target.protocol),
    }?;
    if let Some(most) = target.at_most.filter(|_| from == Dialect::Messages) {
        chat.shorten(most);
    }
    tool_names::fit(&mut chat, target.protocol);
    chat.note_unoffered();
    let written = match target.protocol {
        Protocol::Openai => openai::request_out::write(&mut chat, target),
        Protocol::Anthropic => anthropic::request_out::write(&mut chat, target),
        Protocol::Gemini => gemini::request_out::write(&mut chat, target),
    };
    chat.note_untold();
    if let Some(refused) = Refused::of(&chat.losses, target) {
        return Err(refused);
    }
    let dropped = chat.losses.into_iter().map(|loss| loss.field).collect();
    let trials = if target.protocol == Protocol::Anthropic { anthropic::binding::trials(&written) } else { None };
    Ok(Translated { body: Value::Object(written).to_string().into_bytes(), dropped, trials })
}

/// What a reply is called where the provider does not say, and what shows of its request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReplyContext {
    /// Id, without prefix.
    pub id: String,
    /// Seconds since the epoch.
    pub created: u64,
    /// Model.
    pub model: String,
    /// The model's name as a client of Messages asked for it, for use in the answer: Claude Code drops the thinking of
    /// any other model from its history.
    pub public: Option<String>,
    /// What its request said.
    pub asked: Asked,
}

impl ReplyContext {
    /// Takes the names that an answer begins with.
    pub(crate) fn begin(&mut self, id: Option<&str>, model: Option<&str>, created: Option<u64>) {
        for (own, given) in [(&mut self.id, id), (&mut self.model, model)] {
            if let Some(given) = given {
                given.clone_into(own);
            }
        }
        self.created = created.unwrap_or(self.created);
    }
}

/// Translates a whole reply, and tells its token counts. For a provider's error the bytes are empty and only
/// `Observed.fault` is set.
pub fn reply(
    from: Protocol,
    to: Dialect,
    body: &[u8],
    ctx: &ReplyContext,
) -> Result<(Vec<u8>, Observed<'static>), Malformed> {
    let legible = halves::replaced(body);
    let body = legible.as_deref().unwrap_or(body);
    let events = match from {
        Protocol::Openai => openai::reply_in::read(body, &ctx.model)?,
        Protocol::Anthropic => anthropic::reply_in::read(body)?,
        Protocol::Gemini => gemini::reply_in::read(body, ctx.asked.searches_the_web())?,
    };
    let (mut teller, mut written) = (Teller::new(to, ctx.clone(), Form::Whole), Vec::with_capacity(body.len()));
    let Observed { usage, fault, .. } = teller.tell(events, &mut written)?;
    if let Some(fault) = fault {
        return Ok((Vec::new(), Observed::error(fault)));
    }
    // As in a stream, what gives no reason has not come to its end.
    if !teller.end(&mut written) {
        return Err(Malformed("a reply without a finish reason".into()));
    }
    Ok((written, Observed { usage, ..Observed::default() }))
}

/// Reads a provider's error, whatever its body is.
pub fn fault(protocol: Protocol, status: u16, body: &[u8]) -> Fault {
    match protocol {
        Protocol::Openai => openai::fault::read(status, body),
        Protocol::Anthropic => anthropic::fault::read(status, body),
        Protocol::Gemini => gemini::fault::read(status, body),
    }
}

/// Most bytes of a stream's frames: what they say is held in part until the end, and is a quarter of them at most.
const MOST: usize = 256 << 20;

/// Translates one stream, fed with its frames.
pub struct StreamTranslator {
    reader: Box<dyn StreamReader + Send>,
    teller: Teller,
    /// Bytes of all frames so far.
    read: usize,
}

impl std::fmt::Debug for StreamTranslator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamTranslator").field("finish", &self.teller.finish).finish_non_exhaustive()
    }
}

impl StreamTranslator {
    /// For one reply.
    pub fn new(from: Protocol, to: Dialect, ctx: ReplyContext, include_usage: bool) -> Self {
        Self {
            reader: match from {
                Protocol::Openai => Box::new(openai::stream_in::Reader::new(&ctx.model)),
                Protocol::Anthropic => Box::new(anthropic::stream_in::Reader::default()),
                Protocol::Gemini => Box::new(gemini::stream_in::Reader::new(ctx.asked.searches_the_web())),
            },
            teller: Teller::new(to, ctx, Form::Stream { include_usage }),
            read: 0,
        }
    }

    /// Takes a frame's event name and data; appends the client's frames. An error is not written: it ends the attempt.
    pub fn frame(
        &mut self,
        event: Option<&str>,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Observed<'static>, Malformed> {
        if self.teller.closed {
            return Ok(Observed::default());
        }
        self.read = self.read.saturating_add(data.len());
        if self.read > MOST {
            return Ok(Observed::error(endless()));
        }
        let mut events = Vec::with_capacity(4);
        let legible = halves::replaced(data);
        self.reader.frame(event, legible.as_deref().unwrap_or(data), &mut events)?;
        self.teller.tell(events, out)
    }

    /// The provider's stream has ended. Says whether the reply was whole, and if so appends what the client is owed.
    pub fn end(&mut self, out: &mut Vec<u8>) -> bool {
        self.teller.end(out)
    }
}
