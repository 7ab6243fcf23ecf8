//! Owns answers that are made up, each maker's, whole and as the frames of a stream: what a model may say, cut anywhere.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Something that a model says.
#[derive(Debug, Clone)]
pub(super) enum Bit {
    /// Words; whether there is a proof of them, or a source.
    Text(String, bool),
    Thought(String, bool),
    Redacted,
    /// A search of the web, and what was found.
    Asked,
    Found,
    Refusal(String),
    /// A tool's name, its arguments, and whether there is a proof.
    Call(&'static str, String, bool),
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z \"\\\\é\u{1F600}\n]{1,12}",
        1 => Just(" ".to_owned()),
        1 => Just("\n\n".to_owned()),
        1 => Just(String::new()),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        words().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        Just(json!(1.5)),
        Just(Value::Null),
        proptest::collection::vec(words(), 0..3).prop_map(|list| json!(list)),
    ]
}

/// Anything that a model says.
pub(super) fn bit() -> impl Strategy<Value = Bit> {
    let arguments = prop_oneof![
        2 => words().prop_map(|text| json!({"input": text})),
        1 => (words(), words()).prop_map(|(text, more)| json!({"a": more, "input": text})),
        3 => proptest::collection::btree_map("[a-c]", value(), 0..3).prop_map(|map| json!(map)),
    ];
    let name = prop_oneof![Just("f"), Just("own"), Just("space__g")];
    prop_oneof![
        4 => (words(), any::<bool>()).prop_map(|(text, signed)| Bit::Text(text, signed)),
        2 => (words(), any::<bool>()).prop_map(|(text, signed)| Bit::Thought(text, signed)),
        1 => Just(Bit::Redacted),
        1 => prop_oneof![Just(Bit::Asked), Just(Bit::Found)],
        1 => words().prop_map(Bit::Refusal),
        3 => (name, arguments, any::<bool>()).prop_map(|(name, a, signed)| Bit::Call(name, a.to_string(), signed)),
    ]
}

/// Picks where to cut.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A number below this.
    pub(super) fn roll(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % most.max(1)
    }

    /// A text in pieces, one at least.
    pub(super) fn pieces(&mut self, text: &str) -> Vec<String> {
        let (mut out, mut piece) = (Vec::new(), String::new());
        for c in text.chars() {
            piece.push(c);
            if self.roll(3) == 0 {
                out.push(std::mem::take(&mut piece));
            }
        }
        if !piece.is_empty() || out.is_empty() {
            out.push(piece);
        }
        out
    }
}

/// An answer, whole and as the frames of a stream.
pub(super) type Both = (Value, Vec<Value>);

/// How an answer ends: calls do so by themselves, and without any it does not end for them.
pub(super) fn finish(kind: usize, bits: &[Bit]) -> usize {
    let calls = bits.iter().any(|bit| matches!(bit, Bit::Call(..)));
    match kind {
        0 if calls => 3,
        3 if !calls => 0,
        other => other,
    }
}

/// An answer of Gemini's.
pub(super) fn of_gemini(bits: &[Bit], kind: usize, dice: &mut Dice) -> Both {
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    for (at, bit) in bits.iter().enumerate() {
        let sign = |mut part: Value, signed: bool| {
            if signed {
                part["thoughtSignature"] = format!("c2ln{at}").into();
            }
            part
        };
        match bit {
            // Of nothing there is a proof at the end only.
            Bit::Text(text, _) if text.is_empty() && at + 1 < bits.len() => {}
            Bit::Text(text, signed) | Bit::Thought(text, signed) => {
                let thought = matches!(bit, Bit::Thought(..));
                let of =
                    |text: &str| if thought { json!({"text": text, "thought": true}) } else { json!({"text": text}) };
                whole.push(sign(of(text), *signed));
                let mut all: Vec<Value> = dice.pieces(text).iter().map(|piece| of(piece)).collect();
                let last = all.pop().expect("a piece");
                all.push(sign(last, *signed));
                pieces.extend(all);
            }
            Bit::Redacted | Bit::Refusal(_) | Bit::Asked | Bit::Found => {}
            Bit::Call(name, arguments, signed) => {
                let args: Value = serde_json::from_str(arguments).expect("JSON");
                let call = sign(json!({"functionCall": {"id": format!("c{at}"), "name": name, "args": args}}), *signed);
                whole.push(call.clone());
                pieces.push(call);
            }
        }
    }
    let reason = ["STOP", "MAX_TOKENS", "SAFETY", "STOP", "STOP"][finish(kind, bits)];
    let of = |parts: &[Value], reason: Option<&str>| {
        let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
        if let Some(reason) = reason {
            candidate["finishReason"] = reason.into();
        }
        json!({"candidates": [candidate], "responseId": "r", "modelVersion": "g",
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 2}})
    };
    let (mut frames, mut rest) = (Vec::new(), pieces.as_slice());
    while !rest.is_empty() {
        let (now, then) = rest.split_at(1 + dice.roll(rest.len().min(3)));
        frames.push(of(now, None));
        rest = then;
    }
    if dice.roll(2) == 0
        && let Some(last) = frames.last_mut()
    {
        last["candidates"][0]["finishReason"] = reason.into();
    } else {
        frames.push(of(&[], Some(reason)));
    }
    (of(&whole, Some(reason)), frames)
}

