//! Owns the way of a story into history: added up on the worker that served it, handed over once per flush interval.
//!
//! Adding to a map of the worker's own costs a hash, and a whole flush interval becomes a handful of rows.

use std::sync::{Arc, atomic::Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tokio::sync::mpsc;

use super::tally::{Key, Tally, tell};
use crate::telemetry::{
    counts::{Counts, Labels},
    handing::{self, Gathered},
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
}

/// The rows of a worker.
pub type Feed = handing::Feed<Rows>;

/// What a worker has not handed in yet.
#[derive(Debug)]
pub struct Rows {
    intake: Intake,
    pending: HashMap<Key, Tally, RandomState>,
}

impl Rows {
    /// None yet.
    pub(super) fn of(intake: Intake) -> Self {
        Self { intake, pending: HashMap::default() }
    }
}

impl Feed {
    /// Adds a story.
    pub fn record(&self, story: &Story, labels: Labels<'_>) {
        self.add(|Rows { pending, .. }| {
            tell(story, labels, |row, add| match pending.get_mut(&row) {
                Some(tally) => add(tally),
                None => add(pending.entry(Key::from(row)).or_default()),
            });
        });
    }
}

impl Gathered for Rows {
    fn hand_over(&mut self) {
        for (key, tally) in self.pending.drain() {
            let attempts = tally.total();
            if self.intake.rows.try_send(Row { key, tally }).is_err() {
                self.intake.counts.dropped.fetch_add(attempts, Ordering::Relaxed);
            }
        }
    }
}
