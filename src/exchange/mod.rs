//! Owns one client request: attempts until one answers, and the relay of that answer.

mod acquire;
mod adapt;
pub mod admission;
mod attempt;
mod blame;
mod budget;
mod buffer;
mod debt;
mod decode;
mod give_up;
mod judge;
mod leg;
mod patience;
mod queue;
mod race;
mod redact;
mod relay;
mod repetition;
pub mod reply;
mod request;
pub mod response;
pub mod retry_after;
mod seam;
mod sieve;
pub mod stream_body;
pub mod surface;
#[cfg(test)]
mod tests;
mod watch;
mod worker;

use std::{
    cell::{Cell, RefCell},
    panic::AssertUnwindSafe,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;

use self::{
    acquire::Fallen,
    attempt::{Live, Opened, Streaming, Whole},
    budget::Extra,
    debt::{Debt, Owed},
    patience::Patience,
    redact::redacted,
    relay::{Reader, Step},
    reply::Reply,
    response::{error_frame, explained_stream, named_late},
    stream_body::{Handover, Opening, Quiet, Sent, StreamBody},
    watch::Watch,
};
pub use self::{request::Request, worker::Worker};
use crate::{
    clock,
    error::{Error, Failed, panic_words},
    router::table::Target,
    telemetry::story::RescueOutcome,
    upstream::HeaderLines,
    wire::translate::Dialect,
};

/// What the exchange leaves for the code that builds the response's head and end.
#[derive(Default)]
struct Begun {
    /// Headers of the backend's answer.
    headers: RefCell<HeaderLines>,
    /// It consists of events, so an error may be one of them.
    events: Cell<bool>,
}

/// Serves a request. A panic is a bug of ours: this request fails, its story says so, and no other request is affected.
pub async fn respond(worker: Rc<Worker>, request: Rc<Request>) -> Reply {
    let reply = pin!(answer(worker, request.clone()));
    AssertUnwindSafe(reply).catch_unwind().await.unwrap_or_else(|panic| {
        log::error!("exchange panicked: {}", panic_words(&*panic));
        response::failed(&request, &Error::Internal)
    })
}

async fn answer(worker: Rc<Worker>, request: Rc<Request>) -> Reply {
    let exchange = Exchange::new(worker.clone(), request.clone());
    if !request.stream {
        return match worker.unless_cut(pin!(exchange.whole())).await {
            Ok(whole) => response::whole(&request, whole),
            Err(error) => response::failed(&request, &error),
        };
    }
    let handover = Handover::default();
    let begun = Rc::new(Begun::default());
    let running = Box::pin(exchange.streamed(handover.clone(), begun.clone()));
    let (asked, answered) = (request.clone(), begun.clone());
    let frame = Box::new(move |error: &Error, sent: &Sent| {
        asked.telling.end(200, Some(error), clock::now());
        let has_events = answered.events.get() || !asked.surface.is_raw();
        if has_events { error_frame(&asked, error, sent) } else { Bytes::new() }
    });
    let failover = &request.failover;
    let quiet = if request.surface.is_raw() {
        // Until the answer is there nobody knows whether it consists of events, which alone can have comments between them: a head
        // sent before would promise events, and leave failures no status.
        Quiet { head_within: failover.deadline, keepalive_every: failover.deadline }
    } else {
        Quiet { head_within: failover.keepalive_after, keepalive_every: failover.keepalive_every }
    };
    let mut body = StreamBody::new(worker, handover, running, frame, quiet);
    if request.surface.dialect() == Dialect::Responses {
        body.remember();
    }
    match body.open().await {
        Opening::Failed(error) => response::failed(&request, &error),
        opening => {
            let early = matches!(opening, Opening::Silent);
            request.telling.write(|story| story.early_head = early);
            if request.surface.is_raw() && begun.events.get() {
                body.keep_alive(failover.keepalive_every);
            }
            response::stream(&request, begun.headers.take(), body)
        }
    }
}

struct Exchange {
    worker: Rc<Worker>,
    request: Rc<Request>,
    attempts: u32,
    fallen: Vec<Fallen>,
    /// Backends not to ask: they failed and are not due for another try.
    tried: Vec<u64>,
    /// Those of `tried` that failed only an earlier try of the same client: asked after all if no other is left.
    avoided: Vec<u64>,
    /// A context window, tokens, that was too small: only larger ones are of use.
    context_above: Option<u64>,
    /// How long it may still wait.
    patience: Patience,
    /// Pays for the next attempt, if that is not the first.
    extra: Option<Extra>,
    /// What the client has of an answer that broke off.
    owed: Owed,
    /// Why it broke off.
    broke: Option<Box<Failed>>,
}

/// Passes a stream on to its end.
async fn relay(reader: &mut Reader, watch: &mut Watch, handover: &Handover) -> Result<(), Failed> {
    while !reader.done {
        let (Step::Frames(bytes) | Step::End(bytes)) = reader.step(watch).await?;
        if !bytes.is_empty() {
            handover.put(bytes).await;
        }
    }
    Ok(())
}

impl Exchange {
    fn new(worker: Rc<Worker>, request: Rc<Request>) -> Self {
        let avoided = request.blamed(&worker.blame);
        Self {
            worker,
            request,
            attempts: 0,
            fallen: Vec::new(),
            tried: avoided.clone(),
            avoided,
            context_above: None,
            patience: Patience::default(),
            extra: None,
            owed: None,
            broke: None,
        }
    }

    async fn whole(mut self) -> Result<Whole, Error> {
        match self.acquire().await? {
            Opened::Whole(whole) => {
                self.tell_of(&whole);
                self.served(whole.at);
                Ok(whole)
            }
            // Only a stream request is given a stream.
            Opened::Live(_) => Err(Error::Internal),
        }
    }

    fn tell_of(&self, whole: &Whole) {
        self.request.telling.write(|story| {
            story.served_by = Some(whole.note);
            story.first_token = Some(whole.at.saturating_sub(story.received));
            (story.usage, story.estimated) = (whole.usage, false);
        });
    }

    /// The request has ended well.
    fn served(&self, at: Duration) {
        self.request.telling.end(200, None, at);
        self.worker.earn();
    }

    async fn streamed(mut self, handover: Handover, begun: Rc<Begun>) -> Result<(), Error> {
        loop {
            // Boxed, so that memory needed only to get a stream is freed before the stream begins.
            let live = match Box::pin(self.acquire()).await {
                Ok(Opened::Live(live)) => live,
                // A wish for a stream may be passed over.
                Ok(Opened::Whole(whole)) => {
                    self.tell_of(&whole);
                    *begun.headers.borrow_mut() = whole.headers;
                    if !whole.body.is_empty() {
                        handover.put(whole.body).await;
                    }
                    self.served(whole.at);
                    return Ok(());
                }
                Err(error) => return Err(self.ended_by(error)),
            };
            let Live { mut leg, target, streaming } = *live;
            let Streaming { mut reader, mut watch, headers: seen, held } = streaming;
            if self.owed.is_none() {
                *begun.headers.borrow_mut() = seen;
                begun.events.set(!reader.is_unread());
                self.begin(leg.note, &handover).await;
            }
            if !held.is_empty() {
                handover.put(held).await;
            }
            watch.follow(&handover);
            let how = if reader.resumes() { RescueOutcome::Continued } else { RescueOutcome::Replayed };
            let relayed = relay(&mut reader, &mut watch, &handover).await;
            leg.held_up = watch.held_up;
            let Err(failed) = relayed else {
                self.request.telling.write(|story| {
                    (story.usage, story.estimated) = (leg.signs.usage.get(), false);
                    story.rescue = self.owed.is_some().then_some(how);
                });
                let now = clock::now();
                leg.succeeded(now);
                self.served(now);
                reader.linger().await;
                return Ok(());
            };
            let failed = redacted(&target.handle.settings, failed);
            leg.blameless = reader.differs;
            leg.failed(&failed);
            self.note_fallen(&target, failed.clone());
            self.prepare_rescue(&target, &reader, failed)?;
        }
    }

    /// Records that the first content is there, and sends the comments that go in front of it: one that names the backend if
    /// an early head could not, and the explanation if the client asked for it.
    async fn begin(&self, note: usize, handover: &Handover) {
        let telling = &self.request.telling;
        telling.write(|story| {
            story.served_by = Some(note);
            story.first_token = Some(clock::now().saturating_sub(story.received));
        });
        if telling.read(|story| story.early_head) {
            handover.put(named_late(telling)).await;
        }
        if self.request.explain && !self.request.surface.is_raw() {
            handover.put(explained_stream(&self.request)).await;
        }
    }

    /// Lets another backend take over a stream that broke off; an error if none may.
    fn prepare_rescue(&mut self, target: &Target, reader: &Reader, failed: Failed) -> Result<(), Error> {
        let Some(debt) = self.rescuable(reader, &failed) else {
            return Err(self.ended_by(Error::Upstream(Box::new(failed))));
        };
        self.request.telling.write(|story| story.rescue = Some(RescueOutcome::Failed));
        log::info!("rescuing a stream that broke at {}: {}", target.handle.name(), failed.message);
        self.owed = Some(debt);
        self.broke.get_or_insert_with(|| Box::new(failed));
        Ok(())
    }

    /// What the client is told at the end of its stream: the first reason why it broke off, if it did. That no backend could take
    /// over does not help it.
    fn ended_by(&mut self, error: Error) -> Error {
        self.blame();
        self.broke.take().map_or(error, Error::Upstream)
    }

    /// What is owed to the client, if another backend may take over from there. Pays for that attempt.
    fn rescuable(&mut self, reader: &Reader, failed: &Failed) -> Option<Rc<Debt>> {
        let debt = match &self.owed {
            None => Debt::new(reader.sewable()?.to_owned()),
            // A rescue that added nothing has left things as they were.
            Some(debt) if !reader.added => debt.clone(),
            Some(debt) => debt.grown(reader.sewable()?, reader.resumes()),
        };
        let may = failed.class.disposition().other && !self.is_final(failed) && self.pay_for_another();
        may.then_some(debt)
    }
}
