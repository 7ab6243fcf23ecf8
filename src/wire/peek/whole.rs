//! Owns looking into whole OpenAI answers: what counts is at their top level, and the rest is stepped over.

use super::{choices, members, not_empty};
use crate::wire::{Malformed, Observed};

/// What a whole completion means. An object without choices and without an error is malformed; one of which each choice gave up
/// before a word is an error.
pub fn whole(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    let (mut gave_up, mut others) = (None, false);
    not_empty(data)?;
    let seen = members(data, "choices", |json| {
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
    }
}
