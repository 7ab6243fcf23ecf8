//! Owns the cases of cutting a stream into frames: wherever its pieces end, and however its lines do.

use bytes::Bytes;
use proptest::prelude::*;

use crate::wire::sse::{FrameTooLong, MAX_FRAME, Splitter, frames};

/// Event name and data.
type Fields = (Option<String>, Vec<u8>);

fn read(chunks: &[&[u8]]) -> (Vec<u8>, Vec<Fields>) {
    let (mut splitter, mut raw, mut fields) = (Splitter::default(), Vec::new(), Vec::new());
    let mut take = |run: &[u8]| {
        raw.extend_from_slice(run);
        for frame in frames(run) {
            if let Some(data) = frame.data {
                fields.push((frame.event.map(ToOwned::to_owned), data.into_owned()));
            }
        }
    };
    for chunk in chunks {
        take(&splitter.push(Bytes::copy_from_slice(chunk)).expect("short frames"));
    }
    take(&splitter.rest());
    (raw, fields)
}

#[test]
fn a_frame_is_passed_on_as_soon_as_its_blank_line_is_there() {
    let mut splitter = Splitter::default();
    assert_eq!(splitter.push(Bytes::from_static(b"data: a\n")).expect("short"), "");
    assert_eq!(splitter.push(Bytes::from_static(b"\ndata: b\n\nda")).expect("short"), "data: a\n\ndata: b\n\n");
    assert_eq!(splitter.rest(), "da");
}

#[test]
fn a_line_end_cut_in_two_stays_with_its_frame() {
    let of = |chunks: &[&'static str]| -> Vec<Bytes> {
        let mut splitter = Splitter::default();
        chunks.iter().map(|chunk| splitter.push(Bytes::from_static(chunk.as_bytes())).expect("short")).collect()
    };
    assert_eq!(of(&["data: a\r\n\r", "\ndata: b\r\n\r", "\n"]), ["", "data: a\r\n\r\n", "data: b\r\n\r\n"]);
    assert_eq!(of(&["data: a\r\n", "\r", "\n"]), ["", "", "data: a\r\n\r\n"]);
    let behind = of(&["data: a\r\n\r\ndata: b\r\n\r", "\nda"]);
    assert_eq!(behind, ["data: a\r\n\r\n", "data: b\r\n\r\n"]);
    // Where lines end with the one byte, no other is waited for.
    assert_eq!(of(&["data: a\r\r", "data: b\r", "\r"]), ["data: a\r\r", "", "data: b\r\r"]);
}

#[test]
fn a_frame_that_never_ends_is_an_error_not_memory() {
    let mut splitter = Splitter::default();
    let chunk = Bytes::from(vec![b'x'; MAX_FRAME / 2 + 1]);
    assert!(splitter.push(chunk.clone()).is_ok());
    assert_eq!(splitter.push(chunk), Err(FrameTooLong { limit: MAX_FRAME }));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_frame() {
    let stream = b"\xef\xbb\xbfdata: a\n\ndata: \xef\xbb\xbfb\n\n";
    let want = (stream[3..].to_vec(), vec![(None, b"a".to_vec()), (None, b"\xef\xbb\xbfb".to_vec())]);
    assert_eq!(read(&[stream]), want);
    assert_eq!(read(&stream.chunks(1).collect::<Vec<_>>()), want);
    assert_eq!(read(&[b"\xef\xbb\xbfdata: a"]).1, [(None, b"a".to_vec())]);
}

#[test]
fn a_field_named_error_is_an_event_of_that_name() {
    let error = (Some("error".to_owned()), b"{\"code\":500}".to_vec());
    assert_eq!(read(&[b"data: a\n\nerror: {\"code\":500}\n\n"]).1, [(None, b"a".to_vec()), error]);
}

#[test]
fn data_without_a_byte_is_none() {
    for heartbeat in ["data:\n\n", "data: \n\n", "event: ping\ndata\n\n"] {
        assert_eq!(read(&[heartbeat.as_bytes()]).1, [], "{heartbeat}");
    }
    assert_eq!(read(&[b"data:\ndata:\n\n"]).1, [(None, b"\n".to_vec())]);
}

proptest! {
    #[test]
    fn cutting_anywhere_changes_neither_bytes_nor_fields(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("data: é1"), Just("data:2"), Just("event: e"), Just(": ping"), Just("id: 7"), Just(""),
            ], 0..24),
        ends in proptest::collection::vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], 24),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let text: String = parts.iter().zip(&ends).flat_map(|(part, end)| [*part, *end]).collect();
        let text = text.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(text.len() + 1)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let chunks: Vec<&[u8]> = at.windows(2).map(|w| &text[w[0]..w[1]]).collect();
        let (raw, fields) = read(&chunks);
        prop_assert_eq!(&raw, text);
        prop_assert_eq!(fields, read(&[text]).1);
    }
}
