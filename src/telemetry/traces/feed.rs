//! Owns the way of a story into traces: made into spans on the worker that served it, and handed over many at a time.
//!
//! A span is written as JSON where its story ends: nothing of the story is copied for another thread, and the exporter has
//! only to put batches side by side.

use std::{
    cell::{Cell, RefCell},
    mem,
    rc::Rc,
    sync::Arc,
};

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
        handing::{Feeding, Handing, Open},
        story::Story,
    },
    wire::trace_context::{SpanId, TraceId, TraceParent},
};

/// Where workers hand in their spans. Shared by all of them.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    pub(super) exporter: Addr<Exporter>,
    pub(super) queue: Arc<Queue>,
    pub(super) handing: Handing,
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

/// What a worker has not handed in yet. Dropped with its worker, it hands in the rest.
#[derive(Debug)]
pub struct Feed {
    intake: Intake,
    pending: RefCell<Pending>,
    /// Nothing is held back any more.
    closing: Cell<bool>,
    _open: Open,
}

#[derive(Debug, Default)]
struct Pending {
    spans: Vec<u8>,
    count: usize,
}

impl Feed {
    /// A feed of this thread, which has to run tasks.
    pub(super) fn start(intake: Intake) -> Rc<Self> {
        let open = intake.handing.open();
        let feed = Rc::new(Self { intake, pending: RefCell::default(), closing: Cell::new(false), _open: open });
        feed.intake.handing.see_to(&feed);
        feed
    }

    /// A request has come, with this `traceparent`: its part in the sender's trace, or a trace of its own. `operation` and `route`
    /// tell what it asks for.
    pub fn begin(&self, traceparent: Option<&str>, operation: &'static str, route: &'static str) -> Trace {
        let span = SpanId(rand::random());
        let Some(parent) = traceparent.and_then(TraceParent::parse) else {
            let id = TraceId(rand::random());
            let random = id.0.get() as u64 & ((1 << RANDOM_BITS) - 1);
            return Trace { id, span, parent: None, sampled: random >= self.intake.threshold, operation, route };
        };
        Trace { id: parent.trace, span, parent: Some(parent.span), sampled: parent.sampled, operation, route }
    }

    /// A request has ended.
    pub fn record(&self, story: &Story, labels: Labels<'_>) {
        let Some(trace) = story.trace.as_ref().filter(|trace| trace.sampled) else { return };
        self.add(1 + story.attempts.len(), |pending| {
            span::tell(story, trace, labels, &clock::unix_nanos, |span| pending.add(span));
        });
    }

    /// A request was refused before it had a story.
    pub fn refused(&self, trace: &Trace, refused: &Refused<'_>) {
        if trace.sampled {
            self.add(1, |pending| pending.add(&span::refused(trace, refused, &clock::unix_nanos)));
        }
    }

    fn add(&self, count: usize, add: impl FnOnce(&mut Pending)) {
        let mut pending = self.pending.borrow_mut();
        if pending.count + count > self.intake.batch {
            self.hand_over(&mut pending);
        }
        add(&mut pending);
        if pending.count >= self.intake.batch || self.closing.get() {
            self.hand_over(&mut pending);
        }
    }

    fn hand_over(&self, pending: &mut Pending) {
        if pending.count == 0 {
            return;
        }
        // The next ones will be about as many.
        let room = Vec::with_capacity(pending.spans.len());
        let (spans, count) = (mem::replace(&mut pending.spans, room), mem::take(&mut pending.count));
        if let Some(batch) = self.intake.queue.admit(spans, count, clock::now()) {
            self.intake.exporter.do_send(HandIn(batch));
        }
    }
}

impl Pending {
    fn add(&mut self, span: &super::otlp::Span<'_>) {
        append(span, &mut self.spans);
        self.count += 1;
    }
}

impl Feeding for Feed {
    fn hand_in(&self, last: bool) {
        self.closing.set(last);
        self.hand_over(&mut self.pending.borrow_mut());
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hand_over(&mut self.pending.borrow_mut());
    }
}
