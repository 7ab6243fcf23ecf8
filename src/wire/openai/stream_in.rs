//! Owns reading a chat completion stream.

use std::borrow::Cow;

use serde_json::{Value, value::RawValue};

use super::{
    super::{
        Malformed, Observed,
        calls_in::{Calls, Piece},
        chat::{Signature, Source},
        events::{ChatEvent, Finish, StreamReader, unplaced},
        json::{Text, filled, list, malformed, text},
        peek,
    },
    chunk::{Chunk, Content, Delta},
    echo,
    fault::GaveUp,
    messages_in::google_signature,
};

/// What stands for audio.
const SOUND: &str = "sound";

/// What is wrong with an answer that is to end in calls and has none.
const CALLLESS: &str = "it ended for calls of tools that are not there";

/// Reads chunks.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    started: bool,
    /// The model that was asked for, and what the answer calls it.
    asked: String,
    model: String,
    /// The member that the thinking under way comes in.
    thinking: Option<&'static str>,
    /// What was told of it so far in detail, and goes back to the server as it came.
    details: Vec<Value>,
    refused: bool,
    /// There was text.
    spoke: bool,
    calls: Calls,
    /// Something was said since the latest finish.
    open: bool,
    /// A frame was not understood: what it said is missing.
    missed: bool,
    /// Text that came amid the arguments of a call, which no dialect but this one can part.
    held: String,
}

impl StreamReader for Reader {
    fn frame<'a>(
        &mut self,
        event: Option<&str>,
        data: &'a [u8],
        out: &mut Vec<ChatEvent<'a>>,
    ) -> Result<(), Malformed> {
        let missed = std::mem::replace(&mut self.missed, true);
        let mut seen = peek::event(event, data)?;
        if seen.done {
            self.stop_thinking(out);
            // Some servers give no reason, or an empty one to the last. The end marker is their word that nothing is missing.
            if self.open && !missed && self.calls.are_whole() {
                self.end(out);
                out.push(ChatEvent::Finish { reason: self.reason(Finish::Stop), stop_sequence: None });
            }
            out.push(ChatEvent::End);
            return Ok(());
        }
        if let Some(fault) = seen.fault.take() {
            out.push(ChatEvent::Fault(fault));
            return Ok(());
        }
        let chunk = serde_json::from_slice(data).map_err(|error| malformed(&error))?;
        self.chunk(chunk, &seen, missed, out)
    }
}

impl Reader {
    /// For an answer of the model that was asked for by this name.
    pub(crate) fn new(asked: &str) -> Self {
        Self { asked: asked.to_owned(), ..Self::default() }
    }

