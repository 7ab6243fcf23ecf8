//! Owns small cases at the edges of the protocols: what servers do beside their documentation.

use serde_json::{Value, json};

use super::{
    Observed, Protocol,
    translate::{Dialect, ReplyContext, StreamTranslator, fault, reply},
};

fn context() -> ReplyContext {
    ReplyContext { id: "i".into(), created: 1, model: "m".into() }
}

/// Translates frames; the client's events and what each frame meant. Ends cleanly unless a fault was seen.
fn streamed(from: Protocol, to: Dialect, frames: &[Value]) -> (Vec<Value>, Vec<Observed<'static>>) {
    let (mut translator, mut out) = (StreamTranslator::new(from, to, context(), true), Vec::new());
    let mut seen = Vec::new();
    for frame in frames {
        seen.push(translator.frame(None, frame.to_string().as_bytes(), &mut out).expect("a well-formed frame"));
    }
    let faulty = seen.iter().any(|s| s.fault.is_some());
    assert_ne!(translator.end(&mut out), faulty);
    let text = String::from_utf8(out).expect("UTF-8");
    let data = text.lines().filter_map(|l| l.strip_prefix("data: "));
    (data.filter_map(|l| serde_json::from_str(l).ok()).collect(), seen)
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
    assert_eq!(seen[0].text, "so");
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
fn an_end_of_geminis_without_a_word_is_no_success() {
    let (events, _) =
        streamed(Protocol::Gemini, Dialect::Chat, &[json!({"candidates": [{"finishReason": "OTHER", "index": 0}]})]);
    let finish = events.iter().find_map(|e| e["choices"][0]["finish_reason"].as_str());
    assert_eq!(finish, Some("content_filter"));
    let said = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "OTHER"}]});
    let (events, _) = streamed(Protocol::Gemini, Dialect::Chat, &[said]);
    assert_eq!(events.iter().find_map(|e| e["choices"][0]["finish_reason"].as_str()), Some("stop"));
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
