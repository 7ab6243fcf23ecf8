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
    Ok(sourced(events))
}

/// Puts each source behind the text that it is of: some clients can be told none of a text that has ended.
fn sourced(mut events: Vec<ChatEvent<'_>>) -> Vec<ChatEvent<'_>> {
    let mut sources: Vec<_> = events.extract_if(.., |event| matches!(event, ChatEvent::Cite(_))).collect();
    let (mut letters, mut placed) = (0, Vec::with_capacity(events.len() + sources.len()));
    for event in events {
        if let ChatEvent::Text(text) = &event {
            letters += text.chars().count();
        }
        placed.push(event);
        placed.extend(sources.extract_if(.., |one| matches!(one, ChatEvent::Cite(cited) if cited.from < letters)));
    }
    placed
}
