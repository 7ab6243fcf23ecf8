//! Owns reading a Messages stream.

use std::borrow::Cow;

use serde_json::{Value, value::RawValue};

use super::{
    super::{
        Malformed, Protocol,
        calls_in::{Calls, Piece},
        chat::Signature,
        events::{ChatEvent, Finish, StreamReader},
        json::{Text, filled, malformed, owned},
        web::{Citation, NAME, Search},
    },
    event::{Delta, Event, Message, RawBlock},
    fault, search,
};

/// Reads events.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The blocks begun and not ended, in the provider's numbering.
    open: Vec<(u64, Block)>,
    calls: Calls,
    /// How many of those there were so far.
    begun: u64,
    /// The letters of all text so far.
    letters: usize,
    /// What was searched for, by the call's id.
    queries: Vec<(String, Option<String>)>,
}

#[derive(Debug, PartialEq)]
enum Block {
    /// The first letter of it, and its sources.
    Text {
        from: usize,
        cited: Vec<Citation>,
    },
    Thinking {
        signature: String,
    },
    /// Our number of the call, and the arguments it began with, given if none follow.
    Call {
        number: u64,
        input: Option<String>,
    },
    /// A call of the provider's own search, and what it says.
    Search {
        id: String,
        input: String,
    },
    /// What its other tools do: not part of the answer.
    Other,
}

impl StreamReader for Reader {
    fn frame<'a>(&mut self, name: Option<&str>, data: &'a [u8], out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        let event = serde_json::from_slice(data);
        if (event.is_err() || name == Some("error"))
            && let Some(fault) = fault::of_event(name, data)
        {
            out.push(ChatEvent::Fault(fault));
            return Ok(());
        }
        let event: Event<'a> = event.map_err(|error| malformed(&error))?;
        // The data repeats the event's name, except where a compatible server leaves it out.
        match event.kind.as_ref().map_or(name.unwrap_or_default(), |kind| kind.0.as_ref()) {
            "message_start" => self.message(event.message.unwrap_or_default(), out)?,
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
                let Delta { stop_reason, stop_sequence, stop_details, .. } = event.delta.unwrap_or_default();
                self.stop(stop_reason, stop_sequence, &stop_details, out)?;
                out.extend(event.usage.map(|usage| ChatEvent::Usage(usage.into())));
            }
            "message_stop" => {
                self.close_all(out)?;
                out.push(ChatEvent::End);
            }
            "error" => out.push(ChatEvent::Fault(fault::told(data))),
            // `ping`, and events newer than this reader.
            _ => {}
        }
        Ok(())
    }
}

