//! Owns asking a provider whether it is well: the free models list, or a paid completion of one token.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;

use crate::{
    error::{Class, Failed},
    settings::{Backend, ProbeKind},
    upstream::{Client, Endpoint},
    wire::Protocol,
};

/// Asks once; what the provider said in case it is not well.
pub(super) async fn ask(
    client: Rc<Client>,
    backend: Arc<Backend>,
    kind: ProbeKind,
    model: Arc<str>,
) -> Result<(), Failed> {
    let (endpoint, body) = match kind {
        ProbeKind::Completion => (Endpoint::Chat, vec![one_token(backend.protocol, &model)]),
        ProbeKind::Models | ProbeKind::Off => (Endpoint::Models, Vec::new()),
    };
    let limit = backend.deadlines.first_token_soft;
    let answer = tokio::time::timeout(limit, client.send(endpoint, &model, &[], body)).await;
    let late = || Failed::new(Class::ProviderTimeoutTtft, format!("the probe got no answer within {limit:?}"));
    let answer = answer.map_err(|_| late())??;
    let status = answer.status();
    if (200..300).contains(&status) {
        return Ok(());
    }
    let class = match status {
        401 | 403 => Class::ProviderAuth,
        402 => Class::ProviderQuota,
        429 => Class::ProviderRatelimit,
        503 | 529 => Class::ProviderOverloaded,
        500.. => Class::ProviderServer,
        // Servers without a models list still prove that they answer.
        404 | 405 if endpoint == Endpoint::Models => return Ok(()),
        _ => Class::ProviderInvalid,
    };
    let wait = answer.header("retry-after").and_then(|v| v.parse().ok()).map(Duration::from_secs);
    Err(Failed {
        status: Some(status),
        retry_after: wait,
        ..Failed::new(class, format!("the probe was answered {status}"))
    })
}

/// The smallest request that makes the model answer.
fn one_token(protocol: Protocol, model: &str) -> Bytes {
    let messages = json!([{"role": "user", "content": "ping"}]);
    let body = match protocol {
        Protocol::Openai | Protocol::Anthropic => json!({"model": model, "max_tokens": 1, "messages": messages}),
        Protocol::Gemini => json!({
            "contents": [{"role": "user", "parts": [{"text": "ping"}]}],
            "generationConfig": {"maxOutputTokens": 1},
        }),
    };
    body.to_string().into()
}
