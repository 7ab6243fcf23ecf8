//! Owns the frames that wait for a first content, as many as a single frame may be long.

use bytes::{Bytes, BytesMut};

use crate::{
    error::{Class, Failed},
    wire::sse::MAX_FRAME,
};

/// Frames that wait. A single run of them, and that is the usual case, is not copied.
#[derive(Debug, Default)]
pub(super) struct Held {
    first: Bytes,
    all: BytesMut,
}

impl Held {
    /// One more run; an error if that is too much to wait for.
    pub(super) fn add(&mut self, frames: Bytes) -> Result<(), Failed> {
        let size = self.first.len().max(self.all.len()) + frames.len();
        if size > MAX_FRAME {
            let why = format!("it sent more than {MAX_FRAME} bytes without any content");
            return Err(Failed::new(Class::ProviderInvalid, why));
        }
        if self.first.is_empty() {
            self.first = frames;
        } else if !frames.is_empty() {
            if self.all.is_empty() {
                self.all.reserve(size);
                self.all.extend_from_slice(&self.first);
            }
            self.all.extend_from_slice(&frames);
        }
        Ok(())
    }

    /// All of them.
    pub(super) fn take(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_kept_in_order_and_in_bounds() {
        let mut held = Held::default();
        for run in ["", "a", "", "bc", "d"] {
            assert_eq!(held.add(Bytes::from_static(run.as_bytes())), Ok(()));
        }
        assert_eq!(held.take(), "abcd");
        let mut held = Held::default();
        assert!(held.add(Bytes::from(vec![b'x'; MAX_FRAME])).is_ok());
        assert_eq!(held.add(Bytes::from_static(b"x")).map_err(|failed| failed.class), Err(Class::ProviderInvalid));
    }
}
