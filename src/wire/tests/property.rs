//! Owns what holds for every request: targets' rules kept, roles and calls kept.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::target;
use crate::wire::{
    Protocol,
    translate::{Dialect, request},
};

fn translated(from: Dialect, body: &Value, protocol: Protocol, model: &str) -> Value {
    let out = request(from, body.to_string().as_bytes(), &target(protocol, model)).expect("a valid request");
    serde_json::from_slice(&out.body).expect("JSON")
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just(" \n".to_owned()), Just("é\u{1F600}".to_owned()), "[a-z \"]{1,12}"]
}

/// Any message, also such that no careful client would send.
fn message() -> impl Strategy<Value = Value> {
    let id = prop_oneof![Just("a"), Just("b"), Just("c.d"), Just("")];
    let call = (id.clone(), prop_oneof![Just("{\"x\":1}"), Just(""), Just("nonsense")])
        .prop_map(|(id, args)| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": args}}));
    let signature = prop_oneof![Just("sig"), Just("gemini:sig"), Just("openai:reasoning:mistral-small")];
    let thought = (signature, 0..9_u64, 0..2_u64, any::<bool>()).prop_map(|(signature, text, calls, redacted)| {
        let after = json!({"text": text, "calls": calls});
        if redacted {
            return json!({"type": "redacted_thinking", "data": "d", "after": after});
        }
        json!({"type": "thinking", "thinking": "hm", "signature": signature, "after": after})
    });
    prop_oneof![
        (prop_oneof![Just("system"), Just("developer"), Just("user"), Just("assistant")], text())
            .prop_map(|(role, text)| json!({"role": role, "content": text})),
        text().prop_map(|t| json!({"role": "user", "content": [
            {"type": "text", "text": t},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        ]})),
        (text(), proptest::collection::vec(call, 1..4))
            .prop_map(|(text, calls)| json!({"role": "assistant", "content": text, "tool_calls": calls})),
        (text(), proptest::collection::vec(thought, 1..3))
            .prop_map(|(text, thoughts)| json!({"role": "assistant", "content": text, "thinking_blocks": thoughts})),
        (id, text()).prop_map(|(id, text)| json!({"role": "tool", "tool_call_id": id, "content": text})),
    ]
}

fn chat_request() -> impl Strategy<Value = Value> {
    (
        proptest::collection::vec(message(), 1..10),
        any::<bool>(),
        proptest::option::of(0.0..2.0_f64),
        proptest::option::of(prop_oneof![Just("low"), Just("high"), Just("none")]),
        prop_oneof![
            Just(json!("auto")),
            Just(json!("required")),
            Just(json!({"type":"function","function":{"name":"f"}}))
        ],
    )
        .prop_map(|(messages, tools, temperature, effort, choice)| {
            let mut body = json!({"model": "m", "messages": messages, "backend": "b", "temperature": temperature,
                "reasoning_effort": effort});
            if tools {
                body["tools"] =
                    json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
                body["tool_choice"] = choice;
            }
            body
        })
}

/// The Messages API's rules.
fn check_messages(body: &Value) {
    let mut open: Vec<&str> = Vec::new();
    let mut ids = HashSet::new();
    let mut declared = body["tools"].is_array();
    for (at, message) in body["messages"].as_array().expect("messages").iter().enumerate() {
        let role = message["role"].as_str().expect("a role");
        assert_eq!(role, if at % 2 == 0 { "user" } else { "assistant" }, "{body}");
        let content = message["content"].as_array().expect("blocks");
        assert!(!content.is_empty(), "{body}");
        let last = content.last().and_then(|block| block["type"].as_str()).expect("a type");
        assert!(!last.ends_with("thinking"), "{body}");
        let results: Vec<&str> = content.iter().filter_map(|b| b["tool_use_id"].as_str()).collect();
        assert_eq!(results, std::mem::take(&mut open), "{body}");
        for (place, block) in content.iter().enumerate() {
            match block["type"].as_str().expect("a type") {
                "text" => assert!(!block["text"].as_str().expect("text").trim().is_empty(), "{body}"),
                "tool_use" => {
                    let id = block["id"].as_str().expect("an id");
                    assert!(!id.is_empty() && ids.insert(id), "{body}");
                    assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{body}");
                    assert!(block["input"].is_object());
                    open.push(id);
                    assert!(std::mem::replace(&mut declared, true), "{body}");
                }
                "tool_result" => assert!(place < results.len(), "{body}"),
                _ => {}
            }
        }
    }
    assert!(open.is_empty(), "{body}");
    assert!(body["max_tokens"].as_u64().is_some_and(|n| n > 0));
    assert!(body["temperature"].as_f64().is_none_or(|t| (0.0..=1.0).contains(&t)));
    assert!(body.get("backend").is_none());
    if let Some(budget) = body.pointer("/thinking/budget_tokens").and_then(Value::as_u64) {
        assert!(budget >= 1024 && budget < body["max_tokens"].as_u64().unwrap_or(0));
        assert!(body.get("temperature").is_none());
    }
    if body.get("thinking").is_some() {
        assert!(!matches!(body.pointer("/tool_choice/type").and_then(Value::as_str), Some("any" | "tool")));
    }
}

/// The `generateContent` API's rules.
fn check_gemini(body: &Value) {
    let mut open = 0;
    for (at, content) in body["contents"].as_array().expect("contents").iter().enumerate() {
        assert_eq!(content["role"], if at % 2 == 0 { "user" } else { "model" }, "{body}");
        let parts = content["parts"].as_array().expect("parts");
        assert!(!parts.is_empty(), "{body}");
        let has = |key: &str| parts.iter().filter(|p| p.get(key).is_some()).count();
        assert_eq!(has("functionResponse"), open, "{body}");
        open = has("functionCall");
        assert!(parts.iter().all(|p| p["functionCall"].is_null() || p["functionCall"]["args"].is_object()));
        assert!(parts.iter().all(|p| p["functionResponse"].is_null() || p["functionResponse"]["response"].is_object()));
    }
    assert_eq!(open, 0, "{body}");
    assert!(body.get("backend").is_none() && body.get("model").is_none());
}

/// What templates of servers of OpenAI's protocol demand: one system message, at the beginning, then the user's and the assistant's
/// in turn, with the results of its calls behind them.
fn check_template(body: &Value) {
    let messages = body["messages"].as_array().expect("messages");
    let role = |m: &Value| m["role"].as_str().expect("a role").to_owned();
    let rest = &messages[usize::from(messages.first().is_some_and(|m| role(m) == "system"))..];
    let (mut before, mut open) = ("assistant".to_owned(), 0_usize);
    for message in rest {
        let role = role(message);
        match role.as_str() {
            "tool" => open = open.checked_sub(1).expect("a call"),
            "user" | "assistant" => assert!(role != before && open == 0, "{body}"),
            other => panic!("{other} amid {body}"),
        }
        open += message["tool_calls"].as_array().map_or(0, Vec::len);
        before = role;
    }
    assert_eq!(open, 0, "{body}");
}

/// User, assistant and call contents in order, white space aside.
fn gist(messages: &Value) -> String {
    let mut out = String::new();
    for message in messages.as_array().into_iter().flatten() {
        match &message["content"] {
            Value::String(text) => out += text,
            other => other.as_array().into_iter().flatten().for_each(|p| out += p["text"].as_str().unwrap_or_default()),
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            out += call["function"]["name"].as_str().unwrap_or_default();
        }
    }
    out.chars().filter(|c| !c.is_whitespace()).collect()
}

proptest! {
    #[test]
    fn any_chat_request_becomes_one_that_its_target_takes(body in chat_request()) {
        for model in ["claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-8"] {
            check_messages(&translated(Dialect::Chat, &body, Protocol::Anthropic, model));
        }
        for model in ["gemini-2.5-flash", "gemini-3-pro-preview"] {
            check_gemini(&translated(Dialect::Chat, &body, Protocol::Gemini, model));
        }
        check_template(&translated(Dialect::Chat, &body, Protocol::Openai, "mistral-small"));
    }

    #[test]
    fn a_round_trip_keeps_texts_and_calls(
        turns in proptest::collection::vec(("[a-z]{1,9}", "[a-z]{1,9}", any::<bool>()), 1..6)
    ) {
        let mut messages = Vec::new();
        for (at, (asked, said, calls)) in turns.iter().enumerate() {
            messages.push(json!({"role": "user", "content": asked}));
            let id = format!("call_{at}");
            if *calls {
                let call = json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}});
                messages.push(json!({"role": "assistant", "content": said, "tool_calls": [call]}));
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": asked}));
                messages.push(json!({"role": "assistant", "content": said}));
            } else {
                messages.push(json!({"role": "assistant", "content": said}));
            }
        }
        messages.push(json!({"role": "user", "content": "end"}));
        let body = json!({"model": "m", "messages": messages});
        let there = translated(Dialect::Chat, &body, Protocol::Anthropic, "claude-opus-4-6");
        let back = translated(Dialect::Messages, &there, Protocol::Openai, "gpt-4o");
        prop_assert_eq!(gist(&back["messages"]), gist(&body["messages"]));
        let roles = |v: &Value| -> Vec<Value> {
            v["messages"].as_array().into_iter().flatten().map(|m| m["role"].clone()).collect()
        };
        prop_assert_eq!(roles(&back), roles(&body));
    }
}
