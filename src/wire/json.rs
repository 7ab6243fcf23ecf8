//! Owns small readings of JSON values that every protocol's readers share.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Map, Value, error::Category, value::RawValue};

use super::{
    Malformed,
    chat::{Loss, Part, Weight},
    scan::{UNEXPECTED, halves},
    translate::Refused,
};

/// Reads JSON in which half a character may stand alone: it counts as one that is lost.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).or_else(|error| match halves::replaced(text) {
        Some(legible) => serde_json::from_slice(&legible),
        None => Err(error),
    })
}

/// Parses a request body into an object.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Refused> {
    match read(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(invalid(None, "the body is not a JSON object")),
        // A backend that gets the client's own bytes may take it.
        Err(error) if is_deep(&error) => {
            Err(Refused::Unsupported { param: None, message: format!("the body is {TOO_DEEP}") })
        }
        Err(error) => Err(invalid(None, format!("the body is not JSON: {error}"))),
    }
}

/// A translation builds a tree, and `serde_json` builds none deeper than this.
const TOO_DEEP: &str = "nested too deep to be translated: more than 127 levels";

/// Whether what was read may well be JSON, but is nested deeper than is read.
fn is_deep(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("recursion limit")
}

/// What is wrong with an answer that cannot be read, and where. Never in the answer's own words, which an error about a type
/// quotes: this is told to clients.
pub(crate) fn malformed(error: &serde_json::Error) -> Malformed {
    let (line, column) = (error.line(), error.column());
    Malformed(match error.classify() {
        _ if is_deep(error) => TOO_DEEP.to_owned(),
        Category::Data if line == 0 => UNEXPECTED.to_owned(),
        Category::Data => format!("{UNEXPECTED}, at line {line} column {column}"),
        // These quote nothing.
        Category::Io | Category::Syntax | Category::Eof => format!("not JSON: {error}"),
    })
}

pub(crate) fn invalid(param: Option<&str>, message: impl Into<String>) -> Refused {
    Refused::Invalid { param: param.map(ToOwned::to_owned), message: message.into() }
}

/// A missing word is the client's error. A word that is not known here may be known to another backend.
pub(crate) fn unknown(param: &str, given: &str, message: impl Into<String>) -> Refused {
    if given.is_empty() {
        return invalid(Some(param), message);
    }
    Refused::Unsupported { param: Some(param.to_owned()), message: message.into() }
}

/// A text, borrowed where it stands as it is, without escapes. Bare, a `Cow` in an `Option` would be copied.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl<'a> Text<'a> {
    /// The text, empty if there is none.
    pub(crate) fn or_empty(text: Option<Self>) -> Cow<'a, str> {
        text.map(|Self(text)| text).unwrap_or_default()
    }
}

/// A text, unless it is empty: some servers send that where there is none.
pub(crate) fn filled(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    text.map(|Text(text)| text).filter(|text| !text.is_empty())
}

/// A text, if there is one: what some servers send in its place is no reason to lose an answer.
pub(crate) fn maybe_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Text<'de>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Maybe<'a> {
        Text(#[serde(borrow)] Text<'a>),
        Other(IgnoredAny),
    }
    Ok(match Maybe::deserialize(from)? {
        Maybe::Text(text) => Some(text),
        Maybe::Other(_) => None,
    })
}

/// Whether nothing in a value says anything: what stands in the place of an error where there was none.
pub(crate) fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.iter().all(says_nothing),
        Value::Object(map) => map.values().all(says_nothing),
    }
}

/// A member's text, empty if it is not there or no string.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A member's text, if it is a string.
pub(crate) fn owned(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(ToOwned::to_owned)
}

/// A member as an array, empty if it is none.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The member by which Anthropic is told what to keep in a cache.
pub(crate) const MARK: &str = "cache_control";

/// Such a mark on a block, a message or a tool.
pub(crate) fn mark(of: &Value) -> Option<Value> {
    of.get(MARK).filter(|mark| mark.is_object()).cloned()
}

/// Reads a member that is a text, or a list of which `read` takes each.
pub(crate) fn parts(
    of: &Value,
    member: &str,
    param: &str,
    mut read: impl FnMut(&Value, &mut Vec<Part>) -> Result<(), Refused>,
) -> Result<Vec<Part>, Refused> {
    match of.get(member) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::text(text.as_str())]),
        Some(Value::Array(list)) => {
            let mut parts = Vec::with_capacity(list.len());
            list.iter().try_for_each(|value| read(value, &mut parts))?;
            Ok(parts)
        }
        Some(_) => {
            let param = format!("{param}.{member}");
            Err(invalid(Some(&param), format!("'{param}' must be a string or an array")))
        }
    }
}

/// Lists members that nobody reads, under a path. Marks for a cache show in no answer.
pub(crate) fn unread(value: &Value, known: &[&str], path: &str, weight: Weight, losses: &mut Vec<Loss>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        if !value.is_null() && !known.contains(&key.as_str()) {
            let weight = if key == MARK { Weight::Note } else { weight };
            note(losses, format!("{path}.{key}"), weight);
        }
    }
}

/// The nearest number that a provider takes; one outside of it is noted. The upper end itself may be left out of a range.
pub(crate) fn within(name: &str, value: f64, low: f64, high: f64, losses: &mut Vec<Loss>) -> f64 {
    if value < low {
        note(losses, format!("{name} below {low}"), Weight::Hint);
    } else if value > high.ceil() {
        note(losses, format!("{name} above {}", high.ceil()), Weight::Hint);
    }
    value.clamp(low, high)
}

/// Adds a loss once, or nearly so: a body may be made of nothing but members that nobody knows.
pub(crate) fn note(losses: &mut Vec<Loss>, field: impl Into<String>, weight: Weight) {
    const LATEST: usize = 64;
    let loss = Loss { field: field.into(), weight };
    if !losses.iter().rev().take(LATEST).any(|known| *known == loss) {
        losses.push(loss);
    }
}

/// Tool arguments as an object: models sometimes leave them out, and clients echo what they got. What is no JSON, as where an answer
/// was cut, has the name that Anthropic gives it (guide to fine-grained tool streaming), which no tool takes for a parameter of its own.
pub(crate) fn arguments(text: &str) -> Value {
    match read(text.as_bytes()) {
        Ok(value @ Value::Object(_)) => value,
        Ok(Value::Null) => Value::Object(Map::new()),
        Ok(other) => serde_json::json!({ "value": other }),
        Err(_) if text.trim().is_empty() => Value::Object(Map::new()),
        Err(_) => serde_json::json!({ "INVALID_JSON": text }),
    }
}

/// The same, written in the digits that they came in: a tree of values knows no whole number beyond 64 bits, and writes
/// fractions in its own way.
#[derive(Debug, Default)]
pub(crate) struct Arguments(pub(crate) String);

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(&self.0) {
            Ok(object) if object.get().starts_with('{') => object.serialize(to),
            _ => arguments(&self.0).serialize(to),
        }
    }
}

/// Goes on with a text; where there is none, one begins with the first letter.
pub(crate) fn append(to: &mut Value, more: &str) {
    match to {
        Value::String(text) => text.push_str(more),
        _ if more.is_empty() => {}
        other => *other = more.into(),
    }
}

/// Adds to a list, which begins with the first item.
pub(crate) fn add(to: &mut Value, item: Value) {
    match to {
        Value::Array(list) => list.push(item),
        other => *other = Value::Array(vec![item]),
    }
}

/// Appends a value's JSON.
pub(crate) fn push<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // A vector takes every write and these values have string keys only, so nothing can fail.
    drop(serde_json::to_writer(out, value));
}
