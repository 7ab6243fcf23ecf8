//! Forms as clients write them, and as nobody should.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::wire::envelope::Change;

const KIND: &str = "multipart/form-data; boundary=xYz";

/// A form of these parts: the rest of each head behind `form-data`, and what is in it.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, value) in parts {
        body.extend_from_slice(format!("--xYz\r\nContent-Disposition: form-data{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    [&body[..], b"--xYz--\r\n"].concat()
}

fn edited(body: &[u8], model: Option<&str>) -> Vec<u8> {
    let change = Change { model, ask_usage: false, partial: None };
    read(KIND, body).expect("a form").edit(&Bytes::copy_from_slice(body), change).concat()
}

#[test]
fn words_are_found_by_names_with_and_without_quotes() {
    for (head, named) in [
        ("; name=\"model\"", true),
        (";name=model", true),
        ("; NAME = model ", true),
        ("; name=\"model\"\r\nContent-Type: text/plain", true),
        ("; name=\"models\"", false),
        ("; name=\"file\"; filename=\"model\"", false),
        ("; name=\"file\"; filename=\"a; rename=model\"", false),
        ("; name=\"file\"; filename=\"a\\\"; title=model\"", false),
    ] {
        let found = read(KIND, &form(&[(head, b"m")])).expect("a form");
        assert_eq!(found.model.as_deref(), named.then_some("m"), "{head}");
    }
    let body = form(&[("; name=backend", b"one"), ("; name=stream", b"True"), ("; name=model", b"")]);
    let found = read(KIND, &body).expect("a form");
    assert_eq!((found.pin, found.stream, found.model.as_deref()), (Pin::To("one".into()), Stream::On, Some("")));
    let body = form(&[("; name=backend", b""), ("; name=stream", b"maybe"), ("; name=model", b"\xff")]);
    let found = read(KIND, &body).expect("a form");
    assert!(found.has_model() && found.model.is_none());
    assert_eq!((found.pin, found.stream), (Pin::Bad, Stream::Bad));
}

#[test]
fn the_boundary_is_read_with_and_without_quotes_and_one_that_can_be_read_in_two_ways_is_none() {
    for kind in [
        "multipart/form-data; boundary=xYz",
        "Multipart/Form-Data;charset=utf-8; Boundary=\"xYz\"",
        "multipart/form-data ; boundary = xYz",
    ] {
        assert_eq!(boundary(kind), Some("xYz"), "{kind}");
    }
    for kind in [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=xYz",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"xYz",
        "multipart/form-data; boundary=x Yz",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a, multipart/form-data; boundary=b",
        "multipart/form-data; boundary*=utf-8''a; boundary=b",
        "multipart/form-data; boundary=a, b",
        "multipart/form-data; boundary=xYz; charset=utf-7",
        "multipart/form-data; boundary=xYz; charset=utf-8; charset=utf-8",
        "multipart/form-data; x=\"; boundary=xYz; y=\"",
    ] {
        assert_eq!(boundary(kind), None, "{kind}");
        assert_eq!(read(kind, b"{}"), Err(Unreadable::NoBoundary), "{kind}");
    }
    assert_eq!(boundary(&format!("multipart/form-data; boundary={}", "x".repeat(71))), None);
}

#[test]
fn a_length_that_a_head_tells_is_never_that_of_another_models_name() {
    let head = "; name=\"model\"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 1";
    let file = ("; name=\"file\"; filename=\"a.wav\"\r\nContent-Length: 4", &b"\r\n--"[..]);
    let body = form(&[(head, b"m"), file]);
    assert_eq!(edited(&body, None), body);
    assert_eq!(edited(&body, Some("other")), form(&[("; name=\"model\"", b"other"), file]));
}

#[test]
fn a_form_that_asks_for_a_stream_has_no_room_for_an_objects_members() {
    let body = form(&[("; name=stream", b"true"), ("; name=model", b"m")]);
    let (found, change) = (read(KIND, &body).expect("a form"), Change { model: None, ask_usage: true, partial: None });
    assert!(!found.usage_can_be_asked());
    assert_eq!(found.edit(&Bytes::copy_from_slice(&body), change).concat(), body);
}

#[test]
fn what_two_readers_could_take_in_two_ways_is_refused() {
    for head in [
        "",
        "; filename=\"a\"",
        "; name=\"file\"; name=\"model\"",
        "; name=\"file\"; name*=utf-8''model",
        "; name=\"mod\\el\"",
        "; name=\"a\"b",
        "; name=\"a",
        "; name=a b",
        "; name=\"file\"; filename=\"a\\\"; name=\"model\"",
        "; name=\"file\"; filename=\"a\\\"",
        "; name=\"file\"; filename=\"a\\\\\"",
        "; name=\"file\"; filename=\"a\\\\\"; x=\\\"\"",
        "; name=\"file\"; filename=\"a; name=model; b\"",
        "; name=\"file\"; filename=\"a\\\"; Name*=model; b=\\\"\"",
        "; name=\"file\"; filename=\"a\\\";\t\\\"name\\\" =model\"",
        "; filename=\"a name=model b\"; name=\"file\"",
        "; filename=a; name=\"file\"",
        "; name=\"file\"; name\u{b}=\"model\"",
        "; name=\"file\"; name\u{a0}=\"model\"",
        "; name=\"file\"; x=y",
        "; name=\"model \"",
        "; name=\"model\0\"",
        "; name=\"=?utf-8?B?bW9kZWw=?=\"",
        "; name=\"Model\"",
        "; name=\"model[]\"",
        "; name=\"BACKEND[a]\"",
        "; name=\"model\"; filename=\"a\"",
        "; name=\"model\"\r\nContent-Type: application/octet-stream",
        "; name=\"model\"\r\nContent-Type: text/plain; charset=utf-7",
        "; name=\"model\"\r\nContent-Transfer-Encoding: base64",
        "; name=\"_charset_\"",
        "; name=\"file\"\r\n\u{b}Content-Disposition: form-data; name=\"model\"",
        "; name=\"file\"\r\nContent-Disposition: form-data; name=\"model\"",
        ";\r\n name=\"file\"",
        "; name=\"file\"\nContent-Disposition: form-data; name=\"model\"",
        "; name=\"file\"\r\nno colon",
        "; name=\"file\"\r\nContent-Length: 2",
        "; name=\"file\"\r\nContent-Length: 01",
        "; name=\"file\"\r\nContent-Length: 1\r\nContent-Length: 1",
    ] {
        assert!(matches!(read(KIND, &form(&[(head, b"m")])), Err(Unreadable::NotForm(_))), "{head}");
    }
    for body in [
        "",
        "--xYz",
        "--xYz--x",
        "{\"model\":\"m\"}",
        "--xYz\r\n--xYz--",
        "--xYz\r\n\r\nm\r\n--xYz--",
        "--xYz\r\nContent-Disposition: form-data; name=model\r\n\r\nm",
        "--xYz\r\nContent-Disposition: form-data; name=a\r\n\r\nm\r\n--xYzW\r\n--xYz--",
        "--xYz\r\nContent-Disposition: form-data; name=a\r\n\r\nm\n--xYz\r\n\r\n--xYz--",
        "--xYz--\r\n--xYz\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n--xYz--",
        "model\r\n--xYz--",
    ] {
        assert!(matches!(read(KIND, body.as_bytes()), Err(Unreadable::NotForm(_))), "{body}");
    }
    let many: Vec<(&str, &[u8])> = vec![("; name=a", b""); MOST + 1];
    assert_eq!(read(KIND, &form(&many[..MOST])).map(|found| found.model), Ok(None));
    assert!(matches!(read(KIND, &form(&many)), Err(Unreadable::NotForm(_))));
    for name in WORDS {
        let head = format!("; name={name}");
        let twice = read(KIND, &form(&[(&head, b"true"), (&head, b"true")]));
        assert_eq!(twice, Err(Unreadable::Twice(name)));
    }
}

/// Bytes of a file, some of which look like a form's.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        Just(b"\r\n".to_vec()),
        Just(b"--xYz".to_vec()),
        Just(b"Content-Disposition: form-data; name=\"model\"\r\n\r\nother\r\n".to_vec()),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn reading_never_panics_wherever_it_is_cut(bytes in file(), head in "\\PC{0,20}", cut in any::<prop::sample::Index>()) {
        let body = form(&[(&head, &bytes), ("; name=model", b"m")]);
        drop(read(KIND, &body));
        prop_assert!(read(KIND, &body[..cut.index(body.len() - 4)]).is_err());
        drop(read(KIND, &[&b"--xYz\r\n"[..], &bytes, b"\r\n--xYz--"].concat()));
        drop(read(&head, &bytes));
    }

    #[test]
    fn an_edit_keeps_all_other_bytes_and_the_files_are_no_words(
        bytes in file(),
        place in 0..3_usize,
        padding in prop_oneof![Just(""), Just(" \t")],
    ) {
        // A file in which the boundary begins a line is no part of this form.
        let lines = [b"\r\n", &bytes[..]].concat();
        prop_assume!(memmem::find(&lines, b"\r\n--xYz").is_none());
        prop_assume!(memmem::find(&lines, b"\n--xYz").is_none() && memmem::find(&lines, b"\r--xYz").is_none());
        let file = ("; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav", &bytes[..]);
        let plain = [file, ("; name=\"model\"", b"public"), ("; name=prompt", b"model")];
        let mut pinned = plain.to_vec();
        pinned.insert(place, ("; name=\"backend\"", b"one"));
        let pad = |body: Vec<u8>| {
            let text = format!("--xYz{padding}\r\nContent-");
            let mut out = Vec::new();
            let mut rest = &body[..];
            while let Some(at) = memmem::find(rest, b"--xYz\r\nContent-Disposition: form-data; name") {
                out.extend_from_slice(&rest[..at]);
                out.extend_from_slice(text.as_bytes());
                rest = &rest[at + b"--xYz\r\nContent-".len()..];
            }
            [&out[..], rest].concat()
        };
        let (with, without) = (pad(form(&pinned)), pad(form(&plain)));
        let found = read(KIND, &with).expect("a form");
        prop_assert_eq!((found.model.as_deref(), found.pin), (Some("public"), Pin::To("one".into())));
        prop_assert_eq!(&edited(&with, None), &without);
        let renamed = [file, ("; name=\"model\"", &b"a \"b\""[..]), ("; name=prompt", b"model")];
        prop_assert_eq!(edited(&with, Some("a \"b\"")), pad(form(&renamed)));
    }
}
