//! Owns reading a Messages stream.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    super::{
        Malformed, Protocol,
        calls_in::{Calls, Piece},
        chat::Signature,
        course,
        events::{ChatEvent, Finish, StreamReader},
        json::{Text, malformed},
    },
    fault,
    usage::RawUsage,
};

/// Reads events.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The blocks begun and not ended, in the provider's numbering.
    open: Vec<(u64, Block)>,
    calls: Calls,
    /// How many of those there were so far.
    begun: u64,
}

#[derive(Debug, PartialEq)]
enum Block {
    Text,
    Thinking {
        signature: String,
    },
    /// Our number of the call, and the arguments it began with, given if none follow.
    Call {
        number: u64,
        input: Option<String>,
    },
    /// What the provider's own tools do: not part of the answer.
    Other,
}

impl StreamReader for Reader {
    fn frame<'a>(&mut self, name: Option<&str>, data: &'a [u8], out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        let event: Event<'a> = serde_json::from_slice(data).map_err(|error| malformed(&error))?;
        // The data repeats the event's name, except where a compatible server leaves it out.
        match event.kind.as_ref().map_or(name.unwrap_or_default(), |kind| kind.0.as_ref()) {
            "message_start" => {
                let message = event.message.unwrap_or_default();
                let usage = message.usage.map(Into::into);
                out.push(ChatEvent::Start {
                    usage,
                    id: message.id.map(|t| t.0),
                    model: message.model.map(|t| t.0),
                    created: None,
                });
                // Messages that the provider's own tools made come whole.
                for block in message.content.unwrap_or_default() {
                    self.start(0, block, out)?;
                    if let Some((_, block)) = self.open.pop() {
                        self.close(block, out)?;
                    }
                }
                if let Some(reason) = course::said(message.stop_reason.map(|t| t.0)) {
                    self.calls.end(out);
                    out.push(ChatEvent::Finish { reason: finish(&reason), stop_sequence: None });
                }
                out.extend(usage.map(ChatEvent::Usage));
            }
            "content_block_start" => {
                let index = event.index.unwrap_or(0);
                let block = event.content_block.ok_or_else(|| Malformed("a block starts without a block".into()))?;
                self.start(index, block, out)?;
            }
            "content_block_delta" => {
                let index = event.index.unwrap_or(0);
                let delta = event.delta.ok_or_else(|| Malformed("a delta without a delta".into()))?;
                self.delta(index, delta, out)?;
            }
            "content_block_stop" => {
                let index = event.index.unwrap_or(0);
                if let Some(at) = self.open.iter().position(|(i, _)| *i == index) {
                    let (_, block) = self.open.remove(at);
                    self.close(block, out)?;
                }
            }
            "message_delta" => {
                let delta = event.delta.unwrap_or_default();
                let details = delta.stop_details.and_then(|d| d.explanation);
                if let Some(reason) = course::said(delta.stop_reason.map(|t| t.0)) {
                    self.close_all(out)?;
                    self.calls.end(out);
                    if let Some(text) = details.filter(|_| reason == "refusal") {
                        out.push(ChatEvent::Refusal(text.0));
                    }
                    out.push(ChatEvent::Finish {
                        reason: finish(&reason),
                        stop_sequence: delta.stop_sequence.map(|t| t.0),
                    });
                }
                out.extend(event.usage.map(|usage| ChatEvent::Usage(usage.into())));
            }
            "message_stop" => {
                self.close_all(out)?;
                out.push(ChatEvent::End);
            }
            "error" => out.push(ChatEvent::Fault(fault::detail(event.error.as_ref().unwrap_or(&Value::Null)))),
            // `ping`, and events newer than this reader.
            _ => {}
        }
        Ok(())
    }
}

impl Reader {
    /// Closes what the provider left open, as some do.
    fn close_all(&mut self, out: &mut Vec<ChatEvent<'_>>) -> Result<(), Malformed> {
        std::mem::take(&mut self.open).into_iter().try_for_each(|(_, block)| self.close(block, out))
    }

