//! Owns the ledger: the last thousand stories, kept in memory, for whoever asks why.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::story::{Ending, Story};

/// Stories kept.
pub const SIZE: usize = 1024;

/// A ring that all workers write into and operators read. Stories lie in it side by side, so that the processor has the next
/// place at hand: a thousand of them are more than its caches hold. Each slot has a lock of its own, held for a swap:
/// two workers meet at one only when a thousand requests end within that time.
#[derive(Debug)]
pub struct Ledger {
    slots: Box<[Mutex<Option<Story>>]>,
    next: AtomicUsize,
}

/// Which stories are wanted; `None` is any.
#[derive(Debug, Default, Clone)]
pub struct Wanted {
    /// Served or tried by this backend.
    pub backend: Option<String>,
    /// `success`, `failure`, `cancelled`, or a class such as `provider_server`.
    pub outcome: Option<String>,
    /// The public model.
    pub model: Option<String>,
    /// At most so many, newest first.
    pub limit: Option<usize>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { slots: (0..SIZE).map(|_| Mutex::default()).collect(), next: AtomicUsize::new(0) }
    }
}

impl Ledger {
    /// Enters a story and leaves the oldest one in its place, for the caller to free outside the lock.
    pub fn enter(&self, story: &mut Option<Story>) {
        let slot = self.next.fetch_add(1, Relaxed) % SIZE;
        std::mem::swap(&mut *self.slots[slot].lock(), story);
    }

    /// The story of a request id, the newest if the client used it more than once.
    pub fn find(&self, id: &str) -> Option<Story> {
        self.newest_first(|story| *story.id == *id).next()
    }

    /// The stories that are wanted, newest first.
    pub fn list(&self, wanted: &Wanted) -> Vec<Story> {
        let is = |wish: &Option<String>, found: &str| wish.as_deref().is_none_or(|wish| wish == found);
        let is_wanted = |story: &Story| {
            let by_class = || story.class.is_some_and(|class| is(&wanted.outcome, class.as_str()));
            is(&wanted.model, &story.model)
                && (is(&wanted.outcome, Ending::of(story.class).as_str()) || by_class())
                && (wanted.backend.is_none() || story.attempts.iter().any(|a| is(&wanted.backend, &a.backend)))
        };
        self.newest_first(is_wanted).take(wanted.limit.unwrap_or(100)).collect()
    }

    /// The stories that are wanted; others are not copied.
    fn newest_first(&self, is_wanted: impl Fn(&Story) -> bool) -> impl Iterator<Item = Story> {
        let next = self.next.load(Relaxed);
        (1..=SIZE).filter_map(move |back| {
            self.slots[(next + SIZE - back) % SIZE].lock().as_ref().filter(|story| is_wanted(story)).cloned()
        })
    }
}
