//! Owns layering: defaults, then the file, then the environment.

mod environment;
mod references;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde_json::{Map, Value};

use self::references::{Entries, References};
use super::{
    Backend, BadSettings, Failover, History, Model, Problem, Server, Settings, Traces, User,
    key_file::named,
    section::{Defaults, Problems, Section, Tables},
    variables::interpolate,
};

/// Every key with its default; compiled in, and the reference for operators.
pub(super) const DEFAULT: &str = include_str!("../../../settings/default.toml");
const DEMO: &str = include_str!("../../../settings/demo.toml");

/// Most that is read of a settings file, bytes: a device has no end, and thousands of users take no more.
const LARGEST_FILE: u64 = 16 << 20;

/// The key of a model's list of backends, which may stand among the defaults, too.
const BACKENDS: &str = "backends";

/// Environment variables of this form override keys: `GREENROOM__SERVER__BIND`.
const ENV_PREFIX: &str = "GREENROOM";

/// Loads a settings file over the defaults, with the environment over both.
pub fn load(path: &Path) -> Result<Settings, BadSettings> {
    parse(&path.display().to_string(), &text(path)?)
}

/// The text of a settings file.
pub(super) fn text(path: &Path) -> Result<String, BadSettings> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes));
    // Cut there, it may end within a letter, and be no text for that reason alone.
    let is_cut = bytes.len() as u64 > LARGEST_FILE;
    let why = match read.and_then(|_| String::from_utf8(bytes).map_err(io::Error::other)) {
        _ if is_cut => format!("is larger than {} MiB; is it the right one?", LARGEST_FILE >> 20),
        Ok(text) => return Ok(text),
        Err(error) => format!("cannot be read ({error}); try `--demo`, or start from settings/example.toml"),
    };
    Err(BadSettings { source: path.display().to_string(), problems: vec![Problem { key: "file".into(), text: why }] })
}

/// Reads settings from TOML text, as `load` does from a file.
pub fn parse(source: &str, text: &str) -> Result<Settings, BadSettings> {
    parse_with(source, text, &|name| std::env::var(name).ok())
}

/// The settings of `serve --demo`, with the simulated providers' base URLs filled in by name.
pub fn demo(base_urls: &BTreeMap<String, String>) -> Result<Settings, BadSettings> {
    parse_with("the built-in demo", DEMO, &|name| base_urls.get(name).cloned().or_else(|| std::env::var(name).ok()))
}

fn parse_with(source: &str, text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Settings, BadSettings> {
    let problems = Problems::default();
    let settings = merge(text, &problems).and_then(|mut root| {
        interpolate("", &mut root, lookup, &problems);
        problems.look_at_keys(named(&root));
        read(root, &problems)
    });
    let tables = problems.take_tables();
    let mut problems = problems.into_inner();
    environment::blame(&mut problems, variables(), text, &tables);
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(BadSettings { source: source.to_owned(), problems }),
    }
}

/// The names of all environment variables; one that is not UTF-8 sets no key that is known.
fn variables() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// The tables that are read of a file which has one of each, with what was looked for in them.
pub(super) fn tables(one_of_each: &str) -> Tables {
    let problems = Problems::default();
    if let Ok(root) = toml::from_str(one_of_each) {
        read(root, &problems);
    }
    problems.take_tables()
}

