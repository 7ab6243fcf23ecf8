//! Owns the counts of rescues of broken streams, and their part of the metrics page.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    cell::Cell,
    exposition::{Page, with},
    grown::Pair,
    story::{RescueOutcome, Story},
};

/// Rescues of streams that broke off at one backend, by what became of them.
#[derive(Debug, Default)]
pub(super) struct Rescues([AtomicU64; RescueOutcome::ALL.len()]);

impl Rescues {
    /// Counts what became of this request's, if there was one.
    pub(super) fn record(&self, story: &Story) {
        if let Some(outcome) = story.rescue {
            self.0[outcome as usize].fetch_add(1, Relaxed);
        }
    }
}

/// Their part of the page. A series that starts at zero shows its first increase as one: that is wanted of those that fail.
pub(super) fn write(page: &mut Page<'_>, cells: &[(Pair, Arc<Cell>)]) -> fmt::Result {
    page.counters(
        "rescues_total",
        "Streams that broke off at a backend after content and were to be taken over, by what came of it.",
        cells.iter().flat_map(|(key, cell)| {
            let counts = RescueOutcome::ALL.map(|outcome| (outcome, cell.rescues.0[outcome as usize].load(Relaxed)));
            let shown = counts.into_iter().filter(|(outcome, count)| *count > 0 || *outcome == RescueOutcome::Failed);
            shown.map(|(outcome, count)| (with(key, "outcome", outcome.as_str()), count))
        }),
    )
}
