//! Owns everything one may tell the Recorder.

use actix::Message;

use super::answer::Told;
use crate::limits::Day;

/// Write what has been handed in so far, and close the database. Sent when Greenroom stops, after the workers have handed in
/// everything.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Close;

/// How did the users' days stand when that was last written? Asked once, before anybody is served.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Day>")]
pub struct Remember;

/// What happened between two moments? Asked by the admin endpoint, and answered whole: workers have clients to serve.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Told, Untold>")]
pub struct Ask {
    /// Only this backend.
    pub backend: Option<String>,
    /// Only this public model.
    pub model: Option<String>,
    /// From this moment, seconds since the epoch.
    pub from: i64,
    /// To before this moment, seconds since the epoch.
    pub to: i64,
    /// Seconds per point, whole minutes.
    pub step: i64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untold {
    /// It would be more than `POINTS`.
    TooMuch,
    /// The database cannot be read; why, in words.
    Unreadable(String),
}

impl From<rusqlite::Error> for Untold {
    fn from(why: rusqlite::Error) -> Self {
        Self::Unreadable(why.to_string())
    }
}
