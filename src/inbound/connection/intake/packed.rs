//! Owns unpacking packed bodies as they come: a little at a time, and never too much together.

use std::cell::Cell;

use bytes::Bytes;
use tokio::{task::yield_now, time::Instant};

use super::{GARBLED_CHUNKS, Intake};
use crate::{
    error::Error,
    wire::http1::{Framing, Unpacker},
};

/// Room for reading packed bytes: little, since they are unpacked a piece at a time.
const PACKED_ROOM: usize = 16 << 10;

/// Bytes unpacked before other tasks get a turn: a fifth of a millisecond's work.
const TURN: usize = 64 << 10;

/// Why a body is no request.
const GARBLED_CODING: &str = "its body is not, or not to its end, in the coding that its 'content-encoding' names";

/// The memory that all packed bodies of a worker may take before they have come whole, in bodies of the largest size. A few
/// bytes can unpack to a body of that size, and a client that then sends no more would keep it.
const PACKED_AT_ONCE: usize = 4;

/// A packed body's share of that memory. It is given back when the body has come whole or has failed.
pub(in crate::inbound::connection) struct Share<'a> {
    all: &'a Cell<usize>,
    own: usize,
}

impl<'a> Share<'a> {
    /// An empty share of `all`.
    pub(in crate::inbound::connection) fn of(all: &'a Cell<usize>) -> Self {
        Self { all, own: 0 }
    }

    /// Makes the share so many bytes; `largest` is the size of the largest body.
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
    /// The packed body of a request, unpacked as it comes. Neither form of it may be larger than `limit`.
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
        // It grew by doubling, and is kept until its answer is complete.
        plain.shrink_to_fit();
        Ok(plain.into())
    }
}
