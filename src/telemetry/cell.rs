//! Owns the counts of one model's requests that ended at one backend.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{
    phase::Phase,
    rescues::Rescues,
    story::{Ending, Story},
};
use crate::{
    backend::histogram::{Histogram, OVERHEAD, REQUEST},
    error::Class,
};

/// First digits of statuses as labels, in the order of `Cell::requests`.
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

const ENDINGS: usize = Ending::WORDS.len();

/// When clients leave, in the order of `Cell::left`.
const LEFT: [&str; 2] = ["waiting", "streaming"];

/// Requests of one model that ended at one backend.
#[derive(Debug)]
pub(super) struct Cell {
    requests: [AtomicU64; STATUS_CLASSES.len() * ENDINGS * 2],
    /// Whole answers, streams.
    pub(super) duration: [Histogram; 2],
    /// By `Phase`.
    pub(super) overhead: [Histogram; Phase::ALL.len()],
    pub(super) queued: Histogram,
    left: [AtomicU64; LEFT.len()],
    pub(super) rescues: Rescues,
}

impl Default for Cell {
    fn default() -> Self {
        Self {
            requests: [const { AtomicU64::new(0) }; STATUS_CLASSES.len() * ENDINGS * 2],
            duration: [Histogram::new(REQUEST), Histogram::new(REQUEST)],
            overhead: Phase::ALL.map(|_| Histogram::new(OVERHEAD)),
            queued: Histogram::new(REQUEST),
            left: [const { AtomicU64::new(0) }; LEFT.len()],
            rescues: Rescues::default(),
        }
    }
}

impl Cell {
    /// A request that ended there.
    pub(super) fn record(&self, story: &Story) {
        self.count(story.status, Ending::of(story.class), story.stream);
        self.duration[usize::from(story.stream)].record(story.total());
        for (histogram, spent) in self.overhead.iter().zip(story.spent) {
            histogram.record(spent);
        }
        if let Some(queued) = story.queued {
            self.queued.record(queued);
        }
        self.rescues.record(story);
        self.count_left(story.class, story.first_token.is_some());
    }

    /// Counts that its client left, if it did; `begun`: after the first token.
    pub(super) fn count_left(&self, class: Option<Class>, begun: bool) {
        if class == Some(Class::CallerCancelled) {
            self.left[usize::from(begun)].fetch_add(1, Relaxed);
        }
    }

    /// How it ended.
    pub(super) fn count(&self, status: u16, ending: Ending, stream: bool) {
        let class = usize::from(status / 100).clamp(1, STATUS_CLASSES.len()) - 1;
        self.requests[(class * ENDINGS + ending as usize) * 2 + usize::from(stream)].fetch_add(1, Relaxed);
    }

    /// Status class, outcome, streamed, count.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, bool, u64)> {
        self.requests.iter().enumerate().map(|(n, count)| {
            let (class, outcome) = (n / 2 / ENDINGS, n / 2 % ENDINGS);
            (STATUS_CLASSES[class], Ending::WORDS[outcome], n % 2 == 1, count.load(Relaxed))
        })
    }

    /// When clients left, count.
    pub(super) fn left(&self) -> impl Iterator<Item = (&'static str, u64)> {
        LEFT.into_iter().zip(self.left.iter().map(|count| count.load(Relaxed)))
    }
}
