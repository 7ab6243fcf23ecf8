//! Owns what is counted of the rescues of broken streams, and its part of the metrics page.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    counts::Cell,
    exposition::{Page, with},
    grown::Pair,
    story::{CANCELLED, Story},
};

/// That nobody could take over, or that who did broke off or said something else.
const FAILED: &str = "failed";

/// What becomes of a rescue, in a story's words.
const OUTCOMES: [&str; 4] = ["continued", "replayed", FAILED, CANCELLED];

/// Rescues of streams that broke off at one backend, by `OUTCOMES`.
#[derive(Debug, Default)]
pub(super) struct Rescues([AtomicU64; OUTCOMES.len()]);

impl Rescues {
    /// Counts what became of this request's, if there was one.
    pub(super) fn record(&self, story: &Story) {
        let Some(told) = story.rescue else { return };
        if let Some((_, count)) = OUTCOMES.iter().zip(&self.0).find(|(known, _)| **known == told) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// Their part of the page. A series that starts at zero shows its first increase as one: that is wanted of those that fail.
pub(super) fn write(page: &mut Page<'_>, cells: &[(Pair, Arc<Cell>)]) -> fmt::Result {
    page.counters(
        "rescues_total",
        "Streams that broke off at a backend after content and were to be taken over, by what came of it.",
        cells.iter().flat_map(|(key, cell)| {
            let counts =
                OUTCOMES.into_iter().zip(&cell.rescues.0).map(|(outcome, count)| (outcome, count.load(Relaxed)));
            let shown = counts.filter(|(outcome, count)| *count > 0 || *outcome == FAILED);
            shown.map(|(outcome, count)| (with(key, "outcome", outcome), count))
        }),
    )
}
