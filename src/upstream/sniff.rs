//! Owns telling a stream of server-sent events from other bodies, by the content type or, if that says nothing, by the first
//! bytes.

use bytes::BytesMut;

use super::answer::{Answer, BrokenOff};
use crate::wire::sse::BYTE_ORDER_MARK;

/// Content types of servers that did not set one. Frameworks send these, or none, with a stream of any kind.
const TYPES_OF_ANYTHING: [&str; 2] = ["text/plain", "application/octet-stream"];

/// How lines of server-sent events begin (WHATWG HTML, 9.2.6); a comment begins with its colon.
const FIELDS: [&[u8]; 5] = [b"data:", b"event:", b":", b"id:", b"retry:"];

/// The most bytes held while they decide nothing: blanks behind a byte order mark.
const UNDECIDED: usize = 1 << 10;

impl Answer {
    /// Whether the body is a stream of server-sent events by its type; `None`: that does not say.
    pub fn is_event_stream(&self) -> Option<bool> {
        let text = self.header("content-type").filter(|text| !text.trim().is_empty())?;
        if is(text, "text/event-stream") {
            return Some(true);
        }
        TYPES_OF_ANYTHING.iter().all(|known| !is(text, known)).then_some(false)
    }

    /// Whether the body may be sound, or events with sound in them, by its type, or where it has none by its first byte, which is
    /// waited for: text and JSON are not. The caller sets the deadline.
    pub async fn may_be_sound(&mut self) -> Result<bool, BrokenOff> {
        let text = self.header("content-type").unwrap_or_default().trim_ascii();
        if !text.is_empty() {
            return Ok(names_sound(text));
        }
        let first = self.chunk().await.transpose()?;
        let begins = first.as_ref().and_then(|piece| piece.trim_ascii_start().first());
        let may_be = !matches!(begins, Some(b'{' | b'<'));
        self.seen = first.map(Box::new);
        Ok(may_be)
    }

    /// Whether the body is text of whatever kind by its type.
    pub fn is_text(&self) -> bool {
        let text = self.header("content-type").unwrap_or_default().trim_ascii();
        text.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"))
    }

    /// Whether the body begins as a stream of server-sent events does. What is waited for is the first that `chunk` gives
    /// afterwards. The caller sets the deadline.
    pub async fn begins_events(&mut self) -> Result<bool, BrokenOff> {
        let mut seen = BytesMut::new();
        let verdict = loop {
            let Some(piece) = self.chunk().await else { break false };
            let piece = piece?;
            // Blanks in front mean nothing to either reader, and some send them for as long as their model thinks.
            seen.extend_from_slice(if seen.is_empty() { piece.trim_ascii_start() } else { &piece });
            match begins_events(&seen) {
                Some(verdict) => break verdict,
                None if seen.len() > UNDECIDED => break false,
                None => {}
            }
        };
        self.seen = (!seen.is_empty()).then(|| Box::new(seen.freeze()));
        Ok(verdict)
    }
}

/// Whether what is of this type may be sound, or events with sound in them.
fn names_sound(text: &str) -> bool {
    let kind = text.split([';', ',', ' ', '\t']).next().unwrap_or_default().to_ascii_lowercase();
    is(text, "text/event-stream") || !(kind.starts_with("text/") || kind.ends_with("/json") || kind.ends_with("+json"))
}

/// Whether this is the type `known`, with or without parameters. Some forget the semicolon, and some who stand between send a
/// type twice.
fn is(text: &str, known: &str) -> bool {
    let mut parts = text.split([';', ',', ' ', '\t']);
    parts.find(|part| !part.is_empty()).is_some_and(|first| first.eq_ignore_ascii_case(known))
}

/// Whether a body that begins so is a stream of events; `None`: too little of it has come.
fn begins_events(bytes: &[u8]) -> Option<bool> {
    if BYTE_ORDER_MARK.starts_with(bytes) {
        return None;
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii_start();
    if FIELDS.iter().any(|field| bytes.starts_with(field)) {
        return Some(true);
    }
    FIELDS.iter().all(|field| !field.starts_with(bytes)).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_known_by_their_first_field_cut_anywhere() {
        for whole in ["data: {}", "\u{feff}event: x", "\n\r\nid: 7", ": hello", "retry: 5", "\u{feff}\n data:"] {
            let bytes = whole.as_bytes();
            assert_eq!(begins_events(bytes), Some(true), "{whole:?}");
            let first = (0..bytes.len()).find_map(|cut| begins_events(&bytes[..cut]));
            assert!(first.is_none_or(|verdict| verdict), "{whole:?}");
        }
        for other in ["{\"error\":1}", "<html>", "dat: x", "data", "\u{feff}{", "\"data: \"", "event :", "I am"] {
            let verdict = begins_events(other.as_bytes());
            assert_eq!(verdict, if other == "data" { None } else { Some(false) }, "{other:?}");
        }
    }

    #[test]
    fn a_type_is_known_with_its_parameters_and_in_any_case() {
        assert!(is(" Text/Event-Stream; charset=utf-8", "text/event-stream") && is("text/plain", "text/plain"));
        for odd in ["text/event-stream charset=utf-8", "text/event-stream, text/event-stream"] {
            assert!(is(odd, "text/event-stream"), "{odd}");
        }
        assert!(!is("text/plainer", "text/plain") && !is("", "text/plain"));
    }
}
