//! Cases of counting tokens in the words of each provider.

use serde_json::{Value, json};

use super::support::target;
use crate::wire::{
    Protocol,
    count::{reply, request},
};

/// A turn with all that a prompt may have.
fn prompt() -> Value {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}});
    let pdf = json!({"type": "document", "title": "a.pdf",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}});
    json!({"system": "Be brief.", "tool_choice": {"type": "tool", "name": "f"}, "tools": [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "See."}, image, pdf]},
        {"role": "assistant", "content": [{"type": "text", "text": "So."},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"a": "b"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r"}]}]})
}

fn sent(protocol: Protocol, model: &str, vertex: bool) -> Value {
    let made = request(prompt().to_string().as_bytes(), &target(protocol, model), vertex).expect("a request");
    serde_json::from_slice(&made.body).expect("JSON")
}

#[test]
fn openai_is_asked_in_the_words_of_responses() {
    let url = "data:image/png;base64,QUJD";
    let want = json!({"model": "gpt-4o", "input": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "See."},
                {"type": "input_image", "image_url": url, "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}]},
            {"role": "assistant", "content": "So."},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"a\":\"b\"}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"}],
        "tools": [{"name": "f", "description": "d", "strict": false, "type": "function",
            "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}],
        "tool_choice": {"name": "f", "type": "function"}});
    assert_eq!(sent(Protocol::Openai, "gpt-4o", false), want);
}

#[test]
fn what_shapes_an_answer_counts_at_openai_as_well() {
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let body = json!({"messages": [{"role": "user", "content": "q"}], "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let made = request(body.to_string().as_bytes(), &target(Protocol::Openai, "gpt-5"), false).expect("a request");
    let out: Value = serde_json::from_slice(&made.body).expect("JSON");
    let format = &out["text"]["format"];
    assert_eq!((&format["type"], &format["schema"]["type"]), (&json!("json_schema"), &json!("object")), "{out}");
    assert_eq!((&out["reasoning"]["effort"], out.get("max_tokens")), (&json!("low"), None));
}

#[test]
fn googles_two_apis_take_a_prompt_each_in_its_own_shape() {
    let own = sent(Protocol::Gemini, "gemini-2.5-pro", false);
    let asked = &own["generateContentRequest"];
    assert_eq!(asked["model"], "models/gemini-2.5-pro");
    assert!(asked["toolConfig"].is_object(), "{own}");
    let vertex = sent(Protocol::Gemini, "gemini-2.5-pro", true);
    let members: Vec<&String> = vertex.as_object().into_iter().flatten().map(|(member, _)| member).collect();
    assert_eq!(members, ["systemInstruction", "contents", "tools"], "{vertex}");
    assert_eq!(vertex["contents"], asked["contents"]);
}

#[test]
fn an_answer_gives_its_count_its_fault_or_none_at_all() {
    for (protocol, said) in [
        (Protocol::Gemini, json!({"totalTokens": 31, "promptTokensDetails": []})),
        (Protocol::Openai, json!({"object": "response.input_tokens", "input_tokens": 31})),
    ] {
        let (out, seen) = reply(protocol, said.to_string().as_bytes()).expect("an answer");
        assert_eq!((out.as_slice(), seen.usage), (&br#"{"input_tokens":31}"#[..], None));
        let failed = json!({"error": {"message": "no", "status": "INTERNAL"}});
        let (out, seen) = reply(protocol, failed.to_string().as_bytes()).expect("an answer");
        assert_eq!((out.len(), seen.fault.map(|fault| fault.message)), (0, Some("no".to_owned())));
        assert!(reply(protocol, b"{}").is_err() && reply(protocol, b"<html>").is_err());
    }
}

#[test]
fn an_error_that_says_nothing_beside_a_count_is_none() {
    let (out, seen) = reply(Protocol::Gemini, br#"{"totalTokens":5,"error":{}}"#).expect("a count");
    assert_eq!((out.as_slice(), seen.fault), (&br#"{"input_tokens":5}"#[..], None));
}
