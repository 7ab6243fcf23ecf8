//! Owns everything one may tell the Exporter.

use actix::Message;

use super::batch::Batch;

/// Spans to be sent. Told by the workers' feeds: when there is a batch of them, and once per flush interval.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct HandIn(pub(super) Batch);

/// Send what has been handed in so far, whatever is waited for; answered when nothing is left. Sent when Greenroom stops, after the
/// workers have handed in everything.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Flush;
