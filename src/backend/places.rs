//! Owns counting requests under way: the places that leases take at a backend and at a model on it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::load::Busy;

/// Places taken by requests under way, and how many of these are past their first token: in one word, so that both are changed
/// by one instruction and read as they stood together.
#[derive(Debug, Default)]
pub struct Places(AtomicU64);

/// One more past its first token. Below it, 32 bits count all.
const STREAMING: u64 = 1 << 32;

impl Places {
    /// Requests under way, before and after their first token.
    pub fn in_flight(&self) -> u32 {
        self.0.load(Relaxed) as u32
    }

    /// Requests after their first token.
    pub fn streaming(&self) -> u32 {
        self.both().1
    }

    /// Requests before their first token.
    pub fn waiting(&self) -> u32 {
        self.both().0
    }

    /// Requests before their first token, and after it.
    fn both(&self) -> (u32, u32) {
        let places = self.0.load(Relaxed);
        let streaming = (places / STREAMING) as u32;
        ((places as u32).saturating_sub(streaming), streaming)
    }

    /// Counts one more if that keeps within `limit`: take, check, give back.
    pub(super) fn take(&self, limit: u32) -> bool {
        let taken = (self.0.fetch_add(1, Relaxed) as u32) < limit;
        if !taken {
            self.0.fetch_sub(1, Relaxed);
        }
        taken
    }

    /// One of them has its first token.
    pub(super) fn begin_stream(&self) {
        self.0.fetch_add(STREAMING, Relaxed);
    }

    pub(super) fn give_back(&self, streamed: bool) {
        self.0.fetch_sub(if streamed { STREAMING + 1 } else { 1 }, Relaxed);
    }
}

/// Requests under way at a backend, as its cost sees them.
#[derive(Debug, Default)]
pub struct Load {
    /// Their places.
    pub places: Places,
    waiting_tokens: AtomicU64,
}

impl Load {
    /// All of it.
    pub fn busy(&self) -> Busy {
        let (waiting, streaming) = self.places.both();
        Busy { waiting, waiting_tokens: self.waiting_tokens.load(Relaxed), streaming }
    }

    /// Counts one more with so many prompt tokens if that keeps within `limit`.
    pub(super) fn take(&self, limit: u32, prompt_tokens: u64) -> bool {
        let taken = self.places.take(limit);
        if taken {
            self.waiting_tokens.fetch_add(prompt_tokens, Relaxed);
        }
        taken
    }

    /// One of them, with so many prompt tokens, has its first token.
    pub(super) fn begin_stream(&self, prompt_tokens: u64) {
        self.places.begin_stream();
        self.waiting_tokens.fetch_sub(prompt_tokens, Relaxed);
    }

    pub(super) fn give_back(&self, streamed: bool, prompt_tokens: u64) {
        if !streamed {
            self.waiting_tokens.fetch_sub(prompt_tokens, Relaxed);
        }
        self.places.give_back(streamed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_are_counted_as_they_are_taken_and_given_back(
            limit in 0_u32..6,
            steps in prop::collection::vec((0..3_u8, 1..5000_u64), 0..60),
        ) {
            let (load, mut waiting, mut streaming) = (Load::default(), Vec::new(), Vec::new());
            for (step, tokens) in steps {
                match step {
                    0 => {
                        let is_free = waiting.len() + streaming.len() < limit as usize;
                        prop_assert_eq!(load.take(limit, tokens), is_free);
                        waiting.extend(is_free.then_some(tokens));
                    }
                    1 => {
                        let Some(tokens) = waiting.pop() else { continue };
                        load.begin_stream(tokens);
                        streaming.push(tokens);
                    }
                    _ => {
                        let (streamed, done) = streaming.pop().map_or_else(|| (false, waiting.pop()), |done| (true, Some(done)));
                        let Some(tokens) = done else { continue };
                        load.give_back(streamed, tokens);
                    }
                }
                let (busy, all) = (load.busy(), waiting.len() + streaming.len());
                prop_assert_eq!((busy.waiting as usize, busy.streaming as usize), (waiting.len(), streaming.len()));
                prop_assert_eq!((load.places.in_flight() as usize, busy.waiting_tokens), (all, waiting.iter().sum()));
            }
        }
    }
}
