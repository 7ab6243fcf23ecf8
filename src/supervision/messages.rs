//! Owns everything one may tell the Overseer.

use actix::Message;

use crate::settings::{Plan, Settings};

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

/// Start the actor of this backend anew if it was given up. Sent by the admin endpoint.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Revive(pub String);
