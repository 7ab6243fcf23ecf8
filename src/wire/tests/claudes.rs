//! Owns answers of Claude's that are made up, whole and as the events of a stream.

use serde_json::{Value, json};

use super::answers::{Bit, Both, Dice, finish};

/// The block of a bit. A server proves all that it thinks, or nothing.
fn block(bit: &Bit, index: usize, proof: &str) -> Value {
    match bit {
        Bit::Text(text, true) if !text.is_empty() => {
            let cited = json!({"type": "web_search_result_location", "url": format!("https://{index}"), "title": "t",
                "encrypted_index": "i", "cited_text": "x"});
            json!({"type": "text", "text": text, "citations": [cited]})
        }
        Bit::Text(text, _) | Bit::Refusal(text) => json!({"type": "text", "text": text}),
        Bit::Thought(text, _) => json!({"type": "thinking", "thinking": text, "signature": proof}),
        Bit::Redacted => json!({"type": "redacted_thinking", "data": "ZA=="}),
        Bit::Asked => {
            json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}})
        }
        Bit::Found => {
            let found = json!({"type": "web_search_result", "url": "https://a", "title": "a"});
            json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found]})
        }
        Bit::Call(name, arguments, _) => {
            let input: Value = serde_json::from_str(arguments).expect("JSON");
            json!({"type": "tool_use", "id": format!("toolu_{index}"), "name": name, "input": input})
        }
    }
}

/// What a stream begins a block with, and what it adds.
fn streamed(whole: &Value, dice: &mut Dice) -> (Value, Vec<Value>) {
    let (mut begun, mut deltas) = (whole.clone(), Vec::new());
    for key in ["thinking", "signature", "text"] {
        if let Some(text) = whole[key].as_str() {
            begun[key] = "".into();
            let piece = |piece| json!({"type": format!("{key}_delta"), (key): piece});
            deltas.extend(dice.pieces(text).into_iter().map(piece));
        }
    }
    if let Some(input) = whole.get("input") {
        begun["input"] = json!({});
        let pieces =
            if *input == json!({}) && dice.roll(2) == 0 { Vec::new() } else { dice.pieces(&input.to_string()) };
        deltas.extend(pieces.into_iter().map(|piece| json!({"type": "input_json_delta", "partial_json": piece})));
    }
    for one in whole["citations"].as_array().into_iter().flatten() {
        begun.as_object_mut().expect("a block").remove("citations");
        deltas.insert(dice.roll(deltas.len() + 1), json!({"type": "citations_delta", "citation": one}));
    }
    (begun, deltas)
}

/// An answer of Claude's.
pub(super) fn of_anthropic(bits: &[Bit], kind: usize, dice: &mut Dice) -> Both {
    let proof = ["", "EqQB"][dice.roll(2)];
    let mut message = json!({"type": "message", "id": "msg_1", "role": "assistant", "model": "c", "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 2}});
    let mut frames = vec![json!({"type": "message_start", "message": message})];
    let content: Vec<Value> = bits.iter().enumerate().map(|(index, bit)| block(bit, index, proof)).collect();
    for (index, whole) in content.iter().enumerate() {
        let (begun, deltas) = streamed(whole, dice);
        frames.push(json!({"type": "content_block_start", "index": index, "content_block": begun}));
        for delta in deltas {
            frames.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
            if dice.roll(9) == 0 {
                frames.push(json!({"type": "ping"}));
            }
        }
        frames.push(json!({"type": "content_block_stop", "index": index}));
    }
    let reason = ["end_turn", "max_tokens", "refusal", "tool_use", "stop_sequence"][finish(kind, bits)];
    let sequence = if reason == "stop_sequence" { json!("END") } else { Value::Null };
    let end = json!({"stop_reason": reason, "stop_sequence": sequence});
    frames.push(json!({"type": "message_delta", "delta": end, "usage": {"output_tokens": 9}}));
    frames.push(json!({"type": "message_stop"}));
    message["content"] = content.into();
    message["stop_reason"] = reason.into();
    message["stop_sequence"] = sequence;
    message["usage"]["output_tokens"] = 9.into();
    (message, frames)
}
