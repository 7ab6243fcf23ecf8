//! Owns the internal representation of a chat request that stands between protocols.

use serde_json::{Map, Value};

use super::{
    json::note,
    web::{NAME, Wish},
};
pub(crate) use super::{signature::Signature, source::Source};

/// A chat request, in whatever words it came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ChatRequest {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<Tool>,
    /// The provider is to search the web. A choice names it as Anthropic does.
    pub(crate) web: Option<Wish>,
    pub(crate) tool_choice: Option<ToolChoice>,
    pub(crate) parallel_tool_calls: Option<bool>,
    /// The client's dialect has room for one call: several are better not made.
    pub(crate) one_call: bool,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) top_k: Option<u64>,
    pub(crate) frequency_penalty: Option<f64>,
    pub(crate) presence_penalty: Option<f64>,
    pub(crate) stop: Vec<String>,
    pub(crate) n: Option<u64>,
    pub(crate) seed: Option<i64>,
    pub(crate) user: Option<String>,
    pub(crate) format: Option<Format>,
    /// The client's dialect enforces every schema for an answer.
    pub(crate) format_binds: bool,
    pub(crate) reasoning: Option<Reasoning>,
    pub(crate) metadata: Map<String, Value>,
    /// The provider is to keep the answer.
    pub(crate) store: bool,
    /// How many words to make: `low`, `medium`, `high`.
    pub(crate) verbosity: Option<String>,
    pub(crate) service_tier: Option<String>,
    /// OpenAI's `prompt_cache_key` and `prompt_cache_retention`: where a prompt that begins alike is to be kept, and how long.
    pub(crate) caching: Vec<(&'static str, String)>,
    /// What the answer is to be made of, where that is not words alone: `text`, `image`.
    pub(crate) modalities: Vec<String>,
    /// What its pictures are to be like, as `OpenRouter` has it: `aspect_ratio`, `image_size`.
    pub(crate) image_config: Map<String, Value>,
    /// Anthropic's `cache_control` of the whole request: all of it is to be kept in a cache.
    pub(crate) cache: Option<Value>,
    pub(crate) stream: bool,
    /// What the reader found and no representation here can hold.
    pub(crate) losses: Vec<Loss>,
}

impl ChatRequest {
    /// Asks for no longer an answer than that, thoughts included.
    pub(crate) fn shorten(&mut self, most: u64) {
        if self.max_tokens.is_some_and(|asked| asked > most) {
            self.max_tokens = Some(most);
            if let Some(Reasoning::Budget(budget)) = &mut self.reasoning {
                *budget = (*budget).min(most.saturating_sub(1));
            }
        }
    }

    /// Whether the model has to call a tool.
    pub(crate) fn forces_a_call(&self) -> bool {
        matches!(self.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
    }

    /// Notes a forced call of a tool that is not offered.
    pub(crate) fn note_unoffered(&mut self) {
        let weight = match &self.tool_choice {
            Some(ToolChoice::Named(name)) if self.web.is_some() && name == NAME => return,
            _ if self.forces_a_call() && self.tools.is_empty() && self.web.is_none() => Weight::Hint,
            // The tool was left out, and the answer needed it.
            Some(ToolChoice::Named(name)) if self.tools.iter().all(|tool| tool.name != *name) => Weight::Answer,
            _ => return,
        };
        note(&mut self.losses, "tool_choice", weight);
    }

    /// Notes the wishes that the provider's writer has left untouched.
    pub(crate) fn note_untold(&mut self) {
        self.note_unsearched();
        for (name, _) in std::mem::take(&mut self.caching) {
            note(&mut self.losses, name, Weight::Note);
        }
        for (name, told, weight) in [
            ("cache_control", self.cache.is_none(), Weight::Note),
            ("tools[].cache_control", self.tools.iter().all(|tool| tool.cache.is_none()), Weight::Note),
            ("image_config", self.image_config.is_empty(), Weight::Hint),
            ("verbosity", self.verbosity.is_none(), Weight::Hint),
            ("modalities", self.modalities.is_empty(), Weight::Answer),
        ] {
            if !told {
                note(&mut self.losses, name, weight);
            }
        }
    }
}

/// Takes note of tools that the provider itself runs. Beside others, each is an offer that can be left out; where there is
/// nothing else, they are what the request is for.
pub(crate) fn leave_out_hosted(hosted: Vec<String>, request: &mut ChatRequest) {
    let weight = if request.tools.is_empty() { Weight::Answer } else { Weight::Hint };
    request.losses.extend(hosted.into_iter().map(|field| Loss { field, weight }));
}

/// Takes note of a wish for several answers, or none, where a provider gives one.
pub(crate) fn one_answer(request: &mut ChatRequest) {
    match request.n {
        None | Some(1) => {}
        Some(0) => note(&mut request.losses, "n", Weight::Hint),
        Some(_) => note(&mut request.losses, "n", Weight::Answer),
    }
}

/// Something that does not survive translation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The field, as a path in the client's own words.
    pub(crate) field: String,
    pub(crate) weight: Weight,
}

