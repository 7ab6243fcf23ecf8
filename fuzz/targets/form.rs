//! Owns fuzzing the reader of forms, against one that splits them as servers do: its words are theirs, and an edit changes no other part.
#![no_main]

use bytes::Bytes;
use greenroom::wire::envelope::{Change, Envelope, Pin, form};

/// A part: its head and what is in it.
type Part<'b> = (&'b [u8], &'b [u8]);

// Up to a line feed it is the content type, from there on the body.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let cut = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (kind, body) = (&input[..cut], input.get(cut + 1..).unwrap_or_default());
    let Ok(kind) = std::str::from_utf8(kind) else { return };
    let Ok(found) = form::read(kind, body) else { return };

    let boundary = boundary(kind);
    let (parts, end) = parts(body, &boundary);
    let has = |word: &str| parts.iter().find(|(head, _)| names(head, word)).map(|(_, value)| *value);
    assert_eq!(found.has_model(), has("model").is_some());
    assert_eq!(found.model.as_deref(), has("model").and_then(|model| std::str::from_utf8(model).ok()));
    match (&found.pin, has("backend")) {
        (Pin::None, None) | (Pin::Bad, Some(_)) => {}
        (Pin::To(name), Some(said)) => assert_eq!(name.as_bytes(), said),
        (pin, said) => panic!("{pin:?} of {said:?}"),
    }
    for cut in [end / 3, end / 2, end - 3, end - 1] {
        assert!(form::read(kind, &body[..cut]).is_err(), "cut at {cut}");
    }
    assert_eq!(form::read(kind, &body[..end]).as_ref(), Ok(&found));

    for model in [None, Some("other \"name\"")] {
        let (again, edited) = edited(kind, body, &found, model);
        let is_other = |(head, _): &&Part<'_>| !names(head, "backend") && (model.is_none() || !names(head, "model"));
        let (now, _) = self::parts(&edited, &boundary);
        assert!(now.iter().filter(is_other).eq(parts.iter().filter(is_other)), "another part has changed");
        assert_eq!((&again.pin, again.stream, again.has_model()), (&Pin::None, found.stream, found.has_model()));
        let want = model.filter(|_| found.has_model()).or(found.model.as_deref());
        assert_eq!(again.model.as_deref(), want);
        assert!(found.pin != Pin::None || model.is_some() || edited == body, "nothing was to be changed");
    }
});

/// The form as a backend gets it, and what is read of that.
fn edited(kind: &str, body: &[u8], found: &Envelope, model: Option<&str>) -> (Envelope, Vec<u8>) {
    let change = Change { model, ask_usage: true, partial: None };
    let edited = found.edit(&Bytes::copy_from_slice(body), change).concat();
    (form::read(kind, &edited).expect("an edited form stays one"), edited)
}

/// The boundary of a content type that was taken.
fn boundary(kind: &str) -> Vec<u8> {
    let named = kind.split(';').filter_map(|parameter| parameter.split_once('='));
    let mut boundary = named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
    let (_, value) = boundary.next().expect("it was read");
    format!("--{}", value.trim().trim_matches('"')).into_bytes()
}

/// The parts of a form, and where its end marker ends: wherever the boundary begins a line, one ends and one begins.
fn parts<'b>(body: &'b [u8], line: &[u8]) -> (Vec<Part<'b>>, usize) {
    let begins = |at: &usize| body[*at..].starts_with(line) && (*at == 0 || body[*at - 1] == b'\n');
    let places: Vec<usize> = (0..body.len()).filter(begins).collect();
    let part = |pair: &[usize]| {
        let within = &body[pair[0] + line.len()..pair[1] - 2];
        let after = |text: &[u8], what: &[u8]| text.windows(what.len()).position(|at| at == what).expect("it was read");
        let within = &within[after(within, b"\r\n") + 2..];
        let end = after(within, b"\r\n\r\n");
        (&within[..end], &within[end + 4..])
    };
    let last = places.last().expect("it has an end");
    (places.windows(2).map(part).collect(), last + line.len() + 2)
}

/// Whether a server may take this head for that of `word`: whichever parameter of its disposition has that name, in any case.
fn names(head: &[u8], word: &str) -> bool {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut dispositions = head.split(['\r', '\n']).filter(|line| line.trim().starts_with("content-disposition"));
    dispositions.any(|line| {
        let mut quoted = false;
        let mut parameters = line.split(|c| {
            quoted ^= c == '"';
            c == ';' && !quoted
        });
        parameters.any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().trim_end_matches('*') == "name" && value.trim().trim_matches('"').trim() == word
        })
    })
}
