//! Owns the shape of a frame of `streamGenerateContent`, as far as a translation reads it.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    super::{Usage, counts, json::Text},
    args::PartialArg,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub(super) candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, default)]
    pub(super) prompt_feedback: Option<Feedback<'a>>,
    #[serde(default)]
    pub(super) usage_metadata: Option<RawUsage>,
    #[serde(borrow, default)]
    pub(super) model_version: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) response_id: Option<Text<'a>>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Feedback<'a> {
    #[serde(borrow, default)]
    pub(super) block_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(default)]
    pub(super) index: u32,
    #[serde(borrow, default)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_message: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) grounding_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    pub(super) parts: Option<Vec<RawPart<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawPart<'a> {
    #[serde(borrow, default)]
    pub(super) text: Option<Text<'a>>,
    #[serde(default)]
    pub(super) thought: bool,
    #[serde(borrow, default)]
    pub(super) thought_signature: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) function_call: Option<RawCall<'a>>,
    #[serde(borrow, default)]
    pub(super) inline_data: Option<Blob<'a>>,
}

/// Bytes in base64.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    #[serde(borrow)]
    pub(super) mime_type: Text<'a>,
    #[serde(borrow)]
    pub(super) data: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawCall<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) args: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) partial_args: Option<Vec<PartialArg>>,
    #[serde(default)]
    pub(super) will_continue: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RawUsage {
    #[serde(rename = "promptTokenCount")]
    #[serde(deserialize_with = "counts::maybe")]
    pub(super) prompt: Option<u64>,
    #[serde(rename = "toolUsePromptTokenCount")]
    #[serde(deserialize_with = "counts::maybe")]
    pub(super) tool_use_prompt: Option<u64>,
    #[serde(rename = "cachedContentTokenCount")]
    #[serde(deserialize_with = "counts::maybe")]
    pub(super) cached_content: Option<u64>,
    #[serde(rename = "candidatesTokenCount")]
    #[serde(deserialize_with = "counts::maybe")]
    pub(super) candidates: Option<u64>,
    #[serde(rename = "thoughtsTokenCount")]
    #[serde(deserialize_with = "counts::maybe")]
    pub(super) thoughts: Option<u64>,
}

impl RawUsage {
    /// `None` where the member names the traffic's kind only.
    pub(super) fn counts(self) -> Option<Usage> {
        let reasoning = self.thoughts.unwrap_or(0);
        Some(Usage {
            input: self.prompt?.saturating_add(self.tool_use_prompt.unwrap_or(0)),
            output: self.candidates.unwrap_or(0).saturating_add(reasoning),
            cached: self.cached_content.unwrap_or(0),
            written: 0,
            reasoning,
        })
    }
}
