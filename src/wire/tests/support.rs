//! Owns what the cases of translation share: a reply's context, a request made and a stream told.

use serde_json::Value;

use crate::wire::{
    Host, Protocol,
    translate::{Dialect, Refused, ReplyContext, StreamTranslator, Target, Translated, request},
};

/// A protocol and the model behind it.
pub(super) type To<'a> = (Protocol, &'a str);

/// Of a reply whose request said nothing that shows.
pub(super) fn context() -> ReplyContext {
    ReplyContext { id: "i".into(), created: 1, model: "m".into(), ..ReplyContext::default() }
}

/// Where a request goes, hints left out where they have no place there.
pub(in crate::wire) fn target(protocol: Protocol, model: &str) -> Target<'_> {
    Target {
        protocol,
        model,
        max_tokens: 4096,
        at_most: None,
        refuse_unsupported: false,
        ask_usage: false,
        host: Host::Other,
    }
}

/// A request in another protocol, hints left out where they have no place in it.
pub(super) fn made(from: Dialect, (protocol, model): To<'_>, body: &Value) -> Result<Translated, Refused> {
    request(from, body.to_string().as_bytes(), &target(protocol, model))
}

/// Its body, and what was left out.
pub(super) fn sent(from: Dialect, to: To<'_>, body: &Value) -> (Value, Vec<String>) {
    let made = made(from, to, body).expect("a request that translates");
    (serde_json::from_slice(&made.body).expect("JSON"), made.dropped)
}

/// The body of one of which nothing has to be left out.
pub(super) fn kept(from: Dialect, (protocol, model): To<'_>, body: &Value) -> Value {
    let target = Target { refuse_unsupported: true, ..target(protocol, model) };
    let made = request(from, body.to_string().as_bytes(), &target).expect("a request that translates whole");
    serde_json::from_slice(&made.body).expect("JSON")
}

/// The events that a client hears of a whole stream.
pub(super) fn streamed(from: Protocol, to: Dialect, ctx: ReplyContext, frames: &[Value]) -> Vec<Value> {
    let (mut translator, mut out) = (StreamTranslator::new(from, to, ctx, true), Vec::new());
    for frame in frames {
        translator.frame(None, frame.to_string().as_bytes(), &mut out).expect("a frame");
    }
    assert!(translator.end(&mut out));
    events(&out)
}

/// The data of frames.
pub(super) fn events(out: &[u8]) -> Vec<Value> {
    let text = str::from_utf8(out).expect("UTF-8");
    text.lines().filter_map(|l| l.strip_prefix("data: ")).filter_map(|l| serde_json::from_str(l).ok()).collect()
}
