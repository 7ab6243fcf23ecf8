//! Owns a collector of traces as the tests read it: the spans that it was sent, by name.

use std::{fmt, net::SocketAddr};

use serde_json::Value;

use super::{
    script::Answer,
    settings::Settings,
    upstream::{Received, Seen, Upstream},
};

/// A span as it was sent.
#[derive(Clone, PartialEq)]
pub(crate) struct Span(Value);

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Span {
    /// A member as text; `-` for one that is missing.
    pub(crate) fn member(&self, name: &str) -> String {
        self.0[name].as_str().unwrap_or("-").to_owned()
    }

    /// An attribute, whatever its kind, as text; `-` for one that is missing.
    pub(crate) fn attribute(&self, key: &str) -> String {
        let found = self.0["attributes"].as_array().and_then(|all| all.iter().find(|one| one["key"] == key));
        let value = found.and_then(|one| one["value"].as_object()?.values().next());
        value.map_or_else(|| "-".to_owned(), |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Several of them.
    pub(crate) fn attributes<const N: usize>(&self, keys: [&str; N]) -> [String; N] {
        keys.map(|key| self.attribute(key))
    }

    /// `server` or `client`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.0["kind"].as_u64() {
            Some(2) => "server",
            Some(3) => "client",
            _ => panic!("no kind: {self:?}"),
        }
    }

    /// Whether its status is an error.
    pub(crate) fn is_error(&self) -> bool {
        self.0["status"]["code"] == 2
    }
}

/// `settings` with traces that go to `collector` soon.
pub(crate) fn traced(settings: Settings, collector: &Upstream) -> Settings {
    traced_to(settings, collector.addr, "flush_every = \"20ms\"")
}

/// `settings` with traces that go to a collector at this address, if there is one.
pub(crate) fn traced_to(settings: Settings, addr: SocketAddr, lines: &str) -> Settings {
    settings.set("traces", &format!("endpoint = \"http://{addr}/v1/traces\"\n{lines}"))
}

/// One that takes all.
pub(crate) async fn willing() -> Upstream {
    Upstream::always(Answer::json(200, "{}")).await
}

/// The spans of one request to the collector.
pub(crate) fn spans_of(request: &Received) -> Vec<Span> {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("spans");
    spans.iter().cloned().map(Span).collect()
}

fn all(seen: &Seen) -> Vec<Span> {
    seen.requests.iter().flat_map(spans_of).collect()
}

/// All spans so far, once there are so many.
pub(crate) async fn spans(collector: &Upstream, count: usize) -> Vec<Span> {
    collector.until(&format!("{count} spans"), |seen| all(seen).len() >= count).await;
    let spans = collector.seen(all);
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}
