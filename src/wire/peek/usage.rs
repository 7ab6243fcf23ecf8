//! Owns reading the token counts of OpenAI answers, as leniently as `wire/counts` does, with the reader that has come upon them.

use crate::wire::{
    Usage, counts,
    scan::{Cursor, Malformed},
};

/// Reads the object of counts.
pub(super) fn read(json: &mut Cursor<'_>) -> Result<Usage, Malformed> {
    let (mut usage, mut beside) = (Usage::default(), 0);
    json.object(|json, key| {
        match key {
            "prompt_tokens" => usage.input = count(json)?,
            "completion_tokens" => usage.output = count(json)?,
            "prompt_tokens_details" if json.begins(b'{') => json.object(|json, key| {
                match key {
                    "cached_tokens" => usage.cached = count(json)?,
                    "cache_write_tokens" => usage.written = count(json)?,
                    _ => drop(json.value()?),
                }
                Ok(())
            })?,
            "completion_tokens_details" if json.begins(b'{') => json.object(|json, key| {
                match key {
                    "reasoning_tokens" => usage.reasoning = count(json)?,
                    _ => drop(json.value()?),
                }
                Ok(())
            })?,
            // Where Kimi and DeepSeek tell it.
            "cached_tokens" | "prompt_cache_hit_tokens" => beside = count(json)?,
            _ => drop(json.value()?),
        }
        Ok(())
    })?;
    if usage.cached == 0 {
        usage.cached = beside;
    }
    Ok(usage)
}

/// Reads the object of counts of what is no chat, under whichever names it has them: of pictures by those of responses, of ranks
/// often but for the sum. `None`: it has none, as where searches are counted.
pub(super) fn of_listing(json: &mut Cursor<'_>) -> Result<Option<Usage>, Malformed> {
    let (mut input, mut output, mut total) = (None, None, None);
    json.object(|json, key| {
        match key {
            "prompt_tokens" | "input_tokens" => input = Some(count(json)?),
            "completion_tokens" | "output_tokens" => output = Some(count(json)?),
            "total_tokens" => total = Some(count(json)?),
            _ => drop(json.value()?),
        }
        Ok(())
    })?;
    let output = output.unwrap_or_default();
    let rest = total.map(|total| total.saturating_sub(output));
    Ok(input.or(rest).map(|input| Usage { input, output, ..Usage::default() }))
}

/// A count, nought if none can be read.
fn count(json: &mut Cursor<'_>) -> Result<u64, Malformed> {
    let text = if json.begins(b'"') { json.string()? } else { json.value()?.into() };
    Ok(counts::read(text.trim()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    struct Slow(#[serde(deserialize_with = "counts::count")] u64);

    fn read_text(text: &str) -> Option<Usage> {
        let mut json = Cursor::new(text);
        read(&mut json).and_then(|usage| json.end().map(|()| usage)).ok()
    }

    proptest! {
        #[test]
        fn a_count_is_what_the_slow_reader_finds(text in prop_oneof![
            "0|[1-9][0-9]{0,20}", "-?[1-9][0-9]{0,3}\\.[0-9]{1,3}(e[+-]?[0-9]{1,2})?", "\" ?[+-]?[0-9]{1,21}(\\.[0-9])? ?\"", "null|true|\\[\\]|\\{\\}|\"a\"",
        ]) {
            let Slow(want) = serde_json::from_str(&text).expect("JSON");
            let usage = read_text(&format!("{{\"prompt_tokens\": {text}, \"other\": [{text}]}}"));
            prop_assert_eq!(usage, Some(Usage { input: want, ..Usage::default() }));
        }
    }

    #[test]
    fn each_count_stands_in_its_place() {
        let text = json!({
            "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5, "audio_tokens": 6},
            "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 8},
        });
        let want = Usage { input: 1, output: 2, cached: 4, written: 5, reasoning: 7 };
        assert_eq!(read_text(&text.to_string()), Some(want));
        for text in [
            r#"{"cached_tokens":4}"#,
            r#"{"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":9}"#,
            r#"{"prompt_cache_hit_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}"#,
            r#"{"prompt_tokens_details":{"cached_tokens":0},"cached_tokens":4}"#,
        ] {
            assert_eq!(read_text(text).map(|usage| usage.cached), Some(4), "{text}");
        }
        assert_eq!(
            read_text(r#"{"prompt_tokens_details":null,"completion_tokens_details":[]}"#),
            Some(Usage::default())
        );
        for text in ["[]", "1", r#"{"prompt_tokens":01}"#, r#"{"prompt_tokens_details":{"cached_tokens":}}"#] {
            assert_eq!(read_text(text), None, "{text}");
        }
    }
}
