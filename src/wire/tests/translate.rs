//! Owns the cases of translation that recordings do not show: losses, limits, signatures, blocks, errors.

use serde_json::{Value, json};

use super::support::{self, context};
use crate::wire::{
    Observed, Protocol,
    translate::{Dialect, Refused, StreamTranslator, Target, fault, reply, request},
};

fn target(protocol: Protocol) -> Target<'static> {
    let model = match protocol {
        Protocol::Openai => "gpt-4o",
        Protocol::Anthropic => "claude-sonnet-4-5",
        Protocol::Gemini => "gemini-3-pro-preview",
    };
    support::target(protocol, model)
}

fn sent(from: Dialect, protocol: Protocol, body: &Value) -> (Value, Vec<String>) {
    support::sent(from, (protocol, target(protocol).model), body)
}

fn chat(extra: &Value) -> Value {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in extra.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

fn replied(from: Protocol, to: Dialect, body: &Value) -> (Value, Observed<'static>) {
    let (out, seen) = reply(from, to, body.to_string().as_bytes(), &context()).expect("a reply");
    (serde_json::from_slice(&out).unwrap_or_default(), seen)
}

fn streamed(from: Protocol, to: Dialect, frames: &[Value]) -> Vec<Value> {
    support::streamed(from, to, context(), frames)
}

#[test]
fn what_changes_the_answer_is_refused_and_hints_are_dropped() {
    for (field, value) in [("n", json!(2)), ("modalities", json!(["text", "audio"])), ("logprobs", json!(true))] {
        for protocol in [Protocol::Anthropic, Protocol::Gemini] {
            let body = chat(&json!({field: value})).to_string();
            let got = request(Dialect::Chat, body.as_bytes(), &target(protocol));
            assert!(matches!(got, Err(Refused::Unsupported { param: Some(param), .. }) if param == field), "{field}");
        }
    }
    let hinted = chat(&json!({"seed": 3, "store": true, "n": 1, "backend": "b"}));
    let (body, dropped) = sent(Dialect::Chat, Protocol::Anthropic, &hinted);
    assert_eq!(dropped, ["store", "seed"]);
    assert_eq!(body["max_tokens"], 4096);
    let strict = Target { refuse_unsupported: true, ..target(Protocol::Anthropic) };
    let got = request(Dialect::Chat, hinted.to_string().as_bytes(), &strict);
    assert!(matches!(got, Err(Refused::Unsupported { param: Some(param), .. }) if param == "store"));
}

#[test]
fn a_field_of_the_wrong_type_names_itself() {
    for (field, value) in [("temperature", json!("hot")), ("messages", json!([])), ("tools", json!({}))] {
        let got =
            request(Dialect::Chat, chat(&json!({field: value})).to_string().as_bytes(), &target(Protocol::Gemini));
        assert!(matches!(got, Err(Refused::Invalid { param: Some(param), .. }) if param == field), "{field}");
    }
    for (body, field) in [
        (json!({"input": "q", "metadata": "m"}), "metadata"),
        (json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}), "input[0].content"),
        (json!({"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]}), "input[0].output"),
        (json!({"input": [{"type": "function_call_output", "output": [{"text": "a"}]}]}), "input[0].output"),
    ] {
        let got = request(Dialect::Responses, body.to_string().as_bytes(), &target(Protocol::Gemini));
        assert!(matches!(&got, Err(Refused::Invalid { param: Some(param), .. }) if param == field), "{field} {got:?}");
    }
    assert!(matches!(
        request(Dialect::Chat, b"[", &target(Protocol::Gemini)),
        Err(Refused::Invalid { param: None, .. })
    ));
}

#[test]
fn half_a_character_is_one_lost_character_and_no_reason_to_refuse_a_request() {
    let said = |body: &str, dialect| {
        let made = request(dialect, body.as_bytes(), &target(Protocol::Anthropic)).expect("a request that translates");
        serde_json::from_slice::<Value>(&made.body).expect("JSON")
    };
    let chat = r#"{"messages":[{"role":"user","content":"a\ud83d"}]}"#;
    assert_eq!(said(chat, Dialect::Chat)["messages"][0]["content"][0]["text"], "a\u{fffd}");
    let call = r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{\"x\":\"\\ude00b\"}"}"#;
    let responses = format!(r#"{{"input":[{{"role":"user","content":"\ud83d\ude00"}},{call}]}}"#);
    let out = said(&responses, Dialect::Responses);
    assert_eq!(out["messages"][0]["content"][0]["text"], "😀");
    assert_eq!(out["messages"][1]["content"][0]["input"], json!({"x": "\u{fffd}b"}));
}

#[test]
fn sampling_format_and_choice_arrive_in_the_targets_words() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let body = chat(&json!({
        "temperature": 1.5, "max_completion_tokens": 9, "stop": "x", "user": "u", "seed": 4,
        "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
    }));
    let (claude, _) = sent(Dialect::Chat, Protocol::Anthropic, &body);
    assert_eq!((&claude["temperature"], &claude["max_tokens"]), (&json!(1.0), &json!(9)));
    assert_eq!(claude["stop_sequences"], json!(["x"]));
    assert_eq!(claude["metadata"], json!({"user_id": "u"}));
    assert_eq!(claude["output_config"]["format"]["schema"]["additionalProperties"], false);
    assert_eq!(claude["tool_choice"], json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true}));
    let (gemini, _) = sent(Dialect::Chat, Protocol::Gemini, &body);
    let config = &gemini["generationConfig"];
    assert_eq!(
        (&config["temperature"], &config["maxOutputTokens"], &config["seed"]),
        (&json!(1.5), &json!(9), &json!(4))
    );
    assert_eq!(config["responseJsonSchema"], schema);
    assert_eq!(gemini["toolConfig"]["functionCallingConfig"], json!({"mode": "ANY", "allowedFunctionNames": ["f"]}));
}

