//! Owns a shortcut for streams: a frame that differs from the one before only in its text is not parsed again.
//!
//! Servers send the same members with each token, and reading them all was two fifths of what a chunk costs above the kernel
//! (`docs/benchmarks/core.md`). Replacing a string without escapes by another leaves all else that a JSON text means.

use std::borrow::Cow;

use memchr::memmem;

use super::{Malformed, Observed};
use crate::wire::course::Moves;

/// Longest frame that is remembered, bytes: each stream holds one.
const LONGEST: usize = 2 << 10;

/// What OpenAI pads frames with, so that their sizes do not tell what they say: it differs in each.
const PADDING: &[u8] = b"\"obfuscation\":\"";

/// A frame seen before, without its text and its padding: what stood before them, between them and after them.
#[derive(Debug, Default)]
pub struct Pattern {
    before: Vec<u8>,
    between: Vec<u8>,
    /// `None`: nothing is padded, and `between` goes to the end.
    after: Option<Vec<u8>>,
    intricate: bool,
    moves: Moves,
}

impl Pattern {
    /// What a frame's data means: as `frame` says, which is asked only if it is unlike the one before.
    pub fn read<'a>(
        &mut self,
        data: &'a [u8],
        frame: impl FnOnce(&'a [u8]) -> Result<Observed<'a>, Malformed>,
    ) -> Result<Observed<'a>, Malformed> {
        if let Some(text) = self.text(data) {
            let text = Cow::Borrowed(text);
            let (intricate, moves) = (self.intricate, self.moves);
            return Ok(Observed { content: true, intricate, moves, text, ..Observed::default() });
        }
        let seen = frame(data)?;
        self.learn(data, &seen);
        Ok(seen)
    }

    /// The text of a frame that is like the one before.
    fn text<'a>(&self, data: &'a [u8]) -> Option<&'a str> {
        if self.before.is_empty() {
            return None;
        }
        let (text, rest) = string(data.strip_prefix(&self.before[..])?)?;
        let rest = rest.strip_prefix(&self.between[..])?;
        let rest = match &self.after {
            Some(after) => string(rest)?.1.strip_prefix(&after[..])?,
            None => rest,
        };
        (rest.is_empty() && !text.is_empty()).then_some(text)
    }

    /// Remembers a frame that carries a text and nothing else of interest.
    fn learn(&mut self, data: &[u8], seen: &Observed<'_>) {
        let Cow::Borrowed(text) = seen.text else { return };
        let (intricate, moves) = (seen.intricate, seen.moves);
        let only = Observed { content: true, intricate, moves, text: text.into(), ..Observed::default() };
        if text.is_empty() || *seen != only || data.len() > LONGEST {
            return;
        }
        // Borrowed, it stands in `data`, between quotes and without escapes.
        let from = text.as_ptr().addr() - data.as_ptr().addr();
        let (before, rest) = (&data[..from], &data[from + text.len()..]);
        let padding = memmem::find(rest, PADDING).map(|at| at + PADDING.len());
        let padded = padding.and_then(|at| Some((&rest[..at], string(&rest[at..])?.1)));
        let (between, after) = padded.map_or((rest, None), |(between, after)| (between, Some(after)));
        before.clone_into(&mut self.before);
        between.clone_into(&mut self.between);
        self.after = after.map(ToOwned::to_owned);
        self.intricate = intricate;
        self.moves = moves;
    }
}

/// The rest of a string token without escapes, up to its closing quote, and what follows from that quote on.
fn string(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
    let (text, rest) = bytes.split_at(end);
    (rest[0] == b'"').then_some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{frame, messages},
        *,
    };

    fn unread(_: &[u8]) -> Result<Observed<'_>, Malformed> {
        Err(Malformed("it was read".into()))
    }

    fn chat(text: &str, padding: &str) -> String {
        format!(r#"{{"id":"c","model":"m","choices":[{{"index":0,"delta":{{"content":{text}}}}}]{padding}}}"#)
    }

    #[test]
    fn a_frame_like_the_one_before_is_not_read() {
        for padding in ["", r#","obfuscation":"a9""#, r#","obfuscation":"","usage":null"#] {
            let mut pattern = Pattern::default();
            let first = chat(r#""one""#, padding);
            assert_eq!(pattern.read(first.as_bytes(), frame).expect("a frame").text, "one");
            let second = chat(r#""zwölf""#, &padding.replace("a9", "77é"));
            assert_eq!(pattern.read(second.as_bytes(), unread).expect("known").text, "zwölf");
        }
        let event =
            |text| format!(r#"{{"type":"content_block_delta","delta":{{"type":"text_delta","text":"{text}"}}}}"#);
        let mut pattern = Pattern::default();
        pattern.read(event("a").as_bytes(), |data| messages::frame(None, data)).expect("an event");
        assert!(pattern.read(event("bc").as_bytes(), unread).expect("known").intricate);
    }

    #[test]
    fn what_is_more_than_a_text_is_not_taken_for_one() {
        let finish = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
        let mut pattern = Pattern::default();
        for _ in 0..2 {
            assert!(pattern.read(finish.as_bytes(), frame).expect("a frame").finish);
        }
        assert!(pattern.read(finish.as_bytes(), unread).is_err());
    }

    /// Frames that are alike but for one thing or another, broken ones among them.
    fn frames() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            "[a-zé]{0,4}".prop_map(|word| format!("{word:?}")),
            Just(r#""a\"b""#.to_owned()),
            Just(r#""\u00e9""#.to_owned()),
            Just(r#""a","role":"x""#.to_owned()),
            Just("\"a\tb\"".to_owned()),
            Just("null".to_owned()),
            Just("\"a".to_owned()),
        ];
        let padding = prop_oneof![
            Just(String::new()),
            "[a-z]{0,3}".prop_map(|word| format!(r#","obfuscation":"{word}""#)),
            Just(r#","obfuscation":"\"","usage":{"prompt_tokens":1}"#.to_owned()),
            Just(r#","note":"x\"obfuscation":"y""#.to_owned()),
            Just(r#","error":"busy""#.to_owned()),
            Just(",".to_owned()),
        ];
        (text, padding).prop_map(|(text, padding)| chat(&text, &padding))
    }

    proptest! {
        #[test]
        fn a_frame_means_the_same_read_or_known(frames in proptest::collection::vec(frames(), 1..12)) {
            let mut pattern = Pattern::default();
            for data in &frames {
                let read = frame(data.as_bytes());
                let known = pattern.read(data.as_bytes(), frame);
                prop_assert_eq!(known, read);
            }
        }
    }
}
