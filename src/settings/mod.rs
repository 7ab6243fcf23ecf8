//! Owns what the operator wrote, typed and checked; nothing here is a default that `settings/default.toml` does not show.

mod address;
mod backend;
mod doubts;
mod failover;
mod headers;
mod history;
mod key;
mod key_file;
mod limits;
mod load;
mod model;
mod official;
mod plan;
mod price;
mod redact;
mod schema;
mod secret;
mod section;
mod server;
mod source;
mod traces;
mod user;
mod value;
mod variables;

use std::{collections::BTreeMap, fmt};

pub use self::{
    address::Address,
    backend::{Backend, BreakerSettings, Deadlines, ProbeKind, Style},
    failover::Failover,
    history::History,
    key_file::{Seen, keys_in},
    limits::Limits,
    load::{demo, load, parse},
    model::{Model, Rescue, Target},
    plan::Plan,
    price::{Money, Price},
    schema::schema,
    secret::{Secret, is_credential},
    section::{Problem, nearest},
    server::Server,
    source::{Print, Source},
    traces::{Collector, Traces},
    user::{Allowed, TokenDigest, User, check_token, digest},
};

/// Label of requests that no backend was asked for, in metrics and history.
pub const NO_BACKEND: &str = "none";

/// Label of models and backends that are in no settings, whatever clients call them.
pub const OTHER: &str = "other";

/// A file for tests: one backend, one model, one user.
#[cfg(test)]
pub(crate) const SMALL: &str = r#"
    [backends.a]
    protocol = "openai"
    base_url = "http://127.0.0.1:9/v1"
    [models.m]
    backends = [{ backend = "a" }]
    [users.u]
    token = "t"
    models = ["*"]
    backends = ["*"]
"#;

/// Everything the operator decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The process.
    pub server: Server,
    /// Trying again.
    pub failover: Failover,
    /// What is remembered.
    pub history: History,
    /// Where traces of requests go.
    pub traces: Traces,
    /// Backends by name.
    pub backends: BTreeMap<String, Backend>,
    /// Public models by name.
    pub models: BTreeMap<String, Model>,
    /// Users by name.
    pub users: BTreeMap<String, User>,
}

/// Settings that cannot be used: all their problems at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSettings {
    /// Which file or layer.
    pub source: String,
    /// What is wrong, by key.
    pub problems: Vec<Problem>,
}

impl BadSettings {
    /// Whether nothing is wrong but what the key files of backends hold so far.
    pub fn lacks_keys_alone(&self) -> bool {
        self.problems.iter().all(key_file::is_of_file)
    }
}

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.problems.len();
        write!(f, "{}: {n} problem{} in the settings", self.source, if n == 1 { "" } else { "s" })?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BadSettings {}
