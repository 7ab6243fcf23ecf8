//! Owns what every stream decoder is held to: it never panics, cutting the bytes elsewhere changes nothing, and only a
//! reply whose end was said ends cleanly, in frames that the client's side can read.

use bytes::Bytes;
use greenroom::wire::{
    Protocol, peek, sse,
    translate::{Dialect, ReplyContext, StreamTranslator, asked},
};

/// The first byte chooses what the client speaks, the second the size of the chunks.
pub fn run(from: Protocol, input: &[u8]) {
    let [dialect, size, bytes @ ..] = input else { return };
    let to = [Dialect::Chat, Dialect::Messages, Dialect::Responses][usize::from(dialect % 3)];
    let whole = translated(from, to, bytes, bytes.len().max(1));
    let cut = translated(from, to, bytes, usize::from(*size).max(1));
    assert_eq!(whole, cut, "where the bytes are cut decides what they mean");
    let (out, finished, ended) = whole;
    assert!(!ended || finished, "a reply without a finish ended cleanly");
    for frame in sse::frames(&out) {
        let data = frame.data.expect("every frame written carries data");
        let json = serde_json::from_slice::<serde_json::Value>(&data).is_ok();
        assert!(json || (finished && &*data == b"[DONE]"), "{}", String::from_utf8_lossy(&data));
    }
}

fn translated(from: Protocol, to: Dialect, bytes: &[u8], size: usize) -> (Vec<u8>, bool, bool) {
    let request = br#"{"tools":[{"type":"custom","name":"patch"}],"metadata":{"k":"v"}}"#;
    let asked = asked(to, request);
    let ctx = ReplyContext { id: "id".into(), created: 1, model: "m".into(), asked, ..ReplyContext::default() };
    let mut translator = StreamTranslator::new(from, to, ctx, true);
    let (mut splitter, mut out, mut finished) = (sse::Splitter::default(), Vec::new(), false);
    let mut take = |run: &[u8], out: &mut Vec<u8>| {
        for frame in sse::frames(run) {
            let Some(data) = frame.data else { continue };
            // Passed on untouched, it is looked into by another reader.
            let _ = peek::frame(&data);
            match translator.frame(frame.event, &data, out) {
                Ok(seen) if seen.fault.is_some() => return false,
                Ok(seen) => finished |= seen.finish,
                Err(_) => return false,
            }
        }
        true
    };
    for chunk in bytes.chunks(size) {
        let Ok(run) = splitter.push(Bytes::copy_from_slice(chunk)) else { return (out, finished, false) };
        if !take(&run, &mut out) {
            return (out, finished, false);
        }
    }
    if !take(&splitter.rest(), &mut out) {
        return (out, finished, false);
    }
    let ended = translator.end(&mut out);
    (out, finished, ended)
}
