//! Owns reading one settings table key by key, so that every problem of a file is found in one run, each with its key and the fix.

mod bounds;
mod hint;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use self::hint::dotted;
pub use self::hint::nearest;
pub(super) use self::{bounds::LEAST_PAUSE, hint::did_you_mean};
use super::{
    key_file::{Seen, keys_in},
    value::{FromValue, Kind},
};

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
pub(super) struct Problems {
    told: RefCell<Vec<Problem>>,
    /// The tables that were read, by their keys.
    tables: RefCell<Tables>,
    /// What stands in the files with keys that the settings name.
    keys: RefCell<BTreeMap<PathBuf, Seen>>,
}

impl Problems {
    /// The tables that were read so far.
    pub(super) fn take_tables(&self) -> Tables {
        self.tables.take()
    }

    /// Looks at the files with keys before the settings are read: one after the other, slow ones would take the time of all together.
    pub(super) fn look_at_keys(&self, files: Vec<PathBuf>) {
        let seen = keys_in(&files);
        self.keys.replace(files.into_iter().zip(seen).collect());
    }

    /// Adds a problem, unless one was told of this key, of a table it is in or of an item of its list: what cannot be read
    /// has no other faults.
    pub(super) fn add(&self, key: impl Into<String>, text: impl Into<String>) {
        // Names may hold anything that TOML can quote.
        let [key, text] = [key.into(), text.into()].map(|words| words.replace(char::is_control, "\u{fffd}"));
        let mut told = self.told.borrow_mut();
        if !told.iter().any(|before| is_in(&key, &before.key, &['.', '[']) || is_in(&before.key, &key, &['['])) {
            told.push(Problem { key, text });
        }
    }

    /// All of them, in the order of their keys: a map's own order differs from run to run.
    pub(super) fn into_inner(self) -> Vec<Problem> {
        let mut problems = self.told.into_inner();
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        problems
    }
}

/// Whether `key` is `whole` or a part of it, as it follows one of these characters.
pub(super) fn is_in(key: &str, whole: &str, marks: &[char]) -> bool {
    key.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(marks))
}

/// Values that hold where a table does not say otherwise, and the key that they stand under.
#[derive(Debug)]
pub(super) struct Defaults {
    pub(super) path: String,
    pub(super) map: Map<String, Value>,
}

/// A key that was looked for, and what was looked for under it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    /// What holds without it, where no file says so.
    pub(super) default: Option<Value>,
    pub(super) is_required: bool,
}

/// Tables by their keys, and what was looked for in each.
pub(super) type Tables = Vec<(String, Vec<Known>)>;

/// A settings table being read. `finish` reports the keys that nobody took.
pub(super) struct Section<'p> {
    path: String,
    map: Map<String, Value>,
    defaults: Option<&'p Defaults>,
    known: Vec<Known>,
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

    /// What stands in this file with a key, as it was looked at before.
    pub(super) fn key_in(&self, file: &Path) -> Seen {
        let missing = || Err("names a file that was not looked at".to_owned());
        self.problems.keys.borrow().get(file).cloned().unwrap_or_else(missing)
    }

    /// Whether the key stands in the table itself, not among the defaults alone.
    pub(super) fn has_own(&self, key: &str) -> bool {
        self.map.contains_key(key)
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
        self.know(key, T::KIND);
        let found = T::from_value(self.find(key)?);
        if found.is_none() {
            self.unread.push(key);
            self.problem(key, format!("must be {}", T::WANT));
        }
        found
    }

    /// Takes a value, or this where none stands there.
    pub(super) fn value_or<T: FromValue + Clone + Into<Value>>(&mut self, key: &'static str, default: T) -> T {
        let found = self.optional(key);
        self.refine(|known| known.default = Some(default.clone().into()));
        found.unwrap_or(default)
    }

    fn know(&mut self, key: &'static str, kind: Kind) {
        self.known.push(Known { key, kind, default: None, is_required: false });
    }

    /// Says more of the key that was taken last.
    fn refine(&mut self, more: impl FnOnce(&mut Known)) {
        if let Some(known) = self.known.last_mut() {
            more(known);
        }
    }

    /// Takes a value that must be there.
    pub(super) fn required<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.problem(key, format!("is missing; set it to {}", T::WANT));
        }
        let found = self.optional(key);
        self.refine(|known| known.is_required = true);
        found
    }

    /// Takes a value that has a default in `default.toml`; after a problem it reads as `T::default()`.
    pub(super) fn value<T: FromValue + Default>(&mut self, key: &'static str) -> T {
        self.required(key).unwrap_or_default()
    }

    /// Takes one of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let list: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let list = list.join(", ");
        // Told before `required` finds what it has no list for.
        match self.find(key) {
            None => self.problem(key, format!("is missing; set it to one of {list}")),
            Some(Value::String(_)) => {}
            Some(_) => self.problem(key, format!("must be one of {list}")),
        }
        let text: Option<String> = self.required(key);
        self.refine(|known| known.kind = Kind::Word(words.iter().map(|(word, _)| *word).collect()));
        let text = text?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            self.problem(key, format!("must be one of {list}"));
        }
        found
    }

    /// Reads a sub-table, if one stands there, by its whole key.
    pub(super) fn within<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str, Value, &Problems) -> Option<T>,
    ) -> Option<T> {
        let is_there = self.has(key);
        let value = self.raw(key);
        is_there.then(|| read(&self.key(key), value, self.problems)).flatten()
    }

    /// Takes a sub-table's raw value.
    pub(super) fn raw(&mut self, key: &'static str) -> Value {
        self.know(key, Kind::Within);
        match self.map.get_mut(key) {
            Some(value) => value.take(),
            None => self.find(key).cloned().unwrap_or(Value::Null),
        }
    }

    /// Reports keys that are not settings, with the nearest one that is.
    pub(super) fn finish(self) {
        let here = self.map.iter().map(|(key, value)| (&self.path, key, value));
        let names: Vec<&str> = self.known.iter().map(|known| known.key).collect();
        let of = |defaults: &'p Defaults| defaults.map.iter().map(|(key, value)| (&defaults.path, key, value));
        let defaults = self.defaults.into_iter().flat_map(of);
        for (path, key, value) in here.chain(defaults).filter(|(_, key, _)| !names.contains(&key.as_str())) {
            let hint = did_you_mean(key, names.iter().copied())
                .or_else(|| dotted(path, key, value))
                .unwrap_or_else(|| format!("; known keys are {}", names.join(", ")));
            self.problems.add(join(path, key), format!("is not a setting{hint}"));
        }
        self.problems.tables.borrow_mut().push((self.path, self.known));
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
