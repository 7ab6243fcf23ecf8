//! Owns where in a trace a request stands when it comes, and what a trace shows of one that is refused at the door.

use std::time::Duration;

use super::connection::{Door, Head};
use crate::{
    clock,
    error::Error,
    exchange::surface::Surface,
    settings::User,
    telemetry::traces::{Trace, span::Refused},
};

/// The header that names the parent, and the one that goes with it.
const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// Begins a request's part in a trace, if there are traces.
pub(super) fn begin(door: &Door, head: &Head, surface: Surface) -> Option<Trace> {
    let traces = door.worker.traces.as_ref()?;
    // Said twice it says nothing.
    let parent = head.list(PARENT);
    Some(traces.begin(parent.as_deref(), surface.operation(), surface.path()))
}

/// The client's own headers of a trace that go on as they are. Without traces here both do; with them each attempt has a
/// `traceparent` of its own, and where the client's was not followed, its state is of no trace that goes on.
pub(super) fn headers(trace: Option<&Trace>) -> &'static [&'static str] {
    match trace {
        None => &[PARENT, STATE],
        Some(Trace { parent: Some(_), .. }) => &[STATE],
        Some(_) => &[],
    }
}

/// Tells of a request of a known user's that is refused before it has a story; `model`: a configured one, if it got as far as to
/// name one. Of strangers nothing is told: who may not ask writes into nobody's traces.
pub(super) fn refused(
    door: &Door,
    trace: Option<&Trace>,
    (id, user): (&str, &User),
    model: Option<&str>,
    received: Duration,
    error: &Error,
) {
    if let (Some(traces), Some(trace)) = (&door.worker.traces, trace) {
        let (status, class) = (error.face().status.as_u16(), error.class());
        let refused = Refused { id, user: &user.name, model, received, ended: clock::now(), status, class };
        traces.refused(trace, &refused);
    }
}
