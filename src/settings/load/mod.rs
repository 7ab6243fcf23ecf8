//! Owns layering: defaults, then the file, then the environment; and the checks that span sections.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    Allowed, Backend, BadSettings, Failover, History, Model, Problem, Server, Settings, User,
    section::{Problems, Section, did_you_mean},
    variables::interpolate,
};

/// Every key with its default; compiled in, and the reference for operators.
const DEFAULT: &str = include_str!("../../../settings/default.toml");
const DEMO: &str = include_str!("../../../settings/demo.toml");

/// Environment variables of this form override keys: `GREENROOM__SERVER__BIND`.
const ENV_PREFIX: &str = "GREENROOM";

/// Where settings come from, at the start and at each reload.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// The listening address as given on the command line, which outranks the file's.
    pub bind: Option<SocketAddr>,
}

impl Source {
    /// Reads the settings as they are now.
    pub fn load(&self) -> Result<Settings, BadSettings> {
        let mut settings = load(&self.file)?;
        settings.server.bind = self.bind.unwrap_or(settings.server.bind);
        Ok(settings)
    }
}

/// Loads a settings file over the defaults, with the environment over both.
pub fn load(path: &Path) -> Result<Settings, BadSettings> {
    let source = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| BadSettings {
        source: source.clone(),
        problems: vec![Problem {
            key: "file".into(),
            text: format!("cannot be read ({error}); try `--demo`, or start from settings/example.toml"),
        }],
    })?;
    parse(&source, &text)
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
        read(root, &problems)
    });
    let problems = problems.into_inner();
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(BadSettings { source: source.to_owned(), problems }),
    }
}

fn merge(text: &str, problems: &Problems) -> Option<Value> {
    use config::{Config, ConfigError, Environment, File, FileFormat};
    // Read here first: the words of an error that comes out of `config` show the line, with the key or token in it.
    if let Err(error) = toml::de::DeTable::parse(text) {
        problems.add("file", format!("is not valid TOML: {}: {}", place(text, error.span()), error.message()));
        return None;
    }
    let merged = Config::builder()
        .add_source(File::from_str(DEFAULT, FileFormat::Toml))
        .add_source(File::from_str(text, FileFormat::Toml))
        .add_source(Environment::with_prefix(ENV_PREFIX).prefix_separator("__").separator("__"))
        .build()
        .and_then(Config::try_deserialize::<Value>);
    match merged {
        Ok(value) => Some(value),
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
    let mut defaults = Section::open("defaults", root.raw("defaults"), problems);
    let backend_defaults = defaults.raw("backend");
    let model_defaults = defaults.raw("model");
    defaults.finish();
    let backends = table(root.raw("backends"), "backends", problems, |path, value| {
        Backend::read(path, over(&backend_defaults, value), problems)
    });
    let models = table(root.raw("models"), "models", problems, |path, value| {
        Model::read(path, over(&model_defaults, value), problems)
    });
    let users = table(root.raw("users"), "users", problems, |path, value| {
        let name = path.strip_prefix("users.").unwrap_or(path);
        User::read(path, name, value, problems)
    });
    root.finish();
    check_references(&backends, &models, &users, problems);
    let unwrap = |(name, item): (String, Option<_>)| item.map(|item| (name, item));
    Some(Settings {
        server: server?,
        failover,
        history,
        backends: backends.into_iter().filter_map(|(n, b)| Some((n, b?))).collect(),
        models: models.into_iter().filter_map(|(n, m)| Some((n, m?))).collect(),
        users: users.into_iter().filter_map(unwrap).collect(),
    })
}

/// Entries of a named table; an entry that could not be read keeps its name, so that references to it still hold.
type Entries<T> = Vec<(String, Option<T>)>;

fn table<T>(
    value: Value,
    path: &str,
    problems: &Problems,
    mut read: impl FnMut(&str, Value) -> Option<T>,
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
    map.into_iter().map(|(name, value)| (read(&format!("{path}.{name}"), value), name)).map(|(t, n)| (n, t)).collect()
}

/// Lays `value` over `defaults`, key by key.
fn over(defaults: &Value, value: Value) -> Value {
    match (defaults, value) {
        (Value::Object(defaults), Value::Object(map)) => {
            let mut merged = defaults.clone();
            merged.extend(map);
            Value::Object(merged)
        }
        (_, value) => value,
    }
}

fn check_references(backends: &Entries<Backend>, models: &Entries<Model>, users: &Entries<User>, problems: &Problems) {
    let backend_names: Vec<&str> = backends.iter().map(|(name, _)| name.as_str()).collect();
    let model_names: Vec<&str> = models.iter().map(|(name, _)| name.as_str()).collect();
    // In log lines a blank or '=' would pass for another field.
    for (name, _) in users {
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '=') {
            problems.add(format!("users.{name}"), "has a bad name; leave out blanks, line ends and '='");
        }
    }
    for name in &backend_names {
        // This one travels in a response header, too.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            problems.add(format!("backends.{name}"), "has a bad name; use letters, digits, '-', '_' and '.'");
        }
    }
    // The name itself is not repeated: a token in the wrong place looks like one.
    let unknown = |written: &str, known: &[&str], kind: &str| {
        let hint = did_you_mean(written, known.iter().copied()).unwrap_or_default();
        format!("is not under [{kind}]{hint}")
    };
    for (name, model) in models {
        if name.is_empty() {
            problems.add("models.\"\"", "has no name; clients could not ask for it");
        }
        let Some(model) = model else { continue };
        for (n, target) in model.targets.iter().enumerate() {
            let key = format!("models.{name}.backends[{n}].backend");
            if !backend_names.contains(&target.backend.as_str()) {
                problems.add(key, unknown(&target.backend, &backend_names, "backends"));
            } else if let Some(first) = model.targets[..n].iter().position(|t| t.backend == target.backend) {
                problems.add(key, format!("is that of backends[{first}] too; keep one"));
            }
            let of =
                backends.iter().find(|(name, _)| *name == target.backend).and_then(|(_, backend)| backend.as_ref());
            let theirs = target.model.as_deref().unwrap_or(name);
            if of.is_some_and(Backend::names_model_in_urls) && !is_path(theirs) {
                let key = format!("models.{name}.backends[{n}].model");
                problems.add(key, "cannot stand in a URL, where this backend wants it; name it as the provider does");
            }
        }
    }
    let mut seen: HashMap<[u8; 32], &str> = HashMap::new();
    for (name, user) in users {
        let Some(user) = user else { continue };
        if let Some(other) = seen.insert(user.token, name) {
            problems
                .add(format!("users.{name}.token"), format!("is the token of users.{other} too; give each its own"));
        }
        for (key, allowed, known) in
            [("models", &user.models, &model_names), ("backends", &user.backends, &backend_names)]
        {
            let Allowed::Only(names) = allowed else { continue };
            for (n, written) in names.iter().enumerate().filter(|(_, written)| !known.contains(&written.as_str())) {
                problems.add(format!("users.{name}.{key}[{n}]"), unknown(written, known, key));
            }
        }
    }
}

/// Whether a name can be one segment of a URL's path or several: the rest is escaped, but servers resolve the dots.
fn is_path(name: &str) -> bool {
    !name.chars().any(char::is_control) && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
