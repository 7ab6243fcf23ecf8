//! Owns holding back pieces: frames until the first content, those of a whole answer until its end.

use bytes::Bytes;

use crate::error::{Class, Failed};

/// Pieces that are held back. A single one, the usual case, is not copied.
#[derive(Debug)]
pub(super) struct Buffer {
    first: Bytes,
    all: Vec<u8>,
    most: usize,
    too_much: fn(usize) -> Failed,
}

impl Buffer {
    /// Holds `most` bytes at most; `too_much` is the failure beyond that.
    pub(super) fn up_to(most: usize, too_much: fn(usize) -> Failed) -> Self {
        Self { first: Bytes::new(), all: Vec::new(), most, too_much }
    }

    /// Adds a piece; `declared`: how many bytes are still to come, if known. An error if that makes too many.
    pub(super) fn add(&mut self, piece: Bytes, declared: u64) -> Result<(), Failed> {
        let size = self.first.len().max(self.all.len()) + piece.len();
        if size > self.most {
            return Err((self.too_much)(self.most));
        }
        if self.first.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            let mut room = piece.len();
            if self.all.is_empty() {
                let rest = (declared as usize).min(self.most - size);
                room = (size + rest).max(2 * size);
            }
            // If the system has no memory left, this request fails and not the whole process.
            let no_memory = |_| Failed::new(Class::GatewayOverload, "no memory is left to hold its answer in");
            self.all.try_reserve(room).map_err(no_memory)?;
            if self.all.is_empty() {
                self.all.extend_from_slice(&self.first);
            }
            self.all.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// All pieces as one.
    pub(super) fn take(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(most: usize) -> Buffer {
        Buffer::up_to(most, |most| Failed::new(Class::ProviderInvalid, format!("more than {most}")))
    }

    #[test]
    fn pieces_are_kept_in_order_and_in_bounds() {
        let mut some = held(4);
        for piece in ["", "a", "", "bc", "d"] {
            assert_eq!(some.add(Bytes::from_static(piece.as_bytes()), u64::MAX), Ok(()));
        }
        assert_eq!(some.add(Bytes::from_static(b"e"), 0).map_err(|failed| failed.message), Err("more than 4".into()));
        assert_eq!(some.take(), "abcd");
    }

    #[test]
    fn a_length_that_no_memory_is_left_for_costs_its_request_alone() {
        let mut much = held(isize::MAX as usize);
        assert_eq!(much.add(Bytes::from_static(b"a"), u64::MAX), Ok(()));
        let refused = much.add(Bytes::from_static(b"b"), u64::MAX);
        assert_eq!(refused.map_err(|failed| failed.class), Err(Class::GatewayOverload));
    }

    #[test]
    fn what_is_held_alone_counts_towards_what_is_too_much() {
        let mut some = held(4);
        assert_eq!(some.add(Bytes::from_static(b"abc"), 0), Ok(()));
        assert!(some.add(Bytes::from_static(b"de"), 0).is_err());
    }
}
