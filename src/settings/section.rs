//! Owns reading one settings table key by key, so that every problem of a file is found in one run, each with its key and the fix.

use std::{cell::RefCell, fmt, time::Duration};

use serde_json::{Map, Value};

use super::value::FromValue;

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

/// Values that hold where a table does not say otherwise, and the key that they stand under.
#[derive(Debug)]
pub(super) struct Defaults {
    pub(super) path: String,
    pub(super) map: Map<String, Value>,
}

/// A settings table being read. `finish` reports the keys that nobody took.
pub(super) struct Section<'p> {
    path: String,
    map: Map<String, Value>,
    defaults: Option<&'p Defaults>,
    known: Vec<&'static str>,
    unread: Vec<&'static str>,
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
        Self { path, map, defaults: None, known: Vec::new(), unread: Vec::new(), problems }
    }

    /// As `open`, with these values for the keys that do not stand there.
    pub(super) fn over(defaults: &'p Defaults, path: &str, value: Value, problems: &'p Problems) -> Self {
        Self { defaults: Some(defaults), ..Self::open(path, value, problems) }
    }

    /// The whole key, where its value was written: here or, once for all tables, among the defaults.
    pub(super) fn key(&self, key: &str) -> String {
        let first = key.split('.').next().unwrap_or(key);
        match self.defaults {
            Some(defaults) if !self.map.contains_key(first) && defaults.map.contains_key(first) => {
                join(&defaults.path, key)
            }
            _ => join(&self.path, key),
        }
    }

    pub(super) fn problem(&self, key: &str, text: impl Into<String>) {
        self.problems.add(self.key(key), text);
    }

    /// A problem of `key` that lies in how `values` go together: told of among the defaults only if all of them stand there, and
    /// not at all if one of them could not be read.
    pub(super) fn clash(&self, key: &str, values: &[&str], text: impl Into<String>) {
        if values.iter().any(|value| self.unread.contains(value)) {
            return;
        }
        let is_own = values.iter().any(|value| self.map.contains_key(*value));
        self.problems.add(if is_own { join(&self.path, key) } else { self.key(key) }, text);
    }

    /// Whether no key stands there.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether the key stands there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    fn find(&self, key: &str) -> Option<&Value> {
        self.map.get(key).or_else(|| self.defaults?.map.get(key))
    }

    /// Takes an optional value; a value of the wrong kind is a problem and reads as absent.
    pub(super) fn optional<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        let found = T::from_value(self.find(key)?);
        if found.is_none() {
            self.unread.push(key);
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

    /// Takes a time that must not be nought.
    pub(super) fn time(&mut self, key: &'static str) -> Duration {
        let time: Duration = self.value(key);
        if time.is_zero() {
            self.problem(key, "must be longer than 0");
        }
        time
    }

    /// Takes a count that must not be nought.
    pub(super) fn at_least_one(&mut self, key: &'static str) -> u32 {
        let count = self.value(key);
        if count == 0 {
            self.problem(key, "must be at least 1");
        }
        count
    }

    /// Takes the weight of a backend.
    pub(super) fn weight(&mut self) -> f64 {
        let weight = self.optional("weight").unwrap_or(1.0);
        if weight <= 0.0 {
            self.problem("weight", "must be above 0; leave the backend out of the model to give it nothing");
        }
        weight
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
        match self.map.get_mut(key) {
            Some(value) => value.take(),
            None => self.find(key).cloned().unwrap_or(Value::Null),
        }
    }

    /// Reports keys that are not settings, with the nearest one that is.
    pub(super) fn finish(self) {
        let here = self.map.keys().map(|key| (&self.path, key));
        let defaults = self.defaults.iter().flat_map(|defaults| defaults.map.keys().map(|key| (&defaults.path, key)));
        for (path, key) in here.chain(defaults).filter(|(_, key)| !self.known.contains(&key.as_str())) {
            let hint = did_you_mean(key, self.known.iter().copied())
                .unwrap_or_else(|| format!("; known keys are {}", self.known.join(", ")));
            self.problems.add(join(path, key), format!("is not a setting{hint}"));
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
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
    fn what_is_wrong_with_a_default_is_told_under_its_own_key_and_once() {
        let problems = Problems::default();
        let map = json!({"weight": "heavy", "wieght": 1, "idle": "5s", "least": 3, "most": 2});
        let defaults = Defaults { path: "defaults.backend".to_owned(), map: map.as_object().expect("a table").clone() };
        for (path, own) in [("backends.a", json!({})), ("backends.b", json!({"least": 4, "idle": 7}))] {
            let mut section = Section::over(&defaults, path, own, &problems);
            section.value::<f64>("weight");
            section.value::<Duration>("idle");
            if section.value::<u64>("least") > section.value("most") {
                section.clash("most", &["least", "most"], "is less than `least`");
            }
            section.required::<String>("base_url");
            section.finish();
        }
        let found: Vec<String> = problems.into_inner().into_iter().map(|problem| problem.key).collect();
        let defaults = ["most", "weight", "wieght"].map(|key| format!("defaults.backend.{key}"));
        let own = ["a.base_url", "b.base_url", "b.idle", "b.most"].map(|key| format!("backends.{key}"));
        assert_eq!(found, [&own[..], &defaults].concat());
    }
}
