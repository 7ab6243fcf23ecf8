//! One simulated server in real time: each step of the model ends when it is due, and then its tokens may be sent.
//!
//! The model's time is the real clock's since the first chat, faster by a factor.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    fleet::Member,
    server::{Progress, Server},
    trace::Request,
};

/// One clock for all servers of a fleet.
pub(crate) struct Clock {
    begin: Cell<Option<Instant>>,
    faster: f64,
}

impl Clock {
    pub(crate) fn new(faster: f64) -> Self {
        Self { begin: Cell::new(None), faster }
    }

    /// The model's time; the first to ask for it starts it.
    pub(crate) fn now(&self) -> f64 {
        let begin = self.begin.get().unwrap_or_else(Instant::now);
        self.begin.set(Some(begin));
        begin.elapsed().as_secs_f64() * self.faster
    }

    /// When it is `model` seconds by the model's time.
    pub(crate) fn at(&self, model: f64) -> Instant {
        self.begin.get().unwrap_or_else(Instant::now) + Duration::from_secs_f64(model / self.faster)
    }
}

/// An answer under way: the tokens that are out, and who waits for more.
#[derive(Default)]
pub(crate) struct Answer {
    pub tokens: Cell<usize>,
    pub more: Notify,
}

/// A server of the fleet.
pub(crate) struct Backend {
    clock: Rc<Clock>,
    /// Between which of the model's seconds it fails.
    fails: Option<(f64, f64)>,
    server: RefCell<Server>,
    /// Told when there may be a step to wait for.
    begun: Notify,
    /// Answers without a token.
    waiting: RefCell<HashMap<usize, Rc<Answer>>>,
    streaming: RefCell<Vec<(usize, Rc<Answer>)>>,
    /// Requests it got.
    pub requests: Cell<usize>,
    /// Those it failed.
    pub failed: Cell<usize>,
    /// Those whose peer left before the end. Their sequences run on: no proxy leaves in these runs, and if one does, it shows.
    pub left: Cell<usize>,
    /// Real milliseconds by which steps ended after they were due.
    pub late: RefCell<Vec<f64>>,
}

impl Backend {
    pub(crate) fn new(member: &Member, span: f64, clock: Rc<Clock>) -> Self {
        Self {
            clock,
            fails: member.fails.map(|(from, to)| (from * span, to * span)),
            server: RefCell::new(Server::new(member.model, member.speed.clone(), span)),
            begun: Notify::new(),
            waiting: RefCell::default(),
            streaming: RefCell::default(),
            requests: Cell::default(),
            failed: Cell::default(),
            left: Cell::default(),
            late: RefCell::default(),
        }
    }

    /// Takes a request; none: it fails at once.
    pub(crate) fn ask(&self, prompt: u32, answer: u32) -> Option<Rc<Answer>> {
        let now = self.clock.now();
        let id = self.requests.get();
        self.requests.set(id + 1);
        if self.fails.is_some_and(|(from, to)| (from..to).contains(&now)) {
            self.failed.set(self.failed.get() + 1);
            return None;
        }
        let request = Request { arrival: now, prompt, answer, group: 0 };
        let under_way = Rc::new(Answer::default());
        self.waiting.borrow_mut().insert(id, Rc::clone(&under_way));
        self.server.borrow_mut().push(id, &request, now);
        self.begun.notify_one();
        Some(under_way)
    }

    /// Ends each step when it is due. The model goes on from there, not from now: a late timer slows nothing down.
    pub(crate) async fn run(&self) {
        loop {
            let due = self.server.borrow().step_end;
            if let Some(due) = due {
                let due = self.clock.at(due);
                sleep_until(due).await;
                self.late.borrow_mut().push((Instant::now() - due).as_secs_f64() * 1e3);
                self.finish_step();
            } else {
                self.begun.notified().await;
            }
        }
    }

    fn finish_step(&self) {
        let (mut waiting, mut streaming) = (self.waiting.borrow_mut(), self.streaming.borrow_mut());
        let mut done = Vec::new();
        self.server.borrow_mut().finish_step(|progress| match progress {
            Progress::First(id) => streaming.extend(waiting.remove(&id).map(|answer| (id, answer))),
            Progress::Done(id) => done.push(id),
        });
        // Every sequence past its prompt has a token of each step.
        streaming.retain(|(id, answer)| {
            answer.tokens.set(answer.tokens.get() + 1);
            answer.more.notify_one();
            !done.contains(id)
        });
    }
}
