//! Owns judging failures: the class of an answer, and what of it may be told. Pure.

use bytes::Bytes;

use super::codes::{CONTENT, CONTEXT, CREDENTIALS, MODEL, OVERLOAD, QUOTA, RATE, known_words, words};
use crate::{
    error::{Class, ErrorObject, Failed, Owner},
    wire::{Fault, faults},
};

/// How Go's servers begin to say that they speak TLS.
const PLAIN_TO_TLS: &[u8] = b"Client sent an HTTP request to an HTTPS server";

/// The class of a provider's error, by its status and its words. A fault inside a 200 has no status of its own.
pub fn classify(fault: &Fault) -> Class {
    let code = fault.code.to_ascii_lowercase();
    let kind = fault.kind.to_ascii_lowercase();
    let says = |list: &[&str]| list.contains(&code.as_str()) || list.contains(&kind.as_str());
    if says(&QUOTA) {
        return Class::ProviderQuota;
    }
    let caller = |status: Option<u16>| status.is_none_or(|s| matches!(s, 400 | 403 | 413 | 422));
    if caller(fault.status) {
        // Some providers have no code for it, so that the words must do.
        if says(&CONTEXT) || faults::is_too_long(fault) {
            return Class::ProviderContextLength;
        }
        if says(&CONTENT) || faults::is_filtered(fault) {
            return Class::ProviderContentFilter;
        }
    }
    if faults::is_out_of_money(fault) && fault.status.is_none_or(|s| s < 500) {
        return Class::ProviderQuota;
    }
    if matches!(fault.status, Some(402 | 413 | 429)) && faults::is_oversized(fault) {
        return Class::CallerMisdirected;
    }
    if matches!(fault.status, None | Some(400)) && faults::is_unheard(fault) {
        return Class::CallerMisdirected;
    }
    // Azure's, of a model that does not chat, or only chats: a client may have asked for the wrong one, and another backend may
    // have it.
    if fault.status == Some(400) && code == "operationnotsupported" {
        return Class::CallerMisdirected;
    }
    if fault.status == Some(403) && faults::is_flagged(fault) {
        return Class::ProviderContentFilter;
    }
    match fault.status {
        Some(401 | 403) if says(&MODEL) || faults::misses_the_model(fault) => Class::ProviderModelMissing,
        // A client chooses the endpoint: it must not shut the others.
        Some(401 | 403) if faults::is_out_of_scope(fault) => Class::ProviderDenied,
        Some(401) => Class::ProviderAuth,
        Some(402) => Class::ProviderQuota,
        Some(403 | 451) if says(&CREDENTIALS) || faults::denies_the_account(fault) => Class::ProviderAuth,
        Some(400 | 404) if faults::fails_to_load(fault) => Class::ProviderServer,
        Some(424) if faults::is_about_a_tool(fault) => Class::CallerMisdirected,
        // 403 and 451: firewalls block prompts with these, and a provider has other words for a key that it refuses. The rest
        // are about the connection, the head or the address, which no client has chosen. 412: an account is suspended, or an
        // adapter did not load (Fireworks). 424: a model failed at its work (Bedrock's `ModelErrorException`), or a part of it is
        // not ready (text-generation-inference).
        Some(403 | 405 | 407 | 411 | 412 | 421 | 424 | 426 | 431 | 451 | 505) => Class::ProviderDenied,
        Some(404 | 410) if faults::misses_what_is_named(fault) => Class::CallerMisdirected,
        Some(404 | 410) if says(&MODEL) || faults::speaks_of_the_model(fault) => Class::ProviderModelMissing,
        Some(404 | 410) => Class::ProviderNotFound,
        // 498 is Groq's own.
        Some(code @ (408 | 429 | 498 | 500..)) if matches!(code, 498 | 503 | 529) || says(&OVERLOAD) => {
            Class::ProviderOverloaded
        }
        Some(429) => Class::ProviderRatelimit,
        Some(408 | 500..) => Class::ProviderServer,
        Some(400..500) if says(&MODEL) || faults::misses_the_model(fault) => Class::ProviderModelMissing,
        Some(400..500) if says(&CREDENTIALS) => Class::ProviderAuth,
        Some(400..500) if faults::misses_the_version(fault) => Class::ProviderDenied,
        Some(400..500) => Class::CallerInvalid,
        Some(_) => Class::ProviderInvalid,
        None if says(&OVERLOAD) => Class::ProviderOverloaded,
        None if says(&RATE) => Class::ProviderRatelimit,
        None if says(&CREDENTIALS) => Class::ProviderAuth,
        None if says(&MODEL) => Class::ProviderModelMissing,
        None if kind == "invalid_request_error" => Class::CallerInvalid,
        None => Class::ProviderServer,
    }
}

