//! Owns that an answer is told alike, be it whole or a stream: its items, its names, its counts.

use serde_json::{Value, json};

use super::support::{context, streamed};
use crate::wire::{
    Protocol, Usage, peek,
    translate::{Dialect, StreamTranslator, reply},
};

/// An answer of OpenAI's protocol, to a client of Responses: whole, and of a stream the last event and those before it.
fn told(message: &Value, finish: &str) -> (Value, Value, Vec<Value>) {
    let answer = |member: &str| json!({"id": "c", "model": "m", "choices": [{"index": 0, (member): message, "finish_reason": finish}]});
    let whole = written(Protocol::Openai, Dialect::Responses, &answer("message"));
    let mut events = streamed(Protocol::Openai, Dialect::Responses, context(), &[answer("delta")]);
    let last = events.pop().expect("an end");
    (whole, last["response"].clone(), events)
}

fn written(from: Protocol, to: Dialect, body: &Value) -> Value {
    let (out, _) = reply(from, to, body.to_string().as_bytes(), &context()).expect("an answer");
    serde_json::from_slice(&out).expect("JSON")
}

#[test]
fn the_item_that_was_cut_is_incomplete_and_no_other() {
    let call = json!({"id": "t", "function": {"name": "f", "arguments": "{\"a\":"}});
    for (message, finish, want) in [
        (json!({"content": "Hel"}), "length", vec!["incomplete"]),
        (json!({"content": "Hel"}), "content_filter", vec!["incomplete"]),
        (json!({"content": "Hello"}), "stop", vec!["completed"]),
        (json!({"content": "See", "tool_calls": [call]}), "length", vec!["completed", "incomplete"]),
    ] {
        let (whole, end, events) = told(&message, finish);
        let of = |items: &Value| -> Vec<Value> {
            items.as_array().into_iter().flatten().map(|item| item["status"].clone()).collect()
        };
        let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
        assert_eq!(of(&whole["output"]), want, "{message} {finish}");
        assert_eq!(of(&end["output"]), want, "{message} {finish}");
        assert_eq!(done.map(|event| event["item"]["status"].clone()).collect::<Vec<_>>(), want, "{message} {finish}");
    }
}

#[test]
fn a_text_and_a_refusal_are_two_parts_of_one_message() {
    let (whole, end, events) = told(&json!({"content": "Well.", "refusal": "I will not."}), "stop");
    let parts = &whole["output"][0]["content"];
    assert_eq!((&parts[0]["text"], &parts[1]["refusal"]), (&json!("Well."), &json!("I will not.")));
    assert_eq!(whole["output"], end["output"]);
    let places: Vec<(&str, u64)> =
        events.iter().filter_map(|event| Some((event["type"].as_str()?, event["content_index"].as_u64()?))).collect();
    let of = |kind: &'static str, at| {
        ["content_part.added", kind, kind, "content_part.done"].map(|name| (name, at)).into_iter().enumerate()
    };
    let names = |(step, (name, at)): (usize, (&str, u64))| {
        let end = match step {
            1 => ".delta",
            2 => ".done",
            _ => "",
        };
        (format!("response.{name}{end}"), at)
    };
    let want: Vec<(String, u64)> = of("output_text", 0).chain(of("refusal", 1)).map(names).collect();
    assert_eq!(places, want.iter().map(|(name, at)| (name.as_str(), *at)).collect::<Vec<_>>());
}

#[test]
fn a_text_and_a_refusal_are_two_blocks_of_a_message_whole_and_streamed() {
    let said = json!({"content": "Well.", "refusal": "I will not."});
    let answer = |member: &str| json!({"id": "c", "model": "m", "choices": [{"index": 0, (member): said, "finish_reason": "stop"}]});
    let whole = written(Protocol::Openai, Dialect::Messages, &answer("message"));
    let events = streamed(Protocol::Openai, Dialect::Messages, context(), &[answer("delta")]);
    let deltas = events.iter().filter(|event| event["type"] == "content_block_delta");
    let streamed: Vec<Value> = deltas.map(|event| json!({"type": "text", "text": event["delta"]["text"]})).collect();
    let starts = events.iter().filter(|event| event["type"] == "content_block_start").count();
    assert_eq!((&whole["content"], starts), (&json!(streamed), 2), "{events:?}");
}

#[test]
fn a_later_count_of_no_prompt_leaves_the_first_to_clients_and_to_the_account() {
    let start = json!({"type": "message_start", "message": {"id": "x",
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 1}}});
    let stop = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": 0, "output_tokens": 9}});
    let (mut translator, mut out) =
        (StreamTranslator::new(Protocol::Anthropic, Dialect::Chat, context(), true), Vec::new());
    let (mut account, mut passed): (Option<Usage>, Option<Usage>) = (None, None);
    for frame in [&start, &stop].map(Value::to_string) {
        let seen = translator.frame(None, frame.as_bytes(), &mut out).expect("an event").usage.expect("counts");
        account = Some(seen.after(account));
        let seen = peek::messages::frame(None, frame.as_bytes()).expect("an event").usage.expect("counts");
        passed = Some(seen.after(passed));
    }
    let want = Usage { input: 8, output: 9, cached: 3, ..Usage::default() };
    assert_eq!((account, passed), (Some(want), Some(want)));
    let events = streamed(Protocol::Anthropic, Dialect::Chat, context(), &[start, stop]);
    let counts = &events.last().expect("counts")["usage"];
    assert_eq!((&counts["prompt_tokens"], &counts["completion_tokens"]), (&json!(8), &json!(9)));
}

