//! Owns the cases of histories that come back translated: that each provider finds in them what it gave, where it stood.

use serde_json::{Value, json};

use super::support::{self, context};
use crate::wire::{
    Protocol,
    translate::{Dialect, reply},
};

const CLAUDE: (Protocol, &str) = (Protocol::Anthropic, "claude-sonnet-5-5");
const GOOGLES: (Protocol, &str) = (Protocol::Openai, "gemini-3-pro-preview");
const GEMINI: (Protocol, &str) = (Protocol::Gemini, "gemini-3-pro-preview");

fn sent(from: Dialect, to: (Protocol, &str), body: &Value) -> Value {
    support::sent(from, to, body).0
}

fn replied(from: Protocol, to: Dialect, body: &Value) -> Value {
    let (out, _) = reply(from, to, body.to_string().as_bytes(), &context()).expect("a reply");
    serde_json::from_slice(&out).expect("JSON")
}

fn events(from: Protocol, to: Dialect, frames: &[Value]) -> Vec<Value> {
    support::streamed(from, to, context(), frames)
}

#[test]
fn instructions_that_come_later_leave_what_stands_before_them_as_it_was() {
    let chat = |more: &[Value]| {
        let mut messages = vec![
            json!({"role": "developer", "content": "brief"}),
            json!({"role": "user", "content": "q"}),
            json!({"role": "assistant", "content": "a"}),
        ];
        messages.extend_from_slice(more);
        json!({"messages": messages})
    };
    let (later, next) = (json!({"role": "developer", "content": "in French"}), json!({"role": "user", "content": "r"}));
    let before = sent(Dialect::Chat, CLAUDE, &chat(std::slice::from_ref(&next)));
    let after = sent(Dialect::Chat, CLAUDE, &chat(&[later.clone(), next.clone()]));
    assert_eq!(after["system"], before["system"]);
    assert_eq!(after["messages"][1], before["messages"][1]);
    let marked = json!({"type": "text", "text": "<system>\nin French\n</system>"});
    assert_eq!(after["messages"][2], json!({"role": "user", "content": [marked, {"type": "text", "text": "r"}]}));
    let input = json!({"instructions": "brief", "input": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "a"}]}, later, next]});
    let responses = sent(Dialect::Responses, CLAUDE, &input);
    assert_eq!((&responses["system"], &responses["messages"]), (&after["system"], &after["messages"]));
    // What came before any answer changes nothing of one.
    let at_once = json!({"messages": [{"role": "user", "content": "q"}, later]});
    let at_once = sent(Dialect::Chat, CLAUDE, &at_once);
    assert_eq!(at_once["system"], json!([{"type": "text", "text": "in French"}]));
    // Between a call and its result there is no place.
    let call = json!({"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let looped = sent(
        Dialect::Chat,
        CLAUDE,
        &chat(&[
            json!({"role": "user", "content": "r"}),
            json!({"role": "assistant", "tool_calls": [call]}),
            later,
            json!({"role": "tool", "tool_call_id": "t", "content": "5"}),
        ]),
    );
    let kinds: Vec<&str> = looped["messages"][4]["content"]
        .as_array()
        .expect("blocks")
        .iter()
        .map(|block| block["type"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(kinds, ["tool_result", "text"], "{looped}");
}

/// Claude's answer with thinking among text and calls, whole and streamed.
fn interleaved() -> (Vec<Value>, Vec<Value>) {
    let thought = |signature: &str| json!({"type": "thinking", "thinking": "hm", "signature": signature});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let text = |text: &str| json!({"type": "text", "text": text});
    let blocks = vec![
        thought("s1"),
        text("über"),
        thought("s2"),
        json!({"type": "redacted_thinking", "data": "r"}),
        text("all"),
        thought("s3"),
        call("t1"),
        thought("s4"),
        call("t2"),
    ];
    let mut frames = vec![json!({"type": "message_start", "message": {"id": "m", "model": "c", "usage": {}}})];
    for (index, block) in blocks.iter().enumerate() {
        let (mut start, mut deltas) = (block.clone(), Vec::new());
        for (key, kind) in [("thinking", "thinking_delta"), ("signature", "signature_delta"), ("text", "text_delta")] {
            if let Some(value) = block[key].as_str() {
                start[key] = "".into();
                deltas.push(json!({"type": kind, key: value}));
            }
        }
        frames.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        let deltas =
            deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta}));
        frames.extend(deltas);
        frames.push(json!({"type": "content_block_stop", "index": index}));
    }
    frames.push(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}}));
    frames.push(json!({"type": "message_stop"}));
    (blocks, frames)
}

