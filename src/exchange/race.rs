//! Owns attempts side by side: a slow one gets a second beside it, and the first to have content wins.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
};

use futures_util::FutureExt;

use super::{
    Exchange,
    acquire::ends_the_request,
    attempt::{self, Ended, FailedAttempt},
    budget::Extra,
    leg::{Leg, Signs},
    request::Request,
    worker::Worker,
};
use crate::{clock, router::messages::Grant, telemetry::story::LET_GO};

/// An attempt under way.
struct Runner<'a> {
    /// The backend.
    id: u64,
    /// Its entry in the story.
    note: usize,
    /// What is seen of it.
    signs: Rc<Signs>,
    ending: Pin<Box<dyn Future<Output = Ended> + 'a>>,
}

/// Waits for an attempt to end; `None` if it becomes slow before.
fn unless_slow<F: Future<Output = Ended> + ?Sized>(
    mut ending: Pin<&mut F>,
    is_slow: impl Fn() -> bool,
) -> impl Future<Output = Option<Ended>> {
    poll_fn(move |cx| match ending.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if is_slow() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
}

/// Waits for the first of two attempts to end; returns its end, and the other attempt.
async fn first<'a>(mut one: Runner<'a>, mut two: Runner<'a>) -> (Ended, Runner<'a>) {
    let (ended, is_one) = poll_fn(|cx| match one.ending.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready((ended, true)),
        Poll::Pending => two.ending.as_mut().poll(cx).map(|ended| (ended, false)),
    })
    .await;
    (ended, if is_one { two } else { one })
}

impl Exchange {
    /// Makes an attempt, and another beside it if it is slow. The first to have content wins.
    pub(super) async fn race(&mut self, grant: Grant) -> Ended {
        self.attempts += 1;
        if let Some(extra) = self.extra.take() {
            extra.made();
        }
        let (worker, request) = (self.worker.clone(), self.request.clone());
        let id = grant.target.handle.id;
        let (leg, target) = Leg::begin(&request, grant, false);
        let (signs, note) = (leg.signs.clone(), leg.note);
        let mut ending = pin!(attempt::open(&worker, &request, leg, target, self.owed.clone()));
        let may_hedge = request.pin.is_none() && request.surface.hedges();
        if let Some(ended) = unless_slow(ending.as_mut(), || may_hedge && signs.slow.get()).await {
            return ended;
        }
        // Boxed because it is rare: the futures of ordinary requests stay small.
        let runner = Runner { id, note, signs, ending: Box::pin(ending) };
        Box::pin(self.hedge(&worker, &request, runner)).await
    }

    /// Starts another attempt beside a slow one. If one of the two fails, the other gets a new companion once it is slow.
    async fn hedge<'a>(&mut self, worker: &'a Worker, request: &'a Request, mut runner: Runner<'a>) -> Ended {
        loop {
            if let Some(ended) = unless_slow(runner.ending.as_mut(), || runner.signs.slow.get()).await {
                return ended;
            }
            let Some(grant) = self.another(runner.id) else {
                return runner.ending.await;
            };
            let id = grant.target.handle.id;
            let (leg, target) = Leg::begin(request, grant, true);
            let (signs, note) = (leg.signs.clone(), leg.note);
            let ending = Box::pin(attempt::open(worker, request, leg, target, self.owed.clone()));
            let (ended, other) = first(runner, Runner { id, note, signs, ending }).await;
            match ended {
                Ok(opened) => {
                    self.let_go(&other, "another attempt was quicker");
                    return Ok(opened);
                }
                // As soon as one backend says that no other can help, there is nothing to wait for.
                Err(fell) if ends_the_request(&fell.failed) => {
                    self.let_go(&other, "another attempt ended the request");
                    return Err(fell);
                }
                Err(FailedAttempt { target, failed }) => {
                    self.note_fallen(&target, failed);
                    runner = other;
                }
            }
        }
    }

    /// Drops the slower attempt. Its backend may still be as slow, so it is asked again for this request only if no other is
    /// left.
    fn let_go(&mut self, loser: &Runner<'_>, why: &str) {
        self.request.telling.attempt_ended(loser.note, LET_GO, None, Some(why.to_owned()), clock::now());
        if !self.tried.contains(&loser.id) {
            self.tried.push(loser.id);
            self.avoided.push(loser.id);
        }
    }

    /// A place at another backend beside a slow one, if one is free and the budget allows it. Does not wait for a router that
    /// is being rebuilt: the slow backend may answer meanwhile.
    fn another(&mut self, slow: u64) -> Option<Grant> {
        if self.attempts >= self.max_attempts() || self.spent().is_some() {
            return None;
        }
        let extra = Extra::of(&self.worker.hedges)?;
        self.tried.push(slow);
        let grant = self.assign().now_or_never().and_then(|answer| answer.ok()?.ok());
        self.tried.retain(|id| *id != slow);
        let grant = grant?;
        self.attempts += 1;
        extra.made();
        Some(grant)
    }
}
