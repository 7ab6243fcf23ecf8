//! Owns what a client makes of an answer, streamed or whole: the text, whether it may trust it, the error.

use serde_json::Value;

use super::{
    client::Reply,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    sse,
    wire::End,
};

/// An answer as a client hears it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The status.
    pub(crate) status: u16,
    /// All the text.
    pub(crate) text: String,
    /// It says that it is complete, and its framing does, too.
    pub(crate) complete: bool,
    /// `error.code`, from the body or from an error frame; `-` where there is none.
    pub(crate) error: String,
    /// Who served it.
    pub(crate) backend: String,
}

/// The two ways to ask.
pub(crate) const WAYS: [bool; 2] = [true, false];

/// The smallest request, streamed or not.
pub(crate) fn hello(stream: bool) -> &'static str {
    if stream { HELLO_STREAM } else { HELLO }
}

impl Heard {
    /// Listens to a whole answer.
    pub(crate) fn of(reply: &Reply) -> Self {
        let json: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let error = sse::error_of(&reply.body).or_else(|| json.get("error").cloned());
        let streamed = reply.head.get("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let text = || json["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
        let claims = if streamed { sse::is_done(&reply.body) } else { json.is_object() };
        Self {
            status: reply.status(),
            text: if streamed { sse::text_of(&reply.body) } else { text() },
            complete: claims && reply.end == End::Clean,
            error: error.and_then(|e| Some(e["code"].as_str()?.to_owned())).unwrap_or_else(|| "-".to_owned()),
            backend: reply.head.get("x-greenroom-backend").unwrap_or("-").to_owned(),
        }
    }

    /// A complete answer.
    pub(crate) fn said(text: &str, backend: &str) -> Self {
        let (text, backend) = (text.to_owned(), backend.to_owned());
        Self { status: 200, text, complete: true, error: "-".to_owned(), backend }
    }
}

/// Asks for `m` and listens to the end.
pub(crate) async fn hear(proxy: &Proxy, stream: bool) -> Heard {
    Heard::of(&proxy.chat(hello(stream)).await)
}
