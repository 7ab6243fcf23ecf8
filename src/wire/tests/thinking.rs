//! Owns thinking: asked for in each model's own words, and what a client echoes of it given back to who thought it, and no other.

use serde_json::{Value, json};

use super::{
    losses,
    support::{self, context},
};
use crate::wire::{
    Protocol,
    translate::{Dialect, Refused, reply},
};

fn sent(from: Dialect, protocol: Protocol, model: &str, body: &Value) -> Value {
    support::kept(from, (protocol, model), body)
}

/// The last whole object of a stream: the Messages blocks, or the Responses output, that a client has at its end.
fn streamed(from: Protocol, to: Dialect, frames: &[Value]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    for event in support::streamed(from, to, context(), frames) {
        let at = event["index"].as_u64().unwrap_or(0) as usize;
        match event["type"].as_str().unwrap_or_default() {
            "content_block_start" => blocks.push(event["content_block"].clone()),
            "content_block_delta" => {
                for (key, value) in event["delta"].as_object().into_iter().flatten().filter(|(k, _)| *k != "type") {
                    let (key, json) = if key == "partial_json" { ("input", true) } else { (key.as_str(), false) };
                    let more = value.as_str().expect("a string");
                    let before = blocks[at][key].as_str().unwrap_or_default();
                    let whole = format!("{before}{more}");
                    blocks[at][key] =
                        if json { serde_json::from_str(&whole).expect("one piece") } else { whole.into() };
                }
            }
            "response.completed" => blocks = event["response"]["output"].as_array().expect("output").clone(),
            _ => {}
        }
    }
    blocks
}

