//! Owns reading one settings table key by key, so that every problem of a file is found in one run, each with its key and the fix.

use std::{cell::RefCell, fmt, time::Duration};

use serde::Deserialize;
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

/// Collects problems while sections are read. No text of theirs repeats a value: whatever stands under the wrong key may be a
/// secret. Only keys are shown.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Adds a problem, unless one was told of this key, of a table it is in or of an item of its list: what cannot be read
    /// has no other faults.
    pub(super) fn add(&self, key: impl Into<String>, text: impl Into<String>) {
        // Names may hold anything that TOML can quote.
        let [key, text] = [key.into(), text.into()].map(|words| words.replace(char::is_control, "\u{fffd}"));
        let mut told = self.0.borrow_mut();
        if !told.iter().any(|before| is_in(&key, &before.key, &['.', '[']) || is_in(&before.key, &key, &['['])) {
            told.push(Problem { key, text });
        }
    }

    /// All of them, in the order of their keys: a map's own order differs from run to run.
    pub(super) fn into_inner(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        problems
    }
}

/// Whether `key` is `whole` or a part of it, as it follows one of these characters.
fn is_in(key: &str, whole: &str, marks: &[char]) -> bool {
    key.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(marks))
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

    /// Whether the key stands there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Takes an optional value; a value of the wrong kind is a problem and reads as absent.
    pub(super) fn optional<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        let found = T::from_value(&self.map.remove(key)?);
        if found.is_none() {
            self.problem(key, format!("must be {}", T::WANT));
        }
        found
    }

    /// Takes a value that must be there.
    pub(super) fn required<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
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
            self.problem(key, format!("must be one of {}", list.join(", ")));
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
            let hint = did_you_mean(key, self.known.iter().copied())
                .unwrap_or_else(|| format!("; known keys are {}", self.known.join(", ")));
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

/// The longest time that is taken: clocks count on for a few of these, and not for all that can be written.
const LONGEST: Duration = Duration::from_hours(100 * 366 * 24);

impl FromValue for Duration {
    const WANT: &'static str = "a duration such as \"15s\" or \"250ms\", at most 100 years";
    fn from_value(value: &Value) -> Option<Self> {
        humantime::parse_duration(value.as_str()?).ok().filter(|time| *time <= LONGEST)
    }
}

impl FromValue for Vec<String> {
    const WANT: &'static str = "a list of strings such as [\"*\"]";
    fn from_value(value: &Value) -> Option<Self> {
        list(value)?.iter().map(String::from_value).collect()
    }
}

/// The items of a list. The environment layer carries only text: there a list is written as in the file.
pub(super) fn list(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items.clone()),
        Value::String(text) if text.trim_start().starts_with('[') => {
            Vec::deserialize(toml::de::ValueDeserializer::parse(text.trim()).ok()?).ok()
        }
        _ => None,
    }
}

/// The known name that is nearly the one written, as the end of a sentence.
pub(super) fn did_you_mean<'n>(written: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let (near, far) = known.map(|name| (name, distance(name, written))).min_by_key(|(_, far)| *far)?;
    // Short names are all alike.
    (far <= 3 && 2 * far <= written.len()).then(|| format!("; did you mean `{near}`?"))
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
                "backends.a.base_url: is missing; set it to a string",
                "backends.a.idle: must be a duration such as \"15s\" or \"250ms\", at most 100 years",
                "backends.a.weight: must be a number",
                "backends.a.wieght: is not a setting; did you mean `weight`?",
            ]
        );
    }

    #[test]
    fn of_a_key_only_the_first_problem_is_told_and_none_of_what_is_in_it() {
        let problems = Problems::default();
        for key in ["a.b", "a.b", "a.b.c", "a.b[0]", "a.bc", "l[1]", "l", "l[0]", "a"] {
            problems.add(key, "is wrong");
        }
        let keys: Vec<String> = problems.into_inner().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["a", "a.b", "a.bc", "l[0]", "l[1]"]);
    }

    #[test]
    fn a_list_may_come_as_text_and_nothing_else_passes_for_one() {
        let read = |text: &str| Vec::<String>::from_value(&json!(text));
        assert_eq!(read(r#" ["a", 'b'] "#), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(read("[]"), Some(Vec::new()));
        for bad in ["a", "[1]", "[\"a\"", "[\"a\"]\nb = 1", "[a]", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
