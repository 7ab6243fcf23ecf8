//! Owns the way of a story into history: added up on the worker that served it, handed over once per flush interval.
//!
//! Adding to a map of the worker's own costs a hash, and a whole flush interval becomes a handful of rows.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tokio::sync::mpsc;

use super::tally::{Key, Tally, tell};
use crate::telemetry::{
    counts::{Counts, Labels},
    handing::{Feeding, Handing, Open},
    story::Story,
};

/// A minute's row, or a part of one.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) tally: Tally,
}

/// Where workers hand in their rows. Shared by all of them.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    pub(super) rows: mpsc::Sender<Row>,
    pub(super) counts: Arc<Counts>,
    pub(super) handing: Handing,
}

/// What a worker has not handed in yet. Dropped with its worker, it hands in the rest.
#[derive(Debug)]
pub struct Feed {
    intake: Intake,
    pending: RefCell<HashMap<Key, Tally, RandomState>>,
    /// Nothing is held back any more.
    closing: Cell<bool>,
    _open: Open,
}

impl Feed {
    /// A feed of this thread, which has to run tasks.
    pub(super) fn start(intake: Intake) -> Rc<Self> {
        let open = intake.handing.open();
        let feed = Rc::new(Self { intake, pending: RefCell::default(), closing: Cell::new(false), _open: open });
        feed.intake.handing.see_to(&feed);
        feed
    }

    /// Adds a story.
    pub fn record(&self, story: &Story, labels: Labels<'_>) {
        let mut pending = self.pending.borrow_mut();
        tell(story, labels, |row, add| match pending.get_mut(&row) {
            Some(tally) => add(tally),
            None => add(pending.entry(Key::from(row)).or_default()),
        });
        drop(pending);
        if self.closing.get() {
            self.hand_over();
        }
    }

    fn hand_over(&self) {
        for (key, tally) in self.pending.borrow_mut().drain() {
            let attempts = tally.total();
            if self.intake.rows.try_send(Row { key, tally }).is_err() {
                self.intake.counts.dropped.fetch_add(attempts, Ordering::Relaxed);
            }
        }
    }
}

impl Feeding for Feed {
    fn hand_in(&self, last: bool) {
        self.closing.set(last);
        self.hand_over();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hand_over();
    }
}
