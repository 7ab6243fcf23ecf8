//! Owns where in a trace a request stands when it comes.

use super::connection::{Door, Head};
use crate::{exchange::surface::Surface, telemetry::traces::Trace};

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
