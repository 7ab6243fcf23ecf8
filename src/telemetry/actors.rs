//! Owns the record of all actors but the backends': how often each was restarted, why, and whether it was given up.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwapOption;
use serde::Serialize;

/// An actor beside those of backends. All workers' routers count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Starts and watches all others.
    Overseer,
    /// Chooses backends, one per worker.
    Router,
    /// Writes history.
    Recorder,
    /// Sends traces.
    Exporter,
}

// A table indexed by role has a place for the last of them.
const _: () = assert!(Role::Exporter as usize + 1 == Role::ALL.len());

impl Role {
    /// In the order of `Actors`.
    const ALL: [Self; 4] = [Self::Overseer, Self::Router, Self::Recorder, Self::Exporter];

    /// The word in logs, metrics and admin output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overseer => "overseer",
            Self::Router => "router",
            Self::Recorder => "recorder",
            Self::Exporter => "exporter",
        }
    }
}

/// Restarts by role. One for the process, written by the guards.
#[derive(Debug, Default)]
pub struct Actors([Entry; Role::ALL.len()]);

#[derive(Debug, Default)]
struct Entry {
    restarts: AtomicU64,
    given_up: AtomicBool,
    last_cause: ArcSwapOption<String>,
}

/// An entry as operators read it.
#[derive(Debug, Serialize)]
pub struct Line {
    actor: &'static str,
    restarts: u64,
    given_up: bool,
    last_cause: Option<Arc<String>>,
}

impl Actors {
    /// An actor in this role panicked and is back.
    pub fn restarted(&self, role: Role, cause: String) {
        log::warn!("{} restarted after: {cause}", role.as_str());
        let entry = &self.0[role as usize];
        entry.restarts.fetch_add(1, Relaxed);
        entry.last_cause.store(Some(Arc::new(cause)));
    }

    /// An actor in this role panicked too often and stays dead.
    pub fn gave_up(&self, role: Role, cause: String) {
        log::error!("{} given up after: {cause}", role.as_str());
        let entry = &self.0[role as usize];
        entry.given_up.store(true, Relaxed);
        entry.last_cause.store(Some(Arc::new(cause)));
    }

    /// Actors in this role that were given up are started anew.
    pub fn revived(&self, role: Role) {
        self.0[role as usize].given_up.store(false, Relaxed);
    }

    /// Whether an actor in this role was given up.
    pub fn has_given_up(&self, role: Role) -> bool {
        self.0[role as usize].given_up.load(Relaxed)
    }

    /// Restarts by role.
    pub(super) fn restarts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Role::ALL.iter().zip(&self.0).map(|(role, entry)| (role.as_str(), entry.restarts.load(Relaxed)))
    }

    /// Whether an actor was given up, by role.
    pub(super) fn given_up(&self) -> impl Iterator<Item = (&'static str, bool)> {
        Role::ALL.into_iter().map(|role| (role.as_str(), self.has_given_up(role)))
    }

    /// All of it.
    pub fn lines(&self) -> Vec<Line> {
        let line = |(role, entry): (&Role, &Entry)| Line {
            actor: role.as_str(),
            restarts: entry.restarts.load(Relaxed),
            given_up: entry.given_up.load(Relaxed),
            last_cause: entry.last_cause.load_full(),
        };
        Role::ALL.iter().zip(&self.0).map(line).collect()
    }
}
