//! Owns reading a whole `generateContent` reply: a stream of one frame.

use super::{
    super::{
        Malformed,
        events::{ChatEvent, StreamReader},
    },
    stream_in::Reader,
};

/// Reads a body. As in a stream, what gives no reason has not come to its end.
pub(crate) fn read(body: &[u8]) -> Result<Vec<ChatEvent<'_>>, Malformed> {
    let mut events = Vec::new();
    Reader::default().frame(None, body, &mut events)?;
    Ok(events)
}