/// An answer of OpenAI's protocol, in which what is thought, said, refused and called has one place each.
pub(super) fn of_openai(bits: &[Bit], kind: usize, dice: &mut Dice) -> Both {
    let member = ["reasoning_content", "reasoning"][dice.roll(2)];
    let (mut message, mut deltas) =
        (json!({"role": "assistant", "content": null}), vec![json!({"role": "assistant", "content": ""})]);
    for (key, want) in [(member, 0), ("content", 1), ("refusal", 2)] {
        let mut all = String::new();
        for bit in bits {
            let (of, text) = match bit {
                Bit::Thought(text, _) => (0, text),
                Bit::Text(text, _) => (1, text),
                Bit::Refusal(text) => (2, text),
                _ => continue,
            };
            if of == want {
                all.push_str(text);
            }
        }
        if !all.is_empty() {
            deltas.extend(dice.pieces(&all).iter().map(|piece| json!({(key): piece})));
            message[key] = all.into();
        }
    }
    let mut calls = Vec::new();
    let last = bits.iter().rposition(|bit| matches!(bit, Bit::Call(..)));
    let numbered = dice.roll(3) > 0;
    for (place, bit) in bits.iter().enumerate() {
        let Bit::Call(name, arguments, signed) = bit else { continue };
        let at = calls.len();
        let cut = if kind == 1 && Some(place) == last { dice.roll(arguments.len()) } else { arguments.len() };
        let arguments = &arguments[..arguments.floor_char_boundary(cut)];
        let of = |arguments: &str| {
            let function = json!({"name": name, "arguments": arguments});
            json!({"id": format!("call_{at}"), "type": "function", "function": function})
        };
        let (mut whole, mut begun) = (of(arguments), of(""));
        if *signed {
            let proof = json!({"google": {"thought_signature": format!("c2ln{at}")}});
            whole["extra_content"] = proof.clone();
            begun["extra_content"] = proof;
        }
        let number = |mut call: Value| {
            if numbered {
                call["index"] = at.into();
            }
            json!({"tool_calls": [call]})
        };
        if dice.roll(3) == 0 {
            begun["function"]["arguments"] = arguments.into();
            deltas.push(number(begun));
        } else {
            deltas.push(number(begun));
            deltas.extend(dice.pieces(arguments).iter().map(|p| number(json!({"function": {"arguments": p}}))));
        }
        calls.push(whole);
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let reason = ["stop", "length", "content_filter", "tool_calls", "stop"][finish(kind, bits)];
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 1}});
    let of = |member: &str, value: &Value, finish: Option<&str>| {
        let choice = json!({"index": 0, (member): value, "finish_reason": finish});
        json!({"id": "c", "model": "o", "created": 7, "choices": [choice]})
    };
    let mut frames: Vec<Value> = deltas.iter().map(|delta| of("delta", delta, None)).collect();
    if dice.roll(2) == 0 {
        frames.last_mut().expect("a role")["choices"][0]["finish_reason"] = reason.into();
    } else {
        frames.push(of("delta", &json!({}), Some(reason)));
    }
    if dice.roll(2) == 0 {
        frames.last_mut().expect("an end")["usage"] = usage.clone();
    } else {
        frames.push(json!({"id": "c", "model": "o", "created": 7, "choices": [], "usage": usage}));
    }
    let mut whole = of("message", &message, Some(reason));
    whole["usage"] = usage;
    (whole, frames)
}
