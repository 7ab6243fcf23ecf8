//! Owns traces: the Exporter actor sends a span of each sampled request, and of each of its attempts, to a collector by
//! OpenTelemetry's protocol (OTLP over HTTP, as JSON).

mod batch;
mod collector;
pub mod counted;
mod delivery;
pub mod exporter;
pub mod feed;
mod messages;
mod otlp;
pub mod span;
#[cfg(test)]
mod tests;

use std::{rc::Rc, sync::Arc, time::Duration};

use actix::Addr;

use self::{
    batch::Queue,
    collector::Collector,
    exporter::Exporter,
    feed::{Feed, Intake, Spans, threshold},
    messages::Flush,
    otlp::Envelope,
};
use super::{counts::Counts, handing::Handing};
use crate::{
    settings,
    wire::trace_context::{SpanId, TraceId, TraceParent},
};

/// A request's part in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The request's own span.
    pub span: SpanId,
    /// The span of whoever asks, if it told of one.
    pub parent: Option<SpanId>,
    /// Its spans are told.
    pub sampled: bool,
    /// `gen_ai.operation.name`.
    pub operation: &'static str,
    /// `http.route`.
    pub route: &'static str,
}

impl Trace {
    /// The trace, if its spans are told: an id to look for.
    pub fn told(&self) -> Option<TraceId> {
        self.sampled.then_some(self.id)
    }
}

/// An attempt's part in a trace.
#[derive(Debug, Clone)]
pub struct Hop {
    /// The attempt's own span.
    pub span: SpanId,
    /// The backend as it was when the attempt began.
    pub backend: Arc<settings::Backend>,
}

impl Hop {
    /// The part of an attempt that begins.
    pub fn to(backend: Arc<settings::Backend>) -> Self {
        Self { span: SpanId(rand::random()), backend }
    }

    /// What the backend is told: that it is asked by this attempt.
    pub fn parent(&self, trace: &Trace) -> TraceParent {
        TraceParent { trace: trace.id, span: self.span, sampled: trace.sampled }
    }
}

/// Everyone else's end of traces.
#[derive(Debug, Clone)]
pub struct Traces {
    intake: Intake,
    handing: Handing,
}

/// An exporter to this collector, to be started on this thread, and everyone else's end of it once it has an address.
pub fn prepare(
    to: settings::Collector,
    settings: &settings::Traces,
    counts: Arc<Counts>,
) -> (Exporter, impl FnOnce(Addr<Exporter>) -> Traces) {
    let queue = Queue::new(settings.queue, counts);
    let handing = Handing::new(settings.flush_every);
    let (threshold, batch) = (threshold(settings.sample), settings.batch);
    let envelope = Envelope::new(&settings.service, &instance());
    log::info!("traces go to {}", to.url);
    let exporter = Exporter::new(Collector::new(to, settings.timeout), envelope, batch);
    (exporter, move |exporter| Traces { intake: Intake { exporter, queue, threshold, batch }, handing })
}

/// A random UUID (version 4), by which this process is told from others of its service.
fn instance() -> String {
    let bits: u128 = rand::random();
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let digits = format!("{bits:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

impl Traces {
    /// A feed for this worker.
    pub fn feed(&self) -> Rc<Feed> {
        self.handing.feed(Spans::of(self.intake.clone()))
    }

    /// The process is about to end: everything goes to the collector, which has so long for it; `at_once`: what there is by now.
    pub async fn close(&self, at_once: bool, patience: Duration) {
        self.handing.close(at_once).await;
        if self.intake.exporter.send(Flush).timeout(patience).await.is_err() {
            log::warn!("traces: the last spans could not be sent in time");
        }
    }
}
