//! Owns one client request: attempts until one answers, and the relay of that answer.

mod attempt;
mod blame;
mod queue;
mod relay;
mod rescue;
pub mod response;
pub mod retry;
mod stage;

use std::{cell::RefCell, panic::AssertUnwindSafe, rc::Rc, sync::Arc, task::Poll, time::Duration};

use actix::Addr;
use actix_web::{
    HttpResponse,
    http::header::{HeaderName, HeaderValue},
};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{Either, poll_fn, select},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use self::{
    attempt::{Leg, Live, Opened, Whole},
    blame::Blame,
    relay::{Reader, Step, Watch},
    response::{error_frame, explained_stream, named_late},
    retry::{Budget, LONGEST_PAUSE, most_useful, pause},
    stage::{Opening, Play, Stage},
};
use crate::{
    clock,
    error::{Class, Error, Failed},
    router::{
        Router,
        messages::{Assign, Grant, Refusal},
        table::{Installed, Route, Target},
    },
    settings::{Failover, Rescue, User},
    telemetry::{
        log::panic_words,
        story::{Listener, Telling},
    },
    upstream::{Clients, Endpoint},
    wire::envelope::Envelope,
};

/// What every request on one HTTP worker shares; nothing in it is shared with another thread but through atomics.
pub struct Worker {
    /// The router of this worker.
    pub router: Addr<Router>,
    /// Connections to backends.
    pub clients: Clients,
    /// The table in force.
    pub installed: Installed,
    /// Hears of each request's end.
    pub listener: Listener,
    retries: RefCell<Budget>,
    hedges: RefCell<Budget>,
    blame: RefCell<Blame>,
}

/// Extra attempts that a worker may make before its budgets have earned any.
const RETRY_FLOOR: f64 = 10.0;
const HEDGE_FLOOR: f64 = 3.0;

impl Worker {
    /// A worker's share of the world.
    pub fn new(router: Addr<Router>, installed: Installed, listener: Listener) -> Self {
        let failover = installed.load().settings.failover.clone();
        Self {
            router,
            clients: Clients::default(),
            installed,
            listener,
            retries: RefCell::new(Budget::new(failover.retry_budget, RETRY_FLOOR)),
            hedges: RefCell::new(Budget::new(failover.hedge_budget, HEDGE_FLOOR)),
            blame: RefCell::default(),
        }
    }
}

/// A request that was read, authenticated and found to be in order.
pub struct Request {
    /// Its story.
    pub telling: Telling,
    /// Who asks.
    pub user: Arc<User>,
    /// The public model.
    pub model: Arc<str>,
    /// The backend named in the body.
    pub pin: Option<Arc<str>>,
    /// What is asked of the backend.
    pub endpoint: Endpoint,
    /// Streamed?
    pub stream: bool,
    /// The body's top level.
    pub envelope: Envelope,
    /// The body.
    pub body: Bytes,
    /// Headers that go along to the backend.
    pub extra: Vec<(HeaderName, HeaderValue)>,
    /// When the client gives up.
    pub deadline: Instant,
    /// The client asked how the decision came about, and may.
    pub explain: bool,
    /// Estimated prompt tokens.
    pub prompt_tokens: f64,
    /// The model's route, as it stood when the request came.
    pub route: Option<Arc<Route>>,
    /// An SDK says that it has sent this before.
    pub is_retry: bool,
    /// Rules for trying again.
    pub failover: Failover,
}

impl Request {
    /// What to do with a stream that breaks.
    pub fn rescue(&self) -> Rescue {
        self.route.as_ref().map_or(Rescue::Off, |route| route.settings.rescue)
    }

    /// Public name to put into the answer's `model`, where the settings want that.
    pub fn shown_model(&self) -> Option<Arc<str>> {
        self.route.as_ref().filter(|route| route.settings.rewrite_model).map(|route| route.model.clone())
    }

    fn fingerprint(&self) -> u64 {
        blame::fingerprint(&self.user.name, &self.body)
    }

