//! Owns the cases of errors that providers tell in a 200: which are any, in every shape that they come in.

use serde_json::{Value, json};

use super::support::context;
use crate::wire::{
    Fault, Protocol, peek,
    translate::{Dialect, StreamTranslator, reply},
};

const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Messages, Dialect::Responses];

/// What is heard of an error in an answer, passed on and translated, a frame and whole.
fn heard(from: Protocol, body: &Value) -> Vec<Option<Fault>> {
    let body = body.to_string();
    let data = body.as_bytes();
    let mut seen = match from {
        Protocol::Openai => vec![peek::whole(data).expect("an answer"), peek::frame(data).expect("a chunk")],
        Protocol::Anthropic => vec![peek::messages::whole(data).expect("a message")],
        Protocol::Gemini => Vec::new(),
    };
    for to in DIALECTS {
        seen.push(reply(from, to, data, &context()).expect("an answer").1);
        if from != Protocol::Anthropic {
            let mut translator = StreamTranslator::new(from, to, context(), false);
            seen.push(translator.frame(None, data, &mut Vec::new()).expect("a frame"));
        }
    }
    seen.into_iter().map(|seen| seen.fault).collect()
}

#[test]
fn an_error_that_says_nothing_fails_no_answer_and_one_that_says_anything_does() {
    let choice = json!({"index": 0, "message": {"content": "a"}, "delta": {"content": "a"}, "finish_reason": "stop"});
    let message = json!({"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"});
    let candidates = json!([{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]);
    let answers = [
        (Protocol::Openai, json!({"choices": [choice]})),
        (Protocol::Anthropic, message),
        (Protocol::Gemini, json!({"candidates": candidates})),
    ];
    for (error, failed) in [
        (json!({"message": "", "type": "", "param": "", "code": null}), false),
        (json!({"code": 0, "message": "", "details": []}), false),
        (json!({}), false),
        (json!(""), false),
        (json!(false), false),
        (Value::Null, false),
        (json!("boom"), true),
        (json!(true), true),
        (json!({"reason": "boom"}), true),
        (json!({"code": 500}), true),
    ] {
        for (from, mut body) in answers.clone() {
            body["error"] = error.clone();
            let heard = heard(from, &body);
            assert!(heard.iter().all(|fault| fault.is_some() == failed), "{body}: {heard:?}");
        }
        let response = json!({"id": "r", "status": "completed", "output": [], "error": error});
        let event = json!({"type": "response.in_progress", "error": error}).to_string();
        let whole = peek::responses::whole(response.to_string().as_bytes()).expect("an answer");
        let frame = peek::responses::frame(None, event.as_bytes()).expect("an event");
        assert_eq!([whole.fault.is_some(), frame.fault.is_some()], [failed; 2], "{error}");
    }
}

#[test]
fn an_event_named_error_is_one_whatever_its_data_is_and_another_is_one_by_its_type() {
    for (name, data, kind, said) in [
        (Some("error"), r#"{"type":"overloaded_error","message":"busy"}"#, "overloaded_error", "busy"),
        (Some("error"), r#"{"type":"error","error":{"type":"api_error","message":"boom"}}"#, "api_error", "boom"),
        (Some("error"), r#"{"error":null,"detail":"boom"}"#, "", "boom"),
        (Some("error"), r#""boom""#, "", "boom"),
        (Some("error"), "upstream connect error", "", ""),
        (None, r#"{"type":"error","message":"prompt is too long"}"#, "error", "prompt is too long"),
        (Some("message"), r#"{"type":"error","error":{"message":"boom"}}"#, "", "boom"),
    ] {
        let passed = peek::messages::frame(name, data.as_bytes()).map(|seen| seen.fault);
        let mut translator = StreamTranslator::new(Protocol::Anthropic, Dialect::Chat, context(), false);
        let translated = translator.frame(name, data.as_bytes(), &mut Vec::new()).map(|seen| seen.fault);
        let responses = peek::responses::frame(name, data.as_bytes()).map(|seen| seen.fault);
        for fault in [passed, translated] {
            let fault = fault.expect("an event").unwrap_or_else(|| panic!("no error: {data}"));
            assert_eq!((fault.kind.as_str(), fault.message.as_str()), (kind, said), "{data}");
        }
        assert_eq!(responses.expect("an event").expect("an error").message, said, "{data}");
    }
}

#[test]
fn an_error_that_deepinfra_tells_in_a_chunk_is_seen_in_its_own_words() {
    let words = "This model's maximum context length is 8192 tokens.";
    let chunk = json!({"choices": null, "error_type": "BadRequestError", "error_message": words});
    for fault in heard(Protocol::Openai, &chunk) {
        let fault = fault.expect("an error");
        assert_eq!((fault.kind.as_str(), fault.message.as_str()), ("BadRequestError", words));
    }
    let fine = json!({"choices": [], "error_type": null, "error_message": ""}).to_string();
    assert_eq!(peek::frame(fine.as_bytes()).expect("a chunk").fault, None);
}
