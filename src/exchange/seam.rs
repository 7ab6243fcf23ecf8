//! Owns sewing a second answer onto a broken first one: word for word, or not at all.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::repetition::{self, Bearing};
use crate::{
    error::{Class, Failed},
    wire::{peek, sse},
};

/// The text that the client has, which a second answer has to repeat before it may add to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seam {
    owed: String,
    /// How many bytes of it have been repeated, or need not be.
    met: usize,
    /// What is held back while it is unknown whether the answer continues the text, as it was asked to.
    doubt: Option<Doubt>,
    /// The answer repeats all of the text.
    repeats: bool,
}

/// The part of an answer held back until it is known whether it continues a text or begins it anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Doubt {
    said: String,
    frames: BytesMut,
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
    /// A seam behind the text that the client has, for an answer that repeats it.
    pub(super) fn repeated(owed: String) -> Self {
        Self { owed, met: 0, doubt: None, repeats: true }
    }

    /// A seam behind the text that the client has, for an answer that was asked to continue it. Its first words tell whether
    /// it does.
    pub(super) fn gone_on_with(owed: String) -> Self {
        Self { owed, met: 0, doubt: Some(Doubt::default()), repeats: false }
    }

    /// Whether all of the client's text has been repeated, or is not going to be.
    pub(super) fn is_closed(&self) -> bool {
        self.doubt.is_none() && self.met == self.owed.len()
    }

    /// Whether the answer says all of the text again.
    pub(super) fn repeats(&self) -> bool {
        self.repeats
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

    /// What is new to the client in a run of the second answer's frames.
    pub(super) fn stitch(&mut self, run: &Bytes) -> Result<Bytes, Failed> {
        let Some(mut doubt) = self.doubt.take() else { return self.sew(run) };
        let blank = &self.owed[self.owed.trim_end().len()..];
        let mut bearing = Bearing::Open;
        for frame in sse::frames(run) {
            if bearing == Bearing::Open {
                let Some(Ok(seen)) = frame.data.as_ref().map(|data| peek::frame(data)) else { continue };
                let ended = seen.finish || seen.done || seen.intricate;
                if seen.text.is_empty() && !ended {
                    continue;
                }
                doubt.said.push_str(&seen.text);
                bearing = repetition::bearing(&self.owed, blank, &doubt.said, ended);
            }
            doubt.frames.extend_from_slice(frame.raw);
        }
        match bearing {
            Bearing::Open => {
                self.doubt = Some(doubt);
                return Ok(Bytes::new());
            }
            Bearing::GoesOn => self.met = self.owed.len() - blank.len(),
            Bearing::Repeats => self.repeats = true,
            Bearing::Neither => return Err(differs()),
        }
        self.sew(&doubt.frames.freeze())
    }

    fn sew(&mut self, run: &Bytes) -> Result<Bytes, Failed> {
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

fn differs() -> Failed {
    Failed::new(Class::ProviderInvalid, "its answer differs from the one that broke off")
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

    impl Seam {
        fn is_open(&self) -> bool {
            self.doubt.is_some()
        }
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
            let mut seam = Seam::repeated(whole[..cut].to_owned());
            let mut heard = whole[..cut].to_owned();
            for token in &tokens {
                let out = seam.stitch(&frame(token).into()).expect("the same words");
                heard.push_str(&text_of(&out));
            }
            prop_assert_eq!(heard, whole);
        }

        #[test]
        fn of_whatever_is_to_go_on_the_client_reads_all_of_it_or_the_rest_and_no_beginning_twice(
            had in "([ab]{1,3}[ é]{0,2}){1,20}|[ -~]{30,90}", rest in "([ab]{1,3}[ é]{0,2}){0,6}", extra in "[ ab]{0,3}",
            way in 0..5, size in 1_usize..60,
        ) {
            let partial = had.trim_end();
            let second = match way {
                0 => format!("{had}{rest}"),
                1 => format!("{partial}{extra}{rest}"),
                2 => format!("{}{rest}", &had[partial.len()..]),
                3 => format!("{extra}{had}{rest}"),
                _ => rest,
            };
            let letters: Vec<char> = second.chars().collect();
            let tokens = letters.chunks(size).map(|token| frame(&token.iter().collect::<String>()));
            let finish = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
            let mut seam = Seam::gone_on_with(had.clone());
            let (mut added, mut said) = (String::new(), String::new());
            let mut different = false;
            for token in tokens.chain([format!("data: {finish}\n\n")]) {
                said += &text_of(token.as_bytes());
                match seam.stitch(&token.into()) {
                    Ok(out) => added += &text_of(&out),
                    Err(_) => different = true,
                }
                if different {
                    break;
                }
                // No longer held back than it looks like the beginning.
                let starts = |text: &str| had.trim_start().starts_with(text.trim_start());
                prop_assert!(!seam.is_open() || starts(&said), "{:?} is held back", said);
            }
            if different {
                prop_assert_eq!(added, "");
            } else if seam.repeats() {
                prop_assert_eq!(format!("{had}{added}"), second);
            } else {
                prop_assert_eq!(format!("{partial}{second}"), format!("{had}{added}"));
                let beginning: String = had.trim().chars().take(40).collect();
                prop_assert!(beginning.is_empty() || !second.trim_start().starts_with(&beginning), "{:?}", second);
            }
        }

        #[test]
        fn another_answer_is_never_sewn_on(had in "[ab]{1,8}", other in "[ab]{1,12}") {
            let mut seam = Seam::repeated(had.clone());
            let run: String = other.chars().map(|c| frame(&c.to_string())).collect();
            let end = "data: [DONE]\n\n";
            match seam.stitch(&format!("{run}{end}").into()) {
                Ok(out) => prop_assert_eq!(format!("{had}{}", text_of(&out)), other),
                Err(_) => prop_assert!(!other.starts_with(&had)),
            }
        }
    }
}
