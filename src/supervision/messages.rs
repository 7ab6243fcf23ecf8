//! Owns everything one may tell the Overseer.

use std::str::FromStr;

use actix::Message;

use crate::{
    backend::{diagnose::Step, report::Report},
    error::Failed,
    settings::{Plan, Settings},
};

/// New settings: install them, or only tell what they would change. Sent by the admin endpoint, on SIGHUP, and where a
/// watched file has changed.
#[derive(Debug, Message)]
#[rtype(result = "Plan")]
pub struct Reload {
    /// What the operator wrote, read and found good.
    pub settings: Box<Settings>,
    /// Only tell.
    pub dry_run: bool,
}

/// Why something could not be done to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotDone {
    /// There is none of that name.
    Unknown,
    /// Its actor was given up, and nobody else can do it.
    GivenUp,
    /// Its actor crashed over it.
    Crashed,
}

/// Ask a backend's provider now whether it is well. Sent by the admin endpoint.
#[derive(Debug, Message)]
#[rtype(result = "Result<Result<(), Failed>, NotDone>")]
pub struct Probe(pub String);

/// Try a backend step by step. Sent by the admin endpoint.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<Step>, NotDone>")]
pub struct Diagnose(pub String);

/// What is known of one backend, or of all? Asked by the admin endpoints. Unknown names give an empty list.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Report>")]
pub struct AskReports(pub Option<String>);

/// Do something to a backend. Sent by the admin endpoints.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), NotDone>")]
pub struct Act {
    /// The backend.
    pub backend: String,
    /// What to do.
    pub action: Action,
}

/// What an operator can do to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Take no requests until resumed.
    Drain,
    /// Take requests again; starts the actor anew if it was given up.
    Resume,
    /// Forget failures, open the gates.
    Reset,
    /// Panic, on purpose.
    Crash,
}

impl Action {
    /// The word in the URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Resume => "resume",
            Self::Reset => "reset",
            Self::Crash => "crash",
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Self::Drain, Self::Resume, Self::Reset]
            .into_iter()
            .find(|action| action.as_str() == word)
            .ok_or_else(|| format!("There is no action '{word}'; use drain, resume, reset, probe or diagnose."))
    }
}
