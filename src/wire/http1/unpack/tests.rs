//! What an unpacker makes of bodies cut anywhere, cut short, garbled, or much larger than they look.

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use proptest::prelude::*;

use super::*;

const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Deflate, Coding::Zstd];

/// Most that a step may unpack, bytes: a block of zstd, which comes out whole once its last byte is there, and what was left before it.
const MOST: usize = 192 << 10;

fn packed(plain: &[u8], coding: Coding) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory is there")
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory is there")
        }
        _ => {
            let mut packed = vec![0; zstd_safe::compress_bound(plain.len())];
            let length = zstd_safe::compress(&mut packed[..], plain, 3).expect("room for it");
            packed.truncate(length);
            packed
        }
    }
}

/// Feeds `pieces` until more than `limit` is unpacked.
fn unpack(coding: Coding, pieces: &[&[u8]], limit: usize) -> Result<Vec<u8>, Garbled> {
    let mut unpacker = Unpacker::of(coding, usize::MAX).expect("it packs");
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() && unpacker.unpacked() <= limit {
            let (before, left) = (unpacker.unpacked(), rest.len());
            unpacker.step(&mut rest)?;
            let unpacked = unpacker.unpacked() - before;
            assert!(unpacked <= MOST, "{unpacked}");
            assert!(unpacked > 0 || rest.len() < left, "a step that does nothing");
        }
    }
    if unpacker.unpacked() > limit { Ok(vec![0; unpacker.unpacked()]) } else { unpacker.end() }
}

#[test]
fn a_body_of_several_members_or_frames_is_all_of_them() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let both = [packed(b"one ", coding), packed(b"two", coding)].concat();
        assert_eq!(unpack(coding, &[&both], usize::MAX), Ok(b"one two".to_vec()), "{coding:?}");
    }
    let behind = [packed(b"one", Coding::Deflate), b"two".to_vec()].concat();
    assert_eq!(unpack(Coding::Deflate, &[&behind], usize::MAX), Err(Garbled));
}

#[test]
fn a_block_of_zstd_comes_out_whole_with_its_last_byte() {
    let plain: Vec<u8> = (0..=u8::MAX).cycle().take(150 << 10).collect();
    let packed = packed(&plain, Coding::Zstd);
    for cut in 0..packed.len() {
        let (begun, rest) = packed.split_at(cut);
        assert_eq!(unpack(Coding::Zstd, &[begun, rest], usize::MAX).as_ref(), Ok(&plain), "{cut}");
    }
}

#[test]
fn what_would_be_much_larger_is_unpacked_up_to_a_limit_and_no_further() {
    for coding in CODINGS {
        let bomb = packed(&vec![0; 16 << 20], coding);
        assert!(bomb.len() < 32 << 10, "{coding:?}: {}", bomb.len());
        let unpacked = unpack(coding, &[&bomb], 1 << 20).expect("sound").len();
        assert!((1 << 20..(1 << 20) + 2 * MOST).contains(&unpacked), "{coding:?}: {unpacked}");
    }
}

#[test]
fn a_window_of_zstd_beyond_what_http_allows_is_refused_before_it_takes_memory() {
    // A frame of nothing: its mark, what its head has, the window's size, and a last block without bytes.
    let frame = |window: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0x00][..], &[(window - 10) << 3, 1, 0, 0]].concat();
    assert_eq!(unpack(Coding::Zstd, &[&frame(23)], usize::MAX), Ok(Vec::new()));
    assert_eq!(unpack(Coding::Zstd, &[&frame(24)], usize::MAX), Err(Garbled));
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    // Long enough for several steps, and of few letters, so that packing does something.
    (proptest::collection::vec(prop_oneof![Just(b'a'), Just(b' '), any::<u8>()], 0..300), 1_usize..600)
        .prop_map(|(some, times)| some.repeat(times))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_packed_body_cut_anywhere_is_the_plain_one_and_short_of_its_end_is_none(
        plain in text(),
        coding in proptest::sample::select(&CODINGS[..]),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        short in any::<prop::sample::Index>(),
    ) {
        let packed = packed(&plain, coding);
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(packed.len() + 1)).chain([0, packed.len()]).collect();
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &packed[w[0]..w[1]]).collect();
        prop_assert_eq!(unpack(coding, &pieces, usize::MAX), Ok(plain));
        // Nothing at all is a body without bytes, which its reader deals with.
        let short = 1 + short.index(packed.len() - 1);
        prop_assert_eq!(unpack(coding, &[&packed[..short]], usize::MAX), Err(Garbled));
    }

    #[test]
    fn any_bytes_whatever_are_unpacked_or_refused(
        plain in text(),
        coding in proptest::sample::select(&CODINGS[..]),
        place in any::<prop::sample::Index>(),
        bytes in proptest::collection::vec(any::<u8>(), 1..40),
    ) {
        let _ = unpack(coding, &[&bytes], 1 << 20);
        let mut packed = packed(&plain, coding);
        let at = place.index(packed.len());
        packed.splice(at.., bytes);
        let _ = unpack(coding, &[&packed], 1 << 20);
    }
}
