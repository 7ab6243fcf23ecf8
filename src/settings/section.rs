//! Owns reading one settings table key by key, so that every problem of a file is found in one run, each with its key and the fix.

use std::{cell::RefCell, fmt, time::Duration};

use serde_json::{Map, Value};

use super::Secret;

/// One thing wrong with the settings: where, what, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The full key, for example `backends.openai.weight`.
    pub key: String,
    /// What is wrong and what to write instead.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// Collects problems while sections are read.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn add(&self, key: impl Into<String>, text: impl Into<String>) {
        self.0.borrow_mut().push(Problem { key: key.into(), text: text.into() });
    }

    pub(super) fn into_inner(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// A settings table being read. `finish` reports the keys that nobody took.
pub(super) struct Section<'p> {
    path: String,
    map: Map<String, Value>,
    known: Vec<&'static str>,
    problems: &'p Problems,
}

impl<'p> Section<'p> {
    /// Opens `value` as a table; anything else is a problem and reads as an empty table.
    pub(super) fn open(path: impl Into<String>, value: Value, problems: &'p Problems) -> Self {
        let path = path.into();
        let map = match value {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            _ => {
                problems.add(&path, "is not a table; write [section] or { key = value }");
                Map::new()
            }
        };
        Self { path, map, known: Vec::new(), problems }
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn problem(&self, key: &str, text: impl Into<String>) {
        self.problems.add(self.key(key), text);
    }

    /// Takes an optional value; a value of the wrong kind is a problem and reads as absent.
    pub(super) fn optional<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        let value = self.map.remove(key)?;
        if value.is_null() {
            return None;
        }
        let found = T::from_value(&value);
        if found.is_none() {
            self.problem(key, format!("must be {}, not {}", T::WANT, shown(&value)));
        }
        found
    }

    /// Takes a value that must be there.
    pub(super) fn required<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        if !self.map.contains_key(key) {
            self.problem(key, format!("is missing; set it to {}", T::WANT));
        }
        self.optional(key)
    }

    /// Takes a value that has a default in `default.toml`; after a problem it reads as `T::default()`.
    pub(super) fn value<T: FromValue + Default>(&mut self, key: &'static str) -> T {
        self.required(key).unwrap_or_default()
    }

    /// Takes one of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text: String = self.required(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let list: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.problem(key, format!("must be one of {}, not {text:?}", list.join(", ")));
        }
        found
    }

    /// Takes a sub-table's raw value.
    pub(super) fn raw(&mut self, key: &'static str) -> Value {
        self.known.push(key);
        self.map.remove(key).unwrap_or(Value::Null)
    }

    /// Reports keys that are not settings, with the nearest one that is.
    pub(super) fn finish(self) {
        for key in self.map.keys() {
            let near = self.known.iter().min_by_key(|known| distance(known, key));
            let hint = match near {
                Some(near) if distance(near, key) <= 3 => format!("; did you mean `{near}`?"),
                _ => format!("; known keys are {}", self.known.join(", ")),
            };
            self.problem(key, format!("is not a setting{hint}"));
        }
    }
}

/// What a settings value of some kind looks like and how it is read.
pub(super) trait FromValue: Sized {
    const WANT: &'static str;
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for bool {
    const WANT: &'static str = "true or false";
    fn from_value(value: &Value) -> Option<Self> {
        // The environment layer carries only text.
        value.as_bool().or_else(|| value.as_str()?.parse().ok())
    }
}

impl FromValue for u64 {
    const WANT: &'static str = "a whole number, zero or more";
    fn from_value(value: &Value) -> Option<Self> {
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    }
}

impl FromValue for u32 {
    const WANT: &'static str = "a whole number from 0 to 4294967295";
    fn from_value(value: &Value) -> Option<Self> {
        u64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for usize {
    const WANT: &'static str = "a whole number, zero or more";
    fn from_value(value: &Value) -> Option<Self> {
        u64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for f64 {
    const WANT: &'static str = "a number";
    fn from_value(value: &Value) -> Option<Self> {
        value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|number| number.is_finite())
    }
}

impl FromValue for String {
    const WANT: &'static str = "a string";
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(ToOwned::to_owned)
    }
}

impl FromValue for Secret {
    const WANT: &'static str = "a string such as \"${VARIABLE}\"";
    fn from_value(value: &Value) -> Option<Self> {
        String::from_value(value).map(Secret::new)
    }
}

impl FromValue for Duration {
    const WANT: &'static str = "a duration such as \"15s\" or \"250ms\"";
    fn from_value(value: &Value) -> Option<Self> {
        humantime::parse_duration(value.as_str()?).ok()
    }
}

impl FromValue for Vec<String> {
    const WANT: &'static str = "a list of strings such as [\"*\"]";
    fn from_value(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(String::from_value).collect()
    }
}

/// The offending value for a message; long or secret-looking strings are not echoed.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() > 24 => "a long string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// Levenshtein distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_problem_of_a_table_is_reported_with_its_key() {
        let problems = Problems::default();
        let mut section =
            Section::open("backends.a", json!({"weight": "heavy", "wieght": 1, "idle": "soon"}), &problems);
        section.value::<f64>("weight");
        section.value::<Duration>("idle");
        section.required::<String>("base_url");
        section.finish();
        let found: Vec<String> = problems.into_inner().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "backends.a.weight: must be a number, not \"heavy\"",
                "backends.a.idle: must be a duration such as \"15s\" or \"250ms\", not \"soon\"",
                "backends.a.base_url: is missing; set it to a string",
                "backends.a.wieght: is not a setting; did you mean `weight`?",
            ]
        );
    }
}
