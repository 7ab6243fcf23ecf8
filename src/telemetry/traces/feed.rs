//! Owns the way of a story into traces: made into spans on the worker that served it, and handed over many at a time.
//!
//! A span is written as JSON where its story ends: nothing of the story is copied for another thread, and the exporter has
//! only to put batches side by side.

use std::{mem, sync::Arc};

use actix::Addr;

use super::{
    Trace,
    batch::Queue,
    exporter::Exporter,
    messages::HandIn,
    otlp::append,
    span::{self, Refused},
};
use crate::{
    clock,
    telemetry::{
        counts::Labels,
        handing::{self, Gathered},
        story::Story,
    },
    wire::trace_context::{SpanId, TraceId, TraceParent},
};

/// Where workers hand in their spans. Shared by all of them.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    pub(super) exporter: Addr<Exporter>,
    pub(super) queue: Arc<Queue>,
    /// Traces that begin here and are told have an id of which the last 56 bits are not below this.
    pub(super) threshold: u64,
    /// Most spans handed over together.
    pub(super) batch: usize,
}

/// Bits of a trace's id that decide whether it is told (W3C Trace Context, level 2: they are random).
const RANDOM_BITS: u32 = 56;

/// The least random part of a trace that is told, where this share of them is.
pub(super) fn threshold(share: f64) -> u64 {
    ((1.0 - share) * (1_u64 << RANDOM_BITS) as f64) as u64
}

/// The spans of a worker.
pub type Feed = handing::Feed<Spans>;

/// What a worker has not handed in yet.
#[derive(Debug)]
pub struct Spans {
    intake: Intake,
    written: Vec<u8>,
    count: usize,
}

impl Feed {
    /// A request has come, with this `traceparent`: its part in the sender's trace, or a trace of its own. `operation` and `route`
    /// tell what it asks for.
    pub fn begin(&self, traceparent: Option<&str>, operation: &'static str, route: &'static str) -> Trace {
        let span = SpanId(rand::random());
        let Some(parent) = traceparent.and_then(TraceParent::parse) else {
            let id = TraceId(rand::random());
            let random = id.0.get() as u64 & ((1 << RANDOM_BITS) - 1);
            return Trace {
                id,
                span,
                parent: None,
                sampled: random >= self.look(|spans| spans.intake.threshold),
                operation,
                route,
            };
        };
        Trace { id: parent.trace, span, parent: Some(parent.span), sampled: parent.sampled, operation, route }
    }

    /// A request has ended.
    pub fn record(&self, story: &Story, labels: Labels<'_>) {
        let Some(trace) = story.trace.as_ref().filter(|trace| trace.sampled) else { return };
        self.add(|spans| {
            spans.with(1 + story.attempts.len(), |spans| {
                span::tell(story, trace, labels, &clock::unix_nanos, |span| spans.push(span));
            });
        });
    }

    /// A request was refused before it had a story.
    pub fn refused(&self, trace: &Trace, refused: &Refused<'_>) {
        if trace.sampled {
            self.add(|spans| spans.with(1, |spans| spans.push(&span::refused(trace, refused, &clock::unix_nanos))));
        }
    }
}

impl Spans {
    /// None yet.
    pub(super) fn of(intake: Intake) -> Self {
        Self { intake, written: Vec::new(), count: 0 }
    }

    /// Adds so many, which stay together.
    fn with(&mut self, count: usize, add: impl FnOnce(&mut Self)) {
        if self.count + count > self.intake.batch {
            self.hand_over();
        }
        add(self);
        if self.count >= self.intake.batch {
            self.hand_over();
        }
    }

    fn push(&mut self, span: &super::otlp::Span<'_>) {
        append(span, &mut self.written);
        self.count += 1;
    }
}

impl Gathered for Spans {
    fn hand_over(&mut self) {
        if self.count == 0 {
            return;
        }
        // The next ones will be about as many.
        let room = Vec::with_capacity(self.written.len());
        let (spans, count) = (mem::replace(&mut self.written, room), mem::take(&mut self.count));
        if let Some(batch) = self.intake.queue.admit(spans, count, clock::now()) {
            self.intake.exporter.do_send(HandIn(batch));
        }
    }
}
