//! Owns reading a whole `generateContent` reply: a stream of one frame.

use super::{
    super::{
        Malformed,
        chat::Part,
        events::{ChatReply, StreamReader},
    },
    stream_in::Reader,
};

/// Reads a body, which may tell of a search where one was asked for; an error body gives a reply with a fault. As in a stream, what gives no reason has not come to its end.
pub(crate) fn read(body: &[u8], searches: bool) -> Result<ChatReply, Malformed> {
    let mut events = Vec::new();
    Reader::new(searches).frame(None, body, &mut events)?;
    let mut reply = ChatReply::of(events);
    // It came first, though it is told last.
    reply.parts.sort_by_key(|part| !matches!(part, Part::Search(_)));
    if reply.finish.is_none() && reply.fault.is_none() {
        return Err(Malformed("a reply without a finish reason".into()));
    }
    Ok(reply)
}
