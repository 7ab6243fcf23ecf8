//! Owns finding the pieces and the end of an HTTP/1 body: by its length, in chunks, or by the end of the connection.
//!
//! The framework's own decoder keeps 32 KiB a connection and takes a lost connection for a clean end.

use bytes::{Buf, Bytes, BytesMut};

/// Longest trailer section passed over, bytes.
const TRAILERS: usize = 8 << 10;

/// Longest line with a chunk's size, bytes: extensions, which nobody uses, would be held and read anew with each piece of them.
const SIZE_LINE: usize = 1 << 10;

/// How a body ends, and how far it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked(Chunk),
    /// With the connection: whether that is the true end, the content has to tell.
    UntilClose,
    /// It has ended.
    Ended,
}

/// Where in a chunk the reading stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Before its size.
    Size,
    /// This many bytes of its data are left.
    Data(u64),
    /// Before the line end behind its data.
    LineEnd,
    /// Within the trailers behind the last one; so many bytes of them have been read.
    Trailers(usize),
}

/// The bytes are not a body of the announced kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled;

impl Framing {
    /// By the head's `content-length` and `transfer-encoding`.
    pub fn of(length: Option<u64>, chunked: bool) -> Self {
        match (chunked, length) {
            (true, _) => Self::Chunked(Chunk::Size),
            (false, Some(0)) => Self::Ended,
            (false, Some(length)) => Self::Length(length),
            (false, None) => Self::UntilClose,
        }
    }

    /// Takes the next piece of the body from what has been read; `None`: more has to be read, or it has ended.
    pub fn take(&mut self, from: &mut BytesMut) -> Result<Option<Bytes>, Garbled> {
        loop {
            match self {
                Self::Ended => return Ok(None),
                _ if from.is_empty() => return Ok(None),
                Self::UntilClose => return Ok(Some(from.split().freeze())),
                Self::Length(left) => {
                    let piece = part(from, left);
                    if *left == 0 {
                        *self = Self::Ended;
                    }
                    return Ok(Some(piece));
                }
                Self::Chunked(Chunk::Data(left)) => {
                    let piece = part(from, left);
                    if *left == 0 {
                        *self = Self::Chunked(Chunk::LineEnd);
                    }
                    return Ok(Some(piece));
                }
                Self::Chunked(Chunk::LineEnd) => {
                    if from.len() < 2 {
                        return if from[0] == b'\r' { Ok(None) } else { Err(Garbled) };
                    }
                    if &from[..2] != b"\r\n" {
                        return Err(Garbled);
                    }
                    from.advance(2);
                    *self = Self::Chunked(Chunk::Size);
                }
                Self::Chunked(Chunk::Size) => match size(from)? {
                    None => return Ok(None),
                    Some(0) => *self = Self::Chunked(Chunk::Trailers(0)),
                    Some(size) => *self = Self::Chunked(Chunk::Data(size)),
                },
                Self::Chunked(Chunk::Trailers(read)) => match trailer(from, read)? {
                    None => return Ok(None),
                    Some(true) => *self = Self::Ended,
                    Some(false) => {}
                },
            }
        }
    }
}

/// Takes a line with a chunk's size; `None`: it is not complete yet.
fn size(from: &mut BytesMut) -> Result<Option<u64>, Garbled> {
    // The parser takes a size that is missing for zero, and a bare line feed for a part of an extension.
    if !from[0].is_ascii_hexdigit() {
        return Err(Garbled);
    }
    let Some(end) = memchr::memchr(b'\n', &from[..from.len().min(SIZE_LINE)]) else {
        return if from.len() < SIZE_LINE { Ok(None) } else { Err(Garbled) };
    };
    let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(&from[..=end]) else {
        return Err(Garbled);
    };
    from.advance(line);
    Ok(Some(size))
}

