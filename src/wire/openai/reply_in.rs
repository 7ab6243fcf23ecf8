//! Owns reading a whole chat completion: a stream of one chunk.

use super::{
    super::{
        Malformed, course,
        events::ChatEvent,
        json::{Text, malformed},
        peek,
    },
    chunk::Chunk,
    stream_in::Reader,
};

/// Reads a body of the model `asked` for.
pub(crate) fn read<'a>(body: &'a [u8], asked: &str) -> Result<Vec<ChatEvent<'a>>, Malformed> {
    let mut seen = peek::whole(body)?;
    if let Some(fault) = seen.fault.take() {
        return Ok(vec![ChatEvent::Fault(fault)]);
    }
    let mut chunk: Chunk<'_> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let Some(choice) = chunk.choices.iter_mut().flatten().next() else {
        return Err(Malformed("a completion without choices".into()));
    };
    // Perplexity puts an empty delta beside the message.
    choice.delta = choice.message.take().or(choice.delta.take());
    // The numbers are for pieces: some servers give each call the same.
    let calls = choice.delta.iter_mut().flat_map(|message| &mut message.tool_calls).flatten();
    for (number, call) in (0..).zip(calls) {
        call.index = Some(number);
    }
    // It has come to its end, in whatever words: some servers give no reason.
    if course::said(choice.finish_reason.as_ref().map(|reason| &*reason.0)).is_none() {
        choice.finish_reason = Some(Text("stop".into()));
    }
    let mut events = Vec::new();
    Reader::new(asked).chunk(chunk, &seen, false, &mut events)?;
    Ok(events)
}
