//! Owns reading a `streamGenerateContent` stream; a whole reply is a stream of one frame.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{
    super::{
        Malformed, Protocol,
        chat::{Signature, Source},
        events::{ChatEvent, Finish, StreamReader, unplaced},
        json::{Text, filled, malformed, says_nothing},
    },
    args::Arguments,
    chunk::{Blob, Candidate, Chunk, RawCall, RawPart, RawUsage},
    fault,
    grounding::Grounding,
};

/// Reads frames.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    started: bool,
    thinking: bool,
    /// The signature of the thought under way.
    proof: Option<Signature>,
    /// Text or an image came.
    spoke: bool,
    calls: u32,
    /// The call whose arguments come in pieces.
    open: Option<(u32, Arguments)>,
    finished: bool,
    /// What the answer is grounded in, where a search was asked for.
    grounding: Option<Grounding>,
}

impl StreamReader for Reader {
    fn frame<'a>(
        &mut self,
        _event: Option<&str>,
        data: &'a [u8],
        out: &mut Vec<ChatEvent<'a>>,
    ) -> Result<(), Malformed> {
        let chunk: Chunk<'a> = serde_json::from_slice(data).map_err(|error| malformed(&error))?;
        if let Some(error) = chunk.error.filter(|error| !says_nothing(error)) {
            out.push(ChatEvent::Fault(fault::detail(&error)));
            return Ok(());
        }
        let usage = chunk.usage_metadata.and_then(RawUsage::counts);
        if !std::mem::replace(&mut self.started, true) {
            out.push(ChatEvent::start(chunk.response_id, chunk.model_version, None, usage));
        }
        let blocked = chunk.prompt_feedback.is_some_and(|f| f.block_reason.is_some());
        let none = chunk.candidates.as_ref().is_some_and(Vec::is_empty);
        let nothing = none && !self.finished && !self.spoke && self.calls == 0;
        let mut finish_now = None;
        // Other candidates than the first are never asked for.
        for candidate in chunk.candidates.unwrap_or_default().into_iter().filter(|c| c.index == 0) {
            finish_now = self.candidate(candidate, out)?.or(finish_now);
        }
        if blocked || nothing {
            finish_now = Some(Finish::ContentFilter);
        }
        if let Some(reason) = finish_now {
            self.finished = true;
            self.stop_thinking(out);
            self.end_call(out);
            let reason = if reason == Finish::Stop && self.calls > 0 { Finish::ToolCalls } else { reason };
            out.push(ChatEvent::Finish { reason, stop_sequence: None });
        }
        if let Some(grounding) = self.grounding.as_mut().filter(|_| self.finished) {
            grounding.tell(out);
        }
        out.extend(usage.map(ChatEvent::Usage));
        Ok(())
    }
}

impl Reader {
    /// `searches`: a search may have been asked for.
    pub(crate) fn new(searches: bool) -> Self {
        Self { grounding: searches.then(Grounding::default), ..Self::default() }
    }

    /// Takes what a candidate says; tells its end, if this is it.
    fn candidate<'a>(
        &mut self,
        candidate: Candidate<'a>,
        out: &mut Vec<ChatEvent<'a>>,
    ) -> Result<Option<Finish>, Malformed> {
        for part in candidate.content.and_then(|c| c.parts).unwrap_or_default() {
            if let Some(grounding) = &mut self.grounding {
                grounding.part();
            }
            self.part(part, out)?;
        }
        if let Some((grounding, told)) = self.grounding.as_mut().zip(candidate.grounding_metadata) {
            grounding.add(told);
        }
        let Some(reason) = filled(candidate.finish_reason) else { return Ok(None) };
        // What follows an error reaches nobody.
        let fault = fault::broken(&reason, candidate.finish_message.as_ref().map(|t| &*t.0));
        out.extend(fault.map(ChatEvent::Fault));
        let silent = self.calls == 0 && !self.spoke;
        Ok(Some(match finish(&reason) {
            // An end without a word, for a reason of its own, is no success.
            Finish::Stop if silent && reason != "STOP" => Finish::ContentFilter,
            other => other,
        }))
    }

    fn part<'a>(&mut self, part: RawPart<'a>, out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        let mut signature = filled(part.thought_signature).map(|proof| Signature::new(Protocol::Gemini, proof));
        if let Some(call) = part.function_call {
            self.stop_thinking(out);
            return self.call(call, signature, out);
        }
        // The last image of a model that thinks in images is the answer, and comes again as such.
        if let Some(Blob { mime_type, data }) = part.inline_data.filter(|_| !part.thought) {
            self.stop_thinking(out);
            self.end_call(out);
            self.spoke = true;
            let (Text(mime), Text(data)) = (mime_type, data);
            out.push(if mime.starts_with("image/") {
                let source = Source::Data { mime: mime.into_owned(), data: data.into_owned() };
                ChatEvent::Image { source, signature: signature.take() }
            } else {
                ChatEvent::Fault(unplaced("something that is neither text nor an image"))
            });
        }
        let text = Text::or_empty(part.text);
        if part.thought {
            if !text.is_empty() {
                self.end_call(out);
                out.push(ChatEvent::Thinking(text));
            }
            self.thinking = true;
            self.proof = signature.or(self.proof.take());
            return Ok(());
        }
        if !text.is_empty() {
            self.stop_thinking(out);
            self.end_call(out);
            self.spoke = true;
            if let Some(grounding) = &mut self.grounding {
                grounding.text(&text);
            }
            out.push(ChatEvent::Text(text));
        }
        if let Some(proof) = signature {
            // Which may be of no words at all.
            self.stop_thinking(out);
            out.push(ChatEvent::TextSignature(proof));
        }
        Ok(())
    }

    /// A named call begins one; an unnamed one continues, and ends unless more is announced.
    fn call<'a>(
        &mut self,
        call: RawCall<'a>,
        signature: Option<Signature>,
        out: &mut Vec<ChatEvent<'a>>,
    ) -> Result<(), Malformed> {
        if let Some(name) = filled(call.name) {
            self.end_call(out);
            let index = self.calls;
            self.calls += 1;
            out.push(ChatEvent::ToolCall { index, id: filled(call.id), name, signature });
            if let Some(args) = call.args.map(RawValue::get).filter(|a| *a != "null") {
                if !args.starts_with('{') {
                    return Err(Malformed("a function call's arguments are no object".into()));
                }
                out.push(ChatEvent::Arguments { index, text: Cow::Borrowed(args) });
                return Ok(());
            }
            self.open = Some((index, Arguments::default()));
        }
        let Some((index, arguments)) = &mut self.open else { return Ok(()) };
        let mut text = Vec::new();
        for arg in call.partial_args.iter().flatten() {
            arguments.add(arg, &mut text)?;
        }
        if !text.is_empty() {
            out.push(ChatEvent::Arguments { index: *index, text: String::from_utf8_lossy(&text).into_owned().into() });
        }
        if !call.will_continue {
            self.end_call(out);
        }
        Ok(())
    }

    fn end_call(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        if let Some((index, arguments)) = self.open.take() {
            let mut text = Vec::new();
            arguments.end(&mut text);
            out.push(ChatEvent::Arguments { index, text: String::from_utf8_lossy(&text).into_owned().into() });
        }
    }

    fn stop_thinking(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        if std::mem::take(&mut self.thinking) {
            out.push(ChatEvent::ThinkingEnd(self.proof.take()));
        }
    }
}

/// Reads a finish reason. Unknown ones are ends of turn; that of a reason which Google does not tell is none.
fn finish(reason: &str) -> Finish {
    match reason {
        "MAX_TOKENS" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "OTHER" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}
