//! Owns calls of free-text tools all the way: offered, called, answered, echoed.

use serde_json::{Value, json};

use super::support::{self, kept};
use crate::wire::{
    Protocol,
    translate::{Dialect, ReplyContext, StreamTranslator, Target, asked, reply, request},
};

const PATCH: &str = "*** Begin Patch\n\"é\"";

fn offer(dialect: Dialect) -> Value {
    let grammar = json!({"syntax": "lark", "definition": "start: x"});
    match dialect {
        Dialect::Chat => json!({"messages": [{"role": "user", "content": "q"}],
            "tools": [{"type": "custom", "custom": {"name": "patch", "description": "Patches.",
                "format": {"type": "grammar", "grammar": grammar}}}],
            "tool_choice": {"type": "custom", "custom": {"name": "patch"}}}),
        _ => json!({"input": "q", "tool_choice": {"type": "custom", "name": "patch"},
            "tools": [{"type": "custom", "name": "patch", "description": "Patches.",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}}]}),
    }
}

fn context(dialect: Dialect) -> ReplyContext {
    let asked = asked(dialect, offer(dialect).to_string().as_bytes());
    ReplyContext { asked, ..support::context() }
}

fn sent(from: Dialect, body: &Value) -> Value {
    kept(from, (Protocol::Anthropic, "claude-opus-4-6"), body)
}

#[test]
fn a_free_text_tool_is_offered_as_a_function_with_its_grammar_in_words() {
    for dialect in [Dialect::Chat, Dialect::Responses] {
        let out = sent(dialect, &offer(dialect));
        assert_eq!(out["tools"][0]["input_schema"]["required"], json!(["input"]), "{out}");
        let told = out["tools"][0]["description"].as_str().expect("a description");
        assert!(told.starts_with("Patches.") && told.contains("lark grammar:\nstart: x"), "{told}");
        assert_eq!(out["tool_choice"], json!({"type": "tool", "name": "patch"}));
    }
}

#[test]
fn its_calls_are_custom_calls_again_whole_and_streamed_and_echoed() {
    let claude = json!({"type": "message", "content": [{"type": "tool_use", "id": "t", "name": "patch",
        "input": {"input": PATCH}}, {"type": "tool_use", "id": "u", "name": "plain", "input": {"x": 1}}],
        "stop_reason": "tool_use"});
    let whole = |dialect| -> Value {
        let (out, _) =
            reply(Protocol::Anthropic, dialect, claude.to_string().as_bytes(), &context(dialect)).expect("a reply");
        serde_json::from_slice(&out).expect("JSON")
    };
    let chat = whole(Dialect::Chat);
    let said = &chat["choices"][0]["message"];
    let call = json!({"id": "t", "type": "custom", "custom": {"name": "patch", "input": PATCH}});
    assert_eq!((&said["tool_calls"][0], &said["tool_calls"][1]["type"]), (&call, &json!("function")));
    let turn = json!({"messages": [{"role": "user", "content": "q"}, said]});
    assert_eq!(sent(Dialect::Chat, &turn)["messages"][1]["content"], claude["content"]);
    let output = whole(Dialect::Responses)["output"].clone();
    assert_eq!((&output[0]["type"], &output[0]["input"]), (&json!("custom_tool_call"), &json!(PATCH)));
    assert_eq!(output[1]["type"], "function_call");
    let mut input = vec![json!({"role": "user", "content": "q"})];
    input.extend(output.as_array().expect("items").iter().cloned());
    assert_eq!(sent(Dialect::Responses, &json!({"input": input}))["messages"][1]["content"], claude["content"]);
}

#[test]
fn a_streamed_input_comes_as_it_is_written() {
    let text = json!({"input": PATCH}).to_string();
    let mut frames = vec![json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "tool_use", "id": "t", "name": "patch", "input": {}}})];
    frames.extend(text.chars().map(|c| {
        json!({"type": "content_block_delta", "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": c.to_string()}})
    }));
    frames.push(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}));
    frames.push(json!({"type": "message_stop"}));
    let streamed = |dialect| -> Vec<Value> {
        let (mut translator, mut out) =
            (StreamTranslator::new(Protocol::Anthropic, dialect, context(dialect), false), Vec::new());
        for frame in &frames {
            translator.frame(None, frame.to_string().as_bytes(), &mut out).expect("a frame");
        }
        let text = String::from_utf8(out).expect("UTF-8");
        text.lines().filter_map(|l| l.strip_prefix("data: ")).filter_map(|l| serde_json::from_str(l).ok()).collect()
    };
    let calls: Vec<Value> =
        streamed(Dialect::Chat).iter().filter_map(|c| c.pointer("/choices/0/delta/tool_calls/0").cloned()).collect();
    assert_eq!(calls[0], json!({"index": 0, "id": "t", "type": "custom", "custom": {"name": "patch", "input": ""}}));
    let said: Vec<&str> = calls[1..].iter().filter_map(|c| c["custom"]["input"].as_str()).collect();
    assert_eq!((said.concat().as_str(), said.len()), (PATCH, PATCH.chars().count()));
    let events = streamed(Dialect::Responses);
    let of = |kind: &str| events.iter().filter(|e| e["type"] == kind).collect::<Vec<_>>();
    let deltas: String =
        of("response.custom_tool_call_input.delta").iter().filter_map(|e| e["delta"].as_str()).collect();
    assert_eq!(deltas, PATCH);
    assert_eq!(of("response.custom_tool_call_input.done")[0]["input"], PATCH);
    assert_eq!(events.last().expect("an end")["response"]["output"][0]["input"], PATCH);
}

#[test]
fn geminis_signature_on_a_free_text_call_comes_back_with_it() {
    let part = json!({"functionCall": {"name": "patch", "args": {"input": PATCH}}, "thoughtSignature": "sig"});
    let answer = json!({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]});
    let context = context(Dialect::Responses);
    let (out, _) =
        reply(Protocol::Gemini, Dialect::Responses, answer.to_string().as_bytes(), &context).expect("a reply");
    let out: Value = serde_json::from_slice(&out).expect("JSON");
    let (thought, call) = (&out["output"][0], &out["output"][1]);
    assert_eq!((&thought["type"], &call["type"]), (&json!("reasoning"), &json!("custom_tool_call")));
    let mut bare = call.clone();
    bare.as_object_mut().expect("an item").remove("extra_content");
    let next = json!({"type": "custom_tool_call", "call_id": "2", "name": "patch", "input": ""});
    let target = Target { refuse_unsupported: true, ..support::target(Protocol::Gemini, "gemini-3-pro") };
    // By whichever of its two ways, and once.
    for kept in [vec![call], vec![thought, &bare], vec![thought, call]] {
        let input =
            [vec![json!({"role": "user", "content": "q"})], kept.into_iter().cloned().collect(), vec![next.clone()]];
        let body = json!({"input": input.concat()}).to_string();
        let made = request(Dialect::Responses, body.as_bytes(), &target).expect("a request");
        let made: Value = serde_json::from_slice(&made.body).expect("JSON");
        assert_eq!(made["contents"][1]["parts"][0], part);
        assert_eq!(made["contents"][1]["parts"][1].get("thoughtSignature"), None, "{made}");
    }
}
