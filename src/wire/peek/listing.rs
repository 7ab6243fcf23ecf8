//! Owns looking into whole answers that are lists: of vectors, verdicts, ranks, pictures. What they list is stepped over.

use super::{not_empty, others, usage};
use crate::wire::{Malformed, Observed, scan};

/// What a whole answer means whose list has one of these names. An object without it and without an error is malformed; to an
/// empty input an empty list is an answer.
pub fn listing<'t>(data: &'t [u8], names: &[&str]) -> Result<Observed<'t>, Malformed> {
    not_empty(data)?;
    let (mut there, mut told, mut billed) = (false, None, None);
    let seen = others(data, |json, key| {
        match key {
            "usage" if json.begins(b'{') => told = usage::of_listing(json)?,
            // Where Cohere counts, and those who answer as it does.
            "meta" if json.begins(b'{') => json.object(|json, key| {
                match key {
                    "tokens" | "billed_units" if json.begins(b'{') => billed = usage::of_listing(json)?.or(billed),
                    _ => drop(json.value()?),
                }
                Ok(())
            })?,
            _ if names.contains(&key) => {
                json.maybe(|json| {
                    there = true;
                    json.list(|json| if json.begins(b'{') { json.value().map(drop) } else { Err(scan::Malformed) })
                })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if !there && seen.fault.is_none() {
        return Err(Malformed(format!("it has no {}", names.join(" or "))));
    }
    Ok(Observed { usage: told.or(billed), ..seen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Usage;

    const RANKS: [&str; 2] = ["results", "data"];

    #[test]
    fn an_answer_without_its_list_is_none_and_an_empty_list_is_one() {
        for list in [r#"{"results":[]}"#, r#"{"data":[]}"#, r#"{"results":[{"index":0,"relevance_score":0.9}]}"#] {
            assert_eq!(listing(list.as_bytes(), &RANKS), Ok(Observed::default()), "{list}");
        }
        assert!(listing(br#"{"results":[]}"#, &["data"]).is_err());
        let strays = [r#"{"results":null}"#, r#"{"data":{}}"#, r#"{"data":[1]}"#, r#"{"data":[{]}"#];
        for stray in ["", " ", "{}", "[]", r#"[{"index":0}]"#, r#"{"stray":1}"#].into_iter().chain(strays) {
            assert!(listing(stray.as_bytes(), &RANKS).is_err(), "{stray}");
        }
        let busy = listing(br#"{"error":{"message":"busy","code":503}}"#, &RANKS).expect("an error").fault;
        assert_eq!(busy.and_then(|fault| fault.status), Some(503));
    }

    #[test]
    fn tokens_are_counted_wherever_a_server_tells_them_and_searches_are_no_tokens() {
        let of = |input, output| Some(Usage { input, output, ..Usage::default() });
        for (told, want) in [
            (r#""usage":{"prompt_tokens":3,"total_tokens":3}"#, of(3, 0)),
            (r#""usage":{"total_tokens":56}"#, of(56, 0)),
            (
                r#""usage":{"input_tokens":13,"output_tokens":1056,"total_tokens":1069,"input_tokens_details":{"text_tokens":13}}"#,
                of(13, 1056),
            ),
            (r#""usage":{"output_tokens":6,"total_tokens":9}"#, of(3, 6)),
            (r#""meta":{"billed_units":{"search_units":1},"tokens":{"input_tokens":25}}"#, of(25, 0)),
            (r#""meta":{"tokens":{"input_tokens":25},"billed_units":{"search_units":1}}"#, of(25, 0)),
            (r#""meta":{"billed_units":{"total_tokens":25}},"usage":null"#, of(25, 0)),
            (r#""meta":{"billed_units":{"search_units":1}},"usage":{}"#, None),
            (r#""meta":null,"usage":[]"#, None),
            (r#""meta":{"billed_units":{"total_tokens":1}},"usage":{"prompt_tokens":3}"#, of(3, 0)),
        ] {
            let answer = format!(r#"{{"results":[{{"index":0}}],{told}}}"#);
            assert_eq!(listing(answer.as_bytes(), &RANKS).map(|seen| seen.usage), Ok(want), "{told}");
        }
    }
}
