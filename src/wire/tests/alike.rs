//! Owns that any answer is told alike, be it whole or a stream, however that is cut.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    added_up::{chat, messages, responses},
    answers::{Bit, Both, Dice, bit, of_gemini, of_openai},
    claudes::of_anthropic,
    support::{context, events},
};
use crate::wire::{
    Protocol, sse,
    translate::{Dialect, ReplyContext, StreamTranslator, asked, reply},
};

/// The bytes of a stream, cut anywhere, translated.
fn streamed(from: Protocol, to: Dialect, ctx: &ReplyContext, frames: &[Value], dice: &mut Dice) -> Vec<Value> {
    let mut bytes = String::new();
    let end = ["\n", "\r\n"][dice.roll(2)];
    for frame in frames {
        if from == Protocol::Anthropic {
            bytes.extend(["event: ", frame["type"].as_str().expect("a type"), end]);
        }
        bytes.extend(["data: ", &frame.to_string(), end, end]);
    }
    if from == Protocol::Openai {
        bytes.extend(["data: [DONE]", end, end]);
    }
    let (mut rest, mut splitter, mut out) = (bytes.as_bytes(), sse::Splitter::default(), Vec::new());
    let mut translator = StreamTranslator::new(from, to, ctx.clone(), true);
    while !rest.is_empty() {
        let (now, then) = rest.split_at(1 + dice.roll(rest.len().min(400)));
        rest = then;
        let run = splitter.push(Bytes::copy_from_slice(now)).expect("short frames");
        for frame in sse::frames(&run) {
            if let Some(data) = &frame.data {
                let seen = translator.frame(frame.event, data, &mut out).expect("a frame");
                assert_eq!(seen.fault, None);
            }
        }
    }
    assert!(translator.end(&mut out));
    events(&out)
}

/// Without what says nothing: nulls, and in chat, whose members are all there from the beginning, texts that are empty.
fn spare(value: Value, to: Dialect) -> Value {
    let is_empty = |key: &str, value: &Value| {
        let text = to == Dialect::Chat && matches!(key, "content" | "refusal" | "reasoning_content");
        value.is_null() || (text && value == "")
    };
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, value)| !is_empty(key, value));
            Value::Object(kept.map(|(key, value)| (key, spare(value, to))).collect())
        }
        Value::Array(list) => list.into_iter().map(|value| spare(value, to)).collect(),
        other => other,
    }
}

/// Of a reply whose request offered tools of each kind.
fn contexts(to: Dialect) -> ReplyContext {
    let body = match to {
        Dialect::Chat => json!({"messages": [{"role": "user", "content": "q"}], "web_search_options": {}, "tools": [
            {"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "own"}}]}),
        Dialect::Messages => json!({"messages": [{"role": "user", "content": "q"}], "stop_sequences": ["END"]}),
        Dialect::Responses => {
            let grouped = json!({"type": "namespace", "name": "space", "tools": [{"type": "function", "name": "g"}]});
            let own = json!({"type": "custom", "name": "own"});
            json!({"input": "q", "tools": [{"type": "web_search"}, {"type": "function", "name": "f"}, own, grouped]})
        }
    };
    ReplyContext { asked: asked(to, body.to_string().as_bytes()), ..context() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_answer_is_what_its_stream_adds_up_to(
        bits in proptest::collection::vec(bit(), 0..6), kind in 0..5_usize, seed in any::<u64>()
    ) {
        let mut dice = Dice(seed);
        for (from, make) in [
            (Protocol::Anthropic, of_anthropic as fn(&[Bit], usize, &mut Dice) -> Both),
            (Protocol::Gemini, of_gemini),
            (Protocol::Openai, of_openai),
        ] {
            let (body, frames) = make(&bits, kind, &mut dice);
            for (to, add_up) in [
                (Dialect::Chat, chat as fn(&[Value]) -> Value),
                (Dialect::Messages, messages),
                (Dialect::Responses, responses),
            ] {
                if matches!((from, to), (Protocol::Openai, Dialect::Chat) | (Protocol::Anthropic, Dialect::Messages)) {
                    continue;
                }
                let ctx = contexts(to);
                let (out, seen) = reply(from, to, body.to_string().as_bytes(), &ctx).expect("an answer");
                prop_assert_eq!(seen.fault, None);
                let whole: Value = serde_json::from_slice(&out).expect("JSON");
                let told = add_up(&streamed(from, to, &ctx, &frames, &mut dice));
                prop_assert_eq!(spare(told, to), spare(whole, to), "{:?} to {:?}: {} {:?}", from, to, body, frames);
            }
        }
    }
}
