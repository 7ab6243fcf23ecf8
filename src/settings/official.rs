//! Owns what is known of providers' own addresses: who answers there and what it refuses, and what a base URL says that was
//! written for another protocol, or cut short.

use super::{Backend, Style};
use crate::wire::{Host, Protocol};

/// OpenAI's own.
pub(super) const OPENAI: &str = "api.openai.com";
const ANTHROPIC: &str = "api.anthropic.com";
const GOOGLE: &str = "generativelanguage.googleapis.com";
const OPENROUTER: &str = "openrouter.ai";

impl Backend {
    /// Whether members of messages are refused here that the provider does not know, another's `reasoning_content` among them:
    /// by `OpenAI`, Mistral (charmbracelet/crush#1590), Groq (janhq/jan#8136) and Cerebras (Kilo-Org/kilocode#10375). Fireworks
    /// refuses others and has use for that one (guide to reasoning).
    pub fn is_strict(&self) -> bool {
        const STRICT: [&str; 3] = [".mistral.ai", ".groq.com", ".cerebras.ai"];
        let host = self.address.host.as_str();
        self.is_openais_own() || (self.protocol == Protocol::Openai && STRICT.iter().any(|name| host.ends_with(name)))
    }

    /// Whether `OpenAI` itself, or Azure for it, answers here.
    pub fn is_openais_own(&self) -> bool {
        let host = self.address.host.as_str();
        self.protocol == Protocol::Openai
            && (self.style == Style::Azure || host == OPENAI || host.ends_with(".openai.azure.com"))
    }

    /// Whether a count of tokens can be had here for another protocol's request: of Google's `countTokens`, and at OpenAI of what
    /// `POST /responses/input_tokens` counts. What answers elsewhere in OpenAI's protocol need not know that.
    pub fn counts_tokens(&self) -> bool {
        match self.protocol {
            Protocol::Openai => self.address.host == OPENAI,
            Protocol::Gemini | Protocol::Anthropic => true,
        }
    }

    /// Whether Google's Vertex AI answers here.
    pub fn is_vertex(&self) -> bool {
        is_vertex(&self.address.host)
    }

    /// The provider at this address, if it speaks OpenAI's protocol and is known to take less than others, or more.
    pub fn host(&self) -> Host {
        match &*self.address.host {
            _ if self.protocol != Protocol::Openai => Host::Other,
            host if host.ends_with(".mistral.ai") => Host::Mistral,
            host if host == OPENROUTER || host.ends_with(".openrouter.ai") => Host::OpenRouter,
            _ => Host::Other,
        }
    }

    /// The protocol of the provider whose host this is, where another is set.
    fn other_protocol(&self) -> Option<Protocol> {
        let own = match &*self.address.host {
            OPENAI => Protocol::Openai,
            // Anthropic answers OpenAI's clients as well, and Google does at a path of its own.
            ANTHROPIC if self.protocol == Protocol::Openai => return None,
            ANTHROPIC => Protocol::Anthropic,
            GOOGLE if self.base_url.ends_with("/openai") => Protocol::Openai,
            GOOGLE => Protocol::Gemini,
            _ => return None,
        };
        (own != self.protocol).then_some(own)
    }

    /// What may be meant otherwise of where it is: the key, and why.
    pub fn place_doubt(&self) -> Option<(&'static str, String)> {
        let (host, url) = (&*self.address.host, &*self.base_url);
        if let Some(own) = self.other_protocol() {
            let or = match (host, self.protocol) {
                (GOOGLE, Protocol::Openai) => "let base_url end with /v1beta/openai",
                (GOOGLE, Protocol::Gemini) => "let base_url end with /v1beta",
                _ => "another base_url",
            };
            let own = own.as_str();
            let text = format!("is not what is spoken at base_url, which is \"{own}\"; set that, or {or}");
            return Some(("protocol", text));
        }
        let has_path = self.has_path();
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

    /// Whether `base_url` goes on behind scheme and host.
    fn has_path(&self) -> bool {
        self.base_url.split('/').nth(3).is_some()
    }

    /// Where most servers of the protocol begin, if `base_url` has no path: some do begin there.
    pub fn missing_path(&self) -> Option<&'static str> {
        let usual = if self.protocol == Protocol::Gemini { "/v1beta" } else { "/v1" };
        (self.style != Style::Azure && !self.has_path()).then_some(usual)
    }
}

