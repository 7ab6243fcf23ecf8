//! Owns writing the chunks of a body that goes out as it comes.

use super::output::Manner;
use crate::turn::Socket;

/// Holds a piece of a body.
pub(super) fn chunk(bytes: &[u8], manner: Manner, socket: &Socket) {
    // An empty chunk would be the end.
    if bytes.is_empty() {
        return;
    }
    socket.hold(|out| {
        if manner.is_1_0 {
            return out.extend_from_slice(bytes);
        }
        hex(bytes.len(), out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    });
}

/// Holds the chunk that ends a body.
pub(super) fn last(manner: Manner, socket: &Socket) {
    if !manner.is_1_0 {
        socket.hold(|out| out.extend_from_slice(b"0\r\n\r\n"));
    }
}

/// A number in hexadecimal digits, as chunks tell their size.
fn hex(number: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[number >> (4 * digit) & 15]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_chunks_are_hexadecimal() {
        for number in [0, 1, 15, 16, 255, 256, 4096, 65_535, 1 << 20, usize::MAX] {
            let mut out = Vec::new();
            hex(number, &mut out);
            assert_eq!(String::from_utf8(out).expect("ASCII"), format!("{number:x}"));
        }
    }
}
