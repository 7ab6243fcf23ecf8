//! Owns tests of what class a provider's error is of, and of what is told of it.

use bytes::Bytes;

use super::classify::*;
use crate::{error::Class, wire::Fault};

fn fault(status: u16, kind: &str, code: &str, message: &str) -> Fault {
    Fault { status: Some(status), kind: kind.into(), code: code.into(), message: message.into(), ..Fault::default() }
}

#[test]
fn money_and_passing_limits_are_told_apart() {
    for (fault, class) in [
        (fault(429, "insufficient_quota", "insufficient_quota", ""), Class::ProviderQuota),
        (fault(429, "requests", "rate_limit_exceeded", ""), Class::ProviderRatelimit),
        (fault(429, "rate_limit_error", "enforced_spend_limit_reached", ""), Class::ProviderQuota),
        (fault(402, "", "", ""), Class::ProviderQuota),
        (fault(400, "invalid_request_error", "", "Your credit balance is too low to access"), Class::ProviderQuota),
        (fault(400, "", "", "You have reached your specified API usage limits. You will regain"), Class::ProviderQuota),
        (fault(400, "", "", "No tool 'You have reached your specified API usage limits'"), Class::CallerInvalid),
        (fault(529, "overloaded_error", "", ""), Class::ProviderOverloaded),
        (fault(500, "", "context_length_exceeded", ""), Class::ProviderServer),
        (fault(400, "", "context_length_exceeded", ""), Class::ProviderContextLength),
        (fault(400, "invalid_request_error", "", "prompt is too long: 210000 tokens"), Class::ProviderContextLength),
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
        (fault(404, "", "DeploymentNotFound", "The model deployment at ID x does not exist."), Class::ProviderNotFound),
        (fault(400, "", "", "No tool 'Failed to load model'"), Class::CallerInvalid),
        (fault(422, "", "OperationNotSupported", ""), Class::CallerInvalid),
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
            fault(
                401,
                "invalid_request_error",
                "",
                "You have insufficient permissions for this operation. Missing scopes: x",
            ),
            Class::ProviderDenied,
        ),
        (
            fault(401, "", "", "No 'You have insufficient permissions for this operation. Missing scopes'"),
            Class::ProviderAuth,
        ),
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
        "The API deployment for this resource does not exist.",
        "Invalid URL (POST /v2/chat)",
        "No endpoints found for x/y.",
        "Requested entity was not found.",
        "a secret of the account",
    ] {
        assert_eq!(classify(&fault(404, "", "", message)), Class::ProviderNotFound, "{message}");
    }
    for message in [
        "The model `gpt-9` does not exist or you do not have access to it.",
        "model: claude-9",
        "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent.",
        "model 'x' not found",
        "Model not found.",
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
        (
            402,
            "This request requires more credits, or fewer max_tokens. You requested up to 9 tokens, but can only afford 3.",
            Class::CallerMisdirected,
        ),
        (402, "Insufficient credits. Add more", Class::ProviderQuota),
        (403, "x requires moderation. Your input was flagged for \"violence\".", Class::ProviderContentFilter),
    ] {
        assert_eq!(classify(&fault(status, "", "rate_limit_exceeded", message)), class, "{message}");
    }
}

#[test]
fn an_error_in_an_answer_that_is_the_callers_is_told_in_the_providers_words() {
    let within =
        |status, kind: &str, code: &str| fault_in_stream(&Fault { status, ..fault(0, kind, code, "Too many tools.") });
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
    for failed in [within(None, "server_error", ""), within(Some(401), "", "401"), within(None, "", "model_not_found")]
    {
        assert_eq!(failed.told, None, "{}", failed.message);
    }
}
