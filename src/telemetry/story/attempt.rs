//! Owns what a story tells of one attempt.

use std::{ops::Not, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    super::traces::Hop,
    report::{as_maybe_ms, as_ms},
    route::RouteReason,
};
use crate::settings::Money;

/// One attempt, as the ledger shows it.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptNote {
    /// The backend.
    pub backend: Arc<str>,
    /// Its own name for the model.
    pub upstream_model: Arc<str>,
    /// Why this backend.
    pub route: RouteReason,
    /// Start, after the request came.
    #[serde(rename = "started_ms", serialize_with = "as_ms")]
    pub started: Duration,
    /// Duration; absent while it runs.
    #[serde(rename = "duration_ms", serialize_with = "as_maybe_ms")]
    pub duration: Option<Duration>,
    /// How it ended: `success`, `cancelled` where the client left, `let_go` where another was quicker or the failure was none of
    /// the backend's, or a class of failure.
    pub outcome: Option<&'static str>,
    /// The backend's status.
    pub status: Option<u16>,
    /// What happened, in words.
    pub message: Option<String>,
    /// What the provider said of a failure of its own: for operators only, so that reports leave it out.
    #[serde(skip)]
    pub said: Option<Box<str>>,
    /// The backend has not worked on it: it never had it, or refused it.
    #[serde(skip)]
    pub turned_away: bool,
    /// What its tokens cost, as far as they were counted and have a price.
    #[serde(rename = "cost_usd")]
    pub cost: Option<Money>,
    /// They were not all counted by the provider, and are estimated.
    #[serde(skip_serializing_if = "Not::not")]
    pub estimated: bool,
    /// How the choice came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Box<serde_json::Value>>,
    /// Its part in the request's trace.
    #[serde(skip)]
    pub hop: Option<Hop>,
}
