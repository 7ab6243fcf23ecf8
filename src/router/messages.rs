//! Owns everything one may tell a Router actor.

use std::{sync::Arc, time::Duration};

use actix::Message;
use serde::Serialize;

use super::table::Target;
use crate::{
    backend::{entry::Want, lease::Lease},
    error::Error,
    settings::{self, User},
    upstream::Endpoint,
};

/// A place at a backend, or why there is none.
pub type Assignment = Result<Grant, Refusal>;

/// Which backend takes this request? Asked by the exchange, on the router's own thread, once per attempt.
#[derive(Debug, Message)]
#[rtype(result = "Assignment")]
pub struct Assign {
    /// When it is asked.
    pub now: Duration,
    /// The public model.
    pub model: Arc<str>,
    /// Who asks.
    pub user: Arc<User>,
    /// The backend named in the body.
    pub pin: Option<Arc<str>>,
    /// Backends not to be tried, by `Handle::id`.
    pub tried: Vec<u64>,
    /// A context window, tokens, that was too small: only larger ones are of use.
    pub context_above: Option<u64>,
    /// Whether a backend can serve this kind of request at all.
    pub able: fn(&settings::Backend) -> bool,
    /// What is wanted.
    pub want: Want,
    /// Where it is asked for, if that is beside chat.
    pub beside_chat: Option<Endpoint>,
    /// Estimated prompt tokens.
    pub prompt_tokens: u64,
    /// A hash of the prompt's head. Requests that share it should go to the same backend, load permitting.
    pub affinity: Option<u64>,
    /// Tell how the decision came about.
    pub explain: bool,
}

/// A backend was found, and a place at it taken.
#[derive(Debug)]
pub struct Grant {
    /// The place.
    pub lease: Lease,
    /// The backend for this model.
    pub target: Arc<Target>,
    /// How many backends could have taken it.
    pub candidates: u32,
    /// It is not the cheapest, but the favourite of requests with the same beginning.
    pub by_affinity: bool,
    /// How it came about, if asked for.
    pub decision: Option<Decision>,
}

/// No backend was found.
#[derive(Debug)]
pub struct Refusal {
    /// What the client is told if nothing was tried before.
    pub error: Error,
    /// When the first gate opens again, process clock.
    pub soonest: Option<Duration>,
    /// One that could serve it is merely full: a place may come free.
    pub full: bool,
    /// One that could serve it is shut.
    pub shut: bool,
    /// How it came about, if asked for.
    pub decision: Option<Decision>,
}

impl Refusal {
    /// A refusal that no wait can change.
    pub(super) fn plain(error: Error) -> Self {
        Self { error, soonest: None, full: false, shut: false, decision: None }
    }
}

/// How a choice came about.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// All backends of the model, or the pinned one.
    pub candidates: Vec<Candidate>,
    /// The one chosen.
    pub chosen: Option<String>,
    /// It was not the cheapest, but the favourite of requests with the same beginning.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub by_affinity: bool,
}

/// A backend as it stood in a choice.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// The backend.
    pub backend: String,
    /// Its own name for the model.
    pub upstream_model: String,
    /// Why it could not take the request; absent if it could.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
    /// Cost, relative seconds to the first line of text.
    pub cost: f64,
    /// First-token estimate, seconds.
    pub first_token_s: f64,
    /// Whether requests wait for each other there: 0 side by side, 1 in turn.
    pub serial: f64,
    /// Estimated time from one token to the next with no other stream, seconds.
    pub token_s: f64,
    /// Requests before their first token.
    pub waiting: u32,
    /// Prompt tokens of these, estimated.
    pub waiting_tokens: u64,
    /// Requests after it.
    pub streaming: u32,
    /// The backend's times the target's: 2 counts as twice the size.
    pub weight: f64,
    /// Tier.
    pub priority: u32,
}

/// Panic with these words: for the chaos action of the admin endpoint, which proves supervision, or because the router
/// panicked while it was asked by a plain call.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Crash(pub String);
