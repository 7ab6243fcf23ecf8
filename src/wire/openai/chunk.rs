//! Owns the shape of a chat completion, of a chunk or a whole one, as far as a translation reads it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::super::{
    counts,
    json::{Text, maybe_text},
};

#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) model: Option<Text<'a>>,
    #[serde(default, deserialize_with = "counts::maybe")]
    pub(super) created: Option<u64>,
    #[serde(borrow, default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow, default)]
    pub(super) delta: Option<Delta<'a>>,
    /// All that a delta may say, in a whole answer.
    #[serde(borrow, default)]
    pub(super) message: Option<Delta<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Option<Text<'a>>,
    /// vLLM's: the sequence that it stopped at, or a token's number.
    #[serde(default)]
    pub(super) stop_reason: Value,
}

#[derive(Deserialize, Default)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) reasoning: Option<Text<'a>>,
    #[serde(default)]
    pub(super) reasoning_details: Value,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<Vec<Call<'a>>>,
    #[serde(default)]
    pub(super) images: Value,
    #[serde(default)]
    pub(super) audio: Value,
}

#[derive(Deserialize)]
pub(super) struct Call<'a> {
    #[serde(default, deserialize_with = "counts::maybe")]
    pub(super) index: Option<u64>,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) function: Option<Function<'a>>,
    #[serde(default)]
    pub(super) extra_content: Option<Value>,
}

#[derive(Deserialize, Default)]
pub(super) struct Function<'a> {
    #[serde(borrow, default)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Parts(Vec<Value>),
}
