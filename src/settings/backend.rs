//! Owns the settings of one backend: where it is, how it is paid, how much it takes, how long to wait for it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Serialize;
use serde_json::Value;

use super::{
    Address, Secret,
    headers::read_headers,
    key::{key_header, read_key},
    official::OPENAI,
    section::{Defaults, Problems, Section},
};
use crate::wire::{Host, Protocol};

/// How a backend wants its URL and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `{base_url}/chat/completions`, bearer key.
    Openai,
    /// `{base_url}/openai/deployments/{model}/chat/completions?api-version=…`, `api-key` header.
    Azure,
}

/// What asks a sick backend whether it is well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// Nothing: the next real request after the backoff is the probe.
    Off,
    /// `GET` on the models list: free of charge.
    Models,
    /// A completion of one token: paid, but proves the model answers.
    Completion,
}

impl ProbeKind {
    /// What an operator's own probe asks for, also where there are no others.
    #[must_use]
    pub fn on_demand(self) -> Self {
        if self == Self::Off { Self::Models } else { self }
    }
}

/// What trips a breaker and how long it stays tripped.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerSettings {
    /// Consecutive failures that trip it; 0 never.
    pub failures: u32,
    /// The window of the error ratio.
    pub window: Duration,
    /// Outcomes needed in the window before the ratio counts.
    pub min_samples: u32,
    /// Share of failures in the window that trips it, above 0 to 1.
    pub error_ratio: f64,
    /// First backoff; doubles with each trip in a row.
    pub backoff_min: Duration,
    /// Longest backoff.
    pub backoff_max: Duration,
}

impl BreakerSettings {
    fn read(s: &mut Section<'_>) -> Self {
        let breaker = Self {
            window: s.time("breaker_window"),
            backoff_min: s.time("backoff_min"),
            backoff_max: s.time("backoff_max"),
            failures: s.value("breaker_failures"),
            min_samples: s.value("breaker_min_samples"),
            error_ratio: s.share("breaker_error_ratio"),
        };
        if breaker.error_ratio == 0.0 {
            s.problem("breaker_error_ratio", "must be above 0 and at most 1");
        }
        if breaker.backoff_max < breaker.backoff_min {
            s.clash("backoff_max", &["backoff_max", "backoff_min"], "must not be shorter than backoff_min");
        }
        breaker
    }
}

/// Time limits of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Deadlines {
    /// To the established (and TLS-secured) connection.
    pub connect: Duration,
    /// To the first content before a second backend is started beside.
    pub first_token_soft: Duration,
    /// To the first content before the attempt fails.
    pub first_token_hard: Duration,
    /// Between two frames of a stream.
    pub idle: Duration,
    /// The whole attempt.
    pub total: Duration,
}

impl Deadlines {
    fn read(s: &mut Section<'_>) -> Self {
        Self {
            connect: s.time("connect_timeout"),
            first_token_soft: s.time("first_token_soft"),
            first_token_hard: s.time("first_token_hard"),
            idle: s.time("idle_timeout"),
            total: s.time("total_timeout"),
        }
    }
}

/// One configured backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Wire protocol it speaks.
    pub protocol: Protocol,
    /// URL and key style, `openai` protocol only.
    pub style: Style,
    /// Azure's `api-version`.
    pub api_version: String,
    /// Base URL without a trailing slash.
    pub base_url: String,
    /// Where that leads.
    pub address: Address,
    /// Its key, if it wants one.
    pub api_key: Option<Secret>,
    /// The file that the key stands in, and its successors will.
    pub api_key_file: Option<PathBuf>,
    /// Extra request headers.
    pub headers: BTreeMap<String, Secret>,
    /// Preference beyond speed, which is learned: 2 counts as twice the size.
    pub weight: f64,
    /// Requests at a time, waiting and streaming.
    pub max_in_flight: u32,
    /// Streams at a time before each of them gets slower.
    pub slots: u32,
    /// First-token time assumed before anything is known.
    pub expected_first_token: Duration,
    /// Time limits.
    pub deadlines: Deadlines,
    /// Breaker.
    pub breaker: BreakerSettings,
    /// Active probing while sick.
    pub probe: ProbeKind,
    /// Pause between two active probes.
    pub probe_every: Duration,
    /// Ask for usage in streams when the client did not.
    pub ask_usage: bool,
    /// Hand on where in a trace the client stands: `traceparent` and `tracestate`.
    pub trace_context: bool,
    /// Refuse hints that the protocol cannot express, too, rather than drop them.
    pub refuse_unsupported: bool,
    /// It offers OpenAI's Responses endpoint itself.
    pub native_responses: bool,
    /// Token limit for protocols that require one when the client gave none; 0: what the model gives, as far as that is known.
    pub max_tokens: u32,
}

