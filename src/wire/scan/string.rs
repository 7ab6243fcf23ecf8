//! Owns finding the end of a JSON string, 64 bytes at a time: prompts are long, and most of what is stepped over is in them.

use wide::u8x16;

/// Bytes looked at together: as many as a word has bits.
const BLOCK: usize = 64;

/// Every second bit from the second.
const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;

/// A string that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// Behind its closing quote.
    pub(super) at: usize,
    /// Whether there are escapes in it.
    pub(super) escapes: bool,
}

/// Looked at sixteen by sixteen before a string counts as long, bytes.
const SHORT: usize = 64;

/// The end of the string whose inside begins at `at`. None: it does not end, a control character stands in it, or an escape
/// that there is not.
pub(super) fn end(bytes: &[u8], at: usize) -> Option<Ended> {
    let mut from = at;
    // Keys and most values are short.
    while from < at + SHORT
        && let Some(sixteen) = bytes.get(from..).and_then(<[u8]>::first_chunk)
    {
        let sixteen = u8x16::new(*sixteen);
        let stops = (is(sixteen, b'"') | is(sixteen, b'\\') | is_control(sixteen)).to_bitmask();
        if stops != 0 {
            let place = from + stops.trailing_zeros() as usize;
            if bytes[place] == b'"' {
                return Some(Ended { at: place + 1, escapes: false });
            }
            break;
        }
        from += 16;
    }
    // So far nothing in it means anything.
    long(bytes, from)
}

/// Not inlined: what it saves before it begins would be saved for each short string, too, which was half of their cost.
#[inline(never)]
fn long(bytes: &[u8], mut at: usize) -> Option<Ended> {
    let mut escapes = false;
    // Whether the block before ended with a backslash that escapes this one's first byte.
    let mut escaped_first = 0;
    // The lowest byte of the blocks before, which are all inside: checked once at the end, since no sound string has control
    // characters.
    let mut lowest = u8x16::splat(u8::MAX);
    loop {
        let rest = bytes.get(at..)?;
        let last;
        let block = if let Some(block) = rest.first_chunk() {
            block
        } else {
            // Quotes behind the text's end stop what does not end before.
            let mut padded = [b'"'; BLOCK];
            padded[..rest.len()].copy_from_slice(rest);
            last = padded;
            &last
        };
        let (quotes, backslashes) = (equal(block, b'"'), equal(block, b'\\'));
        // Without branches: in most prompts nobody can foretell which block has an escape.
        let (escaped, escaped_next) = escaped(backslashes, escaped_first);
        let closing = quotes & !escaped;
        // What is behind the closing quote is no part of the string.
        let inside = (closing & closing.wrapping_neg()).wrapping_sub(1);
        escapes |= backslashes & inside != 0;
        // The usual ones are looked at together, the others one by one.
        let mut unusual = escaped & inside & !(quotes | backslashes);
        if unusual != 0 {
            unusual &= !equal(block, b'n');
            if !ones(unusual).all(|place| escape(bytes, at + place)) {
                return None;
            }
        }
        if closing != 0 {
            let place = closing.trailing_zeros() as usize;
            let has_control = is_control(lowest).to_bitmask() != 0 || marks(block, is_control) & inside != 0;
            return (place < rest.len() && !has_control).then(|| Ended { at: at + place + 1, escapes });
        }
        let (quarters, _) = block.as_chunks::<16>();
        lowest = quarters.iter().fold(lowest, |lowest, quarter| lowest.min(u8x16::new(*quarter)));
        escaped_first = escaped_next;
        at += BLOCK;
    }
}

/// Which bytes of a block come behind a backslash that is not itself escaped, and whether the next block's first does. A
/// backslash that follows an unescaped one is escaped, so in a run of them every second is: subtracting a run's start from the
/// bits behind it tells odd places from even ones. After Geoff Langdale and Daniel Lemire, "Parsing Gigabytes of JSON per
/// Second", VLDB Journal 28 (2019), section 3.1.1, in the shorter form of their later library.
fn escaped(backslashes: u64, escaped_first: u64) -> (u64, u64) {
    let escaping = backslashes & !escaped_first;
    let behind = escaping << 1;
    let places = (behind | ODD).wrapping_sub(escaping) ^ ODD;
    (places ^ (escaping | escaped_first), (places & backslashes) >> (BLOCK - 1))
}

/// Whether what stands behind a backslash makes it an escape.
fn escape(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
        Some(b'u') => bytes.get(at + 1..at + 5).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit)),
        _ => false,
    }
}

/// The places of the bits that are set.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros() as usize;
        bits &= bits.checked_sub(1)?;
        Some(place)
    })
}

fn is(sixteen: u8x16, byte: u8) -> u8x16 {
    sixteen.simd_eq(u8x16::splat(byte))
}

fn is_control(sixteen: u8x16) -> u8x16 {
    sixteen.min(u8x16::splat(0x1f)).simd_eq(sixteen)
}

fn equal(block: &[u8; BLOCK], byte: u8) -> u64 {
    marks(block, |sixteen| is(sixteen, byte))
}

/// A bit for each byte that `test` marks.
#[inline]
fn marks(block: &[u8; BLOCK], test: impl Fn(u8x16) -> u8x16) -> u64 {
    let (quarters, _) = block.as_chunks::<16>();
    quarters.iter().rev().fold(0, |bits, quarter| bits << 16 | u64::from(test(u8x16::new(*quarter)).to_bitmask()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn a_string_ends_where_byte_by_byte_it_does(
            pieces in prop::collection::vec(
                prop_oneof![8 => "[a-z]{0,40}", 4 => r"\\{1,5}", 4 => "\\\\[nt\"/u]", 1 => "\"", 1 => "\\\\u00e9", 1 => "\u{1f}"], 0..30,
            ),
        ) {
            let text = pieces.concat();
            let bytes = text.as_bytes();
            let (mut at, mut escapes) = (0, false);
            let slow = loop {
                match bytes.get(at) {
                    Some(b'"') => break Some(Ended { at: at + 1, escapes }),
                    Some(b'\\') if escape(bytes, at + 1) => (at, escapes) = (at + 2, true),
                    None | Some(b'\\' | ..0x20) => break None,
                    Some(_) => at += 1,
                }
            };
            prop_assert_eq!(end(bytes, 0), slow);
        }
    }
}
