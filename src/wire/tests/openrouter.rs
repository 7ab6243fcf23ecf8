//! What `OpenRouter` takes beyond OpenAI's protocol, and tells: marks for caches, wishes of reasoning, and reasoning in detail.

use serde_json::{Value, json};

use super::{
    losses::asked,
    support::{context, streamed, target},
};
use crate::wire::{
    Host, Protocol,
    json::list,
    translate::{Dialect, ReplyContext, Target, reply, request},
};

const CLAUDE: &str = "anthropic/claude-sonnet-5";
const GEMINI: &str = "google/gemini-3-pro-preview";

/// A request at a host, and what is lost of it.
fn sent(host: Host, from: Dialect, model: &str, body: &Value) -> (Value, Vec<String>) {
    let target = Target { host, refuse_unsupported: true, ..target(Protocol::Openai, model) };
    let made = request(from, body.to_string().as_bytes(), &target).expect("a request");
    (serde_json::from_slice(&made.body).expect("JSON"), made.dropped)
}

/// One at `OpenRouter`, of which nothing is lost.
fn routed(from: Dialect, model: &str, body: &Value) -> Value {
    let (out, dropped) = sent(Host::OpenRouter, from, model, body);
    assert_eq!(dropped, Vec::<String>::new(), "{body}");
    out
}

fn mark() -> Value {
    json!({"type": "ephemeral", "ttl": "1h"})
}

fn marked(text: &str) -> Value {
    json!({"type": "text", "text": text, "cache_control": mark()})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn the_marks_of_claude_code_reach_openrouter_where_it_takes_them() {
    let source = json!({"type": "base64", "media_type": "image/png", "data": "QUE="});
    let result = |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let mut last = result("t2", json!([text("two"), {"type": "image", "source": source}]));
    last["cache_control"] = mark();
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let body = json!({"max_tokens": 9, "cache_control": mark(), "system": [text("Who."), marked("How."), text("When.")],
        "tools": [{"name": "e", "input_schema": {"type": "object"}},
            {"name": "f", "input_schema": {"type": "object"}, "cache_control": mark()}],
        "messages": [{"role": "user", "content": [text("q"), marked("r")]},
            {"role": "assistant", "content": [marked("a"), call("t1"), call("t2")]},
            {"role": "user", "content": [result("t1", json!("one")), last]}]});
    let out = routed(Dialect::Messages, CLAUDE, &body);
    assert_eq!(out["cache_control"], mark());
    assert_eq!((out["tools"][0].get("cache_control"), &out["tools"][1]["cache_control"]), (None, &mark()));
    let messages = list(&out, "messages");
    let said: Vec<&Value> = messages.iter().map(|message| &message["content"]).collect();
    assert_eq!(said[0], &json!([text("Who."), marked("How."), text("When.")]));
    assert_eq!(said[1], &json!([text("q"), marked("r")]));
    assert_eq!((said[2], list(&messages[2], "tool_calls").len()), (&json!([marked("a")]), 2));
    assert_eq!((said[3], said[4]), (&json!("one"), &json!([marked("two")])), "{out}");
    assert_eq!(said[5][0]["type"], "image_url");
    assert_eq!(out.to_string().matches("cache_control").count(), 6, "{out}");
}

#[test]
fn a_mark_on_what_has_no_place_for_one_is_left_out() {
    let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}, "cache_control": mark()});
    let nothing = json!({"type": "tool_result", "tool_use_id": "t", "content": "", "cache_control": mark()});
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": [text("a"), call]},
        {"role": "user", "content": [nothing]}]);
    let out = routed(Dialect::Messages, CLAUDE, &asked(Dialect::Messages, json!({"messages": messages})));
    assert!(!out.to_string().contains("cache_control"), "{out}");
    assert_eq!((&out["messages"][1]["content"], &out["messages"][2]["content"]), (&json!("a"), &json!("")));
}

#[test]
fn how_much_to_reason_is_told_openrouter_in_its_own_words_and_off_only_to_whom_can_do_without() {
    let budget = json!({"thinking": {"type": "enabled", "budget_tokens": 4000}});
    let effort = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}});
    let (free, off) = (json!({"thinking": {"type": "adaptive"}}), json!({"thinking": {"type": "disabled"}}));
    let tool = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    for (model, wish, told) in [
        (CLAUDE, &budget, json!({"max_tokens": 4000})),
        (CLAUDE, &effort, json!({"effort": "max"})),
        (CLAUDE, &free, json!({"enabled": true})),
        (CLAUDE, &off, Value::Null),
        ("deepseek/deepseek-v3.2", &budget, json!({"max_tokens": 4000})),
        // OpenAI's own endpoint of chats takes no effort beside tools from 5.4 on.
        ("openai/gpt-5.4", &effort, json!({"effort": "xhigh"})),
        ("openai/gpt-5.4", &budget, json!({"effort": "medium"})),
        ("openai/gpt-5.4", &free, Value::Null),
        ("openai/gpt-5.4", &off, json!({"effort": "none"})),
        ("openai/gpt-5", &off, json!({"effort": "minimal"})),
    ] {
        let mut body = asked(Dialect::Messages, wish.clone());
        body["tools"] = tool.clone();
        let out = routed(Dialect::Messages, model, &body);
        assert_eq!(out.get("reasoning").unwrap_or(&Value::Null), &told, "{model} {wish}");
        assert_eq!(out.get("reasoning_effort"), None);
    }
}