/// A second turn in each dialect, after an answer's blocks with one call.
fn second_turn(dialect: Dialect, said: &[Value]) -> Value {
    let id = said.iter().find_map(|b| b.get("call_id").or_else(|| b.get("id").filter(|_| b["type"] == "tool_use")));
    let id = id.expect("a call").clone();
    if dialect == Dialect::Messages {
        return json!({"max_tokens": 99, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": said},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "r"}]}]});
    }
    let mut input = vec![json!({"role": "user", "content": "q"})];
    input.extend(said.iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": id, "output": "r"}));
    json!({"input": input})
}

const BOTH: [Dialect; 2] = [Dialect::Messages, Dialect::Responses];

fn deepseek(member: &str) -> (Vec<Value>, Value) {
    let call = json!({"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "x", "model": "deepseek-reasoner",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let frames = vec![
        chunk(json!({member: "h"}), Value::Null),
        chunk(json!({member: "m"}), Value::Null),
        chunk(json!({"tool_calls": [call]}), Value::Null),
        chunk(json!({}), "tool_calls".into()),
    ];
    let whole = json!({"id": "x", "model": "deepseek-reasoner", "choices": [{"index": 0, "finish_reason": "tool_calls",
        "message": {"role": "assistant", "content": null, member: "hm", "tool_calls": [call]}}]});
    (frames, whole)
}

#[test]
fn reasoning_of_an_openai_style_server_comes_back_to_it_in_a_tool_loop() {
    for member in ["reasoning_content", "reasoning"] {
        let (frames, whole) = deepseek(member);
        for dialect in BOTH {
            let (out, _) = reply(Protocol::Openai, dialect, whole.to_string().as_bytes(), &context()).expect("a reply");
            let out: Value = serde_json::from_slice(&out).expect("JSON");
            let said = out.get("content").or_else(|| out.get("output")).and_then(Value::as_array).expect("blocks");
            for said in [said.clone(), streamed(Protocol::Openai, dialect, &frames)] {
                let turn = second_turn(dialect, &said);
                let back = sent(dialect, Protocol::Openai, "deepseek-reasoner", &turn);
                assert_eq!(back["messages"][1][member], "hm", "{back}");
                let other = sent(dialect, Protocol::Openai, "gpt-4o", &turn);
                assert!(other["messages"][1].get(member).is_none(), "{other}");
                assert_eq!(other["messages"][1]["tool_calls"], back["messages"][1]["tool_calls"]);
                let claude = sent(dialect, Protocol::Anthropic, "claude-opus-4-6", &turn);
                assert!(!claude.to_string().contains("hm"), "{claude}");
            }
        }
    }
}

#[test]
fn the_open_weights_are_told_how_much_to_think_and_take_sampling_all_the_same() {
    let asked = |more: Value| {
        let mut body = json!({"max_tokens": 9, "temperature": 0.5, "messages": [{"role": "user", "content": "q"}]});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        sent(Dialect::Messages, Protocol::Openai, "openai/gpt-oss-120b", &body)
    };
    let out = asked(json!({"output_config": {"effort": "max"}}));
    assert_eq!(
        (&out["reasoning_effort"], &out["temperature"], &out["max_tokens"]),
        (&json!("high"), &json!(0.5), &json!(9))
    );
    assert_eq!(asked(json!({"thinking": {"type": "disabled"}}))["reasoning_effort"], "low");
    assert!(asked(json!({})).get("reasoning_effort").is_none());
    let body = json!({"input": "q", "reasoning": {"effort": "medium"}});
    assert_eq!(sent(Dialect::Responses, Protocol::Openai, "gpt-oss:20b", &body)["reasoning_effort"], "medium");
}

#[test]
fn a_signature_on_a_thought_of_geminis_comes_back_with_what_follows_it() {
    let parts = json!([{"text": "hm", "thought": true, "thoughtSignature": "sig"},
        {"functionCall": {"name": "f", "args": {}, "id": "own"}}]);
    let frame = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]});
    for dialect in BOTH {
        let said = streamed(Protocol::Gemini, dialect, std::slice::from_ref(&frame));
        let back = sent(dialect, Protocol::Gemini, "gemini-3-pro-preview", &second_turn(dialect, &said));
        assert_eq!(back["contents"][1]["parts"][0]["thoughtSignature"], "sig", "{back}");
    }
    let (out, _) = reply(Protocol::Gemini, Dialect::Chat, frame.to_string().as_bytes(), &context()).expect("a reply");
    let out: Value = serde_json::from_slice(&out).expect("JSON");
    let turn = json!({"messages": [{"role": "user", "content": "q"}, out["choices"][0]["message"]]});
    let back = sent(Dialect::Chat, Protocol::Gemini, "gemini-3-pro-preview", &turn);
    assert_eq!(back["contents"][1]["parts"][0]["thoughtSignature"], "sig", "{back}");
    let other = sent(Dialect::Chat, Protocol::Anthropic, "claude-opus-4-6", &turn);
    assert!(!other.to_string().contains("sig"), "{other}");
}

#[test]
fn a_thought_signature_before_text_comes_back_on_the_text() {
    let frame = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
        {"text": "hm", "thought": true, "thoughtSignature": "sig"}, {"text": "so"}]}}]});
    let said = streamed(Protocol::Gemini, Dialect::Messages, &[frame]);
    assert_eq!(said[0]["signature"], "gemini:sig");
    let turn = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": said},
        {"role": "user", "content": "r"}]});
    let back = sent(Dialect::Messages, Protocol::Gemini, "gemini-3-pro-preview", &turn);
    assert_eq!(back["contents"][1]["parts"], json!([{"text": "so", "thoughtSignature": "sig"}]));
}

/// A chat request with further members, and what is left out of it, for a model.
fn asked(protocol: Protocol, model: &str, more: &Value) -> Result<(Value, Vec<String>), Refused> {
    let mut body = json!({"messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("members").clone());
    let made = support::made(Dialect::Chat, (protocol, model), &body)?;
    Ok((serde_json::from_slice(&made.body).expect("JSON"), made.dropped))
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])
}

