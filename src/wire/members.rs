//! Owns the members of JSON objects: taking them out of a client's request, and setting those of what is written.

use serde_json::{Map, Value};

use super::{json::invalid, translate::Refused};

/// Writing the members of an object.
pub(crate) trait Members {
    /// Sets a member.
    fn set(&mut self, key: &str, value: impl Into<Value>);

    /// Sets a member, if there is a value for it.
    fn set_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }
}

impl Members for Map<String, Value> {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.insert(key.to_owned(), value.into());
    }
}

/// Takes a member out, null counting as absent.
pub(crate) fn take(map: &mut Map<String, Value>, key: &str) -> Option<Value> {
    map.remove(key).filter(|v| !v.is_null())
}

/// Takes out a member that `read` can read; any other value is the client's error.
fn take_as<T>(
    map: &mut Map<String, Value>,
    key: &str,
    kind: &str,
    read: impl FnOnce(Value) -> Option<T>,
) -> Result<Option<T>, Refused> {
    let wrong = || invalid(Some(key), format!("'{key}' must be {kind}"));
    take(map, key).map(|value| read(value).ok_or_else(wrong)).transpose()
}

/// Takes a number out.
pub(crate) fn take_number(map: &mut Map<String, Value>, key: &str) -> Result<Option<f64>, Refused> {
    take_as(map, key, "a number", |value| value.as_f64())
}

/// Takes a whole number out, which may be negative.
pub(crate) fn take_integer(map: &mut Map<String, Value>, key: &str) -> Result<Option<i64>, Refused> {
    take_as(map, key, "a whole number", |value| value.as_i64())
}

/// Takes a count out. A negative one, such as -1, is refused for this backend only, since it means something to some
/// servers.
pub(crate) fn take_count(map: &mut Map<String, Value>, key: &str) -> Result<Option<u64>, Refused> {
    let wrong = |value: &Value| match value.as_i64() {
        Some(below) => unserved(key, below),
        None => invalid(Some(key), format!("'{key}' must be a whole number")),
    };
    take(map, key).map(|v| v.as_u64().ok_or_else(|| wrong(&v))).transpose()
}

/// Takes the limit of an answer out. Zero is refused for this backend only: OpenAI refuses it, and some servers just
/// read the prompt.
pub(crate) fn take_limit(map: &mut Map<String, Value>, key: &str) -> Result<Option<u64>, Refused> {
    match take_count(map, key)? {
        Some(0) => Err(unserved(key, 0)),
        limit => Ok(limit),
    }
}

fn unserved(key: &str, number: i64) -> Refused {
    let message = format!("'{key}' of {number} cannot be served by this backend");
    Refused::Unsupported { param: Some(key.to_owned()), message }
}

/// Takes a flag out.
pub(crate) fn take_flag(map: &mut Map<String, Value>, key: &str) -> Result<Option<bool>, Refused> {
    take_as(map, key, "true or false", |value| value.as_bool())
}

/// Takes a string out.
pub(crate) fn take_text(map: &mut Map<String, Value>, key: &str) -> Result<Option<String>, Refused> {
    take_as(map, key, "a string", |value| match value {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// Takes an array out.
pub(crate) fn take_list(map: &mut Map<String, Value>, key: &str) -> Result<Option<Vec<Value>>, Refused> {
    take_as(map, key, "an array", |value| match value {
        Value::Array(list) => Some(list),
        _ => None,
    })
}

/// Takes the messages of a conversation out, of which there has to be one.
pub(crate) fn take_messages(map: &mut Map<String, Value>) -> Result<Vec<Value>, Refused> {
    let messages = take_list(map, "messages")?.filter(|messages| !messages.is_empty());
    messages.ok_or_else(|| invalid(Some("messages"), "'messages' must be a non-empty array"))
}

/// Takes an object out.
pub(crate) fn take_object(map: &mut Map<String, Value>, key: &str) -> Result<Option<Map<String, Value>>, Refused> {
    take_as(map, key, "an object", |value| match value {
        Value::Object(object) => Some(object),
        _ => None,
    })
}

/// Takes a string or a list of strings out.
pub(crate) fn take_texts(map: &mut Map<String, Value>, key: &str) -> Result<Vec<String>, Refused> {
    let wrong = || invalid(Some(key), format!("'{key}' must be a string or an array of strings"));
    match take(map, key) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(list)) => list.iter().map(|v| v.as_str().map(ToOwned::to_owned).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}
