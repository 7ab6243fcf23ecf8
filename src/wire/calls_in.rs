//! Owns putting streamed tool calls into sequence: some servers leave numbers out, repeat them, or interleave arguments.

use std::borrow::Cow;

use super::{Malformed, chat::Signature, events::ChatEvent, extent::Extent};

/// Most calls of one reply: each piece is looked for among all.
const MOST: usize = 1024;

/// The calls of one reply, in the order they began.
#[derive(Debug, Default)]
pub(super) struct Calls {
    begun: Vec<Call>,
    /// How many of them were passed on; the last of these is the one whose arguments go out as they come.
    passed: usize,
    /// The number and the id of a call whose name is still to come.
    nameless: Option<(u64, String)>,
}

#[derive(Debug)]
struct Call {
    number: u64,
    id: String,
    name: String,
    /// Arguments that wait until the call is passed on.
    arguments: String,
    /// How far all of them have come.
    extent: Extent,
    /// Something else was said before they were complete, so any later piece has no place.
    left: bool,
    /// Google's proof of the thought behind it.
    signature: Option<Signature>,
}

/// A piece of a call, as it came; what is empty was not there.
#[derive(Debug, Default)]
pub(super) struct Piece<'a> {
    pub(super) number: Option<u64>,
    pub(super) id: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) arguments: Cow<'a, str>,
    pub(super) signature: Option<Signature>,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// Whether the arguments of none break off. A function without parameters may be called without any.
    pub(super) fn are_whole(&self) -> bool {
        !self.begun.iter().any(|call| call.extent.is_cut())
    }

    /// Whether what comes now comes amid arguments: of the call that goes out, or of one that waits.
    pub(super) fn are_cut(&self) -> bool {
        self.current().iter().any(|call| call.extent.is_cut())
    }

    /// Whether no more arguments are to come of these calls, by the look of them.
    pub(super) fn are_settled(&self) -> bool {
        self.current().iter().all(|call| call.extent.is_whole())
    }

    /// The call that goes out, and those that wait for it.
    fn current(&self) -> &[Call] {
        &self.begun[self.passed.saturating_sub(1)..]
    }

    /// Takes a piece; appends what can be told now. A call begun before the last one is complete waits for it.
    pub(super) fn take<'a>(&mut self, piece: Piece<'a>, out: &mut Vec<ChatEvent<'a>>) -> Result<(), Malformed> {
        let Piece { number, id, name, arguments, signature } = piece;
        // Servers that leave the number out send each call whole: a name begins the next.
        let number = number.unwrap_or_else(|| match self.begun.last() {
            Some(last) if !name.is_empty() => last.number.saturating_add(1),
            Some(last) => last.number,
            None => 0,
        });
        // A name with another id is another call, whatever its number.
        let same = |call: &Call| call.number == number && (id.is_empty() || name.is_empty() || call.id == *id);
        let Some(at) = self.begun.iter().rposition(same) else {
            if name.is_empty() && arguments.is_empty() {
                self.nameless = Some((number, id.into_owned()));
                return Ok(());
            }
            if name.is_empty() {
                return Err(Malformed("a tool call without a name".into()));
            }
            if self.begun.len() == MOST {
                return Err(Malformed(format!("more than {MOST} tool calls")));
            }
            let known = self.nameless.take_if(|(of, _)| *of == number).map(|(_, id)| id);
            let arguments = if is_none(&arguments) { String::new() } else { arguments.into_owned() };
            let id = known.filter(|_| id.is_empty()).unwrap_or_else(|| id.into_owned());
            let name = name.into_owned();
            let mut extent = Extent::default();
            extent.add(&arguments);
            self.begun.push(Call { number, id, name, arguments, extent, left: false, signature });
            self.pass_on(out);
            return Ok(());
        };
        if !arguments.is_empty() {
            let call = &mut self.begun[at];
            if !call.extent.has_begun() && is_none(&arguments) {
                return Ok(());
            }
            if at + 1 < self.passed || call.left {
                // It was complete; blanks change nothing.
                let blank = arguments.trim().is_empty();
                return if blank { Ok(()) } else { Err(Malformed("arguments of a call that is over".into())) };
            }
            call.extent.add(&arguments);
            if at + 1 == self.passed {
                out.push(ChatEvent::Arguments { index: at as u32, text: arguments });
            } else {
                call.arguments.push_str(&arguments);
            }
            self.pass_on(out);
        }
        Ok(())
    }

    /// No more pieces come: appends what waited.
    pub(super) fn end(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        while self.passed < self.begun.len() {
            self.pass(out);
        }
    }

    /// Something else is said: appends what waited, and takes no more of what is not whole.
    pub(super) fn leave(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        self.end(out);
        if let Some(last) = self.begun.last_mut() {
            last.left = !last.extent.is_whole();
        }
    }

    fn pass_on(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        while self.passed < self.begun.len() && (self.passed == 0 || self.begun[self.passed - 1].extent.is_whole()) {
            self.pass(out);
        }
    }

    fn pass(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        let (index, call) = (self.passed as u32, &mut self.begun[self.passed]);
        self.passed += 1;
        let id = Some(call.id.clone()).filter(|id| !id.is_empty()).map(Cow::Owned);
        let signature = call.signature.take();
        out.push(ChatEvent::ToolCall { index, id, name: Cow::Owned(call.name.clone()), signature });
        if !call.arguments.is_empty() {
            let text = Cow::Owned(std::mem::take(&mut call.arguments));
            out.push(ChatEvent::Arguments { index, text });
        }
    }
}

/// What the parsers of some servers make of no arguments.
fn is_none(arguments: &str) -> bool {
    arguments.trim() == "null"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_more_calls_than_anybody_makes_is_none() {
        let (mut calls, mut out) = (Calls::default(), Vec::new());
        let mut call = || {
            let piece = Piece { name: "f".into(), arguments: "{}".into(), ..Piece::default() };
            calls.take(piece, &mut out).is_ok()
        };
        assert_eq!((0..2000).take_while(|_| call()).count(), MOST);
    }
}
