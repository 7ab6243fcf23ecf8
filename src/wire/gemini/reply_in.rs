//! Owns reading a whole `generateContent` reply: a stream of one frame.

use super::{
    super::{
        Malformed,
        events::{ChatEvent, StreamReader},
    },
    stream_in::Reader,
};

/// Reads a body, which may tell of a search where one was asked for. As in a stream, what gives no reason has not come to its end.
pub(crate) fn read(body: &[u8], searches: bool) -> Result<Vec<ChatEvent<'_>>, Malformed> {
    let mut events = Vec::new();
    Reader::new(searches).frame(None, body, &mut events)?;
    // It came first, though it is told last.
    events.sort_by_key(|event| match event {
        ChatEvent::Start { .. } => 0,
        ChatEvent::Search(_) => 1,
        _ => 2,
    });
    Ok(events)
}