    /// Time until the deadline.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Headers of the backend's answer, left by the exchange for whoever builds the response's head.
type AnswerHeaders = Rc<RefCell<attempt::Headers>>;

/// Serves a request. `cut` ends streams that still run when Greenroom has to stop.
pub async fn respond(worker: Rc<Worker>, request: Request, cut: Arc<Notify>) -> HttpResponse {
    worker.retries.borrow_mut().earn();
    worker.hedges.borrow_mut().earn();
    let telling = request.telling.clone();
    let (stream, explain, failover) = (request.stream, request.explain, request.failover.clone());
    let exchange = Exchange::new(worker, request);
    if !stream {
        // A panic is a bug of ours: it costs this request, and nobody else anything.
        let whole = AssertUnwindSafe(exchange.whole()).catch_unwind().await.unwrap_or_else(|panic| {
            log::error!("exchange panicked: {}", panic_words(&*panic));
            Err(Error::Internal)
        });
        return match whole {
            Ok(whole) => response::whole(&telling, whole, explain),
            Err(error) => response::failed(&telling, &error, explain),
        };
    }
    let stage = Stage::default();
    let headers = AnswerHeaders::default();
    let play = exchange.play(stage.clone(), headers.clone());
    let running = Box::pin(async move {
        match select(std::pin::pin!(play), std::pin::pin!(cut.notified())).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => Err(Error::ShuttingDown),
        }
    });
    let frame_telling = telling.clone();
    let frame = Box::new(move |error: &Error| {
        frame_telling.end(200, Some(error));
        error_frame(&frame_telling, error)
    });
    let mut play = Play::new(stage, running, frame, failover.keepalive_every);
    match play.open(failover.keepalive_after).await {
        Opening::Failed(error) => response::failed(&telling, &error, explain),
        opening => {
            let early = matches!(opening, Opening::Silent);
            telling.write(|story| story.early_head = early);
            response::stream(&telling, headers.take(), play)
        }
    }
}

/// A backend that failed for this request.
struct Fallen {
    id: u64,
    tries: u32,
    failed: Failed,
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
    /// The text that the client has of an answer that broke off.
    owed: attempt::Owed,
}

/// Passes a stream on to its end.
async fn relay(reader: &mut Reader, watch: &mut Watch, stage: &Stage, over: bool) -> Result<(), Failed> {
    let mut over = over;
    while !over {
        let bytes = match reader.step(watch).await? {
            Step::Frames(frames) => frames,
            Step::End(tail) => {
                over = true;
                tail
            }
        };
        if !bytes.is_empty() {
            stage.put(bytes).await;
        }
    }
    Ok(())
}

impl Exchange {
    fn new(worker: Rc<Worker>, request: Request) -> Self {
        let avoided =
            if request.is_retry { worker.blame.borrow().of(request.fingerprint(), clock::now()) } else { Vec::new() };
        Self {
            worker,
            request: Rc::new(request),
            attempts: 0,
            fallen: Vec::new(),
            tried: avoided.clone(),
            avoided,
            context_above: None,
            owed: None,
        }
    }

    async fn whole(mut self) -> Result<Whole, Error> {
        match self.acquire().await? {
            Opened::Whole(whole) => {
                let telling = &self.request.telling;
                telling.write(|story| {
                    story.served_by = Some(whole.note);
                    story.first_token = Some(clock::now().saturating_sub(story.received));
                    story.usage = whole.usage;
                });
                telling.end(200, None);
                Ok(whole)
            }
            // Only a stream request is given a stream.
            Opened::Live(_) => Err(Error::Internal),
        }
    }

    async fn play(mut self, stage: Stage, headers: AnswerHeaders) -> Result<(), Error> {
        let telling = self.request.telling.clone();
        loop {
            let Opened::Live(live) = self.acquire().await? else { return Err(Error::Internal) };
            let Live { mut leg, mut reader, mut watch, headers: seen, held, over, target } = *live;
            if self.owed.is_none() {
                telling.write(|story| {
                    story.served_by = Some(leg.note);
                    story.first_token = Some(clock::now().saturating_sub(story.received));
                });
                *headers.borrow_mut() = seen;
                if telling.read(|story| story.early_head) {
                    stage.put(named_late(&telling)).await;
                }
                if self.request.explain {
                    stage.put(explained_stream(&telling)).await;
                }
            }
            if !held.is_empty() {
                stage.put(held).await;
            }
            match relay(&mut reader, &mut watch, &stage, over).await {
                Ok(()) => {
                    telling.write(|story| {
                        story.usage = reader.usage;
                        story.rescue = self.owed.is_some().then_some("replayed");
                    });
                    leg.succeeded(reader.usage);
                    telling.end(200, None);
                    return Ok(());
                }
                Err(failed) => {
                    leg.blameless = reader.differs;
                    leg.failed(&failed);
                    let Some(text) = self.rescuable(&reader, &failed) else {
                        return Err(Error::Upstream(Box::new(failed)));
                    };
                    telling.write(|story| story.rescue = Some("failed"));
                    log::info!("rescuing a stream that broke at {}: {}", target.handle.name(), failed.message);
                    self.owed = Some(text);
                    self.fell(vec![(target, failed)])?;
                }
            }
        }
    }

