//! Owns looking into whole OpenAI answers: what counts is at their top level, and the rest is stepped over.

use super::{RawUsage, Text, fault::fault, json};
use crate::wire::{
    Malformed, Observed,
    scan::{self, Member, Members},
};

/// What a whole completion means. An object without choices and without an error is malformed.
pub fn whole(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    let seen = other(data)?;
    if seen.choiceless && seen.fault.is_none() {
        return Err(Malformed("it has no choices".into()));
    }
    Ok(seen)
}

/// What a whole answer means that is no completion, such as embeddings. What its choices say is nobody's concern here: they are
/// stepped over, and so are a thousand embeddings.
pub fn other(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    if data.trim_ascii().is_empty() {
        return Err(Malformed("the body is empty".into()));
    }
    let text = scan::text(data).map_err(Malformed)?;
    let mut seen = Observed { choiceless: true, ..Observed::default() };
    let malformed = |_| Malformed(scan::why(text));
    let mut members = Members::of(text).map_err(malformed)?;
    while let Some(Member { key, value }) = members.next().map_err(malformed)? {
        let value = &text[value];
        match &*key {
            "choices" => seen.choiceless = is_nothing(value)?,
            "usage" => seen.usage = json::<Option<RawUsage>>(value)?.map(Into::into),
            "error" => seen.fault = fault(json(value)?),
            "model" => seen.model = json::<Option<Text<'_>>>(value)?.map(|Text(model)| model),
            _ => {}
        }
    }
    Ok(seen)
}

/// Whether this list is null or empty.
fn is_nothing(list: &str) -> Result<bool, Malformed> {
    match list.strip_prefix('[') {
        Some(inside) => Ok(inside.trim_ascii_start() == "]"),
        None if list == "null" => Ok(true),
        None => Err(Malformed("its choices are no list".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Usage;

    #[test]
    fn of_a_whole_answer_the_counts_the_model_and_the_error_are_read() {
        let seen =
            whole(br#"{"model":"m","choices":[{"message":{"content":"h\u00e9"}}],"usage":{"completion_tokens":4}}"#);
        let usage = Some(Usage { output: 4, ..Usage::default() });
        assert_eq!(seen, Ok(Observed { usage, model: Some("m".into()), ..Observed::default() }));
        assert_eq!(
            whole(br#"{"choices":[],"error":"busy"}"#).map(|seen| seen.fault.map(|f| f.message)),
            Ok(Some("busy".into()))
        );
        for nothing in
            ["", "{}", "[1]", r#"{"choices":[ ]}"#, r#"{"choices":null}"#, r#"{"choices":"a"}"#, r#"{"choices":[1}"#]
        {
            assert!(whole(nothing.as_bytes()).is_err(), "{nothing}");
        }
        assert!(whole(b"{\"choices\":[\"\xff\"]}").is_err());
        assert_eq!(
            other(br#"{"data":[],"usage":null,"model":null}"#).map(|seen| (seen.usage, seen.choiceless)),
            Ok((None, true))
        );
    }
}
