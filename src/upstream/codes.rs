//! Owns the codes and types by which providers say what is wrong, in lower case.

/// Codes and types of an account without money or quota: a wait does not cure these.
pub(super) const QUOTA: [&str; 10] = [
    "arrearage",
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
/// Of a model that is not there, or no more, or not for our key, told with a status that does not say so: the last five are
/// Groq's and `LiteLLM`'s.
pub(super) const MODEL: [&str; 8] = [
    "model_not_found",
    "model_decommissioned",
    "invalid_model",
    "model_permission_blocked_org",
    "model_permission_blocked_project",
    "model_terms_required",
    "key_model_access_denied",
    "team_model_access_denied",
];
pub(super) const OVERLOAD: [&str; 4] = ["server_is_overloaded", "overloaded_error", "overloaded", "engine_overloaded"];
pub(super) const RATE: [&str; 5] =
    ["rate_limit_exceeded", "rate_limit_error", "slow_down", "requests", "resource_exhausted"];
pub(super) const CONTEXT: [&str; 3] =
    ["context_length_exceeded", "string_above_max_length", "exceed_context_size_error"];
pub(super) const CONTENT: [&str; 6] = [
    "content_filter",
    "content_policy_violation",
    "invalid_prompt",
    "responsibleaipolicyviolation",
    "content_blocked",
    "safety",
];
/// Of a key, or of its account, that may not be used, or not from here.
pub(super) const CREDENTIALS: [&str; 9] = [
    "invalid_api_key",
    "authentication_error",
    "invalid_authentication_error",
    "permission_error",
    "permission_denied",
    "permission_denied_error",
    "unauthenticated",
    "account_deactivated",
    "unsupported_country_region_territory",
];
