//! Owns looking into transcripts of recordings: an object with the text, the text alone, or events, as the client asked for it.

use super::{DONE, event, others, usage};
use crate::wire::{Malformed, Observed, openai::fault::told};

/// How web pages begin, in small letters, also where their first tags are left out. Not every `<` begins one: models have words of their
/// own in such brackets. Nor does the type tell: whisper.cpp's server calls plain text `text/html`.
const PAGES: [&[u8]; 7] = [b"<!", b"<html", b"<head", b"<meta", b"<title", b"<script", b"<body"];

/// What a whole transcript means. An object has its text in `text` and tells tokens in `usage`, or seconds, which are none; lines
/// of subtitles and plain text tell nothing.
pub fn transcript(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    let body = data.trim_ascii_start();
    let begins = |page: &&[u8]| body.get(..page.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(page));
    if data.is_empty() || PAGES.iter().any(begins) {
        return Err(Malformed("it is no text".into()));
    }
    if !body.starts_with(b"{") {
        return Ok(Observed::default());
    }
    let (mut there, mut told) = (false, None);
    let seen = others(data, |json, key| {
        match key {
            "usage" if json.begins(b'{') => told = usage::of_listing(json)?,
            "text" => {
                there = json.begins(b'"');
                json.value()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if !there && seen.fault.is_none() {
        return Err(Malformed("it has no text".into()));
    }
    Ok(Observed { usage: told, ..seen })
}

/// What an event of a recording, of a picture, or of sound, means. Each that is no error says something: some servers send words without JSON.
/// `draft`: whether the latest picture is one that another is to follow.
pub fn media_event<'t>(name: Option<&str>, data: &'t [u8], draft: &mut bool) -> Observed<'t> {
    let (mut counted, mut kind) = (None, name);
    let seen = match name {
        _ if data == DONE => return Observed { done: true, ..Observed::default() },
        Some("error") => event(name, data),
        _ => others(data, |json, key| {
            match key {
                "usage" if json.begins(b'{') => counted = usage::of_listing(json)?,
                "type" => kind = Some(json.value()?.trim_matches('"')),
                _ => return Ok(false),
            }
            Ok(true)
        }),
    };
    let seen = seen.unwrap_or_default();
    let is = |what| kind.is_some_and(|kind| kind.ends_with(what));
    *draft = is(".partial_image") || *draft && !is(".completed");
    let fault = seen.fault.or_else(|| (kind == Some("error")).then(|| told(data)));
    Observed { content: true, usage: counted, fault, ..seen }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Usage;

    #[test]
    fn tokens_are_counted_and_seconds_are_none() {
        let counted =
            br#"{"text":"Hi.","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}"#;
        let usage = transcript(counted).expect("a transcript").usage;
        assert_eq!(usage, Some(Usage { input: 14, output: 45, ..Usage::default() }));
        for told in [r#"{"text":"","usage":{"type":"duration","seconds":9}}"#, r#"{"text":"Hi.","usage":null}"#] {
            assert_eq!(transcript(told.as_bytes()), Ok(Observed::default()), "{told}");
        }
    }

    #[test]
    fn text_and_subtitles_are_answers_and_pages_and_objects_without_a_text_are_none() {
        for text in ["Hi.\n", "WEBVTT\n\n", "1\n00:00:00,000 --> 00:00:01,000\nHi.\n", "\n", "\"Hi.\"", "<unk> Hi."] {
            assert_eq!(transcript(text.as_bytes()), Ok(Observed::default()), "{text}");
        }
        for stray in [
            "",
            "<!DOCTYPE html>",
            " <HTML>",
            "<Head><title>",
            "<script>location",
            "{}",
            r#"{"text":null}"#,
            r#"{"text":"Hi""#,
            r#"{"stray":1}"#,
        ] {
            assert!(transcript(stray.as_bytes()).is_err(), "{stray}");
        }
        assert!(transcript(br#"{"error":{"message":"No ears."}}"#).expect("an error").fault.is_some());
    }

    #[test]
    fn an_event_is_an_error_by_its_name_its_type_or_its_member_and_all_others_say_something() {
        let fault =
            |name, data: &'static str| media_event(name, data.as_bytes(), &mut false).fault.map(|fault| fault.message);
        for (name, data) in [
            (None, r#"{"error":{"message":"No ears.","type":"server_error"}}"#),
            (None, r#"{"type":"error","message":"No ears."}"#),
            (None, r#"{"type":"error","error":{"message":"No ears."}}"#),
            (Some("error"), r#"{"message":"No ears."}"#),
        ] {
            assert_eq!(fault(name, data).as_deref(), Some("No ears."), "{data}");
        }
        for data in [r#"{"type":"transcript.text.delta","delta":"error"}"#, r#"{"error":null}"#, "Hi.", "{", "[1]"] {
            let seen = media_event(None, data.as_bytes(), &mut false);
            assert!(seen.content && seen.fault.is_none() && !seen.done, "{data}");
        }
        assert_eq!(media_event(None, b"[DONE]", &mut false), Observed { done: true, ..Observed::default() });
        let counted = br#"{"type":"speech.audio.done","usage":{"input_tokens":14,"output_tokens":101}}"#;
        assert_eq!(
            media_event(None, counted, &mut false).usage,
            Some(Usage { input: 14, output: 101, ..Usage::default() })
        );
    }
}
