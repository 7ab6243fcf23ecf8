//! Owns what providers' error messages mean where their codes do not say it.

use super::Fault;

/// Wordings of a prompt that does not fit, in lower case: OpenAI, Anthropic, Gemini, vLLM.
const TOO_LONG: [&str; 7] = [
    "context length",
    "context_length",
    "prompt is too long",
    "exceeds the maximum number of tokens",
    "exceed context limit",
    "context window",
    "input token count",
];
/// Wordings of an account without money, in lower case.
const NO_MONEY: [&str; 4] = ["credit balance", "billing", "insufficient_quota", "insufficient quota"];
/// Wordings of a key that is not valid, in lower case.
const BAD_KEY: [&str; 5] =
    ["api key not valid", "api key expired", "invalid x-api-key", "api_key_invalid", "invalid api key"];

/// Sets code, and status where it misleads, by the message.
pub(crate) fn refine(fault: &mut Fault) {
    let message = fault.message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|w| message.contains(w));
    if says(&BAD_KEY) {
        fault.status = Some(401);
        "invalid_api_key".clone_into(&mut fault.code);
    } else if says(&NO_MONEY) && fault.status.is_none_or(|s| s < 500) {
        "insufficient_quota".clone_into(&mut fault.code);
    } else if says(&TOO_LONG) && fault.status.is_none_or(|s| s == 400 || s == 413 || s == 422) {
        "context_length_exceeded".clone_into(&mut fault.code);
    }
}
