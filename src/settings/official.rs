//! Owns what is known of providers' own addresses: what a base URL says that was written for another protocol, or cut short.

use super::{Backend, Style};
use crate::wire::Protocol;

const OPENAI: &str = "api.openai.com";
const ANTHROPIC: &str = "api.anthropic.com";
const GOOGLE: &str = "generativelanguage.googleapis.com";

impl Backend {
    /// The protocol of the provider whose host this is, where another is set.
    pub fn other_protocol(&self) -> Option<Protocol> {
        let own = match &*self.address.host {
            OPENAI => Protocol::Openai,
            ANTHROPIC => Protocol::Anthropic,
            // Google answers OpenAI's clients at a path of its own.
            GOOGLE if self.base_url.ends_with("/openai") => Protocol::Openai,
            GOOGLE => Protocol::Gemini,
            _ => return None,
        };
        (own != self.protocol).then_some(own)
    }

    /// What may be meant otherwise of where it is: the key, and why.
    pub(super) fn place_doubt(&self) -> Option<(&'static str, String)> {
        if let Some(own) = self.other_protocol() {
            let own = own.as_str();
            let text = format!("is not what is spoken at base_url, which is \"{own}\"; set that, or another base_url");
            return Some(("protocol", text));
        }
        let (host, url) = (&*self.address.host, &*self.base_url);
        // Behind scheme and host.
        let has_path = url.split('/').nth(3).is_some();
        let (key, text) = match host {
            OPENAI | ANTHROPIC if !has_path => {
                ("base_url", "has no path, and this provider's begins with /v1; add that")
            }
            GOOGLE if !has_path => ("base_url", "has no path, and this provider's begins with /v1beta; add that"),
            _ if host.ends_with(".openai.azure.com") && self.style != Style::Azure && !url.ends_with("/openai/v1") => (
                "style",
                "is not \"azure\", and base_url is Azure's; set style and api_version, or let base_url end with /openai/v1",
            ),
            _ if url.ends_with("/v1/v1") => ("base_url", "ends with /v1 twice; take one away"),
            _ if url.ends_with("/v1/models") => {
                ("base_url", "ends with /models, which Greenroom adds itself; take it away")
            }
            _ => return None,
        };
        Some((key, text.to_owned()))
    }
}
