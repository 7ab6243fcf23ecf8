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
    stream_body::{Handover, Opening, Sent, StreamBody},
    watch::Watch,
};
pub use self::{request::Request, worker::Worker};
use crate::{
    clock,
    error::{Error, Failed, panic_words},
    telemetry::story::RescueOutcome,
    upstream::HeaderLines,
    wire::translate::Dialect,
};

/// What the exchange leaves for whoever builds the response's head, and tells of its end.
type Told = Rc<Begun>;

#[derive(Default)]
struct Begun {
    /// Headers of the backend's answer.
    headers: RefCell<HeaderLines>,
    /// It is events: an error may be one of them.
    events: Cell<bool>,
}

/// Serves a request. A panic is a bug of ours: it costs this request, whose story says so, and nobody else anything.
pub async fn respond(worker: Rc<Worker>, request: Rc<Request>) -> Reply {
    let reply = pin!(answer(worker, request.clone()));
    AssertUnwindSafe(reply).catch_unwind().await.unwrap_or_else(|panic| {
        log::error!("exchange panicked: {}", panic_words(&*panic));
        refuse(&request, &Error::Internal)
    })
}

async fn answer(worker: Rc<Worker>, request: Rc<Request>) -> Reply {
    let telling = request.telling.clone();
    let (stream, explain, failover) = (request.stream, request.explain, request.failover.clone());
    let (surface, dialect) = (request.surface, request.surface.dialect());
    let exchange = Exchange::new(worker.clone(), request);
    if !stream {
        return match worker.unless_cut(pin!(exchange.whole())).await {
            Ok(whole) => response::whole(&telling, whole, explain, dialect),
            Err(error) => response::failed(&telling, &error, explain, dialect),
        };
    }
    let handover = Handover::default();
    let told = Told::default();
    let running = Box::pin(exchange.streamed(handover.clone(), told.clone()));
    let (frame_telling, begun) = (telling.clone(), told.clone());
    let frame = Box::new(move |error: &Error, sent: &Sent| {
        frame_telling.end(200, Some(error), clock::now());
        if surface.is_raw() && !begun.events.get() {
            return Bytes::new();
        }
        error_frame(&frame_telling, error, dialect, sent)
    });
    // What is no events has no comments: it is not quiet for longer than it may take.
    let quiet =
        if surface.is_raw() { [failover.deadline; 2] } else { [failover.keepalive_after, failover.keepalive_every] };
    let mut body = StreamBody::new(worker, handover, running, frame, quiet);
    if dialect == Dialect::Responses {
        body.remember();
    }
    match body.open().await {
        Opening::Failed(error) => response::failed(&telling, &error, explain, dialect),
        opening => {
            let early = matches!(opening, Opening::Silent);
            telling.write(|story| story.early_head = early);
            response::stream(&telling, told.headers.take(), body, surface)
        }
    }
}

/// Refuses a request that has a story, before anybody is asked.
pub fn refuse(request: &Request, error: &Error) -> Reply {
    response::failed(&request.telling, error, request.explain, request.surface.dialect())
}

struct Exchange {
    worker: Rc<Worker>,
    request: Rc<Request>,
    attempts: u32,
    fallen: Vec<Fallen>,
    /// Backends not to be asked: those that fell and are not due for another try.
    tried: Vec<u64>,
    /// Of those, the ones that only failed an earlier try of the client: asked after all if nobody else is left.
    avoided: Vec<u64>,
    context_above: Option<u64>,
    /// What it may still wait.
    patience: Patience,
    /// The next attempt, where it is one beyond the first.
    extra: Option<Extra>,
    /// What the client has of an answer that broke off.
    owed: Owed,
    /// Why it broke off.
    broke: Option<Box<Failed>>,
}

/// Passes a stream on to its end.
async fn relay(reader: &mut Reader, watch: &mut Watch, handover: &Handover, over: bool) -> Result<(), Failed> {
    let mut over = over;
    while !over && !reader.done {
        let bytes = match reader.step(watch).await? {
            Step::Frames(frames) => frames,
            Step::End(tail) => {
                over = true;
                tail
            }
        };
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
                self.request.telling.end(200, None, whole.at);
                self.worker.earn();
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
            story.usage = whole.usage;
        });
    }

    async fn streamed(mut self, handover: Handover, told: Told) -> Result<(), Error> {
        let telling = self.request.telling.clone();
        loop {
            // Boxed: what it takes to get a stream is given back before the stream begins.
            let live = match Box::pin(self.acquire()).await {
                Ok(Opened::Live(live)) => live,
                // Of a form.
                Ok(Opened::Whole(whole)) => {
                    self.tell_of(&whole);
                    *told.headers.borrow_mut() = whole.headers;
                    if !whole.body.is_empty() {
                        handover.put(whole.body).await;
                    }
                    telling.end(200, None, whole.at);
                    self.worker.earn();
                    return Ok(());
                }
                // The client's stream broke for the first reason; that nobody could take over is no news to it.
                Err(error) => return Err(self.ended_by(error)),
            };
            let Live { mut leg, target, streaming } = *live;
            let Streaming { mut reader, mut watch, headers: seen, held, over } = streaming;
            if self.owed.is_none() {
                telling.write(|story| {
                    story.served_by = Some(leg.note);
                    story.first_token = Some(clock::now().saturating_sub(story.received));
                });
                *told.headers.borrow_mut() = seen;
                told.events.set(!reader.is_sound());
                if telling.read(|story| story.early_head) {
                    handover.put(named_late(&telling)).await;
                }
                if self.request.explain && !self.request.surface.is_raw() {
                    handover.put(explained_stream(&telling)).await;
                }
            }
            if !held.is_empty() {
                handover.put(held).await;
            }
            watch.follow(&handover);
            let how = if reader.resumes() { RescueOutcome::Continued } else { RescueOutcome::Replayed };
            let relayed = relay(&mut reader, &mut watch, &handover, over).await;
            leg.held_up = watch.held_up;
            match relayed {
                Ok(()) => {
                    telling.write(|story| {
                        story.usage = leg.signs.usage.get();
                        story.rescue = self.owed.is_some().then_some(how);
                    });
                    let now = clock::now();
                    leg.succeeded(now);
                    telling.end(200, None, now);
                    self.worker.earn();
                    reader.linger().await;
                    return Ok(());
                }
                Err(failed) => {
                    let failed = redacted(&target.handle.settings, failed);
                    leg.blameless = reader.differs;
                    leg.failed(&failed);
                    self.note_fallen(&target, failed.clone());
                    let Some(debt) = self.rescuable(&reader, &failed) else {
                        return Err(self.ended_by(Error::Upstream(Box::new(failed))));
                    };
                    telling.write(|story| story.rescue = Some(RescueOutcome::Failed));
                    log::info!("rescuing a stream that broke at {}: {}", target.handle.name(), failed.message);
                    self.owed = Some(debt);
                    self.broke.get_or_insert_with(|| Box::new(failed));
                }
            }
        }
    }

    /// What the client is told where this ended its stream: the first reason for which that broke, if it did.
    fn ended_by(&mut self, error: Error) -> Error {
        self.blame();
        self.broke.take().map_or(error, Error::Upstream)
    }

    /// What is owed to the client, if another backend may take over from there: that attempt is paid for.
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
