//! Owns a backend's journal: the last changes of its gates and restarts of its actor, for whoever writes them down.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;

/// Notes kept. A gate needs a backoff of half a second at least to shut twice, so this covers any flush interval in use.
const SIZE: usize = 64;

/// Something that happened to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When, on the process clock.
    pub at: Duration,
    /// Which of its models; `None`: all of them.
    pub model: Option<Arc<str>>,
    /// `gate` or `restart`.
    pub event: &'static str,
    /// The state after it: a gate's kind, or `restarted`, `gave_up`.
    pub state: &'static str,
    /// Why, in words.
    pub text: String,
}

/// A ring of notes. Written on rare events only, by the one thread of all backends' actors; read without a lock.
#[derive(Debug)]
pub struct Journal {
    slots: [ArcSwapOption<Note>; SIZE],
    next: AtomicU64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { slots: [const { ArcSwapOption::const_empty() }; SIZE], next: AtomicU64::new(0) }
    }
}

impl Journal {
    /// Enters a note; the oldest one makes room.
    pub fn enter(&self, note: Note) {
        let next = self.next.load(Relaxed);
        self.slots[next as usize % SIZE].store(Some(Arc::new(note)));
        // Counted only once it can be read; a reader that came in between would otherwise never get it.
        self.next.store(next + 1, Release);
    }

    /// The notes entered after the first `seen`, oldest first, and the number to ask with the next time.
    pub fn since(&self, seen: u64) -> (Vec<Arc<Note>>, u64) {
        let next = self.next.load(Acquire);
        let first = seen.max(next.saturating_sub(SIZE as u64));
        let notes = (first..next).filter_map(|n| self.slots[n as usize % SIZE].load_full());
        (notes.collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(n: u64) -> Note {
        Note { at: Duration::from_secs(n), model: None, event: "gate", state: "open", text: String::new() }
    }

    #[test]
    fn each_note_is_told_once_and_the_oldest_make_room() {
        let journal = Journal::default();
        journal.enter(note(0));
        journal.enter(note(1));
        let (notes, seen) = journal.since(0);
        assert_eq!(notes.iter().map(|n| n.at.as_secs()).collect::<Vec<_>>(), [0, 1]);
        assert!(journal.since(seen).0.is_empty());
        (2..102).for_each(|n| journal.enter(note(n)));
        let (notes, _) = journal.since(seen);
        assert_eq!(notes.len(), SIZE);
        assert_eq!(notes.last().map(|n| n.at.as_secs()), Some(101));
    }

    #[test]
    fn whoever_reads_while_notes_are_entered_is_told_of_each() {
        const NOTES: u64 = 20_000;
        let (journal, read) = (Journal::default(), AtomicU64::new(0));
        let mut told = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..NOTES {
                    // No further ahead than the ring is long.
                    while n - read.load(Acquire) > SIZE as u64 / 2 {
                        std::thread::yield_now();
                    }
                    journal.enter(note(n));
                }
            });
            while read.load(Relaxed) < NOTES {
                let (notes, next) = journal.since(read.load(Relaxed));
                told.extend(notes.iter().map(|note| note.at.as_secs()));
                read.store(next, Release);
            }
        });
        assert!(told.into_iter().eq(0..NOTES));
    }
}
