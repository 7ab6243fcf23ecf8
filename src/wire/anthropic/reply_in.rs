//! Owns reading a whole Messages reply. It has the shape of the message that a stream begins with, but complete.

use super::{
    super::{
        Malformed,
        events::ChatEvent,
        json::{malformed, says_nothing},
    },
    event::Message,
    fault,
    stream_in::Reader,
};

/// Reads a body.
pub(crate) fn read(body: &[u8]) -> Result<Vec<ChatEvent<'_>>, Malformed> {
    let message: Message<'_> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let is_error = message.kind.as_ref().is_some_and(|kind| kind.0 == "error");
    if is_error || message.error.as_ref().is_some_and(|error| !says_nothing(error)) {
        return Ok(vec![ChatEvent::Fault(fault::told(body))]);
    }
    if message.content.is_none() {
        return Err(Malformed("a message without content".into()));
    }
    let mut events = Vec::new();
    Reader::default().message(message, &mut events)?;
    Ok(events)
}
