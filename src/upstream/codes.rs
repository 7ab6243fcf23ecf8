//! Owns the codes and types by which providers say what is wrong, in lower case, and which of them may be shown to whom.

use crate::wire::Fault;

/// Codes and types of an account without money or quota, which waiting does not cure.
pub(super) const QUOTA: [&str; 14] = [
    "accountoverdueerror",
    "allocationquota.freetieronly",
    "arrearage",
    "blocked_api_access",
    "exceeded_current_quota_error",
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
];

/// Of a model that does not exist, no longer exists, or is not for our key, where the status does not say so. The last five
/// are Groq's and `LiteLLM`'s.
pub(super) const MODEL: [&str; 9] = [
    "model_not_found",
    "model_decommissioned",
    "invalid_model",
    "unknown_model",
    "model_permission_blocked_org",
    "model_permission_blocked_project",
    "model_terms_required",
    "key_model_access_denied",
    "team_model_access_denied",
];

/// Of a provider that is overloaded. The last one is Groq's, of a tier of service that has no room.
pub(super) const OVERLOAD: [&str; 5] =
    ["server_is_overloaded", "overloaded_error", "overloaded", "engine_overloaded", "capacity_exceeded"];

/// Of a limit that passes.
pub(super) const RATE: [&str; 5] =
    ["rate_limit_exceeded", "rate_limit_error", "slow_down", "requests", "resource_exhausted"];

/// Of a prompt that is too long.
pub(super) const CONTEXT: [&str; 3] =
    ["context_length_exceeded", "string_above_max_length", "exceed_context_size_error"];

/// Of content that is refused.
pub(super) const CONTENT: [&str; 6] = [
    "content_filter",
    "content_policy_violation",
    "invalid_prompt",
    "responsibleaipolicyviolation",
    "content_blocked",
    "safety",
];

/// Of a key, or of its account, that may not be used, or not from here.
pub(super) const CREDENTIALS: [&str; 10] = [
    "invalid_api_key",
    "authentication_error",
    "invalid_authentication_error",
    "permission_error",
    "permission_denied",
    "permission_denied_error",
    "unauthenticated",
    "account_deactivated",
    "organization_restricted",
    "unsupported_country_region_territory",
];

/// Of failures that say no more than that.
const GENERAL: [&str; 16] = [
    "api_error",
    "bad_gateway",
    "error",
    "insufficient_system_resource",
    "internal_error",
    "internal_server_error",
    "internalservererror",
    "invalid_request",
    "invalid_request_error",
    "not_found",
    "not_found_error",
    "request_too_large",
    "server_error",
    "service_unavailable",
    "timeout",
    "timeout_error",
];

/// Longest type or code that is shown.
const LONGEST_WORD: usize = 64;

/// A fault's type and code, for operators. Never its free text, not even if that stands in place of a type or a code.
pub fn words(fault: &Fault) -> String {
    listed(fault, |text| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)))
}

/// The same for clients: only words of these lists, and numbers. Any other word may be the name of a host.
pub(super) fn known_words(fault: &Fault) -> String {
    listed(fault, |text| {
        let word = text.to_ascii_lowercase();
        let lists: [&[&str]; 8] = [&QUOTA, &MODEL, &OVERLOAD, &RATE, &CONTEXT, &CONTENT, &CREDENTIALS, &GENERAL];
        word.parse::<u16>().is_ok() || lists.iter().any(|list| list.contains(&word.as_str()))
    })
}

fn listed(fault: &Fault, may_be_shown: impl Fn(&str) -> bool) -> String {
    let is_word = |text: &&str| (1..=LONGEST_WORD).contains(&text.len()) && may_be_shown(text);
    let mut parts: Vec<&str> = [fault.kind.as_str(), fault.code.as_str()].into_iter().filter(is_word).collect();
    parts.dedup();
    if parts.is_empty() { "no details".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: &str, code: &str) -> Fault {
        Fault { kind: kind.into(), code: code.into(), ..Fault::default() }
    }

    #[test]
    fn free_text_is_not_shown_where_a_type_or_a_code_should_be() {
        assert_eq!(words(&fault("Bad key sk-123 given", "invalid_api_key")), "invalid_api_key");
        assert_eq!(words(&fault(&"x".repeat(99), "")), "no details");
    }

    #[test]
    fn clients_are_shown_only_words_that_many_have() {
        let fault = fault("InternalServerError", "llm-7.corp.internal");
        assert_eq!(words(&fault), "InternalServerError, llm-7.corp.internal");
        assert_eq!(known_words(&fault), "InternalServerError");
        assert_eq!(known_words(&Fault { kind: String::new(), code: "1234".into(), ..fault }), "1234");
    }
}