#[test]
fn kimis_counts_reach_clients_of_other_protocols() {
    let choice = json!({"index": 0, "delta": {"content": "a"}, "finish_reason": "stop",
        "usage": {"prompt_tokens": 8, "completion_tokens": 2, "cached_tokens": 3}});
    let events = streamed(Protocol::Openai, Dialect::Messages, context(), &[json!({"id": "c", "choices": [choice]})]);
    let counts = &events[events.len() - 2]["usage"];
    assert_eq!((&counts["input_tokens"], &counts["cache_read_input_tokens"]), (&json!(5), &json!(3)), "{events:?}");
}

#[test]
fn an_answer_whose_names_are_empty_gets_ours() {
    let openai = |member: &str| {
        json!({"id": "", "model": "", "choices": [{"index": 0, (member): {"content": "a",
        "tool_calls": [{"id": "", "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "tool_calls"}]})
    };
    let claude = json!({"id": "", "type": "message", "model": "", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"});
    let gemini = json!({"responseId": "", "modelVersion": "", "candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]});
    let start = json!({"type": "message_start", "message": claude});
    for (from, whole, frame) in [
        (Protocol::Openai, openai("message"), openai("delta")),
        (Protocol::Anthropic, claude, start),
        (Protocol::Gemini, gemini.clone(), gemini),
    ] {
        for (to, id) in [(Dialect::Chat, "chatcmpl-i"), (Dialect::Messages, "msg_i"), (Dialect::Responses, "resp_i")] {
            let answer = written(from, to, &whole);
            let first = streamed(from, to, context(), std::slice::from_ref(&frame)).swap_remove(0);
            let inner = ["message", "response"].into_iter().find_map(|member| first.get(member)).unwrap_or(&first);
            for told in [&answer, inner] {
                assert_eq!((&told["id"], &told["model"]), (&json!(id), &json!("m")), "{from:?} {to:?}");
            }
        }
    }
    let calls = written(Protocol::Openai, Dialect::Messages, &openai("message"));
    assert_eq!(calls["content"][1]["id"], "call_i_0");
}

#[test]
fn thoughts_that_are_signed_one_by_one_stay_apart_in_a_whole_answer() {
    let thought = |text: &str, proof: &str| json!({"type": "thinking", "thinking": text, "signature": proof});
    let content = json!([thought("a", "s1"), thought("", "s2"), {"type": "redacted_thinking", "data": "d"}, thought("b", "s3"),
        {"type": "text", "text": "c"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}]);
    let body = json!({"type": "message", "content": content, "stop_reason": "tool_use"});
    let told = written(Protocol::Anthropic, Dialect::Chat, &body);
    let blocks = &told["choices"][0]["message"]["thinking_blocks"];
    assert_eq!(
        blocks,
        &json!([thought("a", "s1"), thought("", "s2"), {"type": "redacted_thinking", "data": "d"}, thought("b", "s3")])
    );
}

#[test]
fn a_whole_answer_counts_its_choices_and_calls_as_it_likes() {
    let call = |name: &str| json!({"index": 0, "function": {"name": name, "arguments": "{}"}});
    let message = json!({"content": null, "tool_calls": [call("f"), call("g")]});
    for finish in [json!("stop"), json!(""), Value::Null] {
        let body = json!({"id": "c", "choices": [{"index": 1, "message": message, "finish_reason": finish}]});
        let told = written(Protocol::Openai, Dialect::Messages, &body);
        let names: Vec<&Value> = told["content"].as_array().into_iter().flatten().map(|call| &call["name"]).collect();
        assert_eq!(names, ["f", "g"], "{finish}");
        assert_eq!(told["stop_reason"], "tool_use", "{finish}");
    }
}

#[test]
fn an_empty_delta_beside_a_whole_message_does_not_hide_it() {
    let call = json!({"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}});
    let message = json!({"role": "assistant", "content": "a", "tool_calls": [call, call]});
    for delta in [json!({"role": "assistant", "content": ""}), Value::Null] {
        let choice = json!({"index": 0, "message": message, "delta": delta, "finish_reason": "stop"});
        let told = written(Protocol::Openai, Dialect::Messages, &json!({"id": "c", "choices": [choice]}));
        let kinds: Vec<&Value> = told["content"].as_array().into_iter().flatten().map(|block| &block["type"]).collect();
        assert_eq!(kinds, ["text", "tool_use", "tool_use"], "{delta}");
    }
    // Of a stream, what has been said so far is said again.
    let piece = |said: &str, so_far: &str| json!({"id": "c", "choices": [{"index": 0, "delta": {"content": said}, "message": {"content": so_far}}]});
    let last = json!({"id": "c", "choices": [{"index": 0, "message": {"content": "ab"}, "finish_reason": "stop"}]});
    let events = streamed(Protocol::Openai, Dialect::Messages, context(), &[piece("a", "a"), piece("b", "ab"), last]);
    let told: String = events.iter().filter_map(|event| event.pointer("/delta/text")?.as_str()).collect();
    assert_eq!(told, "ab");
}

#[test]
fn later_counts_without_those_of_the_cache_leave_the_prompt_as_it_was_counted() {
    let start = json!({"type": "message_start", "message": {"id": "x", "usage": {"input_tokens": 5,
        "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4, "output_tokens": 1}}});
    for (later, input, cached, written) in [
        (json!({"input_tokens": 5, "output_tokens": 9}), 12, 3, 4),
        (json!({"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 9}), 12, 3, 4),
        // The provider's own tools have added to the prompt.
        (
            json!({"input_tokens": 20, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4, "output_tokens": 9}),
            27,
            3,
            4,
        ),
        // An estimate, put right.
        (
            json!({"input_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4, "output_tokens": 9}),
            9,
            3,
            4,
        ),
    ] {
        let stop = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": later});
        let passed = [&start, &stop].map(Value::to_string).iter().fold(None, |passed, frame| {
            let seen = peek::messages::frame(None, frame.as_bytes()).expect("an event").usage.expect("counts");
            Some(seen.after(passed))
        });
        assert_eq!(passed, Some(Usage { input, output: 9, cached, written, reasoning: 0 }), "{later}");
        let events = streamed(Protocol::Anthropic, Dialect::Chat, context(), &[start.clone(), stop]);
        let counts = &events.last().expect("counts")["usage"];
        assert_eq!(counts["prompt_tokens"], json!(input), "{later}");
    }
}

#[test]
fn a_member_of_another_type_that_nobody_needs_costs_no_whole_answer() {
    let put = |mut body: Value, at: &str, odd: Value| {
        let (parent, member) = at.rsplit_once('/').expect("a place");
        body.pointer_mut(parent).expect("a parent")[member] = odd;
        body
    };
    let call = json!({"id": "t", "function": {"name": "f", "arguments": "{}"}});
    let choice = json!({"index": 0, "message": {"content": "a", "tool_calls": [call]}, "finish_reason": "tool_calls"});
    let openai = json!({"id": "c", "model": "m", "choices": [choice]});
    let block = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    let claude = json!({"id": "c", "type": "message", "model": "m", "stop_reason": "tool_use",
        "content": [{"type": "text", "text": "a"}, block]});
    for (protocol, body, at, odd) in [
        (Protocol::Openai, &openai, "/id", json!(7)),
        (Protocol::Openai, &openai, "/model", json!({})),
        (Protocol::Openai, &openai, "/choices/0/index", Value::Null),
        (Protocol::Openai, &openai, "/choices/0/index", json!("a")),
        (Protocol::Openai, &openai, "/choices/0/message/refusal", json!(false)),
        (Protocol::Openai, &openai, "/choices/0/message/audio", json!("")),
        (Protocol::Openai, &openai, "/choices/0/message/images", json!({})),
        (Protocol::Openai, &openai, "/choices/0/message/reasoning", json!({})),
        (Protocol::Openai, &openai, "/choices/0/message/reasoning_content", json!([])),
        (Protocol::Openai, &openai, "/choices/0/message/tool_calls/0/id", json!(7)),
        (Protocol::Anthropic, &claude, "/id", json!(7)),
        (Protocol::Anthropic, &claude, "/model", json!([])),
        (Protocol::Anthropic, &claude, "/stop_sequence", json!(false)),
        (Protocol::Anthropic, &claude, "/stop_details", json!("")),
        (Protocol::Anthropic, &claude, "/content/0/signature", json!(false)),
        (Protocol::Anthropic, &claude, "/content/1/id", json!(7)),
    ] {
        let told = written(protocol, Dialect::Messages, &put(body.clone(), at, odd));
        let kinds: Vec<&Value> = told["content"].as_array().into_iter().flatten().map(|block| &block["type"]).collect();
        assert_eq!(kinds, ["text", "tool_use"], "{protocol:?} {at}");
    }
}

#[test]
fn an_empty_text_is_no_block_of_a_message() {
    let body = json!({"candidates": [{"content": {"role": "model", "parts": [
        {"functionCall": {"name": "f", "args": {}}}, {"text": "", "thoughtSignature": "c2ln"}]}, "finishReason": "STOP"}]});
    let (out, _) =
        reply(Protocol::Gemini, Dialect::Messages, body.to_string().as_bytes(), &context()).expect("an answer");
    let message: Value = serde_json::from_slice(&out).expect("JSON");
    assert!(
        message["content"].as_array().is_some_and(|all| all.iter().all(|block| block["type"] != "text")),
        "{message}"
    );
}
