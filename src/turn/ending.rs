//! Owns the end of a thread's turns: which sockets hold something, and when they send it.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::{HIGH_WATER, Outbox};

/// The most messages that a turn holds back, so that the first in a long turn do not wait for the last. From 16 to 64 the gain
/// is about the same; 1, which means sending at once, costs a tenth more CPU per request (`docs/benchmarks/core.md`).
pub(super) const TOGETHER: usize = 32;

/// Buffers kept for the next messages.
const SPARE: usize = 64;

/// What one thread sends at the end of its turn.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) list: RefCell<Vec<Rc<Outbox>>>,
    spare: RefCell<Vec<Vec<u8>>>,
    /// Wakes the task that ends turns, while there is one.
    end: RefCell<Option<Waker>>,
}

thread_local! {
    pub(super) static TURN: Turn = Turn::default();
}

/// The task that ends a thread's turns: once woken, it runs after all tasks that were woken before it.
struct Ending;

impl Future for Ending {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        TURN.with(|turn| {
            let mut end = turn.end.borrow_mut();
            if end.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                *end = Some(cx.waker().clone());
            }
            drop(end);
            turn.send();
        });
        Poll::Pending
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // It is dropped with its runtime, and the thread may run another. A thread that ends has dropped its turn by itself.
        let _ = TURN.try_with(|turn| turn.end.take());
    }
}

impl Turn {
    /// Sends what this socket holds at the end of the turn.
    pub(super) fn list(&self, outbox: &Rc<Outbox>) {
        let mut list = self.list.borrow_mut();
        list.push(outbox.clone());
        let listed = list.len();
        drop(list);
        if listed >= TOGETHER {
            self.send();
        } else if listed == 1 {
            match &*self.end.borrow() {
                Some(waker) => waker.wake_by_ref(),
                None => drop(actix_rt::spawn(Ending)),
            }
        }
    }

    fn send(&self) {
        let mut list = self.list.take();
        for outbox in list.drain(..) {
            outbox.listed.set(false);
            if !outbox.stuck.get() {
                outbox.send(self);
            }
        }
        // Its memory serves the next turn.
        self.list.replace(list);
    }

    /// A buffer for the next message.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes back a buffer for the next message; a large one is not kept.
    pub(super) fn take_back(&self, out: &mut Vec<u8>) {
        let mut out = std::mem::take(out);
        let mut spare = self.spare.borrow_mut();
        if out.capacity() <= HIGH_WATER && spare.len() < SPARE {
            out.clear();
            spare.push(out);
        }
    }
}
