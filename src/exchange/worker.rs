//! Owns what the requests of one HTTP worker share.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use actix::Addr;
use arc_swap::Cache;

use super::{blame::Blame, budget::Budget};
use crate::{
    router::{
        Router,
        table::{Installed, Table},
    },
    telemetry::story::Listener,
    timer::Timers,
    upstream::Clients,
};

/// What every request on one HTTP worker shares; nothing in it is shared with another thread but through atomics.
pub struct Worker {
    /// The router of this worker.
    pub router: Addr<Router>,
    /// Connections to backends.
    pub clients: Clients,
    /// Streams that still run end now, with an error frame. Whoever sets it wakes their connections.
    pub cut: Cell<bool>,
    /// Hears of each request's end.
    pub listener: Listener,
    /// For the deadlines of attempts.
    pub(super) timers: Timers,
    pub(super) retries: RefCell<Budget>,
    pub(super) hedges: RefCell<Budget>,
    pub(super) blame: RefCell<Blame>,
    /// The table in force, looked at without a locked instruction.
    installed: RefCell<Cache<Installed, Arc<Table>>>,
    /// The table that the clients and budgets belong to.
    seen: RefCell<Arc<Table>>,
}

/// Extra attempts that a worker may make before its budgets have earned any.
const RETRY_FLOOR: f64 = 10.0;
const HEDGE_FLOOR: f64 = 3.0;

impl Worker {
    /// The table in force. After a reload this lets go of connections to backends that are gone, and takes the new budgets.
    pub fn table(&self) -> Arc<Table> {
        let mut installed = self.installed.borrow_mut();
        let table = installed.load();
        let mut seen = self.seen.borrow_mut();
        if !Arc::ptr_eq(&seen, table) {
            self.clients.retain(|id| table.handles.values().any(|handle| handle.id == id));
            let old = std::mem::replace(&mut *seen, table.clone());
            let (was, is) = (&old.settings.failover, &table.settings.failover);
            if was != is {
                self.retries.replace(Budget::new(is.retry_budget, RETRY_FLOOR));
                self.hedges.replace(Budget::new(is.hedge_budget, HEDGE_FLOOR));
            }
        }
        table.clone()
    }

    /// A worker's share of the world.
    pub fn new(router: Addr<Router>, installed: Installed, listener: Listener) -> Self {
        let failover = installed.load().settings.failover.clone();
        Self {
            router,
            clients: Clients::default(),
            cut: Cell::new(false),
            listener,
            timers: Timers::default(),
            retries: RefCell::new(Budget::new(failover.retry_budget, RETRY_FLOOR)),
            hedges: RefCell::new(Budget::new(failover.hedge_budget, HEDGE_FLOOR)),
            blame: RefCell::default(),
            seen: RefCell::new(installed.load_full()),
            installed: RefCell::new(Cache::new(installed)),
        }
    }
}