/// Whether this is a host of Google's Vertex AI.
pub(super) fn is_vertex(host: &str) -> bool {
    host.ends_with("aiplatform.googleapis.com")
}

#[cfg(test)]
mod tests {
    use super::super::{SMALL, parse};
    use crate::wire::Host;

    #[test]
    fn of_googles_two_addresses_each_is_told_with_the_way_to_the_other() {
        for (protocol, path, other) in [("openai", "", "\"gemini\""), ("gemini", "/openai", "\"openai\"")] {
            let url = format!("https://generativelanguage.googleapis.com/v1beta{path}");
            let text = SMALL.replace("\"openai\"", &format!("{protocol:?}")).replace("http://127.0.0.1:9/v1", &url);
            let settings = parse("test", &text).expect("good settings");
            let (key, text) = settings.backends["a"].place_doubt().expect("a doubt");
            assert!(
                key == "protocol" && text.contains(other) && text.contains("let base_url end with /v1beta"),
                "{text}"
            );
        }
    }

    #[test]
    fn who_refuses_members_that_it_does_not_know_is_told_from_the_host() {
        for (url, strict) in [
            ("https://api.openai.com/v1", true),
            ("https://api.mistral.ai/v1", true),
            ("https://api.groq.com/openai/v1", true),
            ("https://api.cerebras.ai/v1", true),
            ("https://api.fireworks.ai/inference/v1", false),
            ("https://api.deepseek.com/v1", false),
            ("https://api.moonshot.ai/v1", false),
            ("http://vllm:8000/v1", false),
            ("https://x.openai.azure.com/openai/v1", true),
            // Azure behind another name.
            ("https://gateway.example\"\nstyle = \"azure\"\napi_version = \"2024-10-21", true),
        ] {
            let settings = parse("test", &SMALL.replace("http://127.0.0.1:9/v1", url)).expect("good settings");
            assert_eq!(settings.backends["a"].is_strict(), strict, "{url}");
        }
    }

    #[test]
    fn openais_own_address_is_known_to_serve_responses_unless_its_table_says_otherwise() {
        for (url, native, own) in [
            ("https://api.openai.com/v1", true, ""),
            ("https://api.openai.com/v1", false, "native_responses = false"),
            ("http://vllm:8000/v1", false, ""),
            ("http://vllm:8000/v1", true, "native_responses = true"),
        ] {
            let small = SMALL.replace("[backends.a]", &format!("[backends.a]\n{own}"));
            let settings = parse("test", &small.replace("http://127.0.0.1:9/v1", url)).expect("good settings");
            assert_eq!(settings.backends["a"].native_responses, native, "{url} {own}");
        }
    }

    #[test]
    fn who_counts_tokens_for_another_protocol_is_told_from_protocol_and_host() {
        for (protocol, url, counts, vertex) in [
            ("openai", "https://api.openai.com/v1", true, false),
            ("openai", "https://api.openai.com.example/v1", false, false),
            ("openai", "http://vllm:8000/v1", false, false),
            ("gemini", "https://generativelanguage.googleapis.com/v1beta", true, false),
            (
                "gemini",
                "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google",
                true,
                true,
            ),
        ] {
            let text = SMALL.replace("http://127.0.0.1:9/v1", url).replace("\"openai\"", &format!("\"{protocol}\""));
            let settings = parse("test", &text).expect("good settings");
            let backend = &settings.backends["a"];
            assert_eq!((backend.counts_tokens(), backend.is_vertex()), (counts, vertex), "{url}");
        }
    }

    #[test]
    fn who_takes_more_or_less_than_others_is_told_from_the_host() {
        for (url, host) in [
            ("https://api.mistral.ai/v1", Host::Mistral),
            ("https://openrouter.ai/api/v1", Host::OpenRouter),
            ("https://eu.openrouter.ai/api/v1", Host::OpenRouter),
            ("https://notopenrouter.ai/api/v1", Host::Other),
            ("http://vllm:8000/v1", Host::Other),
        ] {
            let settings = parse("test", &SMALL.replace("http://127.0.0.1:9/v1", url)).expect("good settings");
            assert_eq!(settings.backends["a"].host(), host, "{url}");
        }
    }
}
