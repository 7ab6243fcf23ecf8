//! Owns reading Google's errors.

use serde_json::Value;

use super::super::{
    Fault,
    faults::{denies_what_is_named, refine},
    google_limits::heed,
    json::{list, text},
};

/// Reads an error body, whatever it is.
pub(crate) fn read(status: u16, body: &[u8]) -> Fault {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    // Streams opened without `alt=sse` answer an array.
    let value = value.get(0).unwrap_or(&value);
    let mut fault = detail(value.get("error").unwrap_or(value));
    // What the message says of the key, of the account or of whose file it is outranks the status it came with.
    fault.status = fault.status.filter(|s| matches!(s, 401 | 403 | 404)).or(Some(status));
    fault
}

/// Reads an `error` member.
pub(crate) fn detail(error: &Value) -> Fault {
    if let Some(message) = error.as_str() {
        return Fault { message: message.to_owned(), ..Fault::default() };
    }
    let name = text(error, "status");
    let number = error.get("code").and_then(Value::as_u64).and_then(|c| u16::try_from(c).ok());
    let message = text(error, "message").to_owned();
    let about = message.to_ascii_lowercase();
    // A word of a closed set, of an API that is not enabled, say.
    let reason = list(error, "details").iter().map(|d| text(d, "reason")).find(|reason| !reason.is_empty());
    let (status, kind, code) = match name {
        "RESOURCE_EXHAUSTED" => (429, "rate_limit_error", "rate_limit_exceeded"),
        // Google does not tell whether what a client names is another's or nobody's.
        "PERMISSION_DENIED" if denies_what_is_named(&about) => (404, "invalid_request_error", "not_found"),
        "PERMISSION_DENIED" => (403, name, reason.unwrap_or_default()),
        "UNAUTHENTICATED" => (401, "authentication_error", "invalid_api_key"),
        "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => {
            (400, "invalid_request_error", "invalid_request")
        }
        "NOT_FOUND" => (404, "invalid_request_error", "not_found"),
        "UNAVAILABLE" => (503, "overloaded_error", "overloaded"),
        "DEADLINE_EXCEEDED" => (504, "server_error", "timeout"),
        "INTERNAL" | "UNKNOWN" => (500, "server_error", "server_error"),
        _ => (0, "", name),
    };
    let mut fault = Fault {
        status: Some(status).filter(|s| *s != 0).or(number.filter(|c| (400..600).contains(c))),
        kind: kind.to_owned(),
        code: code.to_owned(),
        message,
        param: None,
        retry_after: None,
    };
    if code != "rate_limit_exceeded" {
        refine(&mut fault);
    }
    heed(&mut fault, error);
    if fault.message.contains("location is not supported") {
        // About where we are, not about what was asked.
        fault.status = Some(403);
        "permission_denied".clone_into(&mut fault.code);
    }
    if reason == Some("API_KEY_INVALID") {
        fault.status = Some(401);
        "invalid_api_key".clone_into(&mut fault.code);
    }
    fault
}

/// The error that a finish reason stands for: the model failed to answer, which another one may not.
pub(crate) fn broken(reason: &str, message: Option<&str>) -> Option<Fault> {
    let failed = matches!(
        reason,
        "MALFORMED_FUNCTION_CALL"
            | "MALFORMED_RESPONSE"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MISSING_THOUGHT_SIGNATURE"
    );
    failed.then(|| Fault {
        kind: "server_error".into(),
        code: reason.to_ascii_lowercase(),
        message: message.map_or_else(|| format!("the model's answer is broken ({reason})"), ToOwned::to_owned),
        ..Fault::default()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_minute_quota_is_a_rate_limit_and_a_daily_one_is_not() {
        let body = |quota: &str| {
            format!(
                r#"{{"error":{{"code":429,"message":"You exceeded your current quota, check billing","status":"RESOURCE_EXHAUSTED",
                "details":[{{"violations":[{{"quotaId":"{quota}"}}]}},{{"retryDelay":"34.4s"}}]}}}}"#
            )
        };
        let fault = read(429, body("RequestsPerMinute").as_bytes());
        assert_eq!(fault.code, "rate_limit_exceeded");
        assert_eq!(fault.retry_after, Some(Duration::from_millis(34400)));
        assert_eq!(read(429, body("RequestsPerDay").as_bytes()).code, "insufficient_quota");
    }

    #[test]
    fn a_bad_key_is_unauthorised_whatever_its_status() {
        let body = br#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}"#;
        let fault = read(400, body);
        assert_eq!((fault.status, fault.code.as_str()), (Some(401), "invalid_api_key"));
    }

    #[test]
    fn what_a_client_names_is_told_from_our_key() {
        let denied = |message: &str| {
            let body = serde_json::json!({"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}});
            read(403, body.to_string().as_bytes()).status
        };
        let file = "You do not have permission to access the File nope or it may not exist.";
        assert_eq!([denied(file), denied("CachedContent not found (or permission denied)")], [Some(404); 2]);
        assert_eq!(denied("Your API key was reported as leaked."), Some(403));
    }

    #[test]
    fn a_denial_is_told_by_googles_own_words() {
        let body = br#"{"error":{"code":403,"message":"Generative Language API has not been used in project 1 before.",
            "status":"PERMISSION_DENIED","details":[{"links":[]},{"reason":"SERVICE_DISABLED"}]}}"#;
        let fault = read(403, body);
        assert_eq!((fault.kind.as_str(), fault.code.as_str()), ("PERMISSION_DENIED", "SERVICE_DISABLED"));
    }
}
