//! Owns reading a whole Messages reply: the message that a stream would begin with, come to its end.

use super::{
    super::{
        Malformed, course,
        events::ChatReply,
        json::{malformed, says_nothing},
    },
    event::Message,
    fault,
    stream_in::Reader,
};

/// Reads a body; an error body gives a reply with a fault.
pub(crate) fn read(body: &[u8]) -> Result<ChatReply, Malformed> {
    let message: Message<'_> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let is_error = message.kind.as_ref().is_some_and(|kind| kind.0 == "error");
    if is_error || message.error.as_ref().is_some_and(|error| !says_nothing(error)) {
        return Ok(ChatReply { fault: Some(fault::told(body)), ..ChatReply::default() });
    }
    if message.content.is_none() {
        return Err(Malformed("a message without content".into()));
    }
    // Only in the first event of a stream it is null (API reference).
    if course::said(message.stop_reason.as_ref().map(|reason| &*reason.0)).is_none() {
        return Err(Malformed("a message without a stop reason".into()));
    }
    let mut events = Vec::new();
    Reader::default().message(message, &mut events)?;
    Ok(ChatReply::of(events))
}