    /// The text that the client has, if another backend may take over from there.
    fn rescuable(&self, reader: &Reader, failed: &Failed) -> Option<String> {
        let first = self.owed.is_none();
        let fits = !reader.intricate && failed.class.disposition().other;
        let may = first && fits && self.request.pin.is_none() && !self.request.time_left().is_zero();
        let text = reader.text.clone().filter(|_| may)?;
        self.worker.retries.borrow_mut().spend().then_some(text)
    }

    /// Attempts until one has content, or none is left to make.
    async fn acquire(&mut self) -> Result<Opened, Error> {
        let most = if self.request.pin.is_some() { 1 } else { self.request.failover.max_attempts };
        // Each round makes an attempt or waits, twice at most for each attempt: until the backend may be asked again, and
        // until its gate is open. The waits are bounded along with the attempts.
        let mut rounds = 3 * most;
        loop {
            rounds = rounds.saturating_sub(1);
            let refusal = match self.assign_or_queue().await? {
                Ok(grant) => match self.race(grant).await {
                    Ok(opened) => return Ok(opened),
                    Err(fallen) => {
                        self.fell(fallen)?;
                        let allowed = self.attempts < most && !self.request.time_left().is_zero();
                        if allowed && self.worker.retries.borrow_mut().spend() {
                            continue;
                        }
                        return Err(self.give_up(None));
                    }
                },
                Err(refusal) => refusal,
            };
            if !self.avoided.is_empty() {
                let avoided = std::mem::take(&mut self.avoided);
                self.tried.retain(|id| !avoided.contains(id));
                continue;
            }
            if self.fallen.is_empty() || rounds == 0 || !Box::pin(self.wait(&refusal)).await {
                return Err(self.give_up(Some(refusal)));
            }
        }
    }

    async fn assign_or_queue(&self) -> Result<Result<Grant, Refusal>, Error> {
        let answer = self.assign().await?;
        match (&answer, &self.request.route) {
            (Err(refusal), Some(route)) if refusal.full && route.settings.queue > 0 => {
                Box::pin(queue::wait(route, self.request.time_left(), || self.assign())).await
            }
            _ => Ok(answer),
        }
    }

    async fn assign(&self) -> Result<Result<Grant, Refusal>, Error> {
        let request = &self.request;
        let ask = Assign {
            model: request.model.clone(),
            user: request.user.clone(),
            pin: request.pin.clone(),
            tried: self.tried.clone(),
            context_above: self.context_above,
            prompt_tokens: request.prompt_tokens,
            explain: request.explain,
        };
        // No deadline of its own: the router lives on this thread and answers in the next turn, unless it is being
        // rebuilt, which its guard bounds, or given up, which closes its mailbox.
        self.worker.router.send(ask).await.map_err(|_| Error::Internal)
    }

