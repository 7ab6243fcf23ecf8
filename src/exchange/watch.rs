//! Owns the deadlines of one attempt.

use std::{
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::poll_fn;
use tokio::{task::yield_now, time::Instant};

use super::{leg::Signs, stream_body::Handover};
use crate::{
    error::{Class, Failed},
    settings::Deadlines,
    timer::{Lent, Timers},
};

/// The deadlines of an attempt, on one timer.
pub(super) struct Watch {
    timer: Lent,
    /// The soft threshold, and where to tell, once, that it has passed.
    soft: Option<(Instant, Rc<Signs>)>,
    since: Instant,
    limit: Duration,
    class: Class,
    total: Instant,
    /// `total` is when the request's own time is up, not the backend's.
    hurried: bool,
    /// Where pieces wait for the client.
    handover: Option<Handover>,
    /// How long bytes were ready that the client did not take.
    pub(super) held_up: Duration,
    /// Pieces in a row that were there at once.
    burst: u32,
}

/// After this many pieces in a row the other tasks of this thread get a turn. Otherwise a backend that floods us would keep
/// the thread to itself, and even the news that its client has left would not be heard.
const BURST: u32 = 32;

/// A client that takes the next piece within this has not held up anything.
const PROMPT: Duration = Duration::from_millis(10);

impl Watch {
    /// Watches an attempt that begins `now` at a backend with these limits, for a request that has so much time `left`; tells
    /// `signs` when the soft threshold has passed.
    pub(super) fn new(timers: &Timers, now: Instant, limits: &Deadlines, left: Duration, signs: Rc<Signs>) -> Self {
        let (limit, soft) = (limits.first_token_hard, limits.first_token_soft);
        let total = limits.total.min(left);
        Self {
            timer: timers.lend(now, now + limit.min(total).min(soft)),
            soft: Some((now + soft, signs)),
            since: now,
            limit,
            class: Class::ProviderTimeoutTtft,
            total: now + total,
            hurried: left < limits.total,
            handover: None,
            held_up: Duration::ZERO,
            burst: 0,
        }
    }

    /// From now on pieces go to the client by way of `handover`.
    pub(super) fn follow(&mut self, handover: &Handover) {
        self.handover = Some(handover.clone());
    }

    /// Something has happened: the limit starts anew.
    fn touch(&mut self) {
        self.since = Instant::now();
        self.count_held_up(self.since);
        self.set(self.since);
    }

    /// Like `touch`, but the limit goes on.
    pub(super) fn note_held_up(&mut self) {
        self.count_held_up(Instant::now());
    }

    fn count_held_up(&mut self, now: Instant) {
        let time = self.handover.as_ref().map_or(Duration::ZERO, |handover| handover.held_up(now));
        if time > PROMPT {
            self.held_up += time;
        }
    }

    /// Content has come: the soft threshold has nothing more to tell.
    pub(super) fn answered(&mut self) {
        self.soft = None;
    }

    /// Another limit from now on.
    pub(super) fn limit(&mut self, limit: Duration, class: Class) {
        self.limit = limit;
        self.class = class;
        self.touch();
    }

    fn due(&self) -> Instant {
        (self.since + self.limit).min(self.total)
    }

    fn set(&mut self, now: Instant) {
        let due = self.due();
        self.timer.set(now, self.soft.as_ref().map_or(due, |(at, _)| due.min(*at)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Failed> {
        loop {
            ready!(self.timer.poll(cx));
            let now = Instant::now();
            if let Some((_, signs)) = self.soft.take_if(|(at, _)| now >= *at) {
                // Whoever polls this attempt polls in the same task, and so sees it at once.
                signs.slow.set(true);
            }
            if now >= self.total {
                let what = if self.hurried {
                    "the request's own time was up (x-greenroom-timeout-ms, or failover.deadline)"
                } else {
                    "the whole answer took longer than total_timeout"
                };
                return Poll::Ready(Failed::new(Class::ProviderTimeoutTotal, what));
            }
            if now >= self.due() {
                let what = match self.class {
                    Class::ProviderTimeoutTtft => "nothing came within first_token_hard",
                    _ => "it fell silent for longer than idle_timeout",
                };
                return Poll::Ready(Failed::new(self.class, what));
            }
            self.set(now);
        }
    }

    /// Waits for `future` within the limit. The caller pins it: taken by value it would be held twice.
    pub(super) async fn guard<T>(&mut self, future: Pin<&mut impl Future<Output = T>>) -> Result<T, Failed> {
        self.guard_within(None, future).await
    }

    /// Like `guard`, with a limit `between` two pieces that begins when the piece has to be waited for. A piece that is there
    /// at once costs no look at the clock.
    pub(super) async fn guard_within<T>(
        &mut self,
        mut between: Option<Duration>,
        mut future: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Failed> {
        poll_fn(|cx| {
            if self.burst >= BURST {
                // Polled once, it wakes this task after the thread has looked at its sockets. Until then only the limit is
                // checked.
                let _ = pin!(yield_now()).poll(cx);
            } else if let Poll::Ready(done) = future.as_mut().poll(cx) {
                self.burst += 1;
                return Poll::Ready(Ok(done));
            }
            self.burst = 0;
            if let Some(idle) = between.take() {
                self.limit(idle, Class::ProviderTimeoutIdle);
            }
            self.poll(cx).map(Err)
        })
        .await
    }
}