/// The message that a chat client puts together from its chunks.
fn gathered(chunks: &[Value]) -> Value {
    let mut message = json!({"role": "assistant", "content": "", "thinking_blocks": [], "tool_calls": []});
    for delta in chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta")) {
        let text =
            format!("{}{}", message["content"].as_str().expect("text"), delta["content"].as_str().unwrap_or_default());
        message["content"] = text.into();
        for key in ["thinking_blocks", "tool_calls"] {
            let whole = message[key].as_array_mut().expect("a list");
            let begun = |item: &&Value| item.get("function").is_none_or(|function| function.get("name").is_some());
            whole.extend(delta[key].as_array().into_iter().flatten().filter(begun).cloned());
        }
    }
    message
}

#[test]
fn thinking_comes_back_to_claude_where_it_stood_among_text_and_calls() {
    let (blocks, frames) = interleaved();
    let whole =
        json!({"type": "message", "id": "m", "model": "c", "content": blocks, "stop_reason": "tool_use", "usage": {}});
    let whole = replied(Protocol::Anthropic, Dialect::Chat, &whole)["choices"][0]["message"].clone();
    assert_eq!(whole["thinking_blocks"][0].get("after"), None, "the usual place goes without saying");
    let streamed = gathered(&events(Protocol::Anthropic, Dialect::Chat, &frames));
    for message in [whole, streamed] {
        let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "r"});
        let turn = json!({"messages": [{"role": "user", "content": "q"}, message, result("t1"), result("t2")]});
        let back = sent(Dialect::Chat, CLAUDE, &turn);
        assert_eq!(back["messages"][1]["content"], Value::Array(blocks.clone()), "{message}");
    }
}

