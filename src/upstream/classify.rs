//! Owns judging failures: what class an answer is of, and what of it may be told. Pure.

use bytes::Bytes;

use super::codes::{CONTENT, CONTEXT, CREDENTIALS, MODEL, OVERLOAD, QUOTA, RATE, known_words, words};
use crate::{
    error::{Class, Failed, Told},
    wire::{Fault, faults},
};

/// The class of a provider's error, by its status and its words. A fault inside of a 200 has no status of its own.
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
        if faults::is_out_of_money(fault) {
            return Class::ProviderQuota;
        }
    }
    if matches!(fault.status, Some(413 | 429)) && faults::is_oversized(fault) {
        return Class::CallerMisdirected;
    }
    if fault.status == Some(403) && faults::is_flagged(fault) {
        return Class::ProviderContentFilter;
    }
    match fault.status {
        Some(401 | 403) if says(&MODEL) || faults::misses_the_model(fault) => Class::ProviderModelMissing,
        Some(401) => Class::ProviderAuth,
        Some(402) => Class::ProviderQuota,
        Some(403 | 451) if says(&CREDENTIALS) || faults::denies_the_account(fault) => Class::ProviderAuth,
        // Firewalls block prompts with these, and a provider has other words for a key that it does not take. The others are
        // about the connection, the head or the address that it was asked at: no client has chosen those.
        Some(403 | 405 | 407 | 411 | 421 | 426 | 431 | 451 | 505) => Class::ProviderDenied,
        Some(404) if faults::misses_what_is_named(fault) => Class::CallerMisdirected,
        Some(404) => Class::ProviderModelMissing,
        Some(code @ (408 | 429 | 500..)) if matches!(code, 503 | 529) || says(&OVERLOAD) => Class::ProviderOverloaded,
        Some(429) => Class::ProviderRatelimit,
        Some(408 | 500..) => Class::ProviderServer,
        Some(400..500) if says(&MODEL) || faults::misses_the_model(fault) => Class::ProviderModelMissing,
        Some(400..500) if says(&CREDENTIALS) => Class::ProviderAuth,
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

/// The class of an error that came with this body: a page instead of an API's error is that of something in front of it.
pub fn classify_answer(fault: &Fault, body: &[u8]) -> Class {
    match classify(fault) {
        Class::CallerInvalid if fault.status == Some(400) && body.trim_ascii_start().starts_with(b"<") => {
            Class::ProviderDenied
        }
        class => class,
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

/// A failure that a provider reports by `how`, with its type and code: to clients only where they are words that many have.
pub fn reported(class: Class, fault: &Fault, how: &str, told: Option<Told>) -> Failed {
    let (all, known) = (words(fault), known_words(fault));
    Failed {
        status: fault.status,
        retry_after: fault.retry_after,
        shown: (known != all).then(|| format!("{how} ({known})")),
        told,
        turned_away: fault.status.is_some_and(|status| status >= 400) || refuses(class),
        ..Failed::new(class, format!("{how} ({all})"))
    }
}

/// Whether a provider that reports this has not worked on the request, also where no status says so.
fn refuses(class: Class) -> bool {
    !matches!(class, Class::ProviderServer | Class::ProviderInvalid | Class::ProviderContentFilter)
}

/// A provider's own words, where the fault is the caller's and so is for the caller to read; `body` goes out in their place.
pub fn told(class: Class, fault: &Fault, body: Option<Bytes>) -> Option<Told> {
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
        Some(413 | 429) if class == Class::CallerMisdirected => Some((
            "request_too_large",
            "This request is larger than all that the backend's account may ask for in a minute. Send a smaller one.",
        )),
        _ => None,
    };
    if let Some((code, message)) = ours {
        let (kind, code, message) = ("invalid_request_error".to_owned(), code.to_owned(), message.to_owned());
        return Some(Told { kind, code, message, param: None, body: None });
    }
    let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
    // vLLM repeats the status where a code should be: it names none.
    let repeats = fault.code.parse().is_ok_and(|code: u16| fault.status == Some(code));
    Some(Told {
        kind: or(&fault.kind, "invalid_request_error"),
        code: if repeats { String::new() } else { fault.code.clone() },
        message: or(&fault.message, "The backend refused the request."),
        param: fault.param.clone(),
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, kind: &str, code: &str, message: &str) -> Fault {
        Fault {
            status: Some(status),
            kind: kind.into(),
            code: code.into(),
            message: message.into(),
            ..Fault::default()
        }
    }

    #[test]
    fn money_and_passing_limits_are_told_apart() {
        for (fault, class) in [
            (fault(429, "insufficient_quota", "insufficient_quota", ""), Class::ProviderQuota),
            (fault(429, "requests", "rate_limit_exceeded", ""), Class::ProviderRatelimit),
            (fault(429, "rate_limit_error", "enforced_spend_limit_reached", ""), Class::ProviderQuota),
            (fault(402, "", "", ""), Class::ProviderQuota),
            (fault(400, "invalid_request_error", "", "Your credit balance is too low to access"), Class::ProviderQuota),
            (
                fault(400, "", "", "You have reached your specified API usage limits. You will regain"),
                Class::ProviderQuota,
            ),
            (fault(400, "", "", "No tool 'You have reached your specified API usage limits'"), Class::CallerInvalid),
            (fault(529, "overloaded_error", "", ""), Class::ProviderOverloaded),
            (fault(500, "", "context_length_exceeded", ""), Class::ProviderServer),
            (fault(400, "", "context_length_exceeded", ""), Class::ProviderContextLength),
            (
                fault(400, "invalid_request_error", "", "prompt is too long: 210000 tokens"),
                Class::ProviderContextLength,
            ),
            (fault(400, "invalid_request_error", "content_policy_violation", ""), Class::ProviderContentFilter),
            (
                fault(400, "invalid_request_error", "", "Output blocked by content filtering policy"),
                Class::ProviderContentFilter,
            ),
            (
                fault(400, "invalid_request_error", "", "No tool 'Output blocked by content filtering policy'"),
                Class::CallerInvalid,
            ),
            (fault(404, "", "model_not_found", ""), Class::ProviderModelMissing),
            (fault(400, "invalid_model", "1500", "Invalid model: x"), Class::ProviderModelMissing),
            (
                fault(400, "invalid_request_error", "model_decommissioned", "The model `x` has been"),
                Class::ProviderModelMissing,
            ),
            (fault(400, "invalid_request_error", "", "Model Not Exist"), Class::ProviderModelMissing),
            (fault(400, "invalid_request_error", "", "Invalid value: 'Model Not Exist'"), Class::CallerInvalid),
            (fault(400, "Arrearage", "Arrearage", "Access denied, please make sure"), Class::ProviderQuota),
            (fault(422, "", "", ""), Class::CallerInvalid),
            (fault(403, "", "", ""), Class::ProviderDenied),
            (fault(403, "", "", "Blocked: \"no permission\""), Class::ProviderDenied),
            (fault(403, "", "", "This account is suspended."), Class::ProviderAuth),
            (
                fault(403, "", "", "You do not have permission to access the File x or it may not exist."),
                Class::ProviderDenied,
            ),
            (fault(403, "", "", "Request Blocked by content policy"), Class::ProviderContentFilter),
            (fault(409, "", "invalid_api_key", ""), Class::ProviderAuth),
            (fault(408, "", "", ""), Class::ProviderServer),
            (fault(302, "", "", ""), Class::ProviderInvalid),
        ] {
            assert_eq!(classify(&fault), class, "{fault:?}");
        }
    }

    #[test]
    fn a_model_that_is_not_there_is_told_from_what_a_request_names_in_vain() {
        for message in [
            "",
            "Not Found",
            "404 page not found",
            "The model `gpt-9` does not exist or you do not have access to it.",
            "model: claude-9",
            "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent.",
            "model 'x' not found",
            "Model not found.",
            "The API deployment for this resource does not exist.",
            "Invalid URL (POST /v2/chat)",
            "No endpoints found for x/y.",
            "Requested entity was not found.",
            "a secret of the account",
            "The model `my file` does not exist",
        ] {
            assert_eq!(classify(&fault(404, "", "", message)), Class::ProviderModelMissing, "{message}");
        }
        for message in [
            "Thread not found.",
            "File not found: file_model",
            "No such File object: file-1",
            "No such File object: x model y",
            "Item with id 'a model b' not found.",
            "Item with id 'rs_model' not found. Items are not persisted when `store` is set to false.",
            "Container 'model' was not found",
            "No endpoints found that support image input",
        ] {
            assert_eq!(classify(&fault(404, "not_found_error", "", message)), Class::CallerMisdirected, "{message}");
        }
    }

    #[test]
    fn a_denial_of_content_keeps_the_account_to_itself() {
        for (status, said, code) in [
            (403, "Content violates usage guidelines. Team: t-1, API key ID: k-1, Model: x", "content_filter"),
            (429, "Request too large for x in organization k-1: Limit 3, Requested 4", "request_too_large"),
        ] {
            let fault = fault(status, "tokens", "rate_limit_exceeded", said);
            let told = told(classify(&fault), &fault, Some(Bytes::from_static(said.as_bytes()))).expect("the caller's");
            assert_eq!((told.code.as_str(), told.body), (code, None));
            assert!(!told.message.contains("k-1"), "{}", told.message);
        }
    }

    #[test]
    fn what_a_provider_quotes_of_a_request_shuts_no_backend() {
        for (status, message, class) in [
            (400, "Invalid value: 'credit balance is too low'.", Class::CallerInvalid),
            (
                429,
                "Request too large for gpt-4o on tokens per min: Limit 30000, Requested 42000.",
                Class::CallerMisdirected,
            ),
            (413, "Request too large for model `x` on tokens per minute", Class::CallerMisdirected),
            (403, "x requires moderation. Your input was flagged for \"violence\".", Class::ProviderContentFilter),
        ] {
            assert_eq!(classify(&fault(status, "", "rate_limit_exceeded", message)), class, "{message}");
        }
    }

    #[test]
    fn an_error_in_an_answer_that_is_the_callers_is_told_in_the_providers_words() {
        let within = |status, kind: &str, code: &str| {
            fault_in_stream(&Fault { status, ..fault(0, kind, code, "Too many tools.") })
        };
        for (failed, class) in [
            (within(None, "invalid_request_error", "bad_tools"), Class::CallerInvalid),
            (within(None, "", "context_length_exceeded"), Class::ProviderContextLength),
            (within(None, "", "content_filter"), Class::ProviderContentFilter),
            (within(Some(400), "", "400"), Class::CallerInvalid),
        ] {
            assert_eq!(failed.class, class);
            assert_eq!(failed.told.map(|told| told.message).as_deref(), Some("Too many tools."));
            assert!(!failed.message.contains("tools."), "{}", failed.message);
        }
        for failed in
            [within(None, "server_error", ""), within(Some(401), "", "401"), within(None, "", "model_not_found")]
        {
            assert_eq!(failed.told, None, "{}", failed.message);
        }
    }
}
