//! Owns everything one may tell the Recorder.

use actix::Message;

use super::answer::Answer;

/// Write what has been handed in so far, and close the database. Sent when Greenroom stops, after the workers have handed in
/// everything.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Close;

/// What happened between two moments? Asked by the admin endpoint; an error in words if the database cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Answer, String>")]
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
