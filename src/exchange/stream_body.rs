//! Owns the streamed response body, and the one slot through which the running exchange fills it: a slow client slows its backend.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::poll_fn;
use tokio::time::Instant;

use super::worker::Worker;
use crate::{
    error::{Error, panic_words},
    timer::Lent,
    wire::sse,
};

/// Where the exchange puts what is for the client.
#[derive(Clone, Default)]
pub(super) struct Handover(Rc<Slot>);

#[derive(Default)]
struct Slot {
    bytes: RefCell<Option<Bytes>>,
    /// When the client's connection was last given something, until the exchange asks.
    given: Cell<Option<Instant>>,
}

impl Handover {
    /// Hands over `bytes` and waits until the client's connection has taken them. Without the wait each piece would cost three
    /// polls: one to hand it over, and two in vain.
    pub(super) async fn put(&self, bytes: Bytes) {
        *self.0.bytes.borrow_mut() = Some(bytes);
        // Polled only by the body that takes from the slot: no waker is needed.
        poll_fn(|_| if self.is_set() { Poll::Pending } else { Poll::Ready(()) }).await;
    }

    fn take(&self) -> Option<Bytes> {
        self.0.bytes.borrow_mut().take()
    }

    fn is_set(&self) -> bool {
        self.0.bytes.borrow().is_some()
    }

    /// How long the client's connection has had the last piece at `now`, and so had no room for the next. To be asked once for
    /// each piece.
    pub(super) fn held_up(&self, now: Instant) -> Duration {
        self.0.given.take().map_or(Duration::ZERO, |given| now.saturating_duration_since(given))
    }
}

/// The exchange as a future; what it hands over goes through a `Handover`.
type Running = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

/// How an exchange that may stream stands when its head has to be decided.
pub(super) enum Opening {
    /// Content is there, or it has ended in order without any.
    Begun,
    /// Nothing yet, and the client has waited for long enough.
    Silent,
    /// It failed, and the client has received nothing.
    Failed(Error),
}

/// Makes an error frame, for an error after the head went out. The frame may continue what went before.
pub(super) type ErrorFrame = Box<dyn Fn(&Error, &Sent) -> Bytes>;

/// First and latest bytes of the body so far, where error frames go on from them.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) first: Bytes,
    pub(super) latest: Bytes,
}

impl Sent {
    fn note(&mut self, bytes: &Bytes) {
        // A comment is no event to go on from.
        if bytes.starts_with(b":") && sse::frames(bytes).all(|frame| frame.data.is_none()) {
            return;
        }
        if self.first.is_empty() {
            self.first = bytes.clone();
        }
        self.latest = bytes.clone();
    }
}

/// The streamed body: it drives the exchange from within the client's own connection.
pub struct StreamBody {
    worker: Rc<Worker>,
    handover: Handover,
    running: Running,
    ended: bool,
    error_frame: ErrorFrame,
    sent: Option<Sent>,
    keepalive_every: Duration,
    /// Due when the client has been sent nothing for too long.
    quiet: Lent,
}

/// How long a client may be sent nothing.
pub(super) struct Quiet {
    /// Until the head, which then goes out without content.
    pub(super) head_within: Duration,
    /// From then on, between two keepalive comments or pieces.
    pub(super) keepalive_every: Duration,
}

impl StreamBody {
    pub(super) fn new(
        worker: Rc<Worker>,
        handover: Handover,
        running: Running,
        error_frame: ErrorFrame,
        Quiet { head_within, keepalive_every }: Quiet,
    ) -> Self {
        let now = Instant::now();
        let quiet = worker.timers.lend(now, now + head_within);
        Self { worker, handover, running, ended: false, error_frame, sent: None, keepalive_every, quiet }
    }

    /// Remembers what goes out, for the error frame. Without this nothing is held longer than needed.
    pub(super) fn remember(&mut self) {
        self.sent = Some(Sent::default());
    }

    /// Drives the exchange until the head can be decided.
    pub(super) async fn open(&mut self) -> Opening {
        poll_fn(|cx| {
            match self.drive(cx) {
                Poll::Ready(Ok(())) => {
                    self.ended = true;
                    return Poll::Ready(Opening::Begun);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Opening::Failed(error)),
                Poll::Pending if self.handover.is_set() => {
                    self.sending();
                    return Poll::Ready(Opening::Begun);
                }
                Poll::Pending => {}
            }
            ready!(self.quiet.poll(cx));
            // The head goes out, and a comment with it: some clients notice nothing before the first byte of the body.
            let now = Instant::now();
            self.quiet.set(now, now);
            Poll::Ready(Opening::Silent)
        })
        .await
    }

    /// From now on sends a comment whenever nothing has gone out for so long.
    pub(super) fn keep_alive(&mut self, every: Duration) {
        self.keepalive_every = every;
        self.sending();
    }

    /// The client is being sent something.
    fn sending(&mut self) -> Instant {
        let now = Instant::now();
        self.quiet.set(now, now + self.keepalive_every);
        now
    }

    /// Polls the exchange; a panic in it becomes an error and harms nobody else.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.worker.cut.get() {
            return Poll::Ready(Err(Error::ShuttingDown));
        }
        let running = &mut self.running;
        catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))).unwrap_or_else(|panic| {
            log::error!("exchange panicked: {}", panic_words(&*panic));
            Poll::Ready(Err(Error::Internal))
        })
    }
}

/// What a streamed body does next.
pub enum Piece {
    /// These bytes are next.
    Bytes(Bytes),
    /// It ends with these bytes. There are none if it is complete. If it broke off, they are the event that its protocol has
    /// for that, which a broken connection would take from the client.
    End(Bytes),
    /// It broke off: these bytes tell, and then the connection has to break off as well.
    Broken(Bytes),
}

impl StreamBody {
    /// The next piece; to be asked only while the client's connection has room for it.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        loop {
            if let Some(bytes) = self.handover.take() {
                if let Some(sent) = &mut self.sent {
                    sent.note(&bytes);
                }
                return Poll::Ready(Piece::Bytes(bytes));
            }
            if self.ended {
                return Poll::Ready(Piece::End(Bytes::new()));
            }
            match self.drive(cx) {
                Poll::Ready(Ok(())) => self.ended = true,
                Poll::Ready(Err(error)) => {
                    self.ended = true;
                    let frame = |sent: &Sent| (self.error_frame)(&error, sent);
                    return Poll::Ready(match self.sent.take() {
                        Some(sent) => Piece::End(frame(&sent)),
                        None => Piece::Broken(frame(&Sent::default())),
                    });
                }
                Poll::Pending if self.handover.is_set() => {
                    let now = self.sending();
                    self.handover.0.given.set(Some(now));
                }
                Poll::Pending => {
                    ready!(self.quiet.poll(cx));
                    self.sending();
                    return Poll::Ready(Piece::Bytes(Bytes::from_static(b": keepalive\n\n")));
                }
            }
        }
    }
}