/// The class of an error that came with this body from a backend that was asked for this model. A page, or plain words where
/// no API uses them, comes from something in front of the API.
pub fn classify_answer(fault: &Fault, body: &[u8], model: &str) -> Class {
    let class = classify(fault);
    if class != Class::CallerInvalid {
        return class;
    }
    let body = body.trim_ascii_start();
    match (fault.status, body.first()) {
        _ if faults::misses_this_model(fault, model) => Class::ProviderModelMissing,
        // A limit of something in front of the API: other backends may take more. Cerebras also answers so to a prompt that is
        // too long.
        (Some(413), Some(b'<')) | (Some(400 | 413), None) => Class::CallerMisdirected,
        (_, Some(b'<')) => Class::ProviderDenied,
        // Frameworks answer these in plain words.
        (Some(400 | 413 | 422), _) if !body.starts_with(PLAIN_TO_TLS) => class,
        (_, Some(b'{' | b'[' | b'"')) => class,
        _ => Class::ProviderDenied,
    }
}

/// Whether an answer to the question for a models list says that there is none here: nothing is wrong with such a server.
pub fn has_no_models_list(status: u16) -> bool {
    matches!(status, 404 | 405 | 501)
}

/// A provider's error inside of a stream or of a 200.
pub fn fault_in_stream(fault: &Fault) -> Failed {
    let class = classify(fault);
    reported(class, fault, "it reported an error in its answer", told(class, fault, None))
}

/// A failure that a provider reports by `how`, with its type and code. Clients are shown those only if they are words that
/// many providers use.
pub fn reported(class: Class, fault: &Fault, how: &str, told: Option<ErrorObject>) -> Failed {
    let (all, known) = (words(fault), known_words(fault));
    Failed {
        status: fault.status,
        retry_after: fault.retry_after,
        shown: (known != all).then(|| format!("{how} ({known})")),
        told,
        said: own_words(class, fault, b""),
        turned_away: fault.status.is_some_and(|status| status >= 400) || refuses(class),
        ..Failed::new(class, format!("{how} ({all})"))
    }
}

/// The words of a provider about a failure of its own, for operators; `body`: what came, if no message was found in it. They
/// are cut once secrets are masked. None about credentials: some quote a part of them.
pub fn own_words(class: Class, fault: &Fault, body: &[u8]) -> Option<String> {
    if class.owner() != Owner::Backend || class == Class::ProviderAuth {
        return None;
    }
    let text = match serde_json::from_slice::<serde_json::Value>(body) {
        _ if !fault.message.is_empty() => (&*fault.message).into(),
        // Without escapes, which could hide a secret.
        Ok(value) => value.to_string().into(),
        Err(_) => String::from_utf8_lossy(body),
    };
    let mut words = String::new();
    for word in text.split_whitespace() {
        words.extend([if words.is_empty() { "" } else { " " }, word]);
    }
    (!words.is_empty()).then_some(words)
}

/// Whether a provider that reports this has not worked on the request, even if no status says so.
fn refuses(class: Class) -> bool {
    !matches!(class, Class::ProviderServer | Class::ProviderInvalid | Class::ProviderContentFilter)
}

/// A provider's own words, if the fault is the caller's and so for the caller to read. `body`, if there is one, goes out in
/// place of them.
pub fn told(class: Class, fault: &Fault, body: Option<Bytes>) -> Option<ErrorObject> {
    let is_callers = matches!(
        class,
        Class::CallerInvalid | Class::CallerMisdirected | Class::ProviderContextLength | Class::ProviderContentFilter
    );
    if !is_callers {
        return None;
    }
    // Some name the account: the team and the key that something is denied to, the organisation and its limits.
    let ours = match fault.status {
        Some(403) if class == Class::ProviderContentFilter => {
            Some(("content_filter", "The backend's provider refuses the content of this request."))
        }
        Some(402 | 413 | 429) if class == Class::CallerMisdirected => Some((
            "request_too_large",
            if faults::is_oversized(fault) {
                "This request is larger than all that the backend's account may ask for in a minute, or can pay. Send a smaller \
                 one, or ask for fewer tokens."
            } else {
                "This request is larger than the backend takes. Send a smaller one."
            },
        )),
        _ => None,
    };
    if let Some((code, message)) = ours {
        return Some(ErrorObject::ours(code, message));
    }
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    // vLLM repeats the status where a code should be: it names none.
    let repeats = fault.code.parse().is_ok_and(|code: u16| fault.status == Some(code));
    Some(ErrorObject {
        kind: or(&fault.kind, "invalid_request_error"),
        code: if repeats { String::new() } else { fault.code.clone() },
        message: or(&fault.message, "The backend refused the request."),
        param: fault.param.clone(),
        body,
    })
}