    fn start<'a>(&mut self, index: u64, block: RawBlock<'a>, out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        let state = match block.kind.0.as_ref() {
            "text" => {
                self.calls.leave(out);
                if let Some(text) = block.text.filter(|t| !t.0.is_empty()) {
                    out.push(ChatEvent::Text(text.0));
                }
                Block::Text
            }
            "thinking" => {
                self.calls.leave(out);
                if let Some(text) = block.thinking.filter(|t| !t.0.is_empty()) {
                    out.push(ChatEvent::Thinking(text.0));
                }
                Block::Thinking { signature: block.signature.map(|t| t.0.into_owned()).unwrap_or_default() }
            }
            "redacted_thinking" => {
                self.calls.leave(out);
                out.push(ChatEvent::Redacted(block.data.map(|t| t.0).unwrap_or_default()));
                Block::Other
            }
            "tool_use" => {
                let number = self.begun;
                self.begun += 1;
                let some = |text: Option<Text<'a>>| text.map(|t| t.0).unwrap_or_default();
                let name = some(block.name);
                if name.is_empty() {
                    return Err(Malformed("a call without a name".into()));
                }
                self.calls.take(Piece { number: Some(number), id: some(block.id), name, ..Piece::default() }, out)?;
                let input = block.input.map_or("{}", RawValue::get);
                let input = if input == "null" || input == "\"\"" { "{}" } else { input };
                Block::Call { number, input: Some(input.to_owned()) }
            }
            _ => Block::Other,
        };
        self.open.push((index, state));
        Ok(())
    }

    fn delta<'a>(&mut self, index: u64, delta: Delta<'a>, out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        let Some((_, block)) = self.open.iter_mut().find(|(i, _)| *i == index) else {
            return Err(Malformed(format!("a delta for block {index}, which is not open")));
        };
        match (block, delta.kind.map(|t| t.0).unwrap_or_default().as_ref()) {
            (Block::Text, "text_delta") => {
                self.calls.leave(out);
                out.push(ChatEvent::Text(delta.text.map(|t| t.0).unwrap_or_default()));
            }
            (Block::Thinking { .. }, "thinking_delta") => {
                self.calls.leave(out);
                out.push(ChatEvent::Thinking(delta.thinking.map(|t| t.0).unwrap_or_default()));
            }
            (Block::Thinking { signature }, "signature_delta") => {
                signature.push_str(&delta.signature.map(|t| t.0).unwrap_or_default());
            }
            (Block::Call { number, input }, "input_json_delta") => {
                let arguments = delta.partial_json.map(|t| t.0).unwrap_or_default();
                if !arguments.is_empty() {
                    *input = None;
                    self.calls.take(Piece { number: Some(*number), arguments, ..Piece::default() }, out)?;
                }
            }
            // Citations, the workings of the provider's own tools, and deltas newer than this reader.
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, block: Block, out: &mut Vec<ChatEvent<'_>>) -> Result<(), Malformed> {
        match block {
            Block::Thinking { signature } => {
                let signature = (!signature.is_empty()).then(|| Signature::new(Protocol::Anthropic, signature));
                out.push(ChatEvent::ThinkingEnd(signature));
            }
            Block::Call { number, input: Some(input) } => {
                self.calls
                    .take(Piece { number: Some(number), arguments: Cow::Owned(input), ..Piece::default() }, out)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Reads a stop reason. Unknown ones are ends of turn.
pub(crate) fn finish(reason: &str) -> Finish {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    message: Option<Start<'a>>,
    #[serde(borrow, default)]
    content_block: Option<RawBlock<'a>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    usage: Option<RawUsage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Start<'a> {
    #[serde(borrow, default)]
    content: Option<Vec<RawBlock<'a>>>,
    #[serde(borrow, default)]
    stop_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    model: Option<Text<'a>>,
    #[serde(default)]
    usage: Option<RawUsage>,
}

#[derive(Deserialize)]
struct RawBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    signature: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Option<Text<'a>>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Delta<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    signature: Option<Text<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    stop_sequence: Option<Text<'a>>,
    #[serde(borrow, default)]
    stop_details: Option<StopDetails<'a>>,
}

#[derive(Deserialize)]
struct StopDetails<'a> {
    #[serde(borrow, default)]
    explanation: Option<Text<'a>>,
}
