//! Owns the Exporter: it sends the workers' spans to the collector, one request at a time, and keeps them while the
//! collector is away.

use std::{collections::VecDeque, mem, rc::Rc};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, SpawnHandle, Supervised, WrapFuture,
};
use tokio::sync::oneshot;

use super::{
    batch::Batch,
    collector::Collector,
    counted::Dropped,
    delivery::{KEPT, Verdict, pause},
    messages::{Flush, HandIn},
    otlp::Envelope,
};
use crate::clock;

/// The actor.
pub struct Exporter {
    collector: Rc<Collector>,
    envelope: Envelope,
    /// Most spans in one request.
    most: usize,
    waiting: VecDeque<Batch>,
    doing: Doing,
    /// Requests in a row that failed.
    failures: u32,
    /// The last spans were not taken, and that was told.
    failing: bool,
    /// Greenroom stops: nothing is tried twice.
    closing: bool,
    /// Whoever waits until nothing is left; told by being dropped.
    until_done: Vec<oneshot::Sender<()>>,
}

enum Doing {
    Nothing,
    Sending,
    /// Until the collector may be asked again.
    Resting(SpawnHandle),
}

impl Exporter {
    pub(super) fn new(collector: Collector, envelope: Envelope, most: usize) -> Self {
        Self {
            collector: Rc::new(collector),
            envelope,
            most,
            waiting: VecDeque::new(),
            doing: Doing::Nothing,
            failures: 0,
            failing: false,
            closing: false,
            until_done: Vec::new(),
        }
    }

    /// Sends what waits, unless something else is to be waited for.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if !matches!(self.doing, Doing::Nothing) {
            return;
        }
        let batches = self.next();
        if batches.is_empty() {
            self.until_done.clear();
            return;
        }
        self.doing = Doing::Sending;
        let body = self.envelope.around(batches.iter().map(|batch| &*batch.spans));
        let collector = self.collector.clone();
        let posting = async move { collector.post(body.into()).await };
        ctx.spawn(posting.into_actor(self).map(|verdict, this, ctx| {
            this.doing = Doing::Nothing;
            this.judged(batches, verdict, ctx);
            this.go_on(ctx);
        }));
    }

    /// Those that go together next.
    fn next(&mut self) -> Vec<Batch> {
        let (mut batches, mut spans) = (Vec::new(), 0);
        while let Some(batch) = self.waiting.pop_front_if(|batch| spans == 0 || spans + batch.count <= self.most) {
            spans += batch.count;
            batches.push(batch);
        }
        batches
    }

    fn judged(&mut self, batches: Vec<Batch>, verdict: Verdict, ctx: &mut Context<Self>) {
        match verdict {
            Verdict::Taken { mut refused } => {
                self.failures = 0;
                if refused > 0 {
                    self.complain(&format!("it refused {refused} spans"));
                } else if mem::take(&mut self.failing) {
                    log::info!("traces: the collector takes spans again");
                }
                for batch in batches {
                    let here = refused.min(batch.count);
                    refused -= here;
                    batch.taken(here);
                }
            }
            Verdict::Refused(why) => {
                self.failures = 0;
                self.complain(&why);
                for batch in batches {
                    batch.give_up(Dropped::Rejected);
                }
            }
            Verdict::Later(why, named) => {
                self.failures = self.failures.saturating_add(1);
                self.complain(&why);
                self.keep(batches);
                if !self.closing {
                    let wait = pause(self.failures, named, rand::random());
                    self.doing = Doing::Resting(ctx.run_later(wait, |this, ctx| {
                        this.doing = Doing::Nothing;
                        this.go_on(ctx);
                    }));
                }
            }
        }
    }

    /// Puts what was not taken back in its place, as long as there is hope for it.
    fn keep(&mut self, batches: Vec<Batch>) {
        for batch in batches.into_iter().rev() {
            self.waiting.push_front(batch);
        }
        let now = clock::now();
        let is_over = |batch: &mut Batch| now.saturating_sub(batch.since) >= KEPT;
        let mut lost = 0;
        while let Some(batch) = self.waiting.pop_front_if(|batch| self.closing || is_over(batch)) {
            lost += batch.count;
            batch.give_up(Dropped::Unreachable);
        }
        if self.closing && lost > 0 {
            log::warn!("traces: {lost} spans could not be sent and are lost");
        }
    }

    /// Once per outage.
    fn complain(&mut self, why: &str) {
        if !mem::replace(&mut self.failing, true) {
            log::warn!("traces: the collector at {} does not take all spans: {why}", self.collector.url());
        }
    }
}

impl Actor for Exporter {
    type Context = Context<Self>;
}

impl Supervised for Exporter {
    /// Comes back without what was waiting, which may have been what it stumbled over.
    fn restarting(&mut self, _: &mut Self::Context) {
        self.waiting.clear();
        self.until_done.clear();
        self.doing = Doing::Nothing;
        self.failures = 0;
        self.failing = false;
    }
}

impl Handler<HandIn> for Exporter {
    type Result = ();

    fn handle(&mut self, HandIn(batch): HandIn, ctx: &mut Self::Context) {
        self.waiting.push_back(batch);
        self.go_on(ctx);
    }
}

impl Handler<Flush> for Exporter {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Flush, ctx: &mut Self::Context) -> Self::Result {
        self.closing = true;
        if let Doing::Resting(rest) = self.doing {
            ctx.cancel_future(rest);
            self.doing = Doing::Nothing;
        }
        let (tell, told) = oneshot::channel();
        self.until_done.push(tell);
        self.go_on(ctx);
        Box::pin(async move {
            // Dropped rather than told.
            let _ = told.await;
        })
    }
}