#[test]
fn reasoning_models_of_any_generation_are_asked_in_their_own_words() {
    let body = json!({"max_tokens": 9, "temperature": 0.5, "top_p": 0.5, "reasoning_effort": "high"});
    for model in ["o3", "gpt-5", "gpt-5.2", "gpt-6-luna", "ft:o4-mini-2025-04-16:house::id", "ft:gpt-5:house::id"] {
        let (out, dropped) = asked(Protocol::Openai, model, &body).expect("a request");
        assert_eq!((&out["max_completion_tokens"], &out["reasoning_effort"]), (&json!(9), &json!("high")), "{model}");
        assert!(["max_tokens", "temperature", "top_p"].iter().all(|name| out.get(name).is_none()), "{model}");
        assert_eq!(dropped, ["temperature", "top_p"]);
    }
    let (plain, _) = asked(Protocol::Openai, "gpt-4o", &body).expect("a request");
    assert_eq!((&plain["max_tokens"], plain.get("reasoning_effort")), (&json!(9), None));
}

#[test]
fn a_wish_for_no_reasoning_is_passed_on() {
    for (model, effort) in
        [("gpt-5", Some("minimal")), ("gpt-5.1", Some("none")), ("o3", Some("low")), ("gpt-4o", None)]
    {
        let (out, dropped) = asked(Protocol::Openai, model, &json!({"reasoning_effort": "none"})).expect("a request");
        assert_eq!(out.get("reasoning_effort").and_then(Value::as_str), effort, "{model}");
        assert_eq!(dropped, Vec::<String>::new());
    }
}

#[test]
fn functions_are_called_unthinking_where_chat_completions_takes_no_other() {
    let body = |effort: &str| json!({"tools": tools(), "reasoning_effort": effort});
    for model in ["gpt-5.4", "gpt-5.6-terra", "gpt-6-luna"] {
        let (out, dropped) = asked(Protocol::Openai, model, &body("high")).expect("a request");
        assert_eq!(
            (&out["reasoning_effort"], dropped),
            (&json!("none"), vec!["reasoning_effort".to_owned()]),
            "{model}"
        );
        let (out, dropped) = asked(Protocol::Openai, model, &json!({"tools": tools()})).expect("a request");
        assert_eq!((&out["reasoning_effort"], dropped), (&json!("none"), vec![]), "{model}");
    }
    let (before, dropped) = asked(Protocol::Openai, "gpt-5.2", &body("high")).expect("a request");
    assert_eq!((&before["reasoning_effort"], dropped), (&json!("high"), vec![]));
    let never = asked(Protocol::Openai, "gpt-6-astra", &body("low"));
    assert!(matches!(never, Err(Refused::Unsupported { param: Some(param), .. }) if param == "tools"));
}

#[test]
fn stop_sequences_are_never_lost_on_models_that_refuse_them() {
    for model in ["o3", "o4-mini", "gpt-5", "gpt-5.2", "gpt-6-astra"] {
        let got = asked(Protocol::Openai, model, &json!({"stop": ["x"]}));
        assert!(matches!(got, Err(Refused::Unsupported { param: Some(param), .. }) if param == "stop"), "{model}");
    }
    let (out, _) = asked(Protocol::Openai, "gpt-4o", &json!({"stop": ["x"]})).expect("a request");
    assert_eq!(out["stop"], json!(["x"]));
    // OpenAI's limit is nobody else's.
    let five = json!(["a", "b", "c", "d", "e"]);
    let (out, _) = asked(Protocol::Openai, "Qwen/Qwen3.6-27B", &json!({"stop": five})).expect("a request");
    assert_eq!(out["stop"], five);
    let got = asked(Protocol::Openai, "gpt-4o", &json!({"stop": five}));
    assert!(matches!(got, Err(Refused::Unsupported { param: Some(param), .. }) if param == "stop_sequences[4..]"));
}