impl Backend {
    /// The header that carries the key.
    pub fn key_header(&self) -> &'static str {
        let key = self.api_key.as_ref().map_or("", Secret::reveal);
        key_header(self.protocol, self.style, &self.address.host, key)
    }

    /// Whether its streams are asked for token counts: only this protocol has to be asked. Mistral tells them unasked, and
    /// refuses to be asked (BerriAI/litellm#8978, openai/openai-agents-python#442).
    pub fn asks_usage(&self) -> bool {
        self.ask_usage && self.protocol == Protocol::Openai && self.host() != Host::Mistral
    }

    /// Whether its URLs name the model.
    pub fn names_model_in_urls(&self) -> bool {
        self.protocol == Protocol::Gemini || self.style == Style::Azure
    }

    /// Reads `[backends.NAME]` over `[defaults.backend]`.
    pub(super) fn read(defaults: &Defaults, path: &str, value: Value, problems: &Problems) -> Option<Self> {
        let mut s = Section::over(defaults, path, value, problems);
        let protocol = s.word(
            "protocol",
            &[("openai", Protocol::Openai), ("anthropic", Protocol::Anthropic), ("gemini", Protocol::Gemini)],
        );
        let style = s.word("style", &[("openai", Style::Openai), ("azure", Style::Azure)]);
        let api_version: String = s.value("api_version");
        let base_url = s.required::<String>("base_url").map(|url| url.trim_end_matches('/').to_owned());
        let address =
            base_url.as_deref().and_then(|url| Address::of(url).map_err(|why| s.problem("base_url", why)).ok());
        if style == Some(Style::Azure) {
            if protocol.is_some_and(|protocol| protocol != Protocol::Openai) {
                s.clash("style", &["style", "protocol"], "\"azure\" goes with protocol = \"openai\" only");
            }
            if api_version.is_empty() {
                s.clash(
                    "api_version",
                    &["api_version", "style"],
                    "is empty; style = \"azure\" needs one such as \"2024-10-21\"",
                );
            }
        }
        let (api_key, api_key_file) = read_key(&mut s);
        let headers = read_headers(&mut s, problems);
        if let (Some(key), Some(protocol), Some(style)) = (&api_key, protocol, style) {
            let host = address.as_ref().map_or("", |address| &address.host);
            let own = key_header(protocol, style, host, key.reveal());
            if let Some(name) = Self::header_beside(&headers, own) {
                s.clash(
                    &format!("headers.{name}"),
                    &["headers", "api_key", "api_key_file"],
                    "stands beside the key, which goes out under this name; keep one of the two",
                );
            }
        }
        let weight = s.weight();
        let max_in_flight = s.at_least_one("max_in_flight");
        let slots = s.at_least_one("slots");
        let max_tokens = s.value("max_tokens");
        let expected_first_token = s.time("expected_first_token");
        let deadlines = Deadlines::read(&mut s);
        let breaker = BreakerSettings::read(&mut s);
        let probe_every = s.pause("probe_every");
        let probe = s.word(
            "probe",
            &[("off", ProbeKind::Off), ("models", ProbeKind::Models), ("completion", ProbeKind::Completion)],
        );
        let ask_usage = s.value("ask_usage");
        let trace_context = s.value("trace_context");
        let has_responses = s.value("native_responses");
        let says_so = s.has_own("native_responses");
        let refuse_unsupported = s.word("unsupported", &[("drop", false), ("refuse", true)]);
        s.finish();
        let address = address?;
        Some(Self {
            native_responses: has_responses || (!says_so && address.host == OPENAI),
            protocol: protocol?,
            style: style?,
            api_version,
            base_url: base_url?,
            address,
            api_key,
            api_key_file,
            headers,
            weight,
            max_in_flight,
            slots,
            expected_first_token,
            deadlines,
            breaker,
            probe: probe?,
            probe_every,
            ask_usage,
            trace_context,
            refuse_unsupported: refuse_unsupported?,
            max_tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SMALL, parse};

    #[test]
    fn streams_of_mistrals_own_are_not_asked_for_counts_that_they_tell_anyway() {
        for (url, asks) in [
            ("https://api.mistral.ai/v1", false),
            ("https://codestral.mistral.ai/v1", false),
            ("https://api.openai.com/v1", true),
            ("http://mistral.internal:8000/v1", true),
        ] {
            let settings = parse("test", &SMALL.replace("http://127.0.0.1:9/v1", url)).expect("good settings");
            assert_eq!(settings.backends["a"].asks_usage(), asks, "{url}");
        }
    }
}
