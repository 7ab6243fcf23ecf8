//! Owns what a client can ask for, and by which way each kind of backend serves it: untouched, translated, or not at all.

use std::time::Duration;

use crate::{
    backend::entry::Want,
    settings::{Backend, Deadlines},
    upstream::Endpoint,
    wire::{Protocol, translate::Dialect},
};

/// An endpoint of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `POST /v1/chat/completions`
    Chat,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/moderations`
    Moderations,
    /// `POST /v1/rerank`
    Rerank,
    /// `POST /v1/images/generations`
    Images,
    /// `POST /v1/images/edits`
    Edits,
    /// `POST /v1/audio/speech`
    Speech,
    /// `POST /v1/audio/transcriptions`
    Transcriptions,
    /// `POST /v1/audio/translations`
    Translations,
}

/// How a backend serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// With the client's own bytes.
    Native(Endpoint),
    /// Translated into the backend's own protocol.
    Translated(Endpoint),
}

impl Way {
    /// Whether it takes the client's own bytes.
    pub fn is_native(self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// Where it is asked.
    pub fn endpoint(self) -> Endpoint {
        let (Self::Native(endpoint) | Self::Translated(endpoint)) = self;
        endpoint
    }
}

impl Surface {
    /// Each of them.
    pub const ALL: [Self; 13] = [
        Self::Chat,
        Self::Messages,
        Self::CountTokens,
        Self::Responses,
        Self::Embeddings,
        Self::Completions,
        Self::Moderations,
        Self::Rerank,
        Self::Images,
        Self::Edits,
        Self::Speech,
        Self::Transcriptions,
        Self::Translations,
    ];

    /// The endpoint at this path.
    pub fn at(path: &str) -> Option<Self> {
        let own = Self::ALL.into_iter().find(|surface| surface.path() == path);
        // Where Cohere's newer client asks for the same.
        own.or_else(|| (path == "/v2/rerank").then_some(Self::Rerank))
    }

    /// Where it is.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::Completions => "/v1/completions",
            Self::Moderations => "/v1/moderations",
            Self::Rerank => "/v1/rerank",
            Self::Images => "/v1/images/generations",
            Self::Edits => "/v1/images/edits",
            Self::Speech => "/v1/audio/speech",
            Self::Transcriptions => "/v1/audio/transcriptions",
            Self::Translations => "/v1/audio/translations",
        }
    }

    /// What is asked for, as traces name it (`gen_ai.operation.name`), in words of ours where they have none.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Chat | Self::Messages | Self::Responses => "chat",
            Self::CountTokens => "count_tokens",
            Self::Embeddings => "embeddings",
            Self::Completions => "text_completion",
            Self::Moderations => "moderation",
            Self::Rerank => "rerank",
            Self::Images => "image_generation",
            Self::Edits => "image_edit",
            Self::Speech => "speech",
            Self::Transcriptions => "transcription",
            Self::Translations => "translation",
        }
    }

    /// The same for the log and the ledger, which tell apart what chats.
    pub fn word(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Responses => "responses",
            _ => self.operation(),
        }
    }

    /// The shape of its requests, answers and errors.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens => Dialect::Messages,
            Self::Responses => Dialect::Responses,
            _ => Dialect::Chat,
        }
    }

    /// The member that carries the prompt, and whether it has to be a list.
    pub fn prompt(self) -> (&'static str, bool) {
        match self {
            Self::Chat | Self::Messages | Self::CountTokens => ("messages", true),
            Self::Responses | Self::Embeddings | Self::Moderations | Self::Speech => ("input", false),
            Self::Completions | Self::Images | Self::Edits => ("prompt", false),
            Self::Rerank => ("query", false),
            Self::Transcriptions | Self::Translations => ("file", false),
        }
    }

    /// The headers with which a client says something of the provider's API: which version of it, what trials.
    pub fn own_headers(self) -> &'static [&'static str] {
        match self.dialect() {
            Dialect::Messages => &["anthropic-version", "anthropic-beta"],
            Dialect::Chat | Dialect::Responses => &[],
        }
    }

    /// The members that tell where the prompt is, if the provider has it already.
    pub fn references(self) -> &'static [&'static str] {
        match self {
            Self::Responses => &["prompt", "conversation", "previous_response_id"],
            _ => &[],
        }
    }

    /// Whether its answers have choices, which are texts.
    pub fn has_choices(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }

    /// Whether an answer of it can come as a stream.
    pub fn streams(self) -> bool {
        matches!(self, Self::Chat | Self::Messages | Self::Responses | Self::Completions) || self.is_medium()
    }

    /// Whether its requests may be forms with files in them.
    pub fn takes_forms(self) -> bool {
        self.hears() || self == Self::Edits
    }

    /// Whether this body of such a request is read as a form, and not as JSON. Recordings come as forms only; pictures to be edited
    /// also come as URLs in JSON: NVIDIA's Dynamo and `NanoGPT` document both. A form never begins with a brace but with dashes; what
    /// begins with neither is taken for what its content type says.
    pub fn is_form(self, kind: &str, body: &[u8]) -> bool {
        let body = body.trim_ascii_start();
        let says_json = || kind.trim_start().starts_with("application/json") && !body.starts_with(b"--");
        let is_json = || body.starts_with(b"{") || says_json();
        self.hears() || !is_json()
    }

    /// Whether it makes text of a recording.
    pub fn hears(self) -> bool {
        matches!(self, Self::Transcriptions | Self::Translations)
    }

    /// Whether it makes pictures.
    pub fn draws(self) -> bool {
        matches!(self, Self::Images | Self::Edits)
    }

    /// Whether it makes a picture, or hears a recording. A server that is asked for a stream of that may answer whole: OpenAI's
    /// `whisper-1` ignores the wish.
    pub fn is_medium(self) -> bool {
        self.draws() || self.hears()
    }

    /// Whether streams are of their server's own type, and Greenroom adds no headers of its own to them, nor comments but between
    /// events: sound, and events of sound, of pictures and of transcriptions.
    pub fn is_raw(self) -> bool {
        self == Self::Speech || self.is_medium()
    }

    /// Whether another backend is asked beside one that is slow. A picture takes longer than any first token, so does a recording,
    /// and each is paid.
    pub fn hedges(self) -> bool {
        !self.is_medium()
    }

    /// Longest pause between two frames of a stream from a backend with these limits. Between two pictures another is drawn.
    pub fn idle(self, limits: &Deadlines) -> Duration {
        if self.draws() { limits.idle.max(limits.first_token_hard) } else { limits.idle }
    }

    /// What is asked of a server of OpenAI's protocol beside chat: some have it, some do not.
    pub fn beside_chat(self) -> Option<Endpoint> {
        match self {
            Self::Chat | Self::Messages | Self::CountTokens | Self::Responses => None,
            Self::Embeddings => Some(Endpoint::Embeddings),
            Self::Completions => Some(Endpoint::Completions),
            Self::Moderations => Some(Endpoint::Moderations),
            Self::Rerank => Some(Endpoint::Rerank),
            Self::Images => Some(Endpoint::Images),
            Self::Edits => Some(Endpoint::Edits),
            Self::Speech => Some(Endpoint::Speech),
            Self::Transcriptions => Some(Endpoint::Transcriptions),
            Self::Translations => Some(Endpoint::Translations),
        }
    }

    /// Whether a server may lack it that is fine otherwise: what is beside chat, and counting, which many servers of Anthropic's
    /// protocol leave out.
    pub fn may_be_missing(self) -> bool {
        self == Self::CountTokens || self.beside_chat().is_some()
    }

    /// How `backend` serves it; `None` if it cannot.
    pub fn way(self, backend: &Backend, stream: bool) -> Option<Way> {
        let chat = if stream { Endpoint::ChatStream } else { Endpoint::Chat };
        Some(match (self, backend.protocol) {
            (Self::Chat, Protocol::Openai) | (Self::Messages, Protocol::Anthropic) => Way::Native(chat),
            (Self::Responses, Protocol::Openai) if backend.native_responses => Way::Native(Endpoint::Responses),
            (Self::Chat | Self::Messages | Self::Responses, _) => Way::Translated(chat),
            (Self::CountTokens, Protocol::Anthropic) => Way::Native(Endpoint::CountTokens),
            (Self::CountTokens, _) if backend.counts_tokens() => Way::Translated(Endpoint::CountTokens),
            // Vertex AI embeds one text at a time.
            (Self::Embeddings, Protocol::Gemini) if !backend.is_vertex() => Way::Translated(Endpoint::Embeddings),
            (_, Protocol::Openai) => Way::Native(self.beside_chat()?),
            _ => return None,
        })
    }

    /// What it wants of a backend.
    pub fn want(self, stream: bool) -> Want {
        match self {
            Self::CountTokens => Want::Count,
            _ if stream => Want::Stream,
            _ => Want::Whole,
        }
    }

    /// Tells the router which backends can serve it.
    pub fn able(self) -> fn(&Backend) -> bool {
        match self {
            Self::Chat => |backend| Self::Chat.way(backend, false).is_some(),
            Self::Messages => |backend| Self::Messages.way(backend, false).is_some(),
            Self::CountTokens => |backend| Self::CountTokens.way(backend, false).is_some(),
            Self::Responses => |backend| Self::Responses.way(backend, false).is_some(),
            Self::Embeddings => |backend| Self::Embeddings.way(backend, false).is_some(),
            Self::Completions
            | Self::Moderations
            | Self::Rerank
            | Self::Images
            | Self::Edits
            | Self::Speech
            | Self::Transcriptions
            | Self::Translations => |backend| backend.protocol == Protocol::Openai,
        }
    }
}
