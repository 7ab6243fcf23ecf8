//! Owns unpacking a body piece by piece, a little at a time, so that its reader can stop at a limit and let others have a turn.

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use flate2::write::{MultiGzDecoder, ZlibDecoder};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{Coding, Garbled};

/// Largest window of zstd, as a power of two: what clients may use over HTTP is 8 MiB (RFC 9659, 3). Its memory is asked for
/// before anything is unpacked, so that larger ones would let a few bytes take any amount.
const WINDOW: u32 = 23;

/// What zstd unpacks in a step, bytes, but for a block, of 128 KiB at most, whose packed bytes are at their end; the others' steps are
/// 32 KiB.
const STEP: usize = 64 << 10;

/// A packed body on its way to being a plain one.
pub struct Unpacker(Way);

enum Way {
    Gzip(MultiGzDecoder<Plain>),
    Zlib(ZlibDecoder<Plain>),
    Zstd(Box<Zstd>),
}

/// What has been unpacked. It grows by doubling, but not beyond what will be looked at: the last doubling is the dearest.
struct Plain {
    bytes: Vec<u8>,
    most: usize,
    /// There was no memory for more.
    is_refused: bool,
}

impl Write for Plain {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len() + more.len();
        if length > self.bytes.capacity() {
            let room = (2 * length).min(self.most).max(length);
            if self.bytes.try_reserve_exact(room - self.bytes.len()).is_err() {
                self.is_refused = true;
                return Err(io::ErrorKind::OutOfMemory.into());
            }
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Zstd {
    context: DCtx<'static>,
    room: Box<[u8]>,
    plain: Plain,
    /// Nothing of a frame is missing.
    is_whole: bool,
}

impl Unpacker {
    /// The unpacker of a body in this coding, of which no more than `limit` bytes are wanted; `None` if it is not packed, or in a
    /// way that is not known.
    pub fn of(coding: Coding, limit: usize) -> Option<Self> {
        let plain = Plain { bytes: Vec::new(), most: limit.saturating_add(STEP), is_refused: false };
        Some(Self(match coding {
            Coding::Gzip => Way::Gzip(MultiGzDecoder::new(plain)),
            Coding::Deflate => Way::Zlib(ZlibDecoder::new(plain)),
            Coding::Zstd => Way::Zstd(Box::new(Zstd::new(plain)?)),
            Coding::Identity | Coding::Other => return None,
        }))
    }

    /// Unpacks a little of what is left of `packed`, of which it takes away what it has read. Nothing left: all of it is taken in.
    pub fn step(&mut self, packed: &mut &[u8]) -> Result<(), Garbled> {
        let read = match &mut self.0 {
            Way::Gzip(gzip) => gzip.write(packed).map_err(|_| Garbled)?,
            Way::Zlib(zlib) => match zlib.write(packed).map_err(|_| Garbled)? {
                // Something behind the end.
                0 => return Err(Garbled),
                read => read,
            },
            Way::Zstd(zstd) => return zstd.step(packed),
        };
        *packed = &packed[read..];
        Ok(())
    }

    /// How much has been unpacked by now, bytes.
    pub fn unpacked(&self) -> usize {
        self.plain().bytes.len()
    }

    /// Whether a step failed since there was no memory for what it unpacked.
    pub fn is_refused(&self) -> bool {
        self.plain().is_refused
    }

    fn plain(&self) -> &Plain {
        match &self.0 {
            Way::Gzip(gzip) => gzip.get_ref(),
            Way::Zlib(zlib) => zlib.get_ref(),
            Way::Zstd(zstd) => &zstd.plain,
        }
    }

    /// The plain body, if the packed one is whole.
    pub fn end(self) -> Result<Vec<u8>, Garbled> {
        let plain = match self.0 {
            Way::Gzip(gzip) => gzip.finish().map_err(|_| Garbled)?,
            Way::Zlib(zlib) => zlib.finish().map_err(|_| Garbled)?,
            Way::Zstd(zstd) if zstd.is_whole => zstd.plain,
            Way::Zstd(_) => return Err(Garbled),
        };
        Ok(plain.bytes)
    }
}

impl Zstd {
    /// `None`: there is no memory for it.
    fn new(plain: Plain) -> Option<Self> {
        let mut context = DCtx::try_create()?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW)).ok()?;
        Some(Self { context, room: vec![0; STEP].into(), plain, is_whole: true })
    }

    fn step(&mut self, packed: &mut &[u8]) -> Result<(), Garbled> {
        let mut input = InBuffer::around(packed);
        loop {
            let mut output = OutBuffer::around(&mut self.room[..]);
            let left = self.context.decompress_stream(&mut output, &mut input).map_err(|_| Garbled)?;
            let unpacked = output.as_slice();
            self.plain.write_all(unpacked).map_err(|_| Garbled)?;
            self.is_whole = left == 0;
            // What is full may have left something inside, which no further bytes would bring out.
            let is_full = unpacked.len() == STEP;
            if input.pos() < packed.len() || !is_full || self.is_whole {
                *packed = &packed[input.pos()..];
                return Ok(());
            }
        }
    }
}
