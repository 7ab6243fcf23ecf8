//! Names of tools and ids of calls that a provider would refuse: put otherwise for it, and the client's own again in answers.

use serde_json::{Value, json};

use super::support::{self, made, target};
use crate::wire::{
    Host, Protocol,
    translate::{Dialect, Refused, ReplyContext, Target, asked, reply, request},
};

const CLAUDE: (Protocol, &str) = (Protocol::Anthropic, "claude-opus-4-6");
const GEMINI: (Protocol, &str) = (Protocol::Gemini, "gemini-3-pro");

fn sent(from: Dialect, to: (Protocol, &str), body: &Value) -> Value {
    support::sent(from, to, body).0
}

/// What a client that asked so hears of a provider's answer: whole, and of a stream's frames.
fn heard(dialect: Dialect, body: &Value, from: Protocol, answer: &Value, frames: &[Value]) -> (Value, Vec<Value>) {
    let context = || {
        let asked = asked(dialect, body.to_string().as_bytes());
        ReplyContext { asked, ..support::context() }
    };
    let (out, _) = reply(from, dialect, answer.to_string().as_bytes(), &context()).expect("a reply");
    let whole = serde_json::from_slice(&out).expect("JSON");
    (whole, support::streamed(from, dialect, context(), frames))
}

/// A chat that has called a tool, forces it, and has its result.
fn chat(name: &str, id: &str) -> Value {
    let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
    json!({"tools": [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": name}},
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": id, "content": "r"}]})
}

#[test]
fn a_tool_has_a_name_that_claude_takes_and_its_own_in_the_answer() {
    for name in ["caldav.create-event", "srv/tool", "zeit:plan", "größe"] {
        let body = chat(name, "t");
        let out = sent(Dialect::Chat, CLAUDE, &body);
        let told = out["tools"][0]["name"].as_str().expect("a name");
        assert!(told.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')), "{told}");
        assert_eq!(out["tool_choice"]["name"], told);
        assert_eq!(out["messages"][1]["content"][0]["name"], told);
        let call = json!({"type": "tool_use", "id": "t", "name": told, "input": {}});
        let whole = json!({"type": "message", "id": "m", "model": "c", "content": [call], "stop_reason": "tool_use", "usage": {}});
        let frames = [
            json!({"type": "message_start", "message": {"id": "m", "model": "c", "usage": {}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": call}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}}),
            json!({"type": "message_stop"}),
        ];
        let (whole, chunks) = heard(Dialect::Chat, &body, Protocol::Anthropic, &whole, &frames);
        assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["function"]["name"], name);
        let streamed = chunks.iter().find_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0/function/name"));
        assert_eq!(streamed, Some(&json!(name)));
    }
}

#[test]
fn a_tool_has_a_name_that_gemini_takes_and_one_that_it_takes_already_stays() {
    let told = |name: &str| {
        let out = sent(Dialect::Chat, GEMINI, &chat(name, "t"));
        let told = out["tools"][0]["functionDeclarations"][0]["name"].clone();
        assert_eq!(out["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"][0], told);
        assert_eq!(out["contents"][1]["parts"][0]["functionCall"]["name"], told);
        assert_eq!(out["contents"][2]["parts"][0]["functionResponse"]["name"], told);
        told.as_str().expect("a name").to_owned()
    };
    assert_eq!(told("caldav.create-event:1"), "caldav.create-event:1");
    let body = chat("1c_reload", "t");
    let call = json!({"functionCall": {"name": told("1c_reload"), "args": {}}});
    assert!(told("1c_reload").starts_with("_1c_reload_"), "{call}");
    let answer = json!({"candidates": [{"content": {"parts": [call]}, "finishReason": "STOP"}]});
    let (whole, chunks) = heard(Dialect::Chat, &body, Protocol::Gemini, &answer, std::slice::from_ref(&answer));
    assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "1c_reload");
    assert!(chunks.iter().any(|chunk| chunk.to_string().contains("\"1c_reload\"")), "{chunks:?}");
}

#[test]
fn a_tool_in_a_namespace_that_gemini_would_refuse_is_called_and_found_by_its_own() {
    let group = json!({"type": "namespace", "name": "1c", "tools": [{"type": "function", "name": "reload"}]});
    let body = json!({"input": [{"role": "user", "content": "q"},
            {"type": "tool_search_call", "call_id": "s", "execution": "client", "arguments": {}},
            {"type": "tool_search_output", "call_id": "s", "execution": "client", "tools": [group]}],
        "tools": [{"type": "tool_search", "execution": "client", "description": "d"}]});
    let out = sent(Dialect::Responses, GEMINI, &body);
    let told = out["tools"][0]["functionDeclarations"][1]["name"].as_str().expect("a name");
    assert!(told.starts_with("_1c__reload_"), "{told}");
    assert!(out["contents"][2].to_string().contains(&format!("now: {told}.")), "{out}");
    let call = json!({"functionCall": {"name": told, "args": {}}});
    let answer = json!({"candidates": [{"content": {"parts": [call]}, "finishReason": "STOP"}]});
    let (whole, events) = heard(Dialect::Responses, &body, Protocol::Gemini, &answer, std::slice::from_ref(&answer));
    let last = &events.last().expect("an end")["response"];
    for output in [&whole["output"], &last["output"]] {
        let call =
            output.as_array().expect("items").iter().find(|item| item["type"] == "function_call").expect("a call");
        assert_eq!((&call["namespace"], &call["name"]), (&json!("1c"), &json!("reload")));
    }
}

#[test]
fn calls_go_by_ids_that_mistral_and_openai_take_and_by_the_same_in_every_turn() {
    let long = format!("toolu_{}", "a".repeat(40));
    let is_nine = |id: &str| id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "r"});
    let ids = |model: &str, ids: &[&str]| -> Vec<String> {
        let (calls, results): (Vec<Value>, Vec<Value>) = ids.iter().map(|id| (call(id), result(id))).unzip();
        let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": calls}, {"role": "user", "content": results}]});
        let out = sent(Dialect::Messages, (Protocol::Openai, model), &body);
        let told = |value: &Value| value.as_str().expect("an id").to_owned();
        let calls = out["messages"][1]["tool_calls"].as_array().expect("calls");
        let calls: Vec<String> = calls.iter().map(|call| told(&call["id"])).collect();
        let results = out["messages"].as_array().expect("messages")[2..].iter();
        assert_eq!(results.map(|result| told(&result["tool_call_id"])).collect::<Vec<_>>(), calls);
        calls
    };
    for model in ["mistral-large-latest", "mistralai/Mixtral-8x22B", "codestral-2508", "magistral-medium"] {
        let told = ids(model, &["toolu_01", "toolu_01", "call_x", "abcDEF123"]);
        assert!(told.iter().all(|id| is_nine(id)), "{told:?}");
        assert_eq!(told.iter().collect::<std::collections::HashSet<_>>().len(), 4, "{told:?}");
        assert_eq!((&told[3], &told[0]), (&"abcDEF123".to_owned(), &ids(model, &["toolu_01"])[0]));
    }
    let told = ids("gpt-4o", &[&long, &long, "toolu_01"]);
    assert!(told[0].len() == 40 && told[1].len() == 40 && told[0] != told[1], "{told:?}");
    assert_eq!(told[2], "toolu_01");
    assert_eq!(ids("kimi-k2", &["functions.f:0", &long]), ["functions.f:0", &long]);
}

#[test]
fn ids_are_mistrals_at_its_own_api_whatever_the_model_is_called() {
    let call = json!({"id": "call_0123456789", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_0123456789", "content": "r"}]});
    let to = Target { host: Host::Mistral, ..target(Protocol::Openai, "ag:house:1") };
    let out = request(Dialect::Chat, body.to_string().as_bytes(), &to).expect("a request").body;
    let out: Value = serde_json::from_slice(&out).expect("JSON");
    let (called, answered) = (&out["messages"][1]["tool_calls"][0]["id"], &out["messages"][2]["tool_call_id"]);
    assert_eq!((called.as_str().map(str::len), called), (Some(9), answered));
}

#[test]
fn a_forced_call_of_a_tool_that_is_not_offered_moves_on() {
    let chat = |choice: &str| {
        json!({"messages": [{"role": "user", "content": "q"}], "tools": [{"type": "function", "function": {"name": "f"}}],
            "tool_choice": {"type": "function", "function": {"name": choice}}})
    };
    let messages = |choice: &str| {
        json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"}], "tool_choice": {"type": "tool", "name": choice},
            "tools": [{"type": "code_execution_20250825", "name": "code_execution"}, {"name": "f", "input_schema": {"type": "object"}}]})
    };
    let responses = |choice: &str| {
        let choice = if choice == "f" {
            json!({"type": "function", "name": "f"})
        } else {
            json!({"type": "mcp", "server_label": "s", "name": choice})
        };
        json!({"input": "q", "tool_choice": choice, "tools": [{"type": "mcp", "server_label": "s"}, {"type": "function", "name": "f"}]})
    };
    for to in [(Protocol::Openai, "gpt-4o"), CLAUDE, GEMINI] {
        for (dialect, offered, absent) in [
            (Dialect::Chat, chat("f"), chat("g")),
            (Dialect::Messages, messages("f"), messages("code_execution")),
            (Dialect::Responses, responses("f"), responses("y")),
        ] {
            assert!(made(dialect, to, &offered).is_ok(), "{to:?} {offered}");
            let made = made(dialect, to, &absent);
            let is_told =
                matches!(&made, Err(Refused::Unsupported { param: Some(param), .. }) if param == "tool_choice");
            assert!(is_told, "{to:?} {absent} {made:?}");
        }
    }
}