/// How much a loss matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Nobody could tell: logged only.
    Note,
    /// A wish that a provider may ignore: dropped, or refused where the backend is set to.
    Hint,
    /// Without it the answer is another one: always refused.
    Answer,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// How much a member of its messages matters that nobody knows: a client wishes something by it, or an answer had it.
    pub(crate) fn unknown(self) -> Weight {
        if self == Self::Assistant { Weight::Note } else { Weight::Hint }
    }
}

/// One message. Tool results are parts of user messages.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) parts: Vec<Part>,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    /// Text, with Gemini's signature if it carried one.
    Text {
        text: String,
        signature: Option<Signature>,
    },
    Refusal(String),
    /// An image, with Gemini's signature if the model made it.
    Image {
        source: Source,
        detail: Option<String>,
        signature: Option<Signature>,
    },
    File {
        source: Source,
        name: Option<String>,
    },
    /// Base64 audio and its format (`wav`, `mp3`).
    Audio {
        data: String,
        format: String,
    },
    ToolCall {
        id: String,
        name: String,
        /// JSON text of an object.
        arguments: String,
        signature: Option<Signature>,
    },
    ToolResult {
        id: String,
        parts: Vec<Part>,
        error: bool,
    },
    Thinking {
        text: String,
        signature: Option<Signature>,
    },
    /// Anthropic's encrypted thinking.
    Redacted(String),
    /// Anthropic's `cache_control`: what stands before it is to be kept in a cache.
    CacheMark(Value),
}

impl Part {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), signature: None }
    }
}

/// A function the model may call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// JSON schema of the arguments.
    pub(crate) parameters: Option<Value>,
    pub(crate) strict: Option<bool>,
    /// Anthropic's `cache_control`: all tools up to this one are to be kept in a cache.
    pub(crate) cache: Option<Value>,
}

/// Which tools the model has to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
}

/// What the answer has to look like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Format {
    Json,
    Schema { name: String, schema: Value, strict: Option<bool> },
}

impl Format {
    /// It in words, for a model that cannot be held to it. Beside tools they leave room for calls.
    pub(crate) fn in_words(&self, with_tools: bool) -> String {
        let answer = if with_tools { "When you answer without calling a function, answer" } else { "Answer" };
        let with = |what| format!("{answer} with one JSON {what} and nothing else: no prose and no code fence.");
        match self {
            Self::Json => with("object"),
            Self::Schema { schema, .. } => format!("{} It has to fit this JSON schema: {schema}", with("value")),
        }
    }
}

/// How long to think.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reasoning {
    Off,
    /// As long as the model sees fit.
    Adaptive,
    /// `minimal`, `low`, `medium`, `high`, `xhigh`, `max`.
    Effort(String),
    /// Tokens.
    Budget(u64),
}

impl Reasoning {
    /// Reads an effort word; an empty one says nothing.
    pub(crate) fn effort(word: &str) -> Option<Self> {
        (!word.is_empty()).then(|| if word == "none" { Self::Off } else { Self::Effort(word.to_owned()) })
    }

    /// As tokens to think; the steps are those of Google's own OpenAI endpoint.
    pub(crate) fn budget(&self) -> u64 {
        match self {
            Self::Off => 0,
            Self::Budget(tokens) => *tokens,
            Self::Adaptive => 8192,
            Self::Effort(word) => match word.as_str() {
                "minimal" | "low" => 1024,
                "medium" => 8192,
                _ => 24576,
            },
        }
    }

    /// As an effort word.
    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Off => "none",
            Self::Effort(word) => word,
            Self::Budget(..=2048) => "low",
            Self::Adaptive | Self::Budget(..=12288) => "medium",
            Self::Budget(_) => "high",
        }
    }
}
