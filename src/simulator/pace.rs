//! The time an answer takes: before its first token, between tokens, and more when too many answers run at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, stream};

/// A piece of a body that is written at once.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// What goes on the wire.
    pub(super) bytes: Bytes,
    /// Whether it carries a token, and so waits its turn.
    pub(super) token: bool,
}

impl Frame {
    /// A frame that carries a token.
    pub(super) fn token(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), token: true }
    }

    /// A frame around the tokens: starts, ends, usage. It follows the one before without a wait.
    pub(super) fn framing(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), token: false }
    }
}

/// How many answers run at the moment, and how many can at full pace.
#[derive(Debug)]
pub(super) struct Load {
    running: AtomicU32,
    slots: u32,
}

impl Load {
    /// No answers yet; 0 slots is no limit.
    pub(super) fn new(slots: u32) -> Arc<Self> {
        Arc::new(Self { running: AtomicU32::new(0), slots })
    }

    /// Takes a place for one answer, until it is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        self.running.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }
}

/// One answer that runs.
#[derive(Debug)]
pub(super) struct Place(Arc<Load>);

impl Place {
    /// What a wait becomes when the running answers share the slots.
    fn stretch(&self, wait: Duration) -> Duration {
        let running = self.0.running.load(Ordering::Relaxed);
        if self.0.slots == 0 || running <= self.0.slots {
            return wait;
        }
        wait.mul_f64(f64::from(running) / f64::from(self.0.slots))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The pace of one answer.
#[derive(Debug)]
pub(super) struct Pace {
    /// Before the first frame.
    pub(super) first: Duration,
    /// Between two tokens.
    pub(super) gap: Duration,
    /// The connection breaks once this many tokens are out.
    pub(super) cut: Option<usize>,
    /// The answer's place among the others.
    pub(super) place: Place,
}

impl Pace {
    /// Waits as long as a whole answer of so many tokens takes.
    pub(super) async fn wait_for_all(&self, tokens: usize) {
        let gaps = u32::try_from(tokens.saturating_sub(1)).unwrap_or(u32::MAX);
        wait(self.first + self.place.stretch(self.gap.saturating_mul(gaps))).await;
    }

    /// The frames at their pace; an error, which breaks the connection, where the answer is cut.
    pub(super) fn stream(self, frames: Vec<Frame>) -> impl Stream<Item = io::Result<Bytes>> {
        let walk = Walk { pace: self, frames: frames.into_iter(), started: false, tokens: 0, broken: false };
        stream::unfold(walk, Walk::step)
    }
}

struct Walk {
    pace: Pace,
    frames: std::vec::IntoIter<Frame>,
    started: bool,
    tokens: usize,
    broken: bool,
}

impl Walk {
    async fn step(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.broken {
            return None;
        }
        if !self.started {
            self.started = true;
            wait(self.pace.first).await;
        }
        if self.pace.cut.is_some_and(|cut| self.tokens >= cut) {
            self.broken = true;
            // The server flushes what it holds whenever the body has nothing ready; an error at once would drop it.
            tokio::task::yield_now().await;
            return Some((Err(io::Error::other("the simulated answer is cut")), self));
        }
        let frame = self.frames.next()?;
        if frame.token {
            if self.tokens > 0 {
                wait(self.pace.place.stretch(self.pace.gap)).await;
            }
            self.tokens += 1;
        }
        Some((Ok(frame.bytes), self))
    }
}

/// Sleeps; not at all for zero, since a timer's tick is a millisecond.
pub(super) async fn wait(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::time::Instant;

    use super::*;

    fn frames() -> Vec<Frame> {
        vec![Frame::framing("a"), Frame::token("b"), Frame::token("c"), Frame::framing("d")]
    }

    async fn time_of(slots: u32, places: usize) -> Duration {
        let load = Load::new(slots);
        let _others: Vec<Place> = (1..places).map(|_| load.enter()).collect();
        let pace =
            Pace { first: Duration::from_millis(50), gap: Duration::from_millis(10), cut: None, place: load.enter() };
        let start = Instant::now();
        assert_eq!(pace.stream(frames()).count().await, 4);
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_wait_and_framing_does_not() {
        assert_eq!(time_of(0, 1).await.as_millis(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn more_answers_than_slots_slow_each_other_down() {
        assert_eq!(time_of(2, 2).await.as_millis(), 60);
        assert_eq!(time_of(2, 6).await.as_millis(), 80);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_answer_ends_in_an_error() {
        let pace = Pace { first: Duration::ZERO, gap: Duration::ZERO, cut: Some(1), place: Load::new(0).enter() };
        let all: Vec<io::Result<Bytes>> = pace.stream(frames()).collect().await;
        assert_eq!(all.iter().filter(|frame| frame.is_ok()).count(), 2);
        assert!(all.last().is_some_and(Result::is_err));
    }
}