fn merge(text: &str, problems: &Problems) -> Option<Value> {
    use config::{Config, ConfigError, Environment, FileFormat};
    // Read here first: the words of an error that comes out of `config` show the line, with the key or token in it.
    if let Err(error) = toml::de::DeTable::parse(text) {
        problems.add("file", format!("is not valid TOML: {}: {}", place(text, error.span()), error.message()));
        return None;
    }
    let merged = Config::builder()
        .add_source(config::File::from_str(DEFAULT, FileFormat::Toml))
        .add_source(config::File::from_str(text, FileFormat::Toml))
        .add_source(Environment::with_prefix(ENV_PREFIX).prefix_separator("__").separator("__"))
        .build()
        .and_then(Config::try_deserialize::<Value>);
    match merged {
        Ok(mut value) => {
            if let Value::Object(root) = &mut value {
                environment::of_services(variables()).for_each(|key| drop(root.remove(&key)));
            }
            Some(value)
        }
        // Only the file and the environment can be at fault: the defaults are compiled in and tested.
        Err(ConfigError::FileParse { .. }) => {
            problems.add("file", "has a number that is too large");
            None
        }
        Err(_) => {
            problems.add("environment", format!("has a variable {ENV_PREFIX}__… that is not UTF-8"));
            None
        }
    }
}

/// Line and column of an error, as editors count them.
fn place(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else {
        return "at its end".to_owned();
    };
    let line = before.split('\n').count();
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    format!("line {line}, column {column}")
}

fn read(root: Value, problems: &Problems) -> Option<Settings> {
    let mut root = Section::open("", root, problems);
    let server = Server::read(root.raw("server"), problems);
    let failover = Failover::read(root.raw("failover"), problems);
    let history = History::read(root.raw("history"), problems);
    let traces = Traces::read(root.raw("traces"), problems);
    let mut defaults = Section::open("defaults", root.raw("defaults"), problems);
    let [of_backends, of_models] = ["backend", "model"].map(|key| read_defaults(&mut defaults, key, problems));
    defaults.finish();
    let backends = table(root.raw("backends"), "backends", problems, |path, _, value| {
        Backend::read(&of_backends, path, value, problems)
    });
    let mut heirs = BTreeSet::new();
    let models = table(root.raw("models"), "models", problems, |path, _, value| {
        if value.get(BACKENDS).is_none() && of_models.map.contains_key(BACKENDS) {
            heirs.insert(path.to_owned());
        }
        Some(Model::read(&of_models, path, value, problems))
    });
    let users =
        table(root.raw("users"), "users", problems, |path, name, value| Some(User::read(path, name, value, problems)));
    root.finish();
    References { backends: &backends, models: &models, users: &users, heirs: &heirs }.check(problems);
    Some(Settings {
        server: server?,
        failover,
        history,
        traces,
        backends: sound(backends),
        models: sound(models),
        users: sound(users),
    })
}

/// The entries in which no problem was found.
fn sound<T>(entries: Entries<T>) -> BTreeMap<String, T> {
    entries.into_iter().filter_map(|(name, entry)| Some((name, entry?))).collect()
}

/// Reads `[defaults.KEY]`. Where that is no table, the defaults that are compiled in stand in: nothing is missing without it.
fn read_defaults(section: &mut Section<'_>, key: &'static str, problems: &Problems) -> Defaults {
    let path = section.key(key);
    let map = if let Value::Object(map) = section.raw(key) {
        map
    } else {
        problems.add(&path, format!("is not a table; write [{path}]"));
        let built_in: Option<Value> = toml::from_str(DEFAULT).ok();
        built_in.and_then(|mut all| all["defaults"][key].as_object_mut().map(std::mem::take)).unwrap_or_default()
    };
    Defaults { path, map }
}

/// Reads the entries of `[PATH]`, each by its own path and its name.
fn table<T>(
    value: Value,
    path: &str,
    problems: &Problems,
    mut read: impl FnMut(&str, &str, Value) -> Option<T>,
) -> Entries<T> {
    let map = match value {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        _ => {
            problems.add(path, format!("must be tables such as [{path}.NAME]"));
            return Vec::new();
        }
    };
    if map.is_empty() {
        problems.add(path, format!("is empty; write at least one [{path}.NAME]"));
    }
    // Sorted, so that of two entries at odds the same one is told of each time.
    let map: BTreeMap<String, Value> = map.into_iter().collect();
    let read = |(name, value): (String, Value)| {
        let entry = read(&format!("{path}.{name}"), &name, value);
        (name, entry)
    };
    map.into_iter().map(read).collect()
}
