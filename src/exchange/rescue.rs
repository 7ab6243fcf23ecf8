//! Owns sewing a second answer onto a broken first one: word for word, or not at all.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::{
    error::{Class, Failed},
    wire::{peek, sse},
};

/// What the client has already, and a second answer has to repeat before it may add to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seam {
    owed: String,
    /// As much of it has been repeated.
    met: usize,
}

/// What a piece of the second answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece<'a> {
    /// Nothing but what the client has.
    Repeated,
    /// From here on it is new.
    New(&'a str),
    /// Something else than the client has.
    Different,
}

impl Seam {
    /// A seam behind the text that the client has.
    pub(super) fn new(owed: String) -> Self {
        Self { owed, met: 0 }
    }

    /// Whether all of the client's text has been repeated.
    pub(super) fn is_closed(&self) -> bool {
        self.met == self.owed.len()
    }

    fn meet<'a>(&mut self, text: &'a str) -> Piece<'a> {
        let rest = &self.owed[self.met..];
        if rest.starts_with(text) {
            self.met += text.len();
            return Piece::Repeated;
        }
        match text.strip_prefix(rest) {
            Some(new) => {
                self.met = self.owed.len();
                Piece::New(new)
            }
            None => Piece::Different,
        }
    }

    /// Of a run of the second answer's frames, what is new to the client.
    pub(super) fn stitch(&mut self, run: &Bytes) -> Result<Bytes, Failed> {
        let differs = || Failed::new(Class::ProviderInvalid, "its answer differs from the one that broke off");
        let mut out = BytesMut::new();
        for frame in sse::frames(run) {
            if self.is_closed() {
                out.extend_from_slice(frame.raw);
                continue;
            }
            let Some(data) = &frame.data else { continue };
            let Ok(seen) = peek::frame(data) else { continue };
            if seen.intricate || seen.done {
                return Err(differs());
            }
            match self.meet(&seen.text) {
                Piece::Different => return Err(differs()),
                Piece::New(new) => out.extend_from_slice(&with_text(data, new).ok_or_else(differs)?),
                // The finish may stand in the frame of the last repeated word: then it is all that is new in it.
                Piece::Repeated if seen.finish && self.is_closed() => {
                    out.extend_from_slice(&with_text(data, "").ok_or_else(differs)?);
                }
                Piece::Repeated if seen.finish => return Err(differs()),
                Piece::Repeated => {}
            }
        }
        Ok(out.freeze())
    }
}

/// A chunk's frame with another text.
fn with_text(data: &[u8], text: &str) -> Option<Vec<u8>> {
    let mut chunk: Value = serde_json::from_slice(data).ok()?;
    let choice = chunk.pointer_mut("/choices/0")?;
    let said = if choice.get("delta").is_some() { "/delta/content" } else { "/text" };
    *choice.pointer_mut(said)? = Value::from(text);
    Some(format!("data: {chunk}\n\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn frame(text: &str) -> String {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}))
    }

    fn text_of(run: &[u8]) -> String {
        let data = sse::frames(run).filter_map(|f| f.data.map(std::borrow::Cow::into_owned));
        data.filter_map(|d| peek::frame(&d).ok().map(|seen| seen.text.into_owned())).collect()
    }

    proptest! {
        #[test]
        fn what_the_client_reads_is_the_whole_second_answer_once(
            tokens in proptest::collection::vec("[a-zé ]{0,4}", 1..20), at in any::<prop::sample::Index>(),
        ) {
            let whole: String = tokens.concat();
            let cut = (0..=whole.len()).rev().find(|n| *n <= at.index(whole.len() + 1) && whole.is_char_boundary(*n)).unwrap_or(0);
            let mut seam = Seam::new(whole[..cut].to_owned());
            let mut heard = whole[..cut].to_owned();
            for token in &tokens {
                let out = seam.stitch(&frame(token).into()).expect("the same words");
                heard.push_str(&text_of(&out));
            }
            prop_assert_eq!(heard, whole);
        }

        #[test]
        fn another_answer_is_never_sewn_on(had in "[ab]{1,8}", other in "[ab]{1,12}") {
            let mut seam = Seam::new(had.clone());
            let run: String = other.chars().map(|c| frame(&c.to_string())).collect();
            let end = "data: [DONE]\n\n";
            match seam.stitch(&format!("{run}{end}").into()) {
                Ok(out) => prop_assert_eq!(format!("{had}{}", text_of(&out)), other),
                Err(_) => prop_assert!(!other.starts_with(&had)),
            }
        }
    }
}
