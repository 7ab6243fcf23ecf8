//! Owns reading Anthropic's token counts.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::{Usage, counts};

/// Counts as the API gives them: cumulative.
#[derive(Debug, Deserialize, Default, Clone, Copy)]
#[serde(default)]
pub(crate) struct RawUsage {
    #[serde(rename = "input_tokens", deserialize_with = "counts::count")]
    input: u64,
    #[serde(rename = "cache_read_input_tokens", deserialize_with = "counts::count")]
    cached: u64,
    #[serde(rename = "cache_creation_input_tokens", deserialize_with = "counts::count")]
    written: u64,
    #[serde(rename = "output_tokens", deserialize_with = "counts::count")]
    output: u64,
    #[serde(rename = "output_tokens_details", deserialize_with = "thinking")]
    thinking: u64,
}

/// The tokens of thinking among the details of what was generated; 0 if they cannot be read.
fn thinking<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let details = Value::deserialize(from)?;
    Ok(details.get("thinking_tokens").and_then(|count| counts::count(count).ok()).unwrap_or_default())
}

impl From<RawUsage> for Usage {
    /// Anthropic counts cached prompt tokens beside the others; here they are part of the prompt.
    fn from(raw: RawUsage) -> Self {
        let RawUsage { input, cached, written, output, thinking } = raw;
        let input = input.saturating_add(written).saturating_add(cached);
        Self { input, output, cached, written, reasoning: thinking }
    }
}
