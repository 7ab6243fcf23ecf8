//! Owns what holds for every stream, however broken: no panic, no false end.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{context, target};
use crate::wire::{
    Protocol,
    course::Course,
    translate::{Dialect, StreamTranslator, fault, reply, request},
};

const PROTOCOLS: [Protocol; 3] = [Protocol::Openai, Protocol::Anthropic, Protocol::Gemini];
/// Each with what only an end has, one of these.
const DIALECTS: [(Dialect, [&str; 2]); 3] = [
    (Dialect::Chat, ["[DONE]"; 2]),
    (Dialect::Messages, ["message_stop"; 2]),
    (Dialect::Responses, ["response.completed", "response.incomplete"]),
];

fn pairs() -> impl Iterator<Item = (Protocol, Dialect, [&'static str; 2])> {
    PROTOCOLS.into_iter().flat_map(|from| DIALECTS.into_iter().map(move |(to, ends)| (from, to, ends)))
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_are_no_end(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 1..4)
    ) {
        for (from, to, _) in pairs() {
            let (mut translator, mut out) = (StreamTranslator::new(from, to, context(), true), Vec::new());
            for bytes in &frames {
                drop(translator.frame(None, bytes, &mut out));
                drop(reply(from, to, bytes, &context()));
                drop(fault(from, 500, bytes));
                drop(request(to, bytes, &target(from, "m")));
            }
            prop_assert!(!translator.end(&mut out));
        }
    }

    #[test]
    fn a_stream_with_a_byte_gone_wrong_in_each_frame_ends_as_what_was_understood_of_it(
        picks in proptest::collection::vec((0..12_usize, 0..3_u32, any::<prop::sample::Index>(), any::<u8>()), 0..24)
    ) {
        'pairs: for (from, to, marks) in pairs() {
            let frames = picks.iter().map(|(pick, index, at, byte)| {
                let mut data = shaped(*pick, *index).to_string().into_bytes();
                let at = at.index(data.len());
                data[at] = *byte;
                data
            });
            let mut translator = StreamTranslator::new(from, to, context(), true);
            let (mut course, mut out) = (Course::new(1), Vec::new());
            for data in frames {
                match translator.frame(None, &data, &mut out) {
                    // The attempt is over.
                    Ok(seen) if seen.fault.is_some() => continue 'pairs,
                    Ok(seen) => course.note(seen.moves),
                    Err(_) => {}
                }
                drop(reply(from, to, &data, &context()));
            }
            let ends = course.is_finished();
            prop_assert_eq!(translator.end(&mut out), ends);
            let out = String::from_utf8_lossy(&out);
            prop_assert_eq!(marks.iter().any(|mark| out.contains(mark)), ends);
        }
    }

    #[test]
    fn frames_of_the_right_shape_with_wrong_contents_never_panic(
        picks in proptest::collection::vec((0..12_usize, 0..3_u32), 0..24)
    ) {
        for (from, to, _) in pairs() {
            let mut translator = StreamTranslator::new(from, to, context(), false);
            let mut out = Vec::new();
            let mut course = Course::new(1);
            for (pick, index) in &picks {
                let data = shaped(*pick, *index).to_string();
                if let Ok(seen) = translator.frame(None, data.as_bytes(), &mut out) {
                    course.note(seen.moves);
                }
            }
            let finished = course.is_finished();
            prop_assert_eq!(translator.end(&mut out), finished);
            let before = out.len();
            prop_assert_eq!(translator.end(&mut out), finished);
            prop_assert_eq!(out.len(), before);
        }
    }
}

/// A frame out of any order.
fn shaped(pick: usize, index: u32) -> Value {
    let call = json!({"functionCall": {"name": if index == 0 { "f" } else { "" }, "willContinue": index != 1,
        "partialArgs": [{"jsonPath": format!("$.a[{index}].b"), "stringValue": "x", "willContinue": index == 2}]}});
    match pick {
        0 => json!({"type": "message_start", "message": {"id": "x", "usage": {"input_tokens": 1}}}),
        1 => json!({"type": "content_block_start", "index": index, "content_block": {"type": "tool_use", "name": "f"}}),
        2 => json!({"type": "content_block_start", "index": index, "content_block": {"type": "thinking"}}),
        3 => {
            json!({"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": "{"}})
        }
        4 => {
            json!({"type": "content_block_delta", "index": index, "delta": {"type": "signature_delta", "signature": "s"}})
        }
        5 => json!({"type": "content_block_stop", "index": index}),
        6 => json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}}),
        7 => json!({"candidates": [{"content": {"parts": [call]}}], "type": "x"}),
        8 => json!({"candidates": [{"content": {"parts": [{"text": "t", "thought": index == 1}]}}], "type": "x"}),
        9 => json!({"candidates": [{"finishReason": "STOP"}], "type": "x"}),
        10 => json!({"type": "x", "choices": [{"index": 0, "delta": {"content": "c", "tool_calls":
            [{"index": index, "id": "i", "function": {"name": "f", "arguments": "{}"}}]}}]}),
        _ => json!({"type": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    }
}
