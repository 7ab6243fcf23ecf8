//! Owns spans on their way to the collector: how many may wait, and that each is counted once, whatever becomes of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::counted::Dropped;
use crate::telemetry::counts::Counts;

/// The spans of all workers and the exporter that wait.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: AtomicUsize,
    most: usize,
    counts: Arc<Counts>,
}

impl Queue {
    pub(super) fn new(most: usize, counts: Arc<Counts>) -> Arc<Self> {
        Arc::new(Self { waiting: AtomicUsize::new(0), most, counts })
    }

    /// A batch of `count` spans, encoded and with commas between, if so many more may wait; else they are dropped and counted.
    pub(super) fn admit(self: &Arc<Self>, spans: Vec<u8>, count: usize, now: Duration) -> Option<Batch> {
        let room = |waiting: usize| waiting.checked_add(count).filter(|waiting| *waiting <= self.most);
        if self.waiting.fetch_update(Relaxed, Relaxed, room).is_err() {
            self.counts.traces.dropped(Dropped::QueueFull, count);
            return None;
        }
        Some(Batch { spans, count, since: now, fate: Fate::Dropped(Dropped::Lost), queue: self.clone() })
    }
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Except for this many.
    Taken(usize),
    Dropped(Dropped),
}

/// Spans that wait. Dropped, it gives back its places and counts its spans: as lost, unless somebody knows better.
#[derive(Debug)]
pub(super) struct Batch {
    /// Objects as JSON with commas between.
    pub(super) spans: Vec<u8>,
    /// How many.
    pub(super) count: usize,
    /// When they were handed in.
    pub(super) since: Duration,
    fate: Fate,
    queue: Arc<Queue>,
}

impl Batch {
    /// The collector took it, except for this many of its spans.
    pub(super) fn taken(mut self, refused: usize) {
        self.fate = Fate::Taken(refused.min(self.count));
    }

    /// It will not be sent again.
    pub(super) fn give_up(mut self, why: Dropped) {
        self.fate = Fate::Dropped(why);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(self.count, Relaxed);
        let counted = &self.queue.counts.traces;
        match self.fate {
            Fate::Taken(refused) => {
                counted.exported(self.count - refused);
                counted.dropped(Dropped::Rejected, refused);
            }
            Fate::Dropped(why) => counted.dropped(why, self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_span_is_counted_once_and_gives_back_its_place() {
        let counts = Arc::new(Counts::default());
        let queue = Queue::new(10, counts.clone());
        let admit = |count| queue.admit(Vec::new(), count, Duration::ZERO);
        let (four, six) = (admit(4).expect("room"), admit(6).expect("room"));
        assert!(admit(1).is_none(), "ten wait already");
        four.taken(1);
        let four = admit(4).expect("the place of those that are gone");
        four.give_up(Dropped::Unreachable);
        drop(six);
        assert!(admit(11).is_none() && admit(10).is_some_and(|ten| ten.count == 10));
        let text = format!("{:?}", counts.traces);
        // The last ten were dropped at once.
        assert_eq!(text, "Counted { exported: 3, dropped: [12, 1, 4, 16] }");
    }
}
