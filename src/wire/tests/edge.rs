//! Owns small cases at the edges of the protocols: what servers do beside their documentation.

use serde_json::{Value, json};

use super::support::{context, events, made};
use crate::wire::{
    Observed, Protocol,
    translate::{Dialect, Refused, StreamTranslator, fault, reply},
};

/// Translates frames; the client's events and what each frame meant. Ends cleanly unless a fault was seen.
fn streamed(from: Protocol, to: Dialect, frames: &[Value]) -> (Vec<Value>, Vec<Observed<'static>>) {
    let (mut translator, mut out) = (StreamTranslator::new(from, to, context(), true), Vec::new());
    let mut seen = Vec::new();
    for frame in frames {
        seen.push(translator.frame(None, frame.to_string().as_bytes(), &mut out).expect("a well-formed frame"));
    }
    let faulty = seen.iter().any(|s| s.fault.is_some());
    assert_ne!(translator.end(&mut out), faulty);
    (events(&out), seen)
}

fn piece(call: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
}

fn called() -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
}

/// Blocks of a Messages stream: name and input of each, read strictly one after the other.
fn blocks(events: &[Value]) -> Vec<(String, String)> {
    let (mut open, mut found) = (None, Vec::<(String, String)>::new());
    for event in events {
        match event["type"].as_str().expect("a type") {
            "content_block_start" => {
                assert_eq!(open, None, "blocks do not overlap");
                open = event["index"].as_u64();
                found.push((event["content_block"]["name"].as_str().expect("a name").to_owned(), String::new()));
            }
            "content_block_delta" => {
                assert_eq!(open, event["index"].as_u64());
                let last = found.last_mut().expect("a block");
                last.1.push_str(event["delta"]["partial_json"].as_str().expect("JSON"));
            }
            "content_block_stop" => assert_eq!(open.take(), event["index"].as_u64()),
            _ => {}
        }
    }
    assert_eq!(open, None);
    found
}

#[test]
fn calls_whose_arguments_come_interleaved_go_out_one_after_the_other() {
    let (events, _) = streamed(
        Protocol::Openai,
        Dialect::Messages,
        &[
            piece(&json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}})),
            piece(&json!({"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}})),
            piece(&json!({"index": 0, "function": {"arguments": "{\"x\":"}})),
            piece(&json!({"index": 1, "function": {"arguments": "{}"}})),
            piece(&json!({"index": 0, "function": {"arguments": "1}"}})),
            piece(&json!({"index": 0, "function": {"arguments": ""}})),
            called(),
        ],
    );
    assert_eq!(blocks(&events), [("f".into(), "{\"x\":1}".into()), ("g".into(), "{}".into())]);
}

#[test]
fn calls_without_numbers_or_with_one_number_for_all_stay_apart() {
    for number in [Value::Null, json!(0)] {
        let one = |id, name| {
            piece(
                &json!({"index": number, "id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}),
            )
        };
        let (events, _) = streamed(Protocol::Openai, Dialect::Messages, &[one("a", "f"), one("b", "g"), called()]);
        assert_eq!(blocks(&events), [("f".into(), "{}".into()), ("g".into(), "{}".into())], "{number}");
    }
}

#[test]
fn content_in_parts_is_read_whole_and_streamed() {
    let parts =
        json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "so"}]);
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": parts}, "finish_reason": "stop"}]});
    let (events, seen) = streamed(Protocol::Openai, Dialect::Responses, &[chunk]);
    let output = &events.last().expect("an end")["response"]["output"];
    assert_eq!(output[0]["summary"][0]["text"], "hm");
    assert_eq!(output[1]["content"][0]["text"], "so");
    assert_eq!(seen[0].text, "hmso");
    let whole = json!({"choices": [{"index": 0, "message": {"content": parts}, "finish_reason": "stop"}]}).to_string();
    let (body, _) = reply(Protocol::Openai, Dialect::Messages, whole.as_bytes(), &context()).expect("a reply");
    let content = serde_json::from_slice::<Value>(&body).expect("JSON")["content"].clone();
    assert_eq!((&content[0]["thinking"], &content[1]["text"]), (&json!("hm"), &json!("so")));
}

#[test]
fn an_answer_that_broke_off_by_its_own_word_is_an_error() {
    for (from, frame, code) in [
        (
            Protocol::Openai,
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "insufficient_system_resource"}]}),
            "insufficient_system_resource",
        ),
        (
            Protocol::Gemini,
            json!({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "m"}]}),
            "malformed_function_call",
        ),
    ] {
        let (_, seen) = streamed(from, Dialect::Chat, std::slice::from_ref(&frame));
        assert_eq!(seen[0].fault.as_ref().map(|f| f.code.as_str()), Some(code));
    }
    let whole = br#"{"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}"#;
    let (body, seen) = reply(Protocol::Gemini, Dialect::Chat, whole, &context()).expect("an error");
    assert!(body.is_empty() && seen.fault.is_some());
}

