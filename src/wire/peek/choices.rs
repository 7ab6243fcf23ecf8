//! Owns what the choices of a chat chunk mean: content, the end, something that a rescue cannot replay.

use std::borrow::Cow;

use super::usage;
use crate::wire::{
    Fault, GaveUp, Usage, counts,
    course::{self, Moves},
    openai::fault::detail,
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
    /// Counts that stand in a choice, where Kimi puts those of a stream.
    pub(super) usage: Option<Usage>,
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
    usage: Option<Usage>,
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
    // The other half of a letter comes with the next frame: what the client has is not what was read.
    choices.intricate |= json.is_torn();
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
        self.usage = choice.usage.or(self.usage);
        if !text.is_empty() {
            self.text = text;
        }
        if let Some(reason) = finish {
            self.finish = true;
            self.gave_up = GaveUp::read(&reason).or(self.gave_up);
        }
    }
}

/// Why a choice of a whole answer gave up before a word, if it did; of any other what it says is stepped over.
pub(super) fn gave_up(json: &mut Cursor<'_>) -> Result<Option<Fault>, Malformed> {
    let (mut finish, mut said, mut error) = (None, None, None);
    json.object(|json, key| {
        match key {
            "finish_reason" if json.begins(b'"') => finish = Some(json.string()?),
            "message" | "text" => said = Some(json.value()?),
            "error" => error = Some(json.value()?),
            _ => drop(json.value()?),
        }
        Ok(())
    })?;
    let Some(gave_up) = finish.and_then(|reason| GaveUp::read(&reason)) else { return Ok(None) };
    if said.is_some_and(says) {
        return Ok(None);
    }
    let named = error.and_then(|error| serde_json::from_str(error).ok()).and_then(detail);
    Ok(Some(named.unwrap_or_else(|| gave_up.fault())))
}

/// Whether there are words in a message or a text; what cannot be read may have some.
fn says(said: &str) -> bool {
    let mut json = Cursor::new(said);
    if json.begins(b'{') {
        return delta(&mut json).map_or(true, |said| said.other || said.parts || !said.text.is_empty());
    }
    !matches!(said, "null" | "\"\"")
}

fn choice<'t>(json: &mut Cursor<'t>) -> Result<Choice<'t>, Malformed> {
    let mut choice = Choice::default();
    json.object(|json, key| {
        match key {
            // Null is the first, and a text a number, as in counts.
            "index" => choice.index = counts::read(json.value()?.trim_matches('"')).unwrap_or_default() as u32,
            // An empty object, as some languages write it.
            "delta" if json.begins(b'[') => is_empty(json)?.then_some(()).ok_or(Malformed)?,
            "delta" => choice.delta = json.maybe(delta)?,
            "message" => choice.message = json.maybe(delta)?,
            "text" => choice.text = json.maybe(Cursor::string)?,
            "finish_reason" => choice.finish = json.maybe(Cursor::string)?,
            "usage" if json.begins(b'{') => choice.usage = Some(usage::read(json)?),
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
            (r#"{"index":"1","delta":{"content":"a"}}"#, (true, true, "a")),
            (r#"{"index":"0","delta":{"content":"a"}}"#, (true, false, "a")),
            (r#"{"index":null,"delta":{"content":"a"}}"#, (true, false, "a")),
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
            r#"[{"finish_reason":1}]"#,
        ] {
            let why = frame(format!(r#"{{"choices":{choices}}}"#).as_bytes()).expect_err("no chunk").0;
            assert!(why.contains("unexpected type"), "{choices}: {why}");
        }
    }
}
