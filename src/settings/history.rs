//! Owns the settings of history: whether it is kept, where, for how long, and how much of it may wait to be written.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use super::section::{Problems, Section};

/// File name of the database in its directory.
const FILE: &str = "greenroom.db";

/// Path that keeps the database in memory.
const MEMORY: &str = ":memory:";

/// One row covers a minute: shorter times make no sense for what is kept of them.
const MINUTE: Duration = Duration::from_mins(1);

/// Most rows that may wait: memory is taken for them while nothing can be written.
const MOST_ROWS: u64 = 1_000_000;

/// `[history]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Whether it is kept.
    pub enabled: bool,
    /// The database; `None`: in memory.
    pub path: Option<PathBuf>,
    /// Rows older than this are deleted.
    pub retention: Duration,
    /// Pause between two writes, and the most that a killed process loses.
    pub flush_every: Duration,
    /// Rows that may wait to be written; more are dropped and counted.
    pub queue: usize,
}

impl History {
    pub(super) fn read(value: Value, problems: &Problems) -> Self {
        let mut s = Section::open("history", value, problems);
        let enabled = s.value("enabled");
        let path: String = s.value("path");
        let retention = s.value("retention");
        if retention < MINUTE {
            s.problem("retention", "must be at least \"1m\"");
        }
        let flush_every = s.pause("flush_every");
        let queue = s.count("queue", MOST_ROWS);
        s.finish();
        let path = match path.as_str() {
            MEMORY => None,
            "" => Some(default_dir().join(FILE)),
            path => Some(path.into()),
        };
        Self { enabled, path, retention, flush_every, queue }
    }
}

/// Where the platform keeps data, if it says so; else beside the working directory's other files.
fn default_dir() -> PathBuf {
    let platform = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    platform.unwrap_or_else(|| "data".into())
}