impl Reader {
    /// Takes the message that a stream begins with, or all of an answer. Messages that the provider's own tools made come whole.
    pub(super) fn message<'a>(&mut self, message: Message<'a>, out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        let usage = message.usage.map(Into::into);
        out.push(ChatEvent::start(message.id, message.model, None, usage));
        for block in message.content.unwrap_or_default() {
            self.start(0, block, out)?;
            if let Some((_, block)) = self.open.pop() {
                self.close(block, out)?;
            }
        }
        self.stop(message.stop_reason, message.stop_sequence, &message.stop_details, out)?;
        out.extend(usage.map(ChatEvent::Usage));
        Ok(())
    }

    /// Takes the reason for an end, if it is one.
    fn stop<'a>(
        &mut self,
        reason: Option<Text<'a>>,
        sequence: Option<Text<'a>>,
        details: &Value,
        out: &mut Vec<ChatEvent<'a>>,
    ) -> Result<(), Malformed> {
        let Some(reason) = filled(reason) else { return Ok(()) };
        self.close_all(out)?;
        self.calls.end(out);
        let explanation = owned(details, "explanation").filter(|_| reason == "refusal");
        out.extend(explanation.map(|text| ChatEvent::Refusal(text.into())));
        out.push(ChatEvent::Finish { reason: finish(&reason), stop_sequence: sequence.map(|t| t.0) });
        Ok(())
    }

    /// Closes what the provider left open, as some do.
    fn close_all(&mut self, out: &mut Vec<ChatEvent<'_>>) -> Result<(), Malformed> {
        std::mem::take(&mut self.open).into_iter().try_for_each(|(_, block)| self.close(block, out))
    }

    fn start<'a>(&mut self, index: u64, block: RawBlock<'a>, out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        let state = match block.kind.0.as_ref() {
            "text" => {
                self.calls.leave(out);
                let from = self.letters;
                if let Some(text) = filled(block.text) {
                    self.letters += text.chars().count();
                    out.push(ChatEvent::Text(text));
                }
                let cited = block.citations.as_array().into_iter().flatten().filter_map(search::cited).collect();
                Block::Text { from, cited }
            }
            "thinking" => {
                self.calls.leave(out);
                out.extend(filled(block.thinking).map(ChatEvent::Thinking));
                Block::Thinking { signature: Text::or_empty(block.signature).into_owned() }
            }
            "redacted_thinking" => {
                self.calls.leave(out);
                out.push(ChatEvent::Redacted(Text::or_empty(block.data)));
                Block::Other
            }
            "tool_use" => self.call(block, out)?,
            "server_tool_use" if block.name.as_ref().is_some_and(|name| name.0 == NAME) => {
                let input = block.input.map(RawValue::get).filter(|input| *input != "{}").unwrap_or_default();
                Block::Search { id: Text::or_empty(block.id).into_owned(), input: input.to_owned() }
            }
            "web_search_tool_result" => {
                self.calls.leave(out);
                let id = block.tool_use_id.as_ref().map_or("", |id| &*id.0);
                let asked = self.queries.iter().find(|(known, _)| known == id);
                let queries = asked.and_then(|(_, query)| query.clone()).into_iter().collect();
                out.push(ChatEvent::Search(Search { queries, found: search::found(&block.content) }));
                Block::Other
            }
            _ => Block::Other,
        };
        self.open.push((index, state));
        Ok(())
    }

    fn call<'a>(&mut self, block: RawBlock<'a>, out: &mut Vec<ChatEvent<'a>>) -> Result<Block, Malformed> {
        let number = self.begun;
        self.begun += 1;
        let name = Text::or_empty(block.name);
        if name.is_empty() {
            return Err(Malformed("a call without a name".into()));
        }
        let id = Text::or_empty(block.id);
        self.calls.take(Piece { number: Some(number), id, name, ..Piece::default() }, out)?;
        let input = block.input.map_or("{}", RawValue::get);
        let input = if input == "null" || input == "\"\"" { "{}" } else { input };
        Ok(Block::Call { number, input: Some(input.to_owned()) })
    }

    fn delta<'a>(&mut self, index: u64, delta: Delta<'a>, out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        let Some((_, block)) = self.open.iter_mut().find(|(i, _)| *i == index) else {
            return Err(Malformed(format!("a delta for block {index}, which is not open")));
        };
        match (block, &*Text::or_empty(delta.kind)) {
            (Block::Text { .. }, "text_delta") => {
                self.calls.leave(out);
                let text = Text::or_empty(delta.text);
                self.letters += text.chars().count();
                out.push(ChatEvent::Text(text));
            }
            (Block::Text { cited, .. }, "citations_delta") => cited.extend(search::cited(&delta.citation)),
            (Block::Search { input, .. }, "input_json_delta") => {
                input.push_str(&Text::or_empty(delta.partial_json));
            }
            (Block::Thinking { .. }, "thinking_delta") => {
                self.calls.leave(out);
                out.push(ChatEvent::Thinking(Text::or_empty(delta.thinking)));
            }
            (Block::Thinking { signature }, "signature_delta") => {
                signature.push_str(&Text::or_empty(delta.signature));
            }
            (Block::Call { number, input }, "input_json_delta") => {
                let arguments = Text::or_empty(delta.partial_json);
                if !arguments.is_empty() {
                    *input = None;
                    self.calls.take(Piece { number: Some(*number), arguments, ..Piece::default() }, out)?;
                }
            }
            // The workings of the provider's other tools, and deltas newer than this reader.
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, block: Block, out: &mut Vec<ChatEvent<'_>>) -> Result<(), Malformed> {
        match block {
            Block::Text { from, cited } => {
                let to = self.letters;
                // Sources of no text are nobody's.
                let cited = if from < to { cited } else { Vec::new() };
                out.extend(cited.into_iter().map(|one| ChatEvent::Cite(Citation { from, to, ..one })));
            }
            Block::Search { id, input } => self.queries.push((id, search::query(&input))),
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
fn finish(reason: &str) -> Finish {
    match reason {
        // The last is a turn that goes on only if it is sent back.
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}
