//! Owns reading Anthropic's token counts.

use serde::Deserialize;

use super::super::{Usage, counts};

/// Counts as the API gives them: cumulative, and absent where unchanged.
#[derive(Debug, Deserialize, Default, Clone, Copy)]
#[serde(default)]
pub(crate) struct RawUsage {
    #[serde(deserialize_with = "counts::maybe")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "counts::maybe")]
    cache_read_input_tokens: Option<u64>,
    #[serde(deserialize_with = "counts::maybe")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(deserialize_with = "counts::maybe")]
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct OutputDetails {
    #[serde(deserialize_with = "counts::maybe")]
    thinking_tokens: Option<u64>,
}

impl RawUsage {
    /// Takes over what a later event counts.
    pub(crate) fn merge(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
    }
}

impl From<RawUsage> for Usage {
    fn from(raw: RawUsage) -> Self {
        let cached = raw.cache_read_input_tokens.unwrap_or(0);
        let written = raw.cache_creation_input_tokens.unwrap_or(0);
        Self {
            input: raw.input_tokens.unwrap_or(0).saturating_add(written).saturating_add(cached),
            output: raw.output_tokens.unwrap_or(0),
            cached,
            written,
            reasoning: raw.output_tokens_details.and_then(|d| d.thinking_tokens).unwrap_or(0),
        }
    }
}
