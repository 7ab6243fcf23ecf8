//! Owns what the choices of a chat chunk mean: content, the end, something that a rescue cannot replay.

use std::borrow::Cow;

use super::small;
use crate::wire::{
    GaveUp,
    course::{self, Moves},
    scan::{Cursor, Malformed},
};

/// What all choices together mean.
#[derive(Debug, Default)]
pub(super) struct Choices<'t> {
    pub(super) count: usize,
    pub(super) finish: bool,
    pub(super) content: bool,
    pub(super) intricate: bool,
    pub(super) moves: Moves,
    pub(super) gave_up: Option<GaveUp>,
    pub(super) text: Cow<'t, str>,
}

#[derive(Default)]
struct Choice<'t> {
    index: u32,
    delta: Option<Delta<'t>>,
    message: Option<Delta<'t>>,
    text: Option<Cow<'t, str>>,
    finish: Option<Cow<'t, str>>,
    /// It tells how probable its words were, one by one.
    scored: bool,
}

/// What a delta or a message says.
#[derive(Default)]
struct Delta<'t> {
    text: Cow<'t, str>,
    /// A list of parts, which nobody looks into here.
    parts: bool,
    /// Reasoning, a refusal, calls of tools, audio, images, annotations.
    other: bool,
}

/// Reads the list of choices.
pub(super) fn read<'t>(json: &mut Cursor<'t>) -> Result<Choices<'t>, Malformed> {
    let mut choices = Choices::default();
    json.list(|json| {
        choices.add(choice(json)?);
        Ok(())
    })?;
    Ok(choices)
}

impl<'t> Choices<'t> {
    fn add(&mut self, choice: Choice<'t>) {
        self.count += 1;
        let finish = course::said(choice.finish);
        let said = choice.delta.or(choice.message);
        let other = said.as_ref().is_some_and(|said| said.other || said.parts);
        self.intricate |= choice.index != 0 || self.count > 1 || choice.scored || other;
        let text = said.map(|said| said.text).or(choice.text).unwrap_or_default();
        let says = other || !text.is_empty();
        self.moves = self.moves.and(Moves::of(choice.index, says, finish.is_some()));
        self.content |= says;
        if !text.is_empty() {
            self.text = text;
        }
        if let Some(reason) = finish {
            self.finish = true;
            self.gave_up = GaveUp::read(&reason).or(self.gave_up);
        }
    }
}

fn choice<'t>(json: &mut Cursor<'t>) -> Result<Choice<'t>, Malformed> {
    let mut choice = Choice::default();
    json.object(|json, key| {
        match key {
            "index" => choice.index = small(json)?,
            // An empty object, as some languages write it.
            "delta" if json.begins(b'[') => is_empty(json)?.then_some(()).ok_or(Malformed)?,
            "delta" => choice.delta = json.maybe(delta)?,
            "message" => choice.message = json.maybe(delta)?,
            "text" => choice.text = json.maybe(Cursor::string)?,
            "finish_reason" => choice.finish = json.maybe(Cursor::string)?,
            "logprobs" => choice.scored = json.maybe(says_something)?.unwrap_or(false),
            _ => drop(json.value()?),
        }
        Ok(())
    })?;
    Ok(choice)
}

fn delta<'t>(json: &mut Cursor<'t>) -> Result<Delta<'t>, Malformed> {
    let mut delta = Delta::default();
    json.object(|json, key| {
        match key {
            "content" if json.begins(b'[') => delta.parts = !is_empty(json)?,
            "content" => delta.text = json.maybe(Cursor::string)?.unwrap_or_default(),
            "reasoning_content" | "reasoning" | "refusal" => {
                delta.other |= json.maybe(Cursor::string)?.is_some_and(|text| !text.is_empty());
            }
            "tool_calls" | "function_call" | "audio" | "annotations" | "images" | "reasoning_details" => {
                delta.other |= json.maybe(says_something)?.unwrap_or(false);
            }
            _ => drop(json.value()?),
        }
        Ok(())
    })?;
    Ok(delta)
}

/// Whether there is nothing in a list.
fn is_empty(json: &mut Cursor<'_>) -> Result<bool, Malformed> {
    let mut empty = true;
    json.list(|json| {
        empty = false;
        json.value().map(drop)
    })?;
    Ok(empty)
}

/// Whether a value is anything but an empty list.
fn says_something(json: &mut Cursor<'_>) -> Result<bool, Malformed> {
    if json.begins(b'[') { is_empty(json).map(|empty| !empty) } else { json.value().map(|_| true) }
}

#[cfg(test)]
mod tests {
    use super::super::frame;

    #[test]
    fn a_chunk_says_what_any_of_its_members_says() {
        // Content, intricate, text.
        for (choice, want) in [
            (r#"{"text":"a"}"#, (true, false, "a")),
            (r#"{"delta":null,"message":{"content":"a\n"}}"#, (true, false, "a\n")),
            (r#"{"delta":{"content":[]}}"#, (false, false, "")),
            (r#"{"delta":{"content":[{"type":"image_url"}]}}"#, (true, true, "")),
            (r#"{"delta":{"content":null,"reasoning":"","tool_calls":null,"annotations":[]}}"#, (false, false, "")),
            (r#"{"delta":{"content":"a","audio":{}}}"#, (true, true, "a")),
            (r#"{"delta":{"content":"","images":[{}]}}"#, (true, true, "")),
            (r#"{"delta":{"content":"","reasoning_details":[{}]}}"#, (true, true, "")),
            (r#"{"delta":{"content":"","images":[],"reasoning_details":null}}"#, (false, false, "")),
            (r#"{"index":1,"delta":{"content":"a"}}"#, (true, true, "a")),
            (r#"{"delta":{"content":"a"},"logprobs":null}"#, (true, false, "a")),
            (r#"{"delta":{"content":"a"},"logprobs":{"content":[{"token":"a"}]}}"#, (true, true, "a")),
            (r#"{"delta":[],"finish_reason":"stop"}"#, (false, false, "")),
        ] {
            let data = format!(r#"{{"choices":[{choice}]}}"#);
            let seen = frame(data.as_bytes()).expect("a chunk");
            assert_eq!((seen.content, seen.intricate, &*seen.text), want, "{choice}");
        }
    }

    #[test]
    fn a_member_of_another_type_is_no_chunk() {
        for choices in [
            "{}",
            "[1]",
            r#"[{"delta":"a"}]"#,
            r#"[{"delta":["a"]}]"#,
            r#"[{"delta":{"content":1}}]"#,
            r#"[{"index":-1}]"#,
            r#"[{"finish_reason":1}]"#,
        ] {
            let why = frame(format!(r#"{{"choices":{choices}}}"#).as_bytes()).expect_err("no chunk").0;
            assert!(why.contains("unexpected type"), "{choices}: {why}");
        }
    }
}
