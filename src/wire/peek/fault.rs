//! Owns reading the errors of OpenAI-style servers, which each server shapes in its own way.

use serde_json::Value;

use crate::wire::Fault;

/// A finish reason of a server that gave up in the middle, in the words of two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// `error`.
    Error,
    /// `insufficient_system_resource`.
    Resource,
}

impl GaveUp {
    /// Reads a finish reason; `None` if it is another.
    pub fn read(reason: &str) -> Option<Self> {
        [Self::Error, Self::Resource].into_iter().find(|known| known.as_str() == reason)
    }

    fn as_str(self) -> &'static str {
        match self {
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

/// Reads an OpenAI-style `error` member: an object, or a bare string as some servers send.
pub(super) fn fault(error: Value) -> Option<Fault> {
    let text = |v: &Value| match v {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    match error {
        Value::Null => None,
        Value::Object(map) => {
            let get = |key| map.get(key).map(text).unwrap_or_default();
            // FastChat has words of its own for both.
            let either = |key, other| if map.contains_key(key) { get(key) } else { get(other) };
            let code = either("code", "error_code");
            Some(Fault {
                // Some servers put the HTTP status into `code`.
                status: code.parse().ok().filter(|s| (400..600).contains(s)),
                kind: get("type"),
                code,
                message: either("message", "text"),
                param: map.get("param").and_then(Value::as_str).map(ToOwned::to_owned),
                retry_after: None,
            })
        }
        other => Some(Fault { message: text(&other), ..Fault::default() }),
    }
}

/// Reads an error body of an OpenAI-style server, whatever it is: never fails.
pub fn error_body(status: u16, data: &[u8]) -> Fault {
    Fault { status: Some(status), ..told(data) }
}

/// Reads an error that came without a status of its own, whatever it is: never fails.
pub fn told(data: &[u8]) -> Fault {
    match serde_json::from_slice(data) {
        Ok(Value::Object(mut map)) => {
            let detail = map.remove("error").or_else(|| map.remove("detail"));
            match detail {
                Some(detail) => fault(detail).unwrap_or_default(),
                // vLLM answers the error's members at the top level.
                None => fault(Value::Object(map)).unwrap_or_default(),
            }
        }
        Ok(Value::String(text)) => Fault { message: text, ..Fault::default() },
        _ => Fault::default(),
    }
}
