//! Owns reading Anthropic's token counts.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::{Usage, counts};

/// Counts as the API gives them: cumulative, and absent where unchanged.
#[derive(Debug, Deserialize, Default, Clone, Copy)]
#[serde(default)]
pub(crate) struct RawUsage {
    #[serde(rename = "input_tokens", deserialize_with = "counts::maybe")]
    input: Option<u64>,
    #[serde(rename = "cache_read_input_tokens", deserialize_with = "counts::maybe")]
    cached: Option<u64>,
    #[serde(rename = "cache_creation_input_tokens", deserialize_with = "counts::maybe")]
    written: Option<u64>,
    #[serde(rename = "output_tokens", deserialize_with = "counts::maybe")]
    output: Option<u64>,
    #[serde(rename = "output_tokens_details", deserialize_with = "thinking")]
    thinking: Option<u64>,
}

/// Of the details of what was generated the tokens of thinking, if any can be read.
fn thinking<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let details = Value::deserialize(from)?;
    Ok(details.get("thinking_tokens").and_then(|count| counts::maybe(count).ok().flatten()))
}

impl RawUsage {
    /// Takes over what a later event counts.
    pub(crate) fn merge(&mut self, later: Self) {
        self.input = later.input.or(self.input);
        self.cached = later.cached.or(self.cached);
        self.written = later.written.or(self.written);
        self.output = later.output.or(self.output);
        self.thinking = later.thinking.or(self.thinking);
    }
}

impl From<RawUsage> for Usage {
    /// Anthropic counts cached prompt tokens beside the others; here they are part of the prompt.
    fn from(raw: RawUsage) -> Self {
        let cached = raw.cached.unwrap_or(0);
        let written = raw.written.unwrap_or(0);
        Self {
            input: raw.input.unwrap_or(0).saturating_add(written).saturating_add(cached),
            output: raw.output.unwrap_or(0),
            cached,
            written,
            reasoning: raw.thinking.unwrap_or(0),
        }
    }
}
