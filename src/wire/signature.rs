//! Owns a provider's proof of its own thinking, and how it travels in the words of other protocols.

use super::Protocol;

/// What Google's models take in place of a proof, for a history by another model (guide to thought signatures; the only
/// one that Vertex knows, pydantic/pydantic-ai#3881).
pub(crate) const UNPROVEN: &str = "skip_thought_signature_validator";

/// A provider's proof of its own thinking, good for that provider only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) origin: Protocol,
    pub(crate) value: String,
}

impl Signature {
    pub(crate) fn new(origin: Protocol, value: impl Into<String>) -> Self {
        Self { origin, value: value.into() }
    }

    /// One string naming its provider, for places where only a string fits.
    pub(crate) fn tagged(&self) -> String {
        format!("{}:{}", self.origin.as_str(), self.value)
    }

    /// Reads `tagged`; untagged ones are the given provider's own.
    pub(crate) fn untagged(text: &str, native: Protocol) -> Self {
        Self::read_tag(text).unwrap_or_else(|| Self::new(native, text))
    }

    /// Whether a string is one of `tagged`.
    pub(crate) fn is_tagged(text: &str) -> bool {
        Self::read_tag(text).is_some()
    }

    fn read_tag(text: &str) -> Option<Self> {
        [Protocol::Openai, Protocol::Anthropic, Protocol::Gemini].into_iter().find_map(|origin| {
            let value = text.strip_prefix(origin.as_str())?.strip_prefix(':')?;
            Some(Self::new(origin, value))
        })
    }

    /// The member of its provider's native form as is, else tagged.
    pub(crate) fn spelled(&self, native: Protocol) -> String {
        if self.origin == native { self.value.clone() } else { self.tagged() }
    }

    /// The value, if the provider is the one asked about.
    pub(crate) fn of(signature: Option<&Self>, origin: Protocol) -> Option<&str> {
        signature.filter(|s| s.origin == origin).map(|s| s.value.as_str())
    }
}
