//! Owns the Router actor: one per HTTP worker, on that worker's thread; it filters, compares and grants leases.

mod assign;
pub mod choose;
pub mod local;
pub mod messages;
pub mod pace;
pub mod table;

use std::{cell::RefCell, rc::Rc};

use actix::{Actor, Context, Handler, MessageResult, Supervised};

use self::{
    assign::Assigner,
    messages::{Assign, Crash},
    table::Installed,
};

/// What a router decides by, shared with the code that asks it on its own thread; `None` while the router is being rebuilt.
type SharedAssigner = Rc<RefCell<Option<Assigner>>>;

/// The actor.
#[derive(Debug)]
pub struct Router {
    installed: Installed,
    shared: SharedAssigner,
}

impl Router {
    /// A router over the table in force.
    pub fn new(installed: Installed) -> Self {
        let router = Self { installed, shared: SharedAssigner::default() };
        router.shared.replace(Some(router.assigner()));
        router
    }

    fn assigner(&self) -> Assigner {
        Assigner::new(self.installed.clone(), rand::random())
    }
}

impl Actor for Router {
    type Context = Context<Self>;
}

impl Supervised for Router {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.shared.replace(Some(self.assigner()));
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // It was given up: nothing decides in its place.
        self.shared.take();
    }
}

impl Handler<Assign> for Router {
    type Result = MessageResult<Assign>;

    fn handle(&mut self, ask: Assign, _: &mut Self::Context) -> Self::Result {
        // Taken out meanwhile: if it panics, it is not used again.
        let mut assigner = self.shared.take().unwrap_or_else(|| self.assigner());
        let answer = assigner.assign(&ask);
        self.shared.replace(Some(assigner));
        MessageResult(answer)
    }
}

impl Handler<Crash> for Router {
    type Result = ();

    fn handle(&mut self, Crash(words): Crash, _: &mut Self::Context) {
        self.shared.take();
        panic!("{words}");
    }
}
