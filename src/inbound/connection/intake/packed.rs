//! Owns packed bodies on their way in: unpacked as they come, a little at a time, and together never too much.

use std::cell::Cell;

use bytes::Bytes;
use tokio::{task::yield_now, time::Instant};

use super::{GARBLED_CHUNKS, Intake};
use crate::{
    error::Error,
    wire::http1::{Framing, Unpacker},
};

/// Room for reading what is packed, bytes: it is small, and unpacked a piece at a time.
const PACKED_ROOM: usize = 16 << 10;

/// What is unpacked before others have a turn, bytes: a fifth of a millisecond's work.
const TURN: usize = 64 << 10;

/// Why a body is no request.
const GARBLED_CODING: &str = "its body is not, or not to its end, in the coding that its 'content-encoding' names";

/// How many of the largest bodies all packed ones of a worker may take together before they have come whole: a few bytes unpack
/// to as much as one may have, and who sends no more than those keeps it.
const PACKED_AT_ONCE: usize = 4;

/// A packed body's share of what a worker's may take; given back when it has come, or will not any more.
pub(in crate::inbound::connection) struct Share<'a> {
    all: &'a Cell<usize>,
    own: usize,
}

impl<'a> Share<'a> {
    /// Nothing yet of what `all` take.
    pub(in crate::inbound::connection) fn of(all: &'a Cell<usize>) -> Self {
        Self { all, own: 0 }
    }

    /// It takes so many bytes now, each body `largest` at most.
    fn grow(&mut self, bytes: usize, largest: usize) -> Result<(), Error> {
        let all = self.all.get() - self.own + bytes;
        if all > PACKED_AT_ONCE.saturating_mul(largest) {
            return Err(Error::Unpacking);
        }
        self.all.set(all);
        self.own = bytes;
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.own);
    }
}

impl Intake {
    /// The body of a request that is packed, unpacked as it comes; neither of the two may be larger than `limit`.
    pub(in crate::inbound::connection) async fn unpacked(
        &mut self,
        framing: &mut Framing,
        mut unpacker: Unpacker,
        limit: usize,
        mut share: Share<'_>,
        until: Instant,
    ) -> Result<Bytes, Error> {
        if matches!(*framing, Framing::Length(length) if length > limit as u64) {
            return Err(Error::TooLarge(limit));
        }
        let (mut came, mut rested) = (0, 0);
        loop {
            let Some(piece) = framing.take(&mut self.input).map_err(|_| Error::BadRequest(GARBLED_CHUNKS))? else {
                if *framing == Framing::Ended {
                    break;
                }
                self.input.reserve(PACKED_ROOM);
                self.fill(until).await?;
                continue;
            };
            came += piece.len();
            let mut packed = &piece[..];
            while !packed.is_empty() && came <= limit && unpacker.unpacked() <= limit {
                if unpacker.step(&mut packed).is_err() {
                    let garbled = Error::BadRequest(GARBLED_CODING);
                    return Err(if unpacker.is_refused() { Error::Unpacking } else { garbled });
                }
                share.grow(unpacker.unpacked(), limit)?;
                if unpacker.unpacked() - rested >= TURN {
                    rested = unpacker.unpacked();
                    yield_now().await;
                }
            }
            if came > limit || unpacker.unpacked() > limit {
                return Err(Error::TooLarge(limit));
            }
        }
        if came == 0 {
            return Ok(Bytes::new());
        }
        let mut plain = unpacker.end().map_err(|_| Error::BadRequest(GARBLED_CODING))?;
        if plain.len() > limit {
            return Err(Error::TooLarge(limit));
        }
        // It grew by doubling, and is kept for as long as its answer takes.
        plain.shrink_to_fit();
        Ok(plain.into())
    }
}