#[test]
fn media_go_where_the_target_takes_them() {
    let body = json!({"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,QUE="}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QkI="}},
    ]}]});
    let (claude, _) = sent(Dialect::Chat, Protocol::Anthropic, &body);
    let content = &claude["messages"][0]["content"];
    assert_eq!(content[0]["source"], json!({"type": "url", "url": "https://x.test/a.png"}));
    assert_eq!(content[1]["source"], json!({"type": "base64", "media_type": "image/jpeg", "data": "QUE="}));
    assert_eq!(content[2]["type"], "document");
    let (gemini, _) = sent(Dialect::Chat, Protocol::Gemini, &body);
    let parts = &gemini["contents"][0]["parts"];
    assert_eq!(parts[0]["fileData"], json!({"mimeType": "image/png", "fileUri": "https://x.test/a.png"}));
    assert_eq!(parts[2]["inlineData"]["mimeType"], "application/pdf");
    let audio = json!({"messages": [{"role": "user", "content": [
        {"type": "input_audio", "input_audio": {"data": "QUE=", "format": "wav"}}]}]});
    assert_eq!(
        sent(Dialect::Chat, Protocol::Gemini, &audio).0["contents"][0]["parts"][0]["inlineData"]["mimeType"],
        "audio/wav"
    );
    assert!(request(Dialect::Chat, audio.to_string().as_bytes(), &target(Protocol::Anthropic)).is_err());
}

#[test]
fn claudes_thinking_comes_back_with_its_signature() {
    let message = json!({"id": "msg_1", "type": "message", "model": "claude", "stop_reason": "tool_use",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}}],
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 7}});
    let (out, _) = replied(Protocol::Anthropic, Dialect::Chat, &message);
    let said = &out["choices"][0]["message"];
    assert_eq!(said["reasoning_content"], "hm");
    assert_eq!(out["usage"]["prompt_tokens"], 10);
    let turn = |said: &Value| {
        json!({"reasoning_effort": "low", "max_tokens": 4000, "messages": [{"role": "user", "content": "q"}, said,
            {"role": "tool", "tool_call_id": "t1", "content": "r"}],
            "tools": [{"type": "function", "function": {"name": "f"}}]})
    };
    let (body, _) = sent(Dialect::Chat, Protocol::Anthropic, &turn(said));
    assert_eq!(body["messages"][1]["content"], message["content"]);
    assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 1024}));
    let mut forgetful = said.clone();
    forgetful["thinking_blocks"] = Value::Null;
    assert!(sent(Dialect::Chat, Protocol::Anthropic, &turn(&forgetful)).0.get("thinking").is_none());
    let (out, _) = replied(Protocol::Anthropic, Dialect::Responses, &message);
    let mut input = vec![json!({"role": "user", "content": "q"})];
    input.extend(out["output"].as_array().expect("items").iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": "t1", "output": "r"}));
    let (body, _) = sent(Dialect::Responses, Protocol::Anthropic, &json!({"input": input}));
    assert_eq!(body["messages"][1]["content"], message["content"]);
}