/// Details of reasoning as Claude's come, and in the pieces of a stream.
fn signed() -> (Value, Vec<Value>) {
    let piece = |more: Value| {
        let mut piece = json!({"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0});
        piece.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        piece
    };
    let pieces = [json!({"text": "Look ", "signature": null}), json!({"text": "it up."}), json!({"signature": "c2ln"})];
    let whole = json!([piece(json!({"text": "Look it up.", "signature": "c2ln"}))]);
    (whole, pieces.map(|more| json!([piece(more)])).into())
}

/// One as Gemini's come for its calls.
fn hidden(call: &str) -> Value {
    json!({"type": "reasoning.encrypted", "data": "Y2lw", "id": call, "format": "google-gemini-v1", "index": 0})
}

fn call() -> Value {
    json!({"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}})
}

fn of(model: &str) -> ReplyContext {
    ReplyContext { model: model.into(), ..context() }
}

fn chunk(model: &str, delta: &Value, finish: Option<&str>) -> Value {
    json!({"model": model, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

/// The blocks of a Messages stream.
fn blocks(events: &[Value]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    for event in events {
        match event["type"].as_str().unwrap_or_default() {
            "content_block_start" => blocks.push(event["content_block"].clone()),
            "content_block_delta" => {
                let block = blocks.last_mut().expect("a block");
                let delta = &event["delta"];
                for key in ["text", "thinking", "signature"] {
                    if let Some(more) = delta[key].as_str() {
                        block[key] = (block[key].as_str().unwrap_or_default().to_owned() + more).into();
                    }
                }
            }
            _ => {}
        }
    }
    blocks
}

/// A conversation in which a client of Messages brings back the blocks of an answer, and the result of its call.
fn brought(blocks: &[Value]) -> Value {
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": "r"});
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": blocks},
        {"role": "user", "content": [result]}]);
    asked(Dialect::Messages, json!({"messages": messages}))
}

#[test]
fn signed_reasoning_comes_back_to_openrouter_as_it_was_told_whole_or_streamed() {
    let (details, pieces) = signed();
    let message = json!({"role": "assistant", "content": null, "reasoning": "Look it up.", "reasoning_details": details,
        "tool_calls": [call()]});
    let answer = json!({"model": CLAUDE, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let answer = answer.to_string();
    let (out, _) = reply(Protocol::Openai, Dialect::Messages, answer.as_bytes(), &of(CLAUDE)).expect("a reply");
    let whole: Value = serde_json::from_slice(&out).expect("JSON");
    let texts = [json!("Look "), json!("it up."), Value::Null];
    let mut frames: Vec<Value> = texts
        .iter()
        .zip(&pieces)
        .map(|(text, piece)| chunk(CLAUDE, &json!({"reasoning": text, "reasoning_details": piece}), None))
        .collect();
    frames.push(chunk(CLAUDE, &json!({"tool_calls": [call()]}), None));
    frames.push(chunk(CLAUDE, &json!({}), Some("tool_calls")));
    let told = blocks(&streamed(Protocol::Openai, Dialect::Messages, of(CLAUDE), &frames));
    for blocks in [list(&whole, "content"), &told] {
        let kinds: Vec<&Value> = blocks.iter().map(|block| &block["type"]).collect();
        assert_eq!(kinds, ["thinking", "tool_use"], "{blocks:?}");
        assert_eq!(blocks[0]["thinking"], "Look it up.");
        let message = routed(Dialect::Messages, CLAUDE, &brought(blocks))["messages"][1].take();
        assert_eq!(
            (&message["reasoning_details"], &message["reasoning"]),
            (&details, &json!("Look it up.")),
            "{message}"
        );
        let (out, dropped) = sent(Host::OpenRouter, Dialect::Messages, GEMINI, &brought(blocks));
        assert_eq!((out["messages"][1].get("reasoning"), dropped), (None, vec!["messages[].thinking".to_owned()]));
        let (out, _) = sent(Host::Other, Dialect::Messages, CLAUDE, &brought(blocks));
        let message = &out["messages"][1];
        assert_eq!((message.get("reasoning_details"), &message["reasoning"]), (None, &json!("Look it up.")));
    }
    let (out, _) = reply(Protocol::Openai, Dialect::Responses, answer.as_bytes(), &of(CLAUDE)).expect("a reply");
    let out: Value = serde_json::from_slice(&out).expect("JSON");
    let mut input = vec![json!({"role": "user", "content": "q"})];
    input.extend_from_slice(list(&out, "output"));
    input.push(json!({"type": "function_call_output", "call_id": "t", "output": "r"}));
    let message = routed(Dialect::Responses, CLAUDE, &json!({"input": input}))["messages"][1].clone();
    assert_eq!(message["reasoning_details"], details, "{message}");
}

#[test]
fn what_geminis_calls_need_back_goes_along_with_them_wherever_a_stream_tells_it() {
    let with = |details: Option<Value>, more: Value| {
        let mut delta = more;
        delta["reasoning_details"] = details.unwrap_or_default();
        chunk(GEMINI, &delta, None)
    };
    let said = || with(None, json!({"content": "So."}));
    let told = || with(Some(json!([hidden("t")])), json!({}));
    let called = || with(None, json!({"tool_calls": [call()]}));
    let both = || with(Some(json!([hidden("t")])), json!({"tool_calls": [call()]}));
    for (frames, kinds) in [
        (vec![both()], vec!["thinking", "tool_use"]),
        (vec![told(), called()], vec!["thinking", "tool_use"]),
        (vec![called(), told()], vec!["tool_use", "thinking"]),
        (vec![said(), told(), called()], vec!["text", "thinking", "tool_use"]),
        (vec![told(), said(), called()], vec!["thinking", "text", "tool_use"]),
    ] {
        let frames: Vec<Value> = frames.into_iter().chain([chunk(GEMINI, &json!({}), Some("tool_calls"))]).collect();
        let blocks = blocks(&streamed(Protocol::Openai, Dialect::Messages, of(GEMINI), &frames));
        let found: Vec<&str> = blocks.iter().filter_map(|block| block["type"].as_str()).collect();
        assert_eq!(found, kinds);
        let out = routed(Dialect::Messages, GEMINI, &brought(&blocks));
        assert_eq!(out["messages"][1]["reasoning_details"], json!([hidden("t")]), "{blocks:?}");
    }
    let frames = [said(), told(), chunk(GEMINI, &json!({}), Some("stop"))];
    let blocks = blocks(&streamed(Protocol::Openai, Dialect::Messages, of(GEMINI), &frames));
    assert_eq!(blocks, [text("So.")], "the last block is the answer");
}

/// A message of two calls in a conversation that was begun elsewhere, sent on.
fn begun_elsewhere(host: Host, model: &str, signature: &str) -> Value {
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "r"});
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": signature});
    let messages = json!([{"role": "user", "content": "q"},
        {"role": "assistant", "content": [thought, call("t1"), call("t2")]},
        {"role": "user", "content": [result("t1"), result("t2")]}]);
    sent(host, Dialect::Messages, model, &asked(Dialect::Messages, json!({"messages": messages}))).0["messages"][1]
        .take()
}

#[test]
fn gemini_behind_openais_protocol_takes_a_tool_loop_that_was_begun_elsewhere() {
    const SKIP: &str = "skip_thought_signature_validator";
    let proof = |signature: &str| json!({"google": {"thought_signature": signature}});
    let stand_in =
        json!([{"type": "reasoning.encrypted", "data": SKIP, "id": "t1", "format": "google-gemini-v1", "index": 0}]);
    // Claude's, Google's own and nobody's.
    for signature in ["EqQBCgIYAhIM", "gemini:Z3M=", ""] {
        let routed = begun_elsewhere(Host::OpenRouter, GEMINI, signature);
        assert_eq!(routed["reasoning_details"], stand_in, "{signature}");
        assert!(!routed.to_string().contains("extra_content"), "which it does not know: {routed}");
        let own = begun_elsewhere(Host::Other, "gemini-3-pro-preview", signature);
        let known = if signature.starts_with("gemini:") { "Z3M=" } else { SKIP };
        let calls = &own["tool_calls"];
        assert_eq!((&calls[0]["extra_content"], calls[1].get("extra_content")), (&proof(known), None), "{own}");
        assert_eq!(own.get("reasoning_details"), None);
        for model in ["google/gemini-2.5-pro", "openai/gpt-5", CLAUDE] {
            let other = begun_elsewhere(Host::OpenRouter, model, signature);
            assert!(!other.to_string().contains(SKIP), "{model}: {other}");
        }
    }
}

#[test]
fn a_shorter_answer_has_a_budget_within_it_and_instructions_of_nothing_are_not_sent() {
    let body = json!({"max_tokens": 100_000, "thinking": {"type": "enabled", "budget_tokens": 99_999},
        "system": [{"type": "text", "text": "", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "q"}]});
    let to = Target {
        host: Host::OpenRouter,
        at_most: Some(8_000),
        ..target(Protocol::Openai, "anthropic/claude-sonnet-4")
    };
    let made = request(Dialect::Messages, body.to_string().as_bytes(), &to).expect("a request");
    let out: Value = serde_json::from_slice(&made.body).expect("JSON");
    assert_eq!((&out["max_tokens"], &out["reasoning"]["max_tokens"]), (&json!(8_000), &json!(7_999)), "{out}");
    assert_eq!(out["messages"].as_array().map(Vec::len), Some(1), "{out}");
}
