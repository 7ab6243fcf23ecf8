//! Owns looking into whole OpenAI answers: what counts is at their top level, and the rest is stepped over.

use super::{choices, members};
use crate::wire::{
    Malformed, Observed,
    scan::{self, Cursor},
};

/// What a whole completion means. An object without choices and without an error is malformed; one of which each choice gave up
/// before a word is an error.
pub fn whole(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    let (mut gave_up, mut others) = (None, false);
    let seen = listed(data, "choices", |json| {
        json.list(|json| {
            match choices::gave_up(json)? {
                Some(fault) => gave_up = Some(fault),
                None => others = true,
            }
            Ok(())
        })
    })?;
    if gave_up.is_none() && !others && seen.fault.is_none() {
        return Err(Malformed("it has no choices".into()));
    }
    let fault = seen.fault.or_else(|| gave_up.filter(|_| !others));
    Ok(Observed { fault, ..seen })
}

/// What whole embeddings mean. Of a thousand each is stepped over. An object without a list of them and without an error is
/// malformed; to an empty input an empty one is an answer.
pub fn embeddings(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    let mut there = false;
    let seen = listed(data, "data", |json| {
        there = true;
        json.list(|json| if json.begins(b'{') { json.value().map(drop) } else { Err(scan::Malformed) })
    })?;
    if there || seen.fault.is_some() { Ok(seen) } else { Err(Malformed("it has no embeddings".into())) }
}

/// What a whole answer means, its list of this name read by `read`.
fn listed<'t>(
    data: &'t [u8],
    list: &str,
    read: impl FnMut(&mut Cursor<'t>) -> Result<(), scan::Malformed>,
) -> Result<Observed<'t>, Malformed> {
    if data.trim_ascii().is_empty() {
        return Err(Malformed("the body is empty".into()));
    }
    members(data, list, read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Usage;

    #[test]
    fn of_a_whole_answer_the_counts_and_the_error_are_read() {
        let seen =
            whole(br#"{"model":"m","choices":[{"message":{"content":"h\u00e9"}}],"usage":{"completion_tokens":4}}"#);
        let usage = Some(Usage { output: 4, ..Usage::default() });
        assert_eq!(seen, Ok(Observed { usage, ..Observed::default() }));
        assert_eq!(
            whole(br#"{"choices":[],"error":"busy"}"#).map(|seen| seen.fault.map(|f| f.message)),
            Ok(Some("busy".into()))
        );
        for nothing in [
            "",
            "{}",
            "[1]",
            r#"{"choices":[ ]}"#,
            r#"{"choices":null}"#,
            r#"{"choices":"a"}"#,
            r#"{"choices":[1}"#,
            r#"{"choices":[1]}"#,
            r#"{"choices":[null]}"#,
        ] {
            assert!(whole(nothing.as_bytes()).is_err(), "{nothing}");
        }
        assert!(whole(b"{\"choices\":[{\"a\":\"\xff\"}]}").is_err());
        let usage = Some(Usage { input: 3, ..Usage::default() });
        let vectors = br#"{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":3}}"#;
        assert_eq!(embeddings(vectors), Ok(Observed { usage, ..Observed::default() }));
        assert!(embeddings(br#"{"data":[]}"#).is_ok() && embeddings(br#"{"error":"busy"}"#).is_ok());
        for stray in ["", "{}", r#"{"stray":1}"#, r#"{"data":null}"#, r#"{"data":{}}"#, r#"{"data":[1]}"#] {
            assert!(embeddings(stray.as_bytes()).is_err(), "{stray}");
        }
    }
}