    /// One attempt; beside a slow one a second, whichever has content first.
    async fn race(&mut self, grant: Grant) -> Result<Opened, Vec<(Arc<Target>, Failed)>> {
        self.attempts += 1;
        let (worker, request) = (self.worker.clone(), self.request.clone());
        let first_id = grant.target.handle.id;
        let (leg, target) = Leg::begin(&request, grant, false);
        let slow = leg.slow.clone();
        let mut first = std::pin::pin!(attempt::open(&worker, &request, leg, target, self.owed.clone()));
        let may_hedge = request.pin.is_none();
        let done = poll_fn(|cx| match first.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if may_hedge && slow.get() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(done) = done.await {
            return done.map_err(|fell| vec![fell]);
        }
        let Some(second) = Box::pin(self.second(first_id)).await else {
            return first.await.map_err(|fell| vec![fell]);
        };
        let (leg, target) = Leg::begin(&request, second, true);
        // Boxed, as all that is rare on this way: the futures of ordinary requests stay small.
        let second = Box::pin(attempt::open(&worker, &request, leg, target, self.owed.clone()));
        match select(first, second).await {
            Either::Left((Ok(opened), _)) | Either::Right((Ok(opened), _)) => Ok(opened),
            Either::Left((Err(fell), other)) => other.await.map_err(|too| vec![fell, too]),
            Either::Right((Err(fell), other)) => other.await.map_err(|too| vec![fell, too]),
        }
    }

    /// A second backend beside a slow one, if one is free and the budget allows it.
    async fn second(&mut self, first: u64) -> Option<Grant> {
        if self.attempts >= self.request.failover.max_attempts || !self.worker.hedges.borrow_mut().spend() {
            return None;
        }
        self.tried.push(first);
        let grant = self.assign().await.ok().and_then(Result::ok);
        self.tried.retain(|id| *id != first);
        self.attempts += u32::from(grant.is_some());
        grant
    }

    /// Takes note of failed attempts; an error if no other backend can help.
    fn fell(&mut self, fallen: Vec<(Arc<Target>, Failed)>) -> Result<(), Error> {
        for (target, failed) in fallen {
            if failed.class == Class::ProviderContextLength {
                self.context_above = Some(target.settings.context_window.unwrap_or(0));
            }
            let hopeless = !failed.class.disposition().other;
            let id = target.handle.id;
            self.tried.push(id);
            let tries = self.fallen.iter().filter(|f| f.id == id).count() as u32 + 1;
            self.fallen.push(Fallen { id, tries, failed: failed.clone() });
            if hopeless {
                return Err(Error::Upstream(Box::new(failed)));
            }
        }
        Ok(())
    }

    /// Waits until a backend that fell may be asked again; false if none may be within reason.
    async fn wait(&mut self, refusal: &Refusal) -> bool {
        let left = self.request.time_left();
        let due = |fallen: &Fallen| Some((pause(&fallen.failed, fallen.tries, left, rand::random())?, fallen.id));
        let latest = |id: u64| self.fallen.iter().rev().find(|f| f.id == id);
        let again = self.tried.iter().filter_map(|id| due(latest(*id)?)).min();
        let wait = match again {
            Some((wait, id)) => {
                self.tried.retain(|tried| *tried != id);
                wait
            }
            // None is barred any more, but the gates are shut for a moment.
            None => match refusal.soonest {
                Some(until) => until.saturating_sub(clock::now()) + GATE_MARGIN,
                None => return false,
            },
        };
        if wait > LONGEST_PAUSE || wait >= left {
            return false;
        }
        sleep(wait).await;
        true
    }

    /// What the client is told when nothing is left to try.
    fn give_up(&mut self, refusal: Option<Refusal>) -> Error {
        let (now, fingerprint) = (clock::now(), self.request.fingerprint());
        for fallen in &self.fallen {
            self.worker.blame.borrow_mut().remember(fingerprint, fallen.id, now);
        }
        let failures = std::mem::take(&mut self.fallen).into_iter().map(|fallen| fallen.failed).collect();
        let soonest = refusal.as_ref().and_then(|refusal| refusal.soonest);
        if let Some(decision) = refusal.as_ref().and_then(|refusal| refusal.decision.as_ref()) {
            // Plain data always serialises.
            self.request.telling.write(|story| story.decision = serde_json::to_value(decision).ok());
        }
        match (most_useful(failures), refusal) {
            (Some(mut failed), _) => {
                // An honest wait: until the first backend that could take it opens again, tried or not.
                let other = soonest.map(|until| until.saturating_sub(clock::now()));
                failed.retry_after = failed.retry_after.map(|own| other.map_or(own, |other| own.min(other)));
                Error::Upstream(Box::new(failed))
            }
            (None, Some(refusal)) => refusal.error,
            (None, None) => Error::Internal,
        }
    }
}

/// Gates are published in whole milliseconds, by another thread: this much later they surely are open.
const GATE_MARGIN: Duration = Duration::from_millis(5);
