//! Owns the guard that lets an actor survive a panic: it catches the unwinding, waits, and restarts the actor under the
//! same address with the same queue. `actix::Supervisor` does none of that.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context as TaskContext, Poll, ready},
};

use actix::{Actor, Addr, Context, Supervised, dev::ContextFut};
use tokio::time::{Instant, Sleep, sleep_until};

use super::backoff::{Intensity, Next};
use crate::{clock, error::panic_words};

/// What the guard tells about its actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It panicked with this message and is back.
    Restarted(String),
    /// It panicked too often with this message and stays dead.
    GaveUp(String),
}

/// Starts `actor` on this thread under a guard; `tell` hears of each panic. `tell` must not panic.
pub fn start<A>(actor: A, tell: impl Fn(Notice) + 'static) -> Addr<A>
where
    A: Actor<Context = Context<A>> + Supervised + Unpin,
{
    let actor = Context::new().into_future(actor);
    let address = actor.address();
    actix_rt::spawn(Guarded { actor, intensity: Intensity::default(), resting: None, tell });
    address
}

/// An actor's future with the guard around it.
struct Guarded<A: Actor<Context = Context<A>>, F> {
    actor: ContextFut<A, Context<A>>,
    intensity: Intensity,
    /// The wait after a panic, with the panic's message.
    resting: Option<(Pin<Box<Sleep>>, String)>,
    tell: F,
}

impl<A, F> Future for Guarded<A, F>
where
    A: Actor<Context = Context<A>> + Supervised + Unpin,
    F: Fn(Notice) + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        // All fields are Unpin or boxed; nothing here is pinned in place.
        let this = self.get_mut();
        loop {
            if let Some((sleep, _)) = &mut this.resting {
                ready!(sleep.as_mut().poll(cx));
            }
            let restarts = this.resting.take();
            // Caught inside of poll, so that the context with its mailbox is not dropped by the unwinding.
            let polled = catch_unwind(AssertUnwindSafe(|| {
                if let Some((_, cause)) = restarts {
                    // False: nobody holds the address any more.
                    if !this.actor.restart() {
                        return Poll::Ready(());
                    }
                    (this.tell)(Notice::Restarted(cause));
                }
                Pin::new(&mut this.actor).poll(cx)
            }));
            match polled {
                Ok(poll) => return poll,
                Err(panic) if this.rest(&panic_words(&*panic)) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<A, F> Guarded<A, F>
where
    A: Actor<Context = Context<A>>,
    F: Fn(Notice) + 'static,
{
    /// Begins the wait after a panic; false if the actor is given up.
    fn rest(&mut self, cause: &str) -> bool {
        log::error!("actor panicked: {}: {cause}", std::any::type_name::<A>());
        match self.intensity.panicked(clock::now(), rand::random()) {
            Next::Restart(wait) => {
                self.resting = Some((Box::pin(sleep_until(Instant::now() + wait)), cause.to_owned()));
                true
            }
            Next::GiveUp => {
                (self.tell)(Notice::GaveUp(cause.to_owned()));
                false
            }
        }
    }
}

impl<A: Actor<Context = Context<A>>, F> Unpin for Guarded<A, F> {}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use actix::{Handler, MailboxError, Message};

    use super::*;

    struct Counter {
        count: u32,
    }

    impl Actor for Counter {
        type Context = Context<Self>;
    }

    impl Supervised for Counter {
        fn restarting(&mut self, _: &mut Self::Context) {
            *self = Self { count: 0 };
        }
    }

    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Add(u32);

    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Panic;

    impl Handler<Add> for Counter {
        type Result = u32;
        fn handle(&mut self, Add(n): Add, _: &mut Self::Context) -> u32 {
            self.count += n;
            self.count
        }
    }

    impl Handler<Panic> for Counter {
        type Result = u32;
        fn handle(&mut self, _: Panic, _: &mut Self::Context) -> u32 {
            panic!("as asked");
        }
    }

    fn notices() -> (Rc<RefCell<Vec<Notice>>>, impl Fn(Notice)) {
        let notices = Rc::new(RefCell::new(Vec::new()));
        let tell = {
            let notices = notices.clone();
            move |notice| notices.borrow_mut().push(notice)
        };
        (notices, tell)
    }

    #[actix::test]
    async fn a_guarded_actor_survives_a_panic_with_its_address_and_its_queue() {
        tokio::time::pause();
        let (notices, tell) = notices();
        let addr = start(Counter { count: 0 }, tell);
        assert_eq!(addr.send(Add(1)).await, Ok(1));
        let in_hand = addr.send(Panic);
        let queued = addr.send(Add(5));
        let (in_hand, queued) = futures_util::future::join(in_hand, queued).await;
        assert_eq!(in_hand, Err(MailboxError::Closed));
        assert_eq!(queued, Ok(5), "served by the rebuilt actor, which has forgotten the 1");
        assert!(addr.connected());
        assert_eq!(*notices.borrow(), [Notice::Restarted("as asked".into())]);
    }

    #[actix::test]
    async fn an_actor_that_keeps_panicking_is_given_up() {
        tokio::time::pause();
        let (notices, tell) = notices();
        let addr = start(Counter { count: 0 }, tell);
        for _ in 0..=super::super::backoff::MAX_RESTARTS {
            assert_eq!(addr.send(Panic).await, Err(MailboxError::Closed));
        }
        assert_eq!(addr.send(Add(1)).await, Err(MailboxError::Closed));
        assert_eq!(notices.borrow().last(), Some(&Notice::GaveUp("as asked".into())));
    }
}