#[test]
fn geminis_signature_comes_back_through_every_dialect() {
    let answer = json!({"responseId": "r", "candidates": [{"finishReason": "STOP", "content": {"parts": [
        {"text": "hm", "thought": true}, {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "sig"}]}}]});
    let call = json!([{"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "sig"}]);
    let (out, _) = replied(Protocol::Gemini, Dialect::Chat, &answer);
    let said = &out["choices"][0]["message"];
    assert_eq!(out["choices"][0]["finish_reason"], "tool_calls");
    let (body, _) =
        sent(Dialect::Chat, Protocol::Gemini, &json!({"messages": [{"role": "user", "content": "q"}, said]}));
    assert_eq!(body["contents"][1]["parts"], call);
    let (out, _) = replied(Protocol::Gemini, Dialect::Messages, &answer);
    let turns = json!({"max_tokens": 9, "messages": [
        {"role": "user", "content": "q"}, {"role": "assistant", "content": out["content"]}]});
    assert_eq!(sent(Dialect::Messages, Protocol::Gemini, &turns).0["contents"][1]["parts"], call);
    let (out, _) = replied(Protocol::Gemini, Dialect::Responses, &answer);
    let mut input = vec![json!({"role": "user", "content": "q"})];
    input.extend(out["output"].as_array().expect("items").iter().cloned());
    assert_eq!(sent(Dialect::Responses, Protocol::Gemini, &json!({"input": input})).0["contents"][1]["parts"], call);
}

#[test]
fn a_call_without_its_signature_gets_the_documented_stand_in() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body =
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call, call]}]});
    let parts = sent(Dialect::Chat, Protocol::Gemini, &body).0["contents"][1]["parts"].clone();
    assert_eq!(parts[0]["thoughtSignature"], "skip_thought_signature_validator");
    assert!(parts[1].get("thoughtSignature").is_none());
}

#[test]
fn blocked_answers_of_gemini_are_filtered_not_stopped() {
    for body in [
        json!({"promptFeedback": {"blockReason": "SAFETY"}}),
        json!({"candidates": [], "usageMetadata": {"promptTokenCount": 1}}),
        json!({"candidates": [{"finishReason": "PROHIBITED_CONTENT"}]}),
    ] {
        let (out, _) = replied(Protocol::Gemini, Dialect::Chat, &body);
        assert_eq!(out["choices"][0]["finish_reason"], "content_filter", "{body}");
        let chunks = streamed(Protocol::Gemini, Dialect::Chat, std::slice::from_ref(&body));
        assert!(chunks.iter().any(|c| c["choices"][0]["finish_reason"] == "content_filter"), "{body}");
    }
}

#[test]
fn interleaved_calls_of_openai_keep_their_blocks_apart() {
    let delta = |index: u32, id: Option<&str>, text: &str| {
        let mut call = json!({"index": index, "function": {"arguments": text}});
        if let Some(id) = id {
            call["id"] = id.into();
            call["function"]["name"] = "f".into();
        }
        json!({"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    };
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    let frames = [delta(0, Some("a"), "{"), delta(1, Some("b"), "{"), delta(0, None, "}"), delta(1, None, "}"), end];
    let events = streamed(Protocol::Openai, Dialect::Messages, &frames);
    for at in 0..2 {
        let of = |kind: &str| events.iter().filter(|e| e["type"] == kind && e["index"] == at).collect::<Vec<_>>();
        let text: String =
            of("content_block_delta").iter().filter_map(|e| e["delta"]["partial_json"].as_str()).collect();
        assert_eq!((text.as_str(), of("content_block_stop").len()), ("{}", 1));
    }
    let events = streamed(Protocol::Openai, Dialect::Responses, &frames);
    let last = events.last().expect("events");
    assert_eq!(last["response"]["output"][1]["arguments"], "{}");
}

#[test]
fn streamed_thinking_ends_with_a_block_to_echo() {
    let frames = [
        json!({"type": "message_start", "message": {"id": "msg_1"}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "h"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "m"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        json!({"type": "message_stop"}),
    ];
    let chunks = streamed(Protocol::Anthropic, Dialect::Chat, &frames);
    let block = chunks.iter().find_map(|c| c["choices"][0]["delta"].get("thinking_blocks")).expect("a block");
    assert_eq!(block, &json!([{"type": "thinking", "thinking": "hm", "signature": "sig", "index": 0}]));
}

#[test]
fn errors_in_a_stream_are_seen_and_never_ended_cleanly() {
    let error = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let (mut translator, mut out) =
        (StreamTranslator::new(Protocol::Anthropic, Dialect::Messages, context(), true), Vec::new());
    let seen = translator.frame(Some("error"), error, &mut out).expect("an error frame");
    let fault = seen.fault.expect("a fault");
    assert_eq!((fault.kind.as_str(), fault.status), ("overloaded_error", Some(529)));
    assert!(out.is_empty());
    assert!(!translator.end(&mut out));
    assert!(out.is_empty());
}

#[test]
fn providers_errors_are_told_apart() {
    let long = br#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#;
    assert_eq!(fault(Protocol::Anthropic, 400, long).code, "context_length_exceeded");
    let poor =
        br#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#;
    assert_eq!(fault(Protocol::Anthropic, 400, poor).code, "insufficient_quota");
    let busy = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let busy = fault(Protocol::Anthropic, 529, busy);
    assert_eq!((busy.kind.as_str(), busy.status), ("overloaded_error", Some(529)));
    for protocol in [Protocol::Openai, Protocol::Anthropic, Protocol::Gemini] {
        assert_eq!(fault(protocol, 502, b"<html>").status, Some(502));
    }
}