/// Takes a line of the trailers, of which so many bytes were `read` before; whether it ends them. `None`: it is not complete yet.
fn trailer(from: &mut BytesMut, read: &mut usize) -> Result<Option<bool>, Garbled> {
    let Some(end) = memchr::memchr(b'\n', from) else {
        return if *read + from.len() > TRAILERS { Err(Garbled) } else { Ok(None) };
    };
    // Some readers take a line of blanks, or one that ends in a bare line feed, for the end, and others do not.
    let is_last = from[..end] == *b"\r";
    let folded = matches!(from[0], b' ' | b'\t');
    *read += end + 1;
    if *read > TRAILERS || folded || !from[..end].ends_with(b"\r") {
        return Err(Garbled);
    }
    from.advance(end + 1);
    Ok(Some(is_last))
}

fn part(from: &mut BytesMut, left: &mut u64) -> Bytes {
    let size = from.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= size as u64;
    from.split_to(size).freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `wire` in pieces; returns the body, where it stands, and what is left over.
    fn read(mut framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Framing, BytesMut), Garbled> {
        let (mut body, mut buffer) = (Vec::new(), BytesMut::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(part) = framing.take(&mut buffer)? {
                body.extend_from_slice(&part);
            }
        }
        Ok((body, framing, buffer))
    }

    #[test]
    fn what_follows_a_body_is_not_part_of_it() {
        let (body, framing, rest) = read(Framing::of(Some(3), false), &[b"abcdef"]).expect("sound");
        assert_eq!((&body[..], framing, &rest[..]), (&b"abc"[..], Framing::Ended, &b"def"[..]));
    }

    #[test]
    fn garbled_chunks_are_refused() {
        for wire in [
            "zz\r\n",
            "2\r\nabc\r\n",
            "2\r\nab\n\n",
            "fffffffffffffffff\r\n",
            // A size that is missing is none of zero.
            "\r\n\r\n",
            ";x\r\n\r\n",
            " 0\r\n\r\n",
            // Others end a line at a bare line feed.
            "2\nab\r\n",
            "2;x\ny\r\nab\r\n",
            // Lines of blanks, and of a line feed alone, end trailers for some and not for others.
            "0\r\n \r\n",
            "0\r\n\t\n",
            "0\r\n\x0c\n",
            "0\r\n\n",
            "0\r\nx: y\n\r\n",
            "0\r\nx: y\r\n z\r\n\r\n",
        ] {
            assert_eq!(read(Framing::of(None, true), &[wire.as_bytes()]).err(), Some(Garbled), "{wire:?}");
        }
    }

    #[test]
    fn a_line_with_a_size_that_does_not_end_is_refused_before_it_is_long() {
        let extension = [b'x'; SIZE_LINE];
        let wire = [b"1;", &extension[..], b"\r\na\r\n"].concat();
        assert_eq!(read(Framing::of(None, true), &[&wire]).err(), Some(Garbled));
        // In small pieces, and its end never comes.
        let pieces: Vec<&[u8]> = wire[..=SIZE_LINE].chunks(7).collect();
        assert_eq!(read(Framing::of(None, true), &pieces).err(), Some(Garbled));
        let (body, ..) = read(Framing::of(None, true), &[&wire[..SIZE_LINE - 2], b"\r\na\r\n"]).expect("sound");
        assert_eq!(body, b"a");
    }

    proptest! {
        #[test]
        fn chunks_cut_anywhere_make_the_same_body(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
            trailer in any::<bool>(),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x};ext=1\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(if trailer { b"0\r\nX-T: 1\r\n\r\n" } else { b"0\r\n\r\n" });
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(wire.len() + 1)).chain([0, wire.len()]).collect();
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &wire[w[0]..w[1]]).collect();
            let (body, framing, rest) = read(Framing::of(None, true), &pieces).expect("sound");
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(framing, Framing::Ended);
            prop_assert!(rest.is_empty());
            // Short of its last byte it has not ended.
            let (_, cut, _) = read(Framing::of(None, true), &[&wire[..wire.len() - 1]]).expect("sound");
            prop_assert_ne!(cut, Framing::Ended);
        }

        #[test]
        fn any_bytes_whatever_are_read_or_refused(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(Framing::of(None, true), &[&wire]);
        }
    }
}
