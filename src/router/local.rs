//! Owns asking a router on its own thread: by a plain call if possible, else through its mailbox.
//!
//! A question by mailbox costs an envelope, a channel for the answer, two wake-ups and two polls: 23 locked instructions, and
//! 3 % of a request's CPU (`docs/benchmarks/core.md`). On one thread two decisions never run at the same time, with a mailbox
//! or without.

use std::{
    future::{Ready, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
};

use actix::{Addr, MailboxError, prelude::Request};
use futures_util::future::Either;
use tokio::time::Instant;

use super::{
    Router, SharedAssigner,
    messages::{Assign, Assignment, Crash},
};
use crate::error::panic_words;

/// A worker's router, as the worker knows it.
pub struct LocalRouter {
    shared: SharedAssigner,
    addr: Addr<Router>,
}

/// An answer that is there, or comes through the mailbox.
type Assigning = Either<Ready<Result<Assignment, MailboxError>>, Pin<Box<Request<Router, Assign>>>>;

impl LocalRouter {
    /// A router that `start` starts on this thread.
    pub fn start(router: Router, start: impl FnOnce(Router) -> Addr<Router>) -> Self {
        Self { shared: router.shared.clone(), addr: start(router) }
    }

    /// Its address, for everything but the question of each request.
    pub fn addr(&self) -> &Addr<Router> {
        &self.addr
    }

    /// Asks for a place at a backend. A router that is being rebuilt answers when it is back, if that is before `until`. After
    /// a panic this question has no answer, and the actor crashes as if the question had been a message.
    pub fn assign(&self, ask: Assign, until: Instant) -> Assigning {
        let Some(mut assigner) = self.shared.take() else {
            let left = until.saturating_duration_since(Instant::now());
            return Either::Right(Box::pin(self.addr.send(ask).timeout(left)));
        };
        Either::Left(ready(match catch_unwind(AssertUnwindSafe(|| assigner.assign(&ask))) {
            Ok(answer) => {
                self.shared.replace(Some(assigner));
                Ok(answer)
            }
            Err(panic) => {
                self.addr.do_send(Crash(panic_words(&*panic)));
                Err(MailboxError::Closed)
            }
        }))
    }
}
