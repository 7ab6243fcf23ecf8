//! Owns telling a client an answer, event by event, whole or as a stream: what its dialect makes of an event, and what is held
//! back to the end.

use std::{borrow::Cow, sync::Arc};

use super::{
    Malformed, Observed, Usage, anthropic,
    course::Moves,
    events::{ChatEvent, Finish, unplaced},
    openai, responses,
    tool_names::Names,
    translate::{Dialect, ReplyContext},
};

/// How an answer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// At once, as one body.
    Whole,
    /// As it comes; in a chat completion with token counts, if they were asked for.
    Stream { include_usage: bool },
}

/// Writes a client's answer, event by event.
pub(crate) trait Writer {
    /// Takes one event, and appends the frames for it if the answer is a stream. The first is a `Start`, and no other; `Finish`,
    /// `Usage` and `Fault` never come here.
    fn event(&mut self, event: &ChatEvent<'_>, out: &mut Vec<u8>);
    /// Appends what closes a finished stream, or all of a whole answer.
    fn finish(&mut self, reason: Finish, stop_sequence: Option<&str>, usage: Option<Usage>, out: &mut Vec<u8>);
}

/// Tells one answer.
pub(super) struct Teller {
    writer: Box<dyn Writer + Send>,
    /// What the client calls its tools.
    names: Arc<Names>,
    to: Dialect,
    pub(super) finish: Option<(Finish, Option<String>)>,
    usage: Option<Usage>,
    started: bool,
    /// Nothing more is written: the end is.
    pub(super) closed: bool,
}

impl Teller {
    pub(super) fn new(to: Dialect, ctx: ReplyContext, form: Form) -> Self {
        Self {
            names: ctx.asked.names().clone(),
            to,
            writer: match to {
                Dialect::Chat => Box::new(openai::answer_out::Writer::new(ctx, form)),
                Dialect::Messages => Box::new(anthropic::answer_out::Writer::new(ctx, form)),
                Dialect::Responses => Box::new(responses::answer_out::Writer::new(ctx, form)),
            },
            finish: None,
            usage: None,
            started: false,
            closed: false,
        }
    }

    /// Takes the events of a frame, or of a whole answer; appends the client's frames. An error is not written: it ends the
    /// attempt.
    pub(super) fn tell(
        &mut self,
        events: Vec<ChatEvent<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<Observed<'static>, Malformed> {
        let mut seen = Observed::default();
        let goes_on = events.iter().any(ChatEvent::goes_on);
        // A finish that more content follows was not one.
        self.finish.take_if(|_| goes_on);
        let mut text = String::new();
        for event in events {
            match event {
                ChatEvent::Finish { reason, stop_sequence } => {
                    seen.finish = true;
                    self.finish = Some((reason, stop_sequence.map(Cow::into_owned)));
                }
                ChatEvent::Usage(usage) => {
                    self.usage = Some(usage.after(self.usage));
                    seen.usage = self.usage;
                }
                ChatEvent::Fault(fault) => return Ok(Observed { fault: Some(fault), ..seen }),
                ChatEvent::Image { .. } if self.to != Dialect::Chat => {
                    return Ok(Observed { fault: Some(unplaced("an image")), ..seen });
                }
                ChatEvent::End => {
                    seen.done = self.end(out);
                    if !seen.done {
                        return Err(Malformed("the stream ends without a finish reason".into()));
                    }
                }
                event => {
                    if let ChatEvent::Text(more)
                    | ChatEvent::Thinking(more)
                    | ChatEvent::Refusal(more)
                    | ChatEvent::Arguments { text: more, .. } = &event
                    {
                        text.push_str(more);
                    }
                    seen.content |= event.is_content();
                    seen.intricate |= !matches!(event, ChatEvent::Start { .. } | ChatEvent::Text(_));
                    self.pass(event, out);
                }
            }
        }
        seen.moves = Moves::of(0, goes_on, seen.finish);
        seen.text = Cow::Owned(text);
        Ok(seen)
    }

    /// Passes an event on, as the client's dialect tells it. A start is the first, and is once.
    fn pass(&mut self, mut event: ChatEvent<'_>, out: &mut Vec<u8>) {
        let starts = matches!(event, ChatEvent::Start { .. });
        let first = !std::mem::replace(&mut self.started, true);
        if first && !starts {
            self.writer.event(&ChatEvent::start(None, None, None, None), out);
        }
        if let ChatEvent::ToolCall { name, signature, .. } = &mut event {
            if let Some(whole) = self.names.whole(name) {
                *name = Cow::Owned(whole.to_owned());
            }
            // Clients of other dialects drop the proof of a call, but return that of the thought before it.
            if let Some(proof) = signature.clone().filter(|_| self.to != Dialect::Chat) {
                self.writer.event(&ChatEvent::ThinkingEnd(Some(proof)), out);
            }
        }
        if first || !starts {
            self.writer.event(&event, out);
        }
    }

    /// No more events come. Says whether the answer was whole, and if so appends what the client is owed.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> bool {
        if let (false, Some((reason, stop))) = (self.closed, self.finish.clone()) {
            self.pass(ChatEvent::start(None, None, None, None), out);
            self.writer.finish(reason, stop.as_deref(), self.usage, out);
            self.closed = true;
        }
        self.closed
    }
}
