//! Owns adding a stream up as the makers' SDKs do, to the whole answer.

use serde_json::{Value, json};

/// Adds what a delta says: texts go on, and members of lists have their places.
fn add(to: &mut Value, more: &Value) {
    match (to, more) {
        (_, Value::Null) => {}
        (Value::String(text), Value::String(more)) => text.push_str(more),
        (Value::Object(all), Value::Object(more)) => {
            for (key, value) in more.iter().filter(|(key, _)| *key != "index") {
                add(all.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(all), Value::Array(more)) => {
            for one in more {
                let at = place(one, "index");
                assert!(at <= all.len(), "{more:?}");
                if at == all.len() {
                    all.push(json!({}));
                }
                add(&mut all[at], one);
            }
        }
        (to @ Value::Null, more @ (Value::Object(_) | Value::Array(_))) => {
            *to = if more.is_array() { json!([]) } else { json!({}) };
            add(to, more);
        }
        (to, more) => *to = more.clone(),
    }
}

fn place(of: &Value, key: &str) -> usize {
    of[key].as_u64().and_then(|at| usize::try_from(at).ok()).expect("a place")
}

/// A chat completion.
pub(super) fn chat(chunks: &[Value]) -> Value {
    let mut whole = chunks[0].clone();
    let (mut message, mut finish) = (json!({}), Value::Null);
    for chunk in chunks {
        if chunk["usage"].is_object() {
            whole["usage"] = chunk["usage"].clone();
        }
        add(&mut message, &chunk["choices"][0]["delta"]);
        add(&mut finish, &chunk["choices"][0]["finish_reason"]);
    }
    whole["object"] = "chat.completion".into();
    whole["choices"] = json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}]);
    whole
}

/// A message of Anthropic's API, whose blocks are told one after the other.
pub(super) fn messages(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut blocks: Vec<(Value, String)> = Vec::new();
    let mut open = None;
    for event in &events[1..] {
        match event["type"].as_str().expect("a type") {
            "content_block_start" => {
                assert_eq!((place(event, "index"), open.replace(blocks.len())), (blocks.len(), None));
                blocks.push((event["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                assert_eq!(Some(place(event, "index")), open);
                let (block, input) = blocks.last_mut().expect("a block");
                for key in ["text", "thinking", "signature"] {
                    event["delta"].get(key).into_iter().for_each(|more| add(&mut block[key], more));
                }
                if let citation @ Value::Object(_) = &event["delta"]["citation"] {
                    crate::wire::json::add(&mut block["citations"], citation.clone());
                }
                input.push_str(event["delta"]["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" => assert_eq!(Some(place(event, "index")), open.take()),
            "message_delta" => {
                assert_eq!(open, None);
                add(&mut message, &event["delta"]);
                add(&mut message["usage"], &event["usage"]);
            }
            _ => {}
        }
    }
    let parsed = |(mut block, input): (Value, String)| {
        if !input.is_empty() {
            block["input"] = serde_json::from_str(&input).unwrap_or_else(|_| json!({"INVALID_JSON": input}));
        }
        block
    };
    message["content"] = blocks.into_iter().map(parsed).collect();
    message
}

/// A response, which comes whole at the end: what its items add up to is what stands there.
pub(super) fn responses(events: &[Value]) -> Value {
    let last = events.last().expect("an end")["response"].clone();
    let mut items: Vec<Value> = Vec::new();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        let kind = event["type"].as_str().expect("a type").trim_start_matches("response.");
        if kind == "output_item.added" {
            assert_eq!(place(event, "output_index"), items.len());
            items.push(event["item"].clone());
            continue;
        }
        let Some(item) = event.get("output_index").map(|_| &mut items[place(event, "output_index")]) else { continue };
        let list = if kind.starts_with("reasoning") { "summary" } else { "content" };
        let part = |item| -> &mut Value {
            let index = if list == "summary" { "summary_index" } else { "content_index" };
            &mut Value::get_mut(item, list).expect("a list")[place(event, index)]
        };
        match kind {
            "content_part.added" | "reasoning_summary_part.added" => {
                item[list].as_array_mut().expect("a list").push(event["part"].clone());
            }
            "output_text.delta" | "reasoning_summary_text.delta" => add(&mut part(item)["text"], &event["delta"]),
            "refusal.delta" => add(&mut part(item)["refusal"], &event["delta"]),
            "output_text.annotation.added" => {
                part(item)["annotations"].as_array_mut().expect("a list").push(event["annotation"].clone());
            }
            "function_call_arguments.delta" => add(&mut item["arguments"], &event["delta"]),
            "custom_tool_call_input.delta" => add(&mut item["input"], &event["delta"]),
            "output_item.done" => {
                for key in ["content", "summary", "arguments", "input"] {
                    assert_eq!(item.get(key), event["item"].get(key), "{event}");
                }
                *item = event["item"].clone();
            }
            _ => {}
        }
    }
    assert_eq!(last["output"], Value::Array(items));
    last
}
