//! Owns the URLs of a backend: one for each endpoint, with the model in it if the protocol wants that.

use std::fmt::Write;

use actix_web::http::Method;

use crate::{
    settings::{Backend, Style},
    wire::Protocol,
};

/// What is asked of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Chat in the backend's own protocol, answered whole.
    Chat,
    /// Chat in the backend's own protocol, streamed.
    ChatStream,
    /// Embeddings, in the backend's own protocol.
    Embeddings,
    /// OpenAI legacy completions.
    Completions,
    /// OpenAI moderations.
    Moderations,
    /// Reranking, as Cohere and Jina offer it.
    Rerank,
    /// OpenAI images.
    Images,
    /// OpenAI edits of images.
    Edits,
    /// OpenAI speech.
    Speech,
    /// OpenAI transcriptions.
    Transcriptions,
    /// OpenAI translations of recordings.
    Translations,
    /// OpenAI responses.
    Responses,
    /// Token counting, in the backend's own protocol.
    CountTokens,
    /// The list of models.
    Models,
}

impl Endpoint {
    pub(super) fn method(self) -> Method {
        if self == Self::Models { Method::GET } else { Method::POST }
    }

    /// The URL at `backend` for its model `model`.
    pub(super) fn url(self, backend: &Backend, model: &str) -> String {
        let base = &backend.base_url;
        let action = |action: &str| format!("{base}/models/{}:{action}", escaped(model));
        let path = match (backend.protocol, self) {
            (Protocol::Openai, Self::Chat | Self::ChatStream) => "chat/completions",
            (Protocol::Anthropic, Self::Chat | Self::ChatStream) => "messages",
            (Protocol::Gemini, Self::Chat) => return action("generateContent"),
            (Protocol::Gemini, Self::ChatStream) => return action("streamGenerateContent?alt=sse"),
            (Protocol::Gemini, Self::Embeddings) => return action("batchEmbedContents"),
            (Protocol::Gemini, Self::CountTokens) => return action("countTokens"),
            (Protocol::Openai, Self::CountTokens) => "responses/input_tokens",
            (_, Self::Embeddings) => "embeddings",
            (_, Self::Completions) => "completions",
            (_, Self::Moderations) => "moderations",
            (_, Self::Rerank) => "rerank",
            (_, Self::Images) => "images/generations",
            (_, Self::Edits) => "images/edits",
            (_, Self::Speech) => "audio/speech",
            (_, Self::Transcriptions) => "audio/transcriptions",
            (_, Self::Translations) => "audio/translations",
            (_, Self::Responses) => "responses",
            (_, Self::CountTokens) => "messages/count_tokens",
            // One page is asked for, as long as they may be.
            (Protocol::Anthropic, Self::Models) => "models?limit=1000",
            (Protocol::Gemini, Self::Models) => "models?pageSize=1000",
            (_, Self::Models) => "models",
        };
        if backend.style == Style::Azure {
            let version = escaped(&backend.api_version);
            return match self {
                Self::Models => format!("{base}/openai/models?api-version={version}"),
                _ => format!("{base}/openai/deployments/{}/{path}?api-version={version}", escaped(model)),
            };
        }
        format!("{base}/{path}")
    }
}

/// Percent-encodes what may not stand in a path as it is (RFC 3986, 3.3), and '&' and '+', which mean something in a query.
/// A '/' stays: servers of Gemini's protocol take names of several segments.
fn escaped(text: &str) -> String {
    percent_encoded(text, b"!$'()*,;=:@/")
}

/// Percent-encodes everything except what any part of a URL may contain (RFC 3986, 2.3) and the bytes in `besides`.
pub fn percent_encoded(text: &str, besides: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || besides.contains(&b) {
            out.push(char::from(b));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_name_fits_into_a_url_and_leaves_its_path_and_query_alone(name in "\\PC{1,40}") {
            let uri: actix_web::http::Uri = format!("http://h/models/{}:x?y=z", escaped(&name)).parse().expect("a URL");
            prop_assert_eq!(uri.query(), Some("y=z"));
            prop_assert!(uri.path().starts_with("/models/") && uri.path().ends_with(":x"));
        }
    }
}
