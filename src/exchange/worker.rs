//! Owns what the requests of one HTTP worker share.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use actix::{Addr, MailboxError};
use arc_swap::Cache;
use tokio::time::Instant;

use super::{
    blame::Blame,
    budget::{Budget, HEDGES, RETRIES},
};
use crate::{
    error::Error,
    router::{
        Router,
        local::LocalRouter,
        messages::{Assign, Assignment},
        table::{Installed, Table},
    },
    telemetry::{story::Listener, traces::feed::Feed},
    timer::Timers,
    upstream::Clients,
};

/// What all requests on one HTTP worker share. Other threads see nothing of it but atomics and the memory of failures, which
/// only failed requests and retries of such lock.
pub struct Worker {
    /// The router of this worker.
    router: RefCell<LocalRouter>,
    /// Starts one on this thread.
    start_router: Box<dyn Fn() -> LocalRouter>,
    /// Connections to backends.
    pub clients: Clients,
    /// Requests that still run, or whose answers are still being sent, end now, streams with an error frame. The code that
    /// sets it also wakes their connections.
    pub cut: Cell<bool>,
    /// Hears of each request's end.
    pub listener: Listener,
    /// Where the spans of requests go, if anywhere.
    pub traces: Option<Rc<Feed>>,
    /// For the deadlines of attempts.
    pub(super) timers: Timers,
    pub(super) retries: Rc<RefCell<Budget>>,
    pub(super) hedges: Rc<RefCell<Budget>>,
    pub(super) blame: Arc<Blame>,
    /// The table in force, looked at without a locked instruction.
    installed: RefCell<Cache<Installed, Arc<Table>>>,
    /// The table that the clients and budgets belong to.
    seen: RefCell<Arc<Table>>,
}

impl Worker {
    /// The address of this worker's router.
    pub fn router(&self) -> Addr<Router> {
        self.router.borrow().addr().clone()
    }

    /// Asks this worker's router for a place at a backend; what it answers by `until`.
    pub(super) fn assign(
        &self,
        ask: Assign,
        until: Instant,
    ) -> impl Future<Output = Result<Assignment, MailboxError>> + use<> {
        self.router.borrow().assign(ask, until)
    }

    /// The table in force. After a reload this lets go of connections to backends that are gone, takes the new budgets, and
    /// starts a router that was given up anew.
    pub fn table(&self) -> Arc<Table> {
        let mut installed = self.installed.borrow_mut();
        let table = installed.load();
        if !Arc::ptr_eq(&self.seen.borrow(), table) {
            self.clients.retain(|id| table.handles.values().any(|handle| handle.id == id));
            let old = self.seen.replace(table.clone());
            let (was, is) = (&old.settings.failover, &table.settings.failover);
            if was != is {
                self.retries.replace(Budget::new(is.retry_budget, RETRIES));
                self.hedges.replace(Budget::new(is.hedge_budget, HEDGES));
            }
            if !self.router.borrow().addr().connected() {
                self.router.replace((self.start_router)());
            }
        }
        table.clone()
    }

    /// What comes of `work`, unless Greenroom's time to stop is over before it: its connection is woken then.
    pub async fn unless_cut<T>(&self, mut work: Pin<&mut impl Future<Output = Result<T, Error>>>) -> Result<T, Error> {
        poll_fn(|cx| if self.cut.get() { Poll::Ready(Err(Error::ShuttingDown)) } else { work.as_mut().poll(cx) }).await
    }

    /// A request has ended well.
    pub(super) fn earn(&self) {
        self.retries.borrow_mut().earn();
        self.hedges.borrow_mut().earn();
    }

    /// A worker's share of the world, with a router of its own.
    pub fn new(
        start_router: impl Fn() -> LocalRouter + 'static,
        installed: Installed,
        listener: Listener,
        traces: Option<Rc<Feed>>,
        blame: Arc<Blame>,
    ) -> Self {
        let failover = installed.load().settings.failover.clone();
        Self {
            router: RefCell::new(start_router()),
            start_router: Box::new(start_router),
            clients: Clients::default(),
            cut: Cell::new(false),
            listener,
            traces,
            timers: Timers::default(),
            retries: Rc::new(RefCell::new(Budget::new(failover.retry_budget, RETRIES))),
            hedges: Rc::new(RefCell::new(Budget::new(failover.hedge_budget, HEDGES))),
            blame,
            seen: RefCell::new(installed.load_full()),
            installed: RefCell::new(Cache::new(installed)),
        }
    }
}
