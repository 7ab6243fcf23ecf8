//! Owns where a stream's request has room to ask for token usage.

use std::ops::Range;

use crate::wire::scan::Cursor;

/// Where a stream can be asked for token usage that its client did not ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Room {
    /// Behind all members: there are no `stream_options`.
    #[default]
    Behind,
    /// In place of this value: null.
    Instead(Range<usize>),
    /// Here, in `stream_options` that do not speak of it, or are empty.
    Inside(usize, bool),
    /// In place of this value: null or false.
    Flag(Range<usize>),
    /// Nowhere: it is asked for, or what stands there is the client's error, for the backend to tell.
    Nowhere,
}

impl Room {
    /// What asks for it, and where that goes in a body whose closing brace stands at `close`.
    pub(super) fn ask(&self, close: usize) -> Option<(Range<usize>, &'static [u8])> {
        Some(match self {
            Self::Behind => (close..close, br#","stream_options":{"include_usage":true}"#),
            Self::Instead(null) => (null.clone(), br#"{"include_usage":true}"#),
            Self::Inside(at, true) => (*at..*at, br#""include_usage":true"#),
            Self::Inside(at, false) => (*at..*at, br#""include_usage":true,"#),
            Self::Flag(value) => (value.clone(), b"true"),
            Self::Nowhere => return None,
        })
    }
}

/// Where `stream_options`, which begin `from` bytes into the body, have room for token usage, and whether they ask for it.
pub(super) fn options(value: &str, from: usize) -> (Room, bool) {
    if value == "null" {
        return (Room::Instead(from..from + value.len()), false);
    }
    let (mut json, mut flag, mut times, mut empty) = (Cursor::new(value), 0..0, 0, true);
    let read = json.object(|json, key| {
        let at = json.at();
        let len = json.value()?.len();
        empty = false;
        if key == "include_usage" {
            times += 1;
            flag = at..at + len;
        }
        Ok(())
    });
    match (read, times, &value[flag.clone()]) {
        (Ok(()), 0, _) => (Room::Inside(from + 1, empty), false),
        (Ok(()), 1, "null" | "false") => (Room::Flag(from + flag.start..from + flag.end), false),
        (_, _, flag) => (Room::Nowhere, flag == "true"),
    }
}
