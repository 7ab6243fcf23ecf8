//! Owns fuzzing the unpacking of bodies: where the packed bytes are cut changes nothing, and no step gives more than a little.
#![no_main]

use greenroom::wire::http1::{Coding, Unpacker};

/// What is unpacked of a body before it is too large, bytes.
const LIMIT: usize = 1 << 20;

/// Most that a step may unpack, bytes.
const STEP: usize = 64 << 10;

#[derive(Debug, PartialEq)]
enum End {
    Whole(Vec<u8>),
    Garbled,
    TooLarge,
}

// The first byte chooses the coding, the second the size of the pieces.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [coding, size, packed @ ..] = input else { return };
    let coding = [Coding::Gzip, Coding::Deflate, Coding::Zstd][usize::from(coding % 3)];
    let whole = unpacked(coding, packed, packed.len().max(1));
    let cut = unpacked(coding, packed, usize::from(*size).max(1));
    // Which of the two is found first, that it is too large or garbled, is nobody's concern.
    if whole != End::TooLarge && cut != End::TooLarge {
        assert_eq!(whole, cut, "where the bytes are cut decides what they mean");
    } else {
        assert!(!matches!((&whole, &cut), (End::Whole(_), _) | (_, End::Whole(_))), "{coding:?}");
    }
});

fn unpacked(coding: Coding, packed: &[u8], size: usize) -> End {
    let mut unpacker = Unpacker::of(coding, LIMIT).expect("it packs, and there is memory");
    for mut piece in packed.chunks(size) {
        while !piece.is_empty() {
            let (before, left) = (unpacker.unpacked(), piece.len());
            if unpacker.step(&mut piece).is_err() {
                return End::Garbled;
            }
            let more = unpacker.unpacked() - before;
            assert!(more <= STEP, "{more} bytes in a step");
            assert!(more > 0 || piece.len() < left, "a step that does nothing");
            if unpacker.unpacked() > LIMIT {
                return End::TooLarge;
            }
        }
    }
    match unpacker.end() {
        // The last of it may come with the end.
        Ok(plain) if plain.len() > LIMIT => End::TooLarge,
        Ok(plain) => End::Whole(plain),
        Err(_) => End::Garbled,
    }
}