#[test]
fn an_end_of_geminis_for_a_reason_of_its_own_is_no_success() {
    let finish = |parts: Value, reason: &str| {
        let frame = json!({"candidates": [{"content": {"parts": parts}, "finishReason": reason}]});
        let (events, _) = streamed(Protocol::Gemini, Dialect::Chat, &[frame]);
        events.iter().find_map(|e| e["choices"][0]["finish_reason"].as_str()).map(ToOwned::to_owned)
    };
    let words = json!([{"text": "a"}]);
    for (parts, reason, told) in [
        (json!([]), "OTHER", "content_filter"),
        (words.clone(), "OTHER", "content_filter"),
        (json!([]), "ONE_OF_TOMORROW", "content_filter"),
        (words, "ONE_OF_TOMORROW", "stop"),
    ] {
        assert_eq!(finish(parts, reason).as_deref(), Some(told), "{reason}");
    }
}

#[test]
fn cache_writes_are_counted_in_every_dialect() {
    let body = json!({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 2, "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 500, "output_tokens": 7}});
    let usage = |to| {
        let (body, seen) = reply(Protocol::Anthropic, to, body.to_string().as_bytes(), &context()).expect("a reply");
        assert_eq!(seen.usage.map(|u| (u.input, u.written)), Some((532, 30)));
        serde_json::from_slice::<Value>(&body).expect("JSON")["usage"].clone()
    };
    assert_eq!(usage(Dialect::Chat)["prompt_tokens_details"], json!({"cached_tokens": 500, "cache_write_tokens": 30}));
    assert_eq!(
        usage(Dialect::Responses)["input_tokens_details"],
        json!({"cached_tokens": 500, "cache_write_tokens": 30})
    );
    let messages = usage(Dialect::Messages);
    assert_eq!((&messages["input_tokens"], &messages["cache_creation_input_tokens"]), (&json!(2), &json!(30)));
}

#[test]
fn an_error_about_our_account_is_not_taken_for_the_callers() {
    let spent = br#"{"error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
    assert_eq!(fault(Protocol::Anthropic, 429, spent).code, "enforced_spend_limit_reached");
    let place = br#"{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}"#;
    assert_eq!(fault(Protocol::Gemini, 400, place).status, Some(403));
}

fn sent(from: Dialect, protocol: Protocol, model: &str, body: &Value) -> Result<Value, Refused> {
    let made = made(from, (protocol, model), body)?;
    Ok(serde_json::from_slice(&made.body).expect("JSON"))
}

fn asked(more: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

#[test]
fn the_latest_models_are_told_how_much_to_think_and_to_tell_it() {
    let body = asked(&json!({"reasoning_effort": "xhigh", "temperature": 0.2, "top_k": 3}));
    for model in ["claude-opus-4-8", "claude-sonnet-5"] {
        let out = sent(Dialect::Chat, Protocol::Anthropic, model, &body).expect("a request");
        assert_eq!(out["thinking"], json!({"type": "adaptive", "display": "summarized"}));
        assert_eq!(out["output_config"], json!({"effort": "xhigh"}));
        assert!(out.get("temperature").is_none() && out.get("top_k").is_none());
    }
    let before = sent(Dialect::Chat, Protocol::Anthropic, "claude-opus-4-6", &body).expect("a request");
    assert_eq!(before["output_config"], json!({"effort": "high"}));
}

#[test]
fn a_format_beside_tools_is_told_older_geminis_in_words() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let body = asked(&json!({"tools": tools, "response_format": {"type": "json_object"}}));
    let older = sent(Dialect::Chat, Protocol::Gemini, "gemini-2.5-pro", &body).expect("a request");
    assert!(older.pointer("/generationConfig/responseMimeType").is_none());
    assert!(older["systemInstruction"]["parts"][0]["text"].as_str().expect("an instruction").contains("JSON object"));
    let newer = sent(Dialect::Chat, Protocol::Gemini, "gemini-3-pro", &body).expect("a request");
    assert_eq!(newer["generationConfig"]["responseMimeType"], "application/json");
}

#[test]
fn a_tool_of_the_providers_own_is_left_out_beside_others_and_refused_alone() {
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let own = json!({"name": "f", "input_schema": {"type": "object"}});
    let body = |tools: Value| json!({"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "tools": tools});
    let both = sent(Dialect::Messages, Protocol::Openai, "gpt-4o", &body(json!([search, own]))).expect("a request");
    assert_eq!(both["tools"].as_array().map(Vec::len), Some(1));
    let alone = sent(Dialect::Messages, Protocol::Openai, "gpt-4o", &body(json!([search])));
    assert!(matches!(alone, Err(Refused::Unsupported { .. })));
}

#[test]
fn a_free_text_tool_becomes_a_function_of_one_string_with_its_history() {
    let body = json!({"tools": [{"type": "custom", "name": "apply_patch", "format": {"definition": "start: x"}}], "input": [
        {"role": "user", "content": "hi"},
        {"type": "custom_tool_call", "call_id": "a", "name": "apply_patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "done"},
    ]});
    let out = sent(Dialect::Responses, Protocol::Openai, "gpt-4o", &body).expect("a request");
    let function = &out["tools"][0]["function"];
    assert_eq!(function["parameters"]["required"], json!(["input"]));
    assert!(function["description"].as_str().expect("a description").contains("start: x"));
    let call = &out["messages"][1]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], "{\"input\":\"*** Begin\"}");
    assert_eq!((&out["messages"][2]["tool_call_id"], &out["messages"][2]["content"]), (&call["id"], &json!("done")));
}

#[test]
fn ids_of_calls_are_kept_for_servers_that_read_them_and_plain_for_anthropic() {
    let call = json!({"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {}});
    let result = json!({"type": "tool_result", "tool_use_id": "functions.f:0", "content": "r"});
    let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]});
    let kimi = sent(Dialect::Messages, Protocol::Openai, "kimi-k2", &body).expect("a request");
    assert_eq!(kimi["messages"][1]["tool_calls"][0]["id"], "functions.f:0");
    assert_eq!(kimi["messages"][2]["tool_call_id"], "functions.f:0");
    let claude = sent(Dialect::Messages, Protocol::Anthropic, "claude-opus-4-6", &body).expect("a request");
    assert_eq!(claude["messages"][1]["content"][0]["id"], "functions_f_0");
    assert_eq!(claude["messages"][2]["content"][0]["tool_use_id"], "functions_f_0");
}

#[test]
fn instructions_go_as_one_message_and_later_ones_stay_where_they_stand() {
    let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
    let body = json!({"instructions": "One.", "input": [{"role": "developer", "content": "Two."},
        {"role": "user", "content": "q"}, call, {"role": "developer", "content": "Three."},
        {"type": "function_call_output", "call_id": "c", "output": "r"}, {"role": "developer", "content": "Four."}]});
    let said = |model: &str| {
        let out = sent(Dialect::Responses, Protocol::Openai, model, &body).expect("a request");
        let messages = out["messages"].as_array().expect("messages").iter();
        let pair =
            |m: &Value| format!("{} {}", m["role"].as_str().unwrap_or_default(), m["content"].as_str().unwrap_or("-"));
        messages.map(pair).collect::<Vec<_>>()
    };
    let own = ["system One.\n\nTwo.", "user q", "assistant -", "tool r", "system Three.", "system Four."];
    assert_eq!(said("gpt-4o"), own);
    // Templates of other servers refuse a system message that is not the first, or a user's behind a result.
    let result = "tool r\n<system>\nThree.\n</system>\n<system>\nFour.\n</system>";
    assert_eq!(said("qwen3"), ["system One.\n\nTwo.", "user q", "assistant -", result]);
}

#[test]
fn a_call_without_arguments_is_told_as_an_empty_object() {
    let call = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}});
    let whole = json!({"choices": [{"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]});
    let (body, _) =
        reply(Protocol::Openai, Dialect::Responses, whole.to_string().as_bytes(), &context()).expect("a reply");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["output"][0]["arguments"], "{}");
    let (events, _) = streamed(Protocol::Openai, Dialect::Responses, &[piece(&call), called()]);
    let of = |kind: &str| events.iter().find(|e| e["type"] == kind).expect("an event").clone();
    assert_eq!(of("response.output_item.added")["item"]["arguments"], "");
    assert_eq!(of("response.function_call_arguments.delta")["delta"], "{}");
    assert_eq!(of("response.function_call_arguments.done")["arguments"], "{}");
    assert_eq!(of("response.completed")["response"]["output"][0]["arguments"], "{}");
}

#[test]
fn arguments_that_come_as_an_object_are_not_lost() {
    let call = json!({"id": "a", "function": {"name": "f", "arguments": {"x": 1}}});
    let whole = json!({"choices": [{"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]});
    let (body, _) =
        reply(Protocol::Openai, Dialect::Messages, whole.to_string().as_bytes(), &context()).expect("a reply");
    assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON")["content"][0]["input"], json!({"x": 1}));
}