#[test]
fn signatures_of_googles_openai_endpoint_come_back_to_it_in_a_tool_loop() {
    let call = |index: u32, id: &str, signed: bool| {
        let mut call =
            json!({"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        if signed {
            call["extra_content"] = json!({"google": {"thought_signature": "sig"}});
        }
        call
    };
    let calls = json!([call(0, "c1", true), call(1, "c2", false)]);
    let chunk = |delta: &Value, finish: Value| json!({"id": "x", "model": "g", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let frames = [chunk(&json!({"tool_calls": calls}), Value::Null), chunk(&json!({}), "tool_calls".into())];
    let whole = json!({"id": "x", "model": "g", "choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, "tool_calls": calls}}]});
    let blocks = replied(Protocol::Openai, Dialect::Messages, &whole)["content"].clone();
    let begun = events(Protocol::Openai, Dialect::Messages, &frames);
    let signed: Vec<&Value> = begun.iter().filter_map(|event| event.pointer("/delta/signature")).collect();
    assert_eq!(signed, ["gemini:sig"]);
    let output = events(Protocol::Openai, Dialect::Responses, &frames);
    let output = output.iter().find_map(|event| event.pointer("/response/output").filter(|o| o[0].is_object()));
    let output = output.and_then(Value::as_array).expect("output").clone();
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "r"});
    let messages = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": blocks}, {"role": "user", "content": [result("c1"), result("c2")]}]});
    let mut input = vec![json!({"role": "user", "content": "q"})];
    input.extend(output);
    input.extend(["c1", "c2"].map(|id| json!({"type": "function_call_output", "call_id": id, "output": "r"})));
    // Gemini's own protocol may have put it on the thought.
    let mut thought = input.clone();
    thought[1].as_object_mut().expect("a call").remove("extra_content");
    thought.insert(1, json!({"type": "reasoning", "summary": [], "encrypted_content": "gemini:sig"}));
    for (dialect, turn) in [
        (Dialect::Messages, messages),
        (Dialect::Responses, json!({"input": input})),
        (Dialect::Responses, json!({"input": thought})),
    ] {
        let back = sent(dialect, GOOGLES, &turn);
        let calls = &back["messages"][1]["tool_calls"];
        assert_eq!(calls[0]["extra_content"]["google"]["thought_signature"], "sig", "{back}");
        assert_eq!(calls[1].get("extra_content"), None, "{back}");
        for model in ["gpt-4o", "mistral-large-latest"] {
            let other = sent(dialect, (Protocol::Openai, model), &turn);
            assert!(!other.to_string().contains("extra_content"), "{model} refuses it: {other}");
        }
    }
}

#[test]
fn geminis_ids_come_back_on_calls_and_results_and_nobody_elses_do() {
    let calls = json!([{"functionCall": {"id": "g1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "sig"},
        {"functionCall": {"id": "g2", "name": "f", "args": {"a": 2}}}]);
    let body = json!({"candidates": [{"content": {"parts": calls}, "finishReason": "STOP"}]});
    let message = replied(Protocol::Gemini, Dialect::Chat, &body)["choices"][0]["message"].clone();
    let turn = |message: &Value| {
        let result = |id: &Value| json!({"role": "tool", "tool_call_id": id, "content": "r"});
        let ids = [&message["tool_calls"][1]["id"], &message["tool_calls"][0]["id"]];
        json!({"messages": [{"role": "user", "content": "q"}, message, result(ids[0]), result(ids[1])]})
    };
    let ids = |out: &Value, at: usize, part: &str| -> Vec<Value> {
        let parts = out["contents"][at]["parts"].as_array().expect("parts");
        parts.iter().map(|p| p[part]["id"].clone()).collect()
    };
    let back = sent(Dialect::Chat, GEMINI, &turn(&message));
    for (at, part) in [(1, "functionCall"), (2, "functionResponse")] {
        assert_eq!(ids(&back, at, part), ["g1", "g2"], "{back}");
    }
    let older = sent(Dialect::Chat, (Protocol::Gemini, "gemini-2.5-flash"), &turn(&message));
    let mut unsigned = message.clone();
    unsigned["tool_calls"][0].as_object_mut().expect("a call").remove("extra_content");
    let mut made = message;
    made["tool_calls"][0]["id"] = "call_i_0".into();
    made["tool_calls"][1]["id"] = "call_i_1".into();
    let others = [sent(Dialect::Chat, GEMINI, &turn(&unsigned)), sent(Dialect::Chat, GEMINI, &turn(&made))];
    for out in [older].iter().chain(&others) {
        for (at, part) in [(1, "functionCall"), (2, "functionResponse")] {
            assert_eq!(ids(out, at, part), [Value::Null, Value::Null], "{out}");
        }
    }
}

#[test]
fn pictures_in_a_result_stand_within_it_where_gemini_takes_them_there() {
    let image = |mime: &str| json!({"type": "image_url", "image_url": {"url": format!("data:{mime};base64,QUJD")}});
    let call = json!({"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let turn = |mime: &str| {
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t", "content": [{"type": "text", "text": "see"}, image(mime)]}]})
    };
    let picture = |mime: &str| json!({"inlineData": {"mimeType": mime, "data": "QUJD"}});
    for (model, mime, within) in [
        ("gemini-3-pro-preview", "image/png", true),
        ("gemini-3-pro-preview", "image/gif", false),
        ("gemini-2.5-flash", "image/png", false),
    ] {
        let out = sent(Dialect::Chat, (Protocol::Gemini, model), &turn(mime));
        let parts = &out["contents"][2]["parts"];
        let result = &parts[0]["functionResponse"];
        assert_eq!(result["response"], json!({"result": "see"}), "{out}");
        let (inner, beside) = if within { (&result["parts"][0], &parts[1]) } else { (&parts[1], &result["parts"]) };
        assert_eq!((inner, beside), (&picture(mime), &Value::Null), "{out}");
    }
}

#[test]
fn marks_of_a_cache_are_found_wherever_chat_clients_put_them() {
    let mark = json!({"type": "ephemeral"});
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let mut marked = call("t1");
    marked["cache_control"] = mark.clone();
    let function = json!({"name": "f", "parameters": {"type": "object"}});
    let mut inner = function.clone();
    inner["cache_control"] = mark.clone();
    let body = json!({"messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": "a", "cache_control": mark}, {"role": "user", "content": "r"},
            {"role": "assistant", "tool_calls": [marked, call("t2")]},
            {"role": "tool", "tool_call_id": "t1", "content": "one"},
            {"role": "tool", "tool_call_id": "t2", "content": "two", "cache_control": mark}],
        "tools": [{"type": "function", "function": function, "cache_control": mark},
            {"type": "function", "function": inner}, {"type": "function", "function": function}]});
    // Anthropic takes four: of the five that on the first tool does not go.
    let out = sent(Dialect::Chat, CLAUDE, &body);
    for place in ["/messages/1/content/0", "/messages/3/content/0", "/messages/4/content/1/content/0", "/tools/1"] {
        assert_eq!(out.pointer(place).and_then(|block| block.get("cache_control")), Some(&mark), "{place}: {out}");
    }
    assert_eq!(out.to_string().matches("cache_control").count(), 4, "{out}");
    let gemini = sent(Dialect::Chat, GEMINI, &body);
    assert!(!gemini.to_string().contains("cache_control"), "{gemini}");
}

#[test]
fn a_conversation_that_mistral_began_thinking_goes_on_elsewhere() {
    let thought = json!({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": true});
    let body = json!({"messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]}, {"role": "user", "content": "r"}]});
    for (to, place) in [(CLAUDE, "/messages/1/content"), (GEMINI, "/contents/1/parts")] {
        let (out, dropped) = support::sent(Dialect::Chat, to, &body);
        let said = out.pointer(place).and_then(Value::as_array).expect("parts");
        assert_eq!((said.len(), &said[0]["text"]), (1, &json!("a")), "{out}");
        assert!(dropped.contains(&"messages[].thinking".to_owned()), "{dropped:?}");
    }
}
