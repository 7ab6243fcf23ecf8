//! Owns reading the errors of OpenAI-style servers, which each server shapes in its own way.

use serde_json::Value;

use super::super::{Fault, faults::refuses_the_key, google_limits::heed, json::says_nothing};

/// A finish reason of a server that gave up in the middle, in the words of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// `abort`: vLLM's and `SGLang`'s, where they stop or are put to sleep.
    Abort,
    /// `error`.
    Error,
    /// `insufficient_system_resource`.
    Resource,
}

impl GaveUp {
    /// Reads a finish reason; `None` if it is another.
    pub fn read(reason: &str) -> Option<Self> {
        [Self::Abort, Self::Error, Self::Resource].into_iter().find(|known| known.as_str() == reason)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Error => "error",
            Self::Resource => "insufficient_system_resource",
        }
    }

    /// The error that it stands for.
    pub fn fault(self) -> Fault {
        let reason = self.as_str();
        Fault {
            kind: "server_error".into(),
            code: reason.to_owned(),
            message: format!("the answer ended with finish_reason '{reason}'"),
            ..Fault::default()
        }
    }
}

/// Reads an error body, whatever it is: never fails.
pub(crate) fn read(status: u16, body: &[u8]) -> Fault {
    let mut fault = Fault { status: Some(status), ..told(body) };
    // As Google's endpoint for OpenAI's clients tells it. Elsewhere the status says so.
    if status == 400 && refuses_the_key(&fault) {
        fault.status = Some(401);
        "invalid_api_key".clone_into(&mut fault.code);
    }
    fault
}

/// Reads an error that came without a status of its own, whatever it is: never fails.
pub(crate) fn told(data: &[u8]) -> Fault {
    let mut said = serde_json::from_slice(data).unwrap_or_default();
    // Google's endpoint puts its errors into a list.
    if let Value::Array(list) = &mut said {
        said = list.first_mut().map(Value::take).unwrap_or_default();
    }
    match said {
        Value::Object(mut map) => {
            let mut member = |key: &str| map.remove(key).filter(|told| !says_nothing(told));
            let inner = member("error").or_else(|| member("detail"));
            // vLLM answers the error's members at the top level.
            detail(inner.unwrap_or(Value::Object(map))).unwrap_or_default()
        }
        Value::String(message) => Fault { message, ..Fault::default() },
        _ => Fault::default(),
    }
}

/// Reads an `error` member: an object, or a bare string as some servers send. Others have one beside every answer.
pub(crate) fn detail(error: Value) -> Option<Fault> {
    if says_nothing(&error) {
        return None;
    }
    let text = |v: &Value| match v {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    match error {
        Value::Object(map) => {
            // FastChat has names of its own for two of them (`text`, `error_code`), and so has DeepInfra
            // (NousResearch/hermes-agent#65631).
            let get = |names: &[&str]| {
                let told = |name: &&str| map.get(*name).filter(|value| !value.is_null());
                names.iter().find_map(told).map(text).unwrap_or_default()
            };
            let code = get(&["code", "error_code"]);
            let mut fault = Fault {
                // Some servers put the HTTP status into `code`.
                status: code.parse().ok().filter(|s| (400..600).contains(s)),
                kind: get(&["type", "error_type"]),
                code,
                message: get(&["message", "text", "error_message"]),
                param: map.get("param").and_then(Value::as_str).map(ToOwned::to_owned),
                retry_after: None,
            };
            heed(&mut fault, &Value::Object(map));
            Some(fault)
        }
        other => Some(Fault { message: text(&other), ..Fault::default() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_of_every_server_are_read() {
        assert_eq!(read(401, br#"{"error": "Unauthorized"}"#).message, "Unauthorized");
        assert_eq!(read(404, br#"{"detail": "Not Found"}"#).message, "Not Found");
        assert_eq!(read(400, br#"{"object":"error","message":"too long","code":400}"#).message, "too long");
        assert_eq!(read(400, br#"[{"error":{"message":"no such role","code":400}}]"#).message, "no such role");
        assert_eq!(read(502, b"<html>").message, "");
        assert_eq!(read(502, b"[]").message, "");
        assert_eq!(read(429, br#"{"error":{"code":"insufficient_quota"}}"#).code, "insufficient_quota");
    }

    #[test]
    fn a_bad_key_is_one_by_how_a_400_begins_and_by_nothing_else() {
        let said = |status, message: &str| {
            let fault = read(status, serde_json::json!({"error": {"message": message}}).to_string().as_bytes());
            (fault.status, fault.code)
        };
        for message in [
            "API key not valid. Please pass a valid API key.",
            "Invalid API key",
            "API key expired.",
            "This organization has been disabled.",
        ] {
            assert_eq!(said(400, message), (Some(401), "invalid_api_key".to_owned()), "{message}");
            assert_eq!(said(500, message), (Some(500), String::new()), "{message}");
        }
        for quoted in ["No tool 'API key not valid'", "x: this organization has been disabled"] {
            assert_eq!(said(400, quoted), (Some(400), String::new()), "{quoted}");
        }
    }
}