#[test]
fn claudes_that_think_by_default_are_kept_from_it_as_far_as_they_can_be() {
    for (model, thinking, effort) in [
        ("claude-opus-4-8", None, None),
        ("claude-opus-5", Some("disabled"), None),
        ("claude-haiku-5-5", Some("disabled"), None),
        ("claude-sonnet-5-5", Some("between_tools"), None),
        ("claude-opus-5-5", None, Some("low")),
        ("claude-fable-5-1", None, Some("low")),
    ] {
        let (out, _) = asked(Protocol::Anthropic, model, &json!({"reasoning_effort": "none"})).expect("a request");
        assert_eq!(out.pointer("/thinking/type").and_then(Value::as_str), thinking, "{model}");
        assert_eq!(out.pointer("/output_config/effort").and_then(Value::as_str), effort, "{model}");
    }
}

#[test]
fn a_call_that_is_forced_is_left_to_claudes_that_take_no_force() {
    let body = json!({"tools": tools(), "tool_choice": "required", "reasoning_effort": "low"});
    for model in ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1"] {
        let (out, dropped) = asked(Protocol::Anthropic, model, &body).expect("a request");
        assert_eq!(
            (&out["tool_choice"], dropped),
            (&json!({"type": "auto"}), vec!["tool_choice".to_owned()]),
            "{model}"
        );
        assert_eq!(out["thinking"]["type"], "adaptive");
    }
    for model in ["claude-opus-5", "claude-haiku-5-5", "claude-fable-5"] {
        assert_eq!(
            asked(Protocol::Anthropic, model, &body).expect("a request").0["tool_choice"]["type"],
            "any",
            "{model}"
        );
    }
}

#[test]
fn thinking_by_default_or_as_the_model_sees_fit_leaves_the_answer_its_room() {
    let limit =
        |model, more: &Value| asked(Protocol::Anthropic, model, more).expect("a request").0["max_tokens"].clone();
    assert_eq!(limit("claude-opus-4-8", &json!({"reasoning_effort": "high"})), 4096 + 24_576);
    assert_eq!(limit("claude-opus-5", &json!({})), 4096 + 8192);
    assert_eq!(limit("claude-opus-5", &json!({"reasoning_effort": "none"})), 4096);
    assert_eq!(limit("claude-opus-4-8", &json!({})), 4096);
    assert_eq!(limit("claude-opus-5", &json!({"max_tokens": 9, "reasoning_effort": "high"})), 9);
}

#[test]
fn an_answer_already_begun_is_continued_without_a_budget_to_think() {
    let body = json!({"reasoning_effort": "high", "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": "It is"}]});
    let (out, dropped) = asked(Protocol::Anthropic, "claude-sonnet-4-5", &body).expect("a request");
    assert_eq!(out["messages"][1]["content"][0]["text"], "It is");
    assert_eq!((out.get("thinking"), dropped), (None, vec!["reasoning_effort".to_owned()]));
}

#[test]
fn what_is_not_read_of_wishes_for_thinking_is_told() {
    for (dialect, wish, left) in [
        (
            Dialect::Messages,
            json!({"output_config": {"effort": "low", "task_budget": {"total": 9}}}),
            "output_config.task_budget",
        ),
        (Dialect::Messages, json!({"thinking": {"type": "adaptive", "display": "omitted"}}), "thinking.display"),
        (Dialect::Responses, json!({"reasoning": {"effort": "low", "summary": "auto", "mode": "m"}}), "reasoning.mode"),
    ] {
        let request = losses::asked(dialect, wish);
        assert_eq!(support::sent(dialect, (Protocol::Openai, "gpt-5"), &request).1, [left]);
    }
}

#[test]
fn an_effort_without_a_word_is_no_wish() {
    for (dialect, empty) in [
        (Dialect::Chat, json!({"reasoning_effort": ""})),
        (Dialect::Messages, json!({"output_config": {"effort": ""}})),
        (Dialect::Responses, json!({"reasoning": {"effort": ""}})),
    ] {
        let told = |more| sent(dialect, Protocol::Openai, "gpt-5", &losses::asked(dialect, more));
        assert_eq!(told(empty), told(json!({})), "{dialect:?}");
    }
}
