//! Owns looking into whole OpenAI answers: what counts is at their top level, and the rest is stepped over.

use super::members;
use crate::wire::{Malformed, Observed, scan};

/// What a whole completion means. An object without choices and without an error is malformed.
pub fn whole(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    let seen = other(data)?;
    if seen.choiceless && seen.fault.is_none() {
        return Err(Malformed("it has no choices".into()));
    }
    Ok(seen)
}

/// What a whole answer means that is no completion, such as embeddings. Its choices have to be objects; what they say is nobody's
/// concern here, and they are stepped over as a thousand embeddings are.
pub fn other(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    if data.trim_ascii().is_empty() {
        return Err(Malformed("the body is empty".into()));
    }
    let mut choiceless = true;
    let seen = members(data, |json| {
        json.list(|json| {
            choiceless = false;
            if json.begins(b'{') { json.value().map(drop) } else { Err(scan::Malformed) }
        })
    })?;
    Ok(Observed { choiceless, ..seen })
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
        assert_eq!(
            other(br#"{"data":[],"usage":null,"model":null}"#).map(|seen| (seen.usage, seen.choiceless)),
            Ok((None, true))
        );
    }
}
