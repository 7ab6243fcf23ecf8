//! Owns the way of a story into history: added up on the worker that served it, handed over once per flush interval.
//!
//! A message per request would wake the recorder's thread, a system call, for each; adding to a map of the worker's own
//! costs a hash, and a whole flush interval becomes a handful of rows.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

use super::tally::{Key, Tally, tell};
use crate::telemetry::{
    counts::{Counts, Labels},
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
    pub(super) every: Duration,
    pub(super) counts: Arc<Counts>,
    /// Feeds that have not handed in everything yet.
    pub(super) feeds: Arc<AtomicUsize>,
    /// Set when Greenroom stops.
    pub(super) closing: watch::Receiver<bool>,
}

/// What a worker has not handed in yet. Dropped with its worker, it hands in the rest.
#[derive(Debug)]
pub struct Feed {
    intake: Intake,
    pending: RefCell<HashMap<Key, Tally, RandomState>>,
    /// Nothing is held back any more.
    closing: Cell<bool>,
}

impl Feed {
    /// A feed of this thread, which has to run tasks.
    pub(super) fn start(intake: Intake) -> Rc<Self> {
        intake.feeds.fetch_add(1, Ordering::Relaxed);
        let feed = Rc::new(Self { intake, pending: RefCell::default(), closing: Cell::new(false) });
        let weak = Rc::downgrade(&feed);
        let mut closing = feed.intake.closing.clone();
        let mut tick = interval(feed.intake.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        actix_rt::spawn(async move {
            loop {
                let closed = tokio::select! {
                    _ = tick.tick() => false,
                    changed = closing.wait_for(|closing| *closing) => { drop(changed); true }
                };
                let Some(feed) = weak.upgrade() else { return };
                feed.closing.set(closed);
                feed.hand_in();
                if closed {
                    return;
                }
            }
        });
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
            self.hand_in();
        }
    }

    fn hand_in(&self) {
        for (key, tally) in self.pending.borrow_mut().drain() {
            let attempts = tally.total();
            if self.intake.rows.try_send(Row { key, tally }).is_err() {
                self.intake.counts.dropped.fetch_add(attempts, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hand_in();
        self.intake.feeds.fetch_sub(1, Ordering::Release);
    }
}