    /// Takes a chunk, of which this is `seen`. `missed`: a frame before it was not understood.
    pub(super) fn chunk<'a>(
        &mut self,
        chunk: Chunk<'a>,
        seen: &Observed<'_>,
        missed: bool,
        out: &mut Vec<ChatEvent<'a>>,
    ) -> Result<(), Malformed> {
        let unknown = chunk.choices.is_none() && seen.usage.is_none();
        let choices = chunk.choices.unwrap_or_default();
        // Azure opens with a chunk of filter results, without choices and names.
        if !self.started && (!choices.is_empty() || seen.usage.is_some()) {
            self.started = true;
            if let Some(Text(model)) = &chunk.model {
                model.as_ref().clone_into(&mut self.model);
            }
            out.push(ChatEvent::start(chunk.id, chunk.model, chunk.created, seen.usage));
        }
        // Several are never asked for, and the number is not read: some servers count tokens in it
        // (microsoft/Foundry-Local#263, huggingface/text-generation-inference#1648).
        if let Some(choice) = choices.into_iter().next() {
            self.delta(choice.delta.unwrap_or_default(), out)?;
            self.open |= seen.content;
            if let Some(reason) = filled(choice.finish_reason) {
                self.stop_thinking(out);
                self.end(out);
                if let Some(gave_up) = GaveUp::read(&reason) {
                    out.push(ChatEvent::Fault(gave_up.fault()));
                    return Ok(());
                }
                let reason = self.reason(finish(&reason));
                let callless = reason == Finish::ToolCalls && self.calls.is_empty();
                if callless && (missed || !self.spoke) {
                    return Err(Malformed(CALLLESS.into()));
                }
                self.open = false;
                let stopped = choice.stop_reason.as_str().map(|stop| Cow::Owned(stop.to_owned()));
                // Some servers give this reason to words alone.
                let reason = if callless { Finish::Stop } else { reason };
                out.push(ChatEvent::Finish { reason, stop_sequence: stopped });
            }
        }
        self.missed = missed || unknown;
        out.extend(seen.usage.map(ChatEvent::Usage));
        Ok(())
    }

    /// Tells what waited.
    fn end(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        self.calls.end(out);
        self.release(out);
        // Behind words alone a thought would be what clients take for the answer, who read the last block.
        if !self.calls.is_empty() {
            self.detail(out);
        }
    }

    /// What a finish means behind all that was said.
    fn reason(&self, said: Finish) -> Finish {
        match said {
            Finish::Stop if !self.calls.is_empty() => Finish::ToolCalls,
            Finish::Stop if self.refused => Finish::Refused,
            other => other,
        }
    }

    fn delta<'a>(&mut self, delta: Delta<'a>, out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        for (member, text) in echo::MEMBERS.into_iter().zip([filled(delta.reasoning_content), filled(delta.reasoning)])
        {
            // Some servers say the same in both.
            if let Some(text) = text.filter(|_| self.thinking.is_none_or(|m| m == member)) {
                self.think(member, text, out);
            }
        }
        echo::gather(&mut self.details, delta.reasoning_details);
        match delta.content {
            Some(Content::Text(text)) if !text.is_empty() => self.say(text, out),
            Some(Content::Parts(parts)) => {
                for part in parts {
                    self.part(&part, out);
                }
            }
            _ => {}
        }
        if let Some(text) = filled(delta.refusal) {
            self.stop_thinking(out);
            self.calls.leave(out);
            self.refused = true;
            out.push(ChatEvent::Refusal(text));
        }
        if delta.audio.as_object().is_some_and(|audio| !audio.is_empty()) {
            out.push(ChatEvent::Fault(unplaced(SOUND)));
        }
        for image in delta.images.as_array().into_iter().flatten() {
            out.push(ChatEvent::Image { source: pictured(image), signature: None });
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.stop_thinking(out);
            if self.calls.is_empty() {
                self.detail(out);
            }
            let function = call.function.unwrap_or_default();
            let piece = Piece {
                number: call.index,
                id: filled(call.id).unwrap_or_default(),
                name: filled(function.name).unwrap_or_default(),
                arguments: arguments(function.arguments.map(RawValue::get).unwrap_or_default())?,
                signature: call.extra_content.as_ref().and_then(google_signature),
            };
            self.calls.take(piece, out)?;
        }
        if !self.held.is_empty() && self.calls.are_settled() {
            self.release(out);
        }
        Ok(())
    }

    fn think<'a>(&mut self, member: &'static str, text: Cow<'a, str>, out: &mut Vec<ChatEvent<'a>>) {
        self.calls.leave(out);
        self.thinking = Some(member);
        out.push(ChatEvent::Thinking(text));
    }

    fn say<'a>(&mut self, text: Cow<'a, str>, out: &mut Vec<ChatEvent<'a>>) {
        self.stop_thinking(out);
        if !std::mem::replace(&mut self.spoke, true) {
            self.detail(out);
        }
        // Words end a call that has no arguments; a line end may come ahead of them.
        if self.calls.are_cut() || (!self.calls.are_settled() && text.trim().is_empty()) {
            self.held.push_str(&text);
            return;
        }
        self.release(out);
        self.calls.leave(out);
        out.push(ChatEvent::Text(text));
    }

    fn release(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        if !self.held.is_empty() {
            self.calls.leave(out);
            out.push(ChatEvent::Text(Cow::Owned(std::mem::take(&mut self.held))));
        }
    }

    /// A part of content in parts, as Mistral's thinking models send it.
    fn part(&mut self, part: &Value, out: &mut Vec<ChatEvent<'_>>) {
        let thought: String = list(part, "thinking").iter().map(|t| text(t, "text")).collect();
        if !thought.is_empty() {
            self.think("", Cow::Owned(thought), out);
        }
        let said = text(part, "text");
        if !said.is_empty() {
            self.say(Cow::Owned(said.to_owned()), out);
        }
    }

    fn stop_thinking(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        if let Some(member) = self.thinking.take() {
            let mark = (!member.is_empty()).then(|| self.mark(member));
            out.push(ChatEvent::ThinkingEnd(mark));
        }
    }

    /// Tells of a thought of which there are only details.
    fn detail(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        if !self.details.is_empty() {
            out.push(ChatEvent::ThinkingEnd(Some(self.mark(echo::MEMBERS[1]))));
        }
    }

    fn mark(&mut self, member: &str) -> Signature {
        echo::mark(member, &self.asked, &self.model, std::mem::take(&mut self.details))
    }
}

/// Where an image of an answer is.
fn pictured(image: &Value) -> Source {
    Source::from_url(image.pointer("/image_url/url").and_then(Value::as_str).unwrap_or_default())
}

/// Reads arguments from their JSON: of a text, or of the object that the text should tell, as some servers send it.
fn arguments(json: &str) -> Result<Cow<'_, str>, Malformed> {
    match json.as_bytes() {
        [b'"', ..] => serde_json::from_str(json).map(|Text(text)| text).map_err(|error| malformed(&error)),
        [b'{', ..] => Ok(Cow::Borrowed(json)),
        // As some languages write an empty object.
        b"" | b"[]" => Ok(Cow::Borrowed("")),
        _ => Err(Malformed("arguments that are neither a text nor an object".into())),
    }
}

/// Reads a finish reason. Unknown ones are ends of turn.
fn finish(reason: &str) -> Finish {
    match reason {
        // The latter is Mistral's, at the end of the model's window.
        "length" | "model_length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}
