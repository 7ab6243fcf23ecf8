//! Owns the short question that a backend on trial is asked.

use bytes::Bytes;
use serde_json::{Value, json};

use super::trial::invalid;
use crate::{
    error::Failed,
    settings::Backend,
    wire::{
        limit,
        translate::{self, Dialect, Target},
    },
};

/// A short question to `model` with `extra` members of a chat. It is translated as a client's would be, since models
/// differ in what they take even within one protocol. `reasons`: the model has said that it reasons.
pub(super) fn question(backend: &Backend, model: &str, extra: &Value, reasons: bool) -> Result<Vec<Bytes>, Failed> {
    let mut body = json!({"messages": [{"role": "user", "content": "What time is it?"}]});
    if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra.clone()) {
        body.extend(extra);
    }
    let protocol = backend.protocol;
    if let Some(limit) = body["max_tokens"].as_u64().filter(|_| translate::reasons(protocol, model)) {
        body["max_tokens"] = (limit + u64::from(translate::THOUGHTS)).into();
        body["reasoning_effort"] = "minimal".into();
    }
    let target = Target {
        protocol,
        model,
        max_tokens: backend.max_tokens,
        at_most: None,
        refuse_unsupported: false,
        ask_usage: backend.asks_usage(),
        host: backend.host(),
    };
    let translated = translate::request(Dialect::Chat, body.to_string().as_bytes(), &target);
    let unsaid = || invalid("the question cannot be put in its protocol");
    let mut body = translated.map_err(|_| unsaid())?.body;
    if reasons {
        let mut reworded = serde_json::from_slice(&body).map_err(|_| unsaid())?;
        limit::reword(&mut reworded);
        body = reworded.to_string().into_bytes();
    }
    Ok(vec![body.into()])
}
