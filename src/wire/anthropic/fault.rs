//! Owns reading Anthropic's errors.

use serde_json::Value;

use super::super::{
    Fault,
    faults::refine,
    google_limits::heed,
    json::{owned, says_nothing, text},
};

/// Reads an error body, whatever it is.
pub(crate) fn read(status: u16, body: &[u8]) -> Fault {
    of(Some(status), body)
}

/// The error that an event is: by its name, whatever its data is, or by its type, whatever else is in it.
pub(crate) fn of_event(name: Option<&str>, data: &[u8]) -> Option<Fault> {
    let typed = || serde_json::from_slice(data).is_ok_and(|value: Value| text(&value, "type") == "error");
    (name == Some("error") || typed()).then(|| told(data))
}

/// Reads an error that came without a status, whatever it is.
pub(crate) fn told(data: &[u8]) -> Fault {
    of(None, data)
}

fn of(status: Option<u16>, data: &[u8]) -> Fault {
    let value: Value = serde_json::from_slice(data).unwrap_or_default();
    // Google puts its errors into a list.
    let value = value.get(0).unwrap_or(&value);
    let member = |key: &str| value.get(key).filter(|told| !says_nothing(told));
    // Some have no member around it.
    let mut fault = said(member("error").or_else(|| member("detail")).unwrap_or(value));
    fault.status = status.or(fault.status);
    refine(&mut fault);
    fault
}

/// What it says, as it stands. The type doubles as code: Anthropic has no other.
fn said(error: &Value) -> Fault {
    if let Some(message) = error.as_str() {
        return Fault { message: message.to_owned(), ..Fault::default() };
    }
    let kind = text(error, "type").to_owned();
    let status = match kind.as_str() {
        "invalid_request_error" => Some(400),
        "authentication_error" => Some(401),
        "billing_error" => Some(402),
        "permission_error" => Some(403),
        "not_found_error" => Some(404),
        "request_too_large" => Some(413),
        "rate_limit_error" => Some(429),
        "api_error" => Some(500),
        "timeout_error" => Some(504),
        "overloaded_error" => Some(529),
        _ => None,
    };
    let code = match kind.as_str() {
        "authentication_error" => "invalid_api_key",
        "rate_limit_error" => "rate_limit_exceeded",
        "billing_error" => "insufficient_quota",
        other => other,
    };
    // Said beside the type where it matters: a spend limit is no rate limit.
    let code = error.pointer("/details/error_code").and_then(Value::as_str).unwrap_or(code);
    let mut fault = Fault {
        status,
        code: code.to_owned(),
        message: text(error, "message").to_owned(),
        param: owned(error, "param"),
        kind,
        retry_after: None,
    };
    heed(&mut fault, error);
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: &str, message: &str) -> Fault {
        let body = serde_json::json!({"type": "error", "error": {"type": kind, "message": message}});
        read(400, body.to_string().as_bytes())
    }

    #[test]
    fn the_status_that_an_error_came_with_outranks_that_of_its_type() {
        let body = serde_json::json!({"error": {"type": "invalid_request_error", "message": "prompt is too long"}});
        let code = |status| read(status, body.to_string().as_bytes()).code;
        assert_eq!([code(400), code(500)], ["context_length_exceeded", "invalid_request_error"]);
        assert_eq!(told(body.to_string().as_bytes()).code, "context_length_exceeded");
    }

    #[test]
    fn an_account_without_money_is_told_from_a_tool_that_is_named_after_it() {
        let poor = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.";
        assert_eq!(said("invalid_request_error", poor).code, "insufficient_quota");
        let spent =
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.";
        assert_eq!(said("invalid_request_error", spent).code, "insufficient_quota");
        let shut = said("invalid_request_error", "This organization has been disabled.");
        assert_eq!((shut.status, shut.code.as_str()), (Some(401), "invalid_api_key"));
        for message in [
            "tool_choice: Tool 'get_billing_info' not found in provided tools",
            "billing_policy: Extra inputs are not permitted",
            "tools.0.name: 'invalid x-api-key' does not match",
            "tools.0.name: 'This organization has been disabled' does not match",
        ] {
            let fault = said("invalid_request_error", message);
            assert_eq!((fault.status, fault.code.as_str()), (Some(400), "invalid_request_error"), "{message}");
        }
    }
}
