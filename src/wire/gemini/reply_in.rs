//! Owns reading a whole `generateContent` reply: a stream of one frame.

use super::{
    super::{
        Malformed,
        events::{ChatReply, StreamReader},
    },
    stream_in::Reader,
};

/// Reads a body; an error body gives a reply with a fault. As in a stream, what gives no reason has not come to its end.
pub(crate) fn read(body: &[u8]) -> Result<ChatReply, Malformed> {
    let mut events = Vec::new();
    Reader::default().frame(None, body, &mut events)?;
    let reply = ChatReply::of(events);
    if reply.finish.is_none() && reply.fault.is_none() {
        return Err(Malformed("a reply without a finish reason".into()));
    }
    Ok(reply)
}
