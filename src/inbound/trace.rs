//! Owns where a new request stands in a trace.

use super::connection::{Door, Head};
use crate::{exchange::surface::Surface, telemetry::traces::Trace};

/// The header that names the parent, and the one that goes with it.
const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// Begins a request's part in a trace, if there are traces.
pub(super) fn begin(door: &Door, head: &Head, surface: Surface) -> Option<Trace> {
    let traces = door.worker.traces.as_ref()?;
    // Sent twice it is not valid.
    let parent = head.list(PARENT);
    Some(traces.begin(parent.as_deref(), surface.operation(), surface.path()))
}

/// The client's trace headers that go on unchanged. Without traces here both do. With traces each attempt has a `traceparent`
/// of its own, and the client's state goes on only if its parent was accepted.
pub(super) fn headers(trace: Option<&Trace>) -> &'static [&'static str] {
    match trace {
        None => &[PARENT, STATE],
        Some(Trace { parent: Some(_), .. }) => &[STATE],
        Some(_) => &[],
    }
}
