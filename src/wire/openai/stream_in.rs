//! Owns reading a chat completion stream.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::super::{
    Malformed,
    events::{ChatEvent, Finish, StreamReader},
    peek,
};

/// Reads chunks.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    started: bool,
    thinking: bool,
    refused: bool,
    /// The provider's number of each call begun; its place is ours.
    calls: Vec<u64>,
}

impl StreamReader for Reader {
    fn frame<'a>(
        &mut self,
        _event: Option<&str>,
        data: &'a [u8],
        out: &mut Vec<ChatEvent<'a>>,
    ) -> Result<(), Malformed> {
        let seen = peek::frame(data)?;
        if seen.done {
            self.stop_thinking(out);
            out.push(ChatEvent::End);
            return Ok(());
        }
        if let Some(fault) = seen.fault {
            out.push(ChatEvent::Fault(fault));
            return Ok(());
        }
        let chunk: Chunk<'a> = serde_json::from_slice(data).map_err(|error| Malformed(error.to_string()))?;
        // Azure opens with a chunk of filter results, without choices and names.
        if !self.started && (!chunk.choices.is_empty() || seen.usage.is_some()) {
            self.started = true;
            out.push(ChatEvent::Start {
                id: chunk.id.map(|t| t.0),
                model: chunk.model.map(|t| t.0),
                created: chunk.created,
            });
        }
        // Other choices than the first are never asked for.
        for choice in chunk.choices.into_iter().filter(|c| c.index == 0) {
            self.delta(choice.delta.unwrap_or_default(), out)?;
            if let Some(reason) = choice.finish_reason {
                self.stop_thinking(out);
                let reason = match finish(&reason.0) {
                    Finish::Stop if !self.calls.is_empty() => Finish::ToolCalls,
                    Finish::Stop if self.refused => Finish::ContentFilter,
                    other => other,
                };
                out.push(ChatEvent::Finish { reason, stop_sequence: None });
            }
        }
        out.extend(seen.usage.map(ChatEvent::Usage));
        Ok(())
    }
}

impl Reader {
    fn delta<'a>(&mut self, delta: Delta<'a>, out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        let some = |text: Option<Text<'a>>| text.map(|t| t.0).filter(|t| !t.is_empty());
        if let Some(text) = some(delta.reasoning_content).or_else(|| some(delta.reasoning)) {
            self.thinking = true;
            out.push(ChatEvent::Thinking(text));
        }
        if let Some(text) = some(delta.content) {
            self.stop_thinking(out);
            out.push(ChatEvent::Text(text));
        }
        if let Some(text) = some(delta.refusal) {
            self.stop_thinking(out);
            self.refused = true;
            out.push(ChatEvent::Refusal(text));
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.stop_thinking(out);
            let function = call.function.unwrap_or_default();
            let name = some(function.name);
            // Servers that leave the number out send each call whole: a name begins the next.
            let last = self.calls.last().copied();
            let number = call.index.unwrap_or_else(|| match (last, &name) {
                (Some(last), Some(_)) => last.saturating_add(1),
                (last, _) => last.unwrap_or(0),
            });
            let index = if let Some(place) = self.calls.iter().position(|n| *n == number) {
                place as u32
            } else {
                let name = name.ok_or_else(|| Malformed("a tool call without a name".into()))?;
                let index = self.calls.len() as u32;
                self.calls.push(number);
                out.push(ChatEvent::ToolCall { index, id: some(call.id), name, signature: None });
                index
            };
            if let Some(text) = some(function.arguments) {
                out.push(ChatEvent::Arguments { index, text });
            }
        }
        Ok(())
    }

    fn stop_thinking(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        if std::mem::take(&mut self.thinking) {
            out.push(ChatEvent::ThinkingEnd(None));
        }
    }
}

/// Reads a finish reason. Unknown ones are ends of turn.
pub(crate) fn finish(reason: &str) -> Finish {
    match reason {
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    model: Option<Text<'a>>,
    #[serde(default)]
    created: Option<u64>,
    #[serde(borrow, default, deserialize_with = "nullable")]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize, Default)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    arguments: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Reads an error body of an OpenAI-style server.
pub(crate) fn fault(status: u16, body: &[u8]) -> super::super::Fault {
    let mut fault = peek::error_body(status, body);
    if fault.code.is_empty() || matches!(serde_json::from_str(&fault.code), Ok(Value::Number(_))) {
        super::super::faults::refine(&mut fault);
    }
    fault
}
