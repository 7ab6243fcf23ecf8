//! Owns a backend's key: written into the settings or read from a file of its own, and the header that it goes out in.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    Backend, Secret, Style, headers::is_header_value, official::is_vertex, secret::miswritten, section::Section,
};
use crate::wire::Protocol;

/// Takes the key, and the file that it stands in, if it does.
pub(super) fn read_key(s: &mut Section<'_>) -> (Option<Secret>, Option<PathBuf>) {
    // A backend's own outranks a default, whichever of the two that is.
    let own = [s.has_own("api_key"), s.has_own("api_key_file")];
    let key = s.optional::<Secret>("api_key").filter(|_| own != [false, true]);
    if let Some(why) = key.as_ref().and_then(|key| unusable(key.reveal())) {
        s.problem("api_key", why);
    }
    let file = s.optional::<String>("api_key_file").filter(|_| own != [true, false]).map(PathBuf::from);
    let found = match &file {
        Some(_) if key.is_some() => {
            s.clash("api_key", &["api_key", "api_key_file"], "stands beside api_key_file; keep one of the two");
            key
        }
        Some(file) => s.key_in(file).map_err(|why| s.problem("api_key_file", why)).ok(),
        None => key,
    };
    (found, file)
}

impl Backend {
    /// The header that this key goes out in, among those that the backend has of its own: only one of the two could be sent.
    pub(super) fn header_beside<'h>(headers: &'h BTreeMap<String, Secret>, own: &str) -> Option<&'h String> {
        headers.keys().find(|name| name.eq_ignore_ascii_case(own))
    }

    /// The next key of this backend, from its file, or why it cannot be used, as `keys_in` says it.
    pub fn accept(&self, key: Secret) -> Result<Secret, String> {
        let own = key_header(self.protocol, self.style, &self.address.host, key.reveal());
        match Self::header_beside(&self.headers, own) {
            Some(name) => Err(format!(
                "names a file whose key goes out as '{name}', which stands in headers, too; keep one of the two"
            )),
            None => Ok(key),
        }
    }
}

/// Why a key cannot be sent, or would not be taken for what it is.
pub(super) fn unusable(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("is empty; leave it out for a backend that takes none");
    }
    if !is_header_value(key) {
        return Some("has a character that no HTTP header may carry; check for a stray line end");
    }
    if key.trim_matches(' ').len() < key.len() {
        return Some("begins or ends with a blank, which would be sent as part of it; take it away");
    }
    miswritten(key)
}

/// The header that carries this key. Where keys have a header of their own, access tokens still go out as bearer tokens: those of
/// Entra ID at Azure, which are JWTs ("Azure OpenAI REST API reference", Authentication), and at Google its own, which begin with
/// `ya29.`, and the JWTs of service accounts.
pub(super) fn key_header(protocol: Protocol, style: Style, host: &str, key: &str) -> &'static str {
    let is_jwt = key.starts_with("eyJ");
    match protocol {
        Protocol::Anthropic => "x-api-key",
        Protocol::Gemini if key.starts_with("ya29.") || (is_jwt && is_vertex(host)) => "authorization",
        Protocol::Gemini => "x-goog-api-key",
        Protocol::Openai if style == Style::Azure && !is_jwt => "api-key",
        Protocol::Openai => "authorization",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_out_as_one_where_keys_have_a_header_of_their_own() {
        use Protocol::{Anthropic, Gemini, Openai};
        let (google, vertex) = ("generativelanguage.googleapis.com", "us-central1-aiplatform.googleapis.com");
        for (protocol, style, host, key, header) in [
            (Openai, Style::Openai, "h", "sk-1", "authorization"),
            (Openai, Style::Azure, "h", "0123456789abcdef", "api-key"),
            (Openai, Style::Azure, "h", "eyJ0eXAi.eyJhdWQi.c2ln", "authorization"),
            (Anthropic, Style::Openai, "h", "sk-ant-1", "x-api-key"),
            (Gemini, Style::Openai, google, "AIzaSy-1", "x-goog-api-key"),
            (Gemini, Style::Openai, google, "AQ.Ab8-1", "x-goog-api-key"),
            (Gemini, Style::Openai, google, "ya29.a0-1", "authorization"),
            (Gemini, Style::Openai, "h", "any", "x-goog-api-key"),
            (Gemini, Style::Openai, vertex, "ya29.a0-1", "authorization"),
            (Gemini, Style::Openai, vertex, "eyJ0eXAi.eyJhdWQi.c2ln", "authorization"),
            (Gemini, Style::Openai, "h", "eyJ0eXAi.eyJhdWQi.c2ln", "x-goog-api-key"),
            (Gemini, Style::Openai, vertex, "any", "x-goog-api-key"),
            (Gemini, Style::Openai, vertex, "AIzaSy-1", "x-goog-api-key"),
            (Gemini, Style::Openai, "aiplatform.googleapis.com", "AQ.Ab8-1", "x-goog-api-key"),
        ] {
            assert_eq!(key_header(protocol, style, host, key), header, "{protocol:?} {host} {key}");
        }
    }
}
