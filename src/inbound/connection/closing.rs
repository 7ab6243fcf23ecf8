//! Owns telling a worker's connections that Greenroom stops.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    task::Waker,
};

/// Shared by a worker's connections. A signal polled by each connection would cost a lock for each request; this costs an
/// entry for each connection.
#[derive(Default)]
pub(super) struct Closing {
    closed: Cell<bool>,
    wakers: RefCell<HashMap<u64, Waker>>,
    next: Cell<u64>,
}

/// A connection's entry; gone when dropped.
pub(super) struct Entry {
    closing: Rc<Closing>,
    number: u64,
}

impl Closing {
    /// Enters a connection, whose task `waker` wakes.
    pub(super) fn enter(self: &Rc<Self>, waker: &Waker) -> Entry {
        let number = self.next.get();
        self.next.set(number + 1);
        self.wakers.borrow_mut().insert(number, waker.clone());
        Entry { closing: self.clone(), number }
    }

    /// No further request is taken.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    /// Wakes every connection, because something that they check has changed.
    pub(super) fn wake(&self) {
        for waker in self.wakers.borrow().values() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.closing.wakers.borrow_mut().remove(&self.number);
    }
}
