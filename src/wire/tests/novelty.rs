//! Owns what providers document beyond the common case: their own tools' blocks, odd ends, parts of other kinds.

use serde_json::{Value, json};

use super::support::{self, context};
use crate::wire::{
    Protocol,
    asked::asked,
    translate::{Dialect, ReplyContext, StreamTranslator, reply},
};

const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Messages, Dialect::Responses];

fn streamed(from: Protocol, to: Dialect, frames: &[Value]) -> Vec<Value> {
    support::streamed(from, to, context(), frames)
}

/// Text, calls as name and arguments, and finish of a chat stream.
fn chat(events: &[Value]) -> (String, Vec<(String, String)>, String) {
    let (mut text, mut calls, mut finish) = (String::new(), Vec::<(String, String)>::new(), String::new());
    for choice in events.iter().filter_map(|e| e["choices"].get(0)) {
        text += choice["delta"]["content"].as_str().unwrap_or_default();
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            if let Some(name) = call["function"]["name"].as_str() {
                calls.push((name.to_owned(), String::new()));
            }
            calls.last_mut().expect("a call").1 += call["function"]["arguments"].as_str().unwrap_or_default();
        }
        finish = choice["finish_reason"].as_str().map_or(finish, ToOwned::to_owned);
    }
    (text, calls, finish)
}

fn start(index: u32, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u32, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: u32) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn ended(reason: &str) -> [Value; 2] {
    [json!({"type": "message_delta", "delta": {"stop_reason": reason}}), json!({"type": "message_stop"})]
}

#[test]
fn what_claudes_own_tools_do_is_no_part_of_the_answer() {
    let mut frames = vec![
        start(0, &json!({"type": "server_tool_use", "id": "s", "name": "code_execution", "input": {}})),
        delta(0, &json!({"type": "input_json_delta", "partial_json": "{\"code\":\"x\"}"})),
        stop(0),
        start(1, &json!({"type": "code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": "y"}})),
        stop(1),
        start(3, &json!({"type": "redacted_thinking", "data": "xyz"})),
        stop(3),
        start(4, &json!({"type": "text", "text": "", "citations": []})),
        delta(4, &json!({"type": "text_delta", "text": "so"})),
        delta(4, &json!({"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "u"}})),
        delta(4, &json!({"type": "newer_delta", "x": 1})),
        stop(4),
        start(5, &json!({"type": "tool_use", "id": "t", "name": "f", "input": {}})),
        delta(5, &json!({"type": "input_json_delta", "partial_json": ""})),
        stop(5),
        json!({"type": "newer_event"}),
    ];
    frames.extend(ended("tool_use"));
    let events = streamed(Protocol::Anthropic, Dialect::Chat, &frames);
    assert_eq!(chat(&events), ("so".into(), vec![("f".into(), "{}".into())], "tool_calls".into()));
    let output =
        streamed(Protocol::Anthropic, Dialect::Responses, &frames).pop().expect("an end")["response"]["output"].clone();
    let kinds: Vec<&str> = output.as_array().into_iter().flatten().filter_map(|i| i["type"].as_str()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call"]);
}

#[test]
fn every_documented_stop_reason_has_its_finish() {
    for (reason, finish, incomplete) in [
        ("end_turn", "stop", None),
        ("stop_sequence", "stop", None),
        ("pause_turn", "length", Some("max_output_tokens")),
        ("max_tokens", "length", Some("max_output_tokens")),
        ("model_context_window_exceeded", "length", Some("max_output_tokens")),
        ("refusal", "content_filter", Some("content_filter")),
        ("one_of_tomorrow", "stop", None),
    ] {
        let mut frames = vec![start(0, &json!({"type": "text", "text": "a"})), stop(0)];
        frames.extend(ended(reason));
        assert_eq!(chat(&streamed(Protocol::Anthropic, Dialect::Chat, &frames)).2, finish, "{reason}");
        let end = streamed(Protocol::Anthropic, Dialect::Responses, &frames).pop().expect("an end");
        let why = end.pointer("/response/incomplete_details/reason").and_then(Value::as_str);
        assert_eq!(why, incomplete, "{reason}");
    }
}

#[test]
fn events_that_only_their_sse_name_tells_are_read() {
    let mut translator = StreamTranslator::new(Protocol::Anthropic, Dialect::Chat, ReplyContext::default(), false);
    let mut out = Vec::new();
    for (name, data) in [
        ("content_block_start", r#"{"index":0,"content_block":{"type":"text","text":"a"}}"#),
        ("message_delta", r#"{"delta":{"stop_reason":"end_turn"}}"#),
        ("message_stop", "{}"),
    ] {
        translator.frame(Some(name), data.as_bytes(), &mut out).expect("an event");
    }
    assert!(String::from_utf8_lossy(&out).ends_with("[DONE]\n\n"));
}

#[test]
fn parts_of_geminis_that_are_neither_text_nor_calls_change_no_text() {
    let parts = json!([{"executableCode": {"language": "PYTHON", "code": "1+1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}, {"text": "It is 2."},
        {"text": "", "thoughtSignature": "sig"}, {"newerPart": {}}]);
    let frames = [
        json!({"candidates": [{"index": 1, "content": {"parts": [{"text": "no"}]}},
            {"index": 0, "content": {"parts": parts}, "safetyRatings": []}],
            "usageMetadata": {"promptTokenCount": 5, "toolUsePromptTokenCount": 7}}),
        json!({"candidates": [{"finishReason": "STOP", "groundingMetadata": {}}],
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 3, "toolUsePromptTokenCount": 7}}),
    ];
    let events = streamed(Protocol::Gemini, Dialect::Chat, &frames);
    assert_eq!(chat(&events), ("It is 2.".into(), vec![], "stop".into()));
    let usage = &events.last().expect("an end")["usage"];
    assert_eq!((&usage["prompt_tokens"], &usage["total_tokens"]), (&json!(12), &json!(15)));
}

#[test]
fn calls_of_geminis_without_ids_get_ones_of_their_own() {
    let call = json!({"functionCall": {"name": "f", "args": {"x": 1}}});
    let frame =
        json!({"responseId": "r-1", "candidates": [{"content": {"parts": [call, call]}, "finishReason": "STOP"}]});
    let ids = |body: &Value| -> Vec<String> {
        let calls = body.pointer("/choices/0/message/tool_calls").and_then(Value::as_array).expect("calls");
        calls.iter().filter_map(|c| c["id"].as_str().map(ToOwned::to_owned)).collect()
    };
    let (whole, _) = reply(Protocol::Gemini, Dialect::Chat, frame.to_string().as_bytes(), &context()).expect("a reply");
    let whole = ids(&serde_json::from_slice(&whole).expect("JSON"));
    assert!(whole.len() == 2 && whole[0] != whole[1]);
    let events = streamed(Protocol::Gemini, Dialect::Chat, &[frame]);
    let streamed: Vec<&str> =
        events.iter().filter_map(|e| e.pointer("/choices/0/delta/tool_calls/0/id")?.as_str()).collect();
    assert_eq!(streamed, whole, "an id is the same however the answer came");
}

#[test]
fn openais_side_members_are_passed_over() {
    let chunk = |choices: Value, more: Value| {
        let mut chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "service_tier": "default", "system_fingerprint": "fp", "obfuscation": "xx", "choices": choices});
        chunk.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        chunk
    };
    let choice =
        |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null}]);
    let frames = [
        chunk(json!([]), json!({"prompt_filter_results": []})),
        chunk(
            choice(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null),
            json!({"usage": null}),
        ),
        chunk(
            choice(json!({"content": "a", "annotations": [{"type": "url_citation"}], "audio": null}), Value::Null),
            json!({}),
        ),
        chunk(json!([{"index": 0, "delta": {}}, {"index": 1, "delta": {"content": "other"}}]), json!({})),
        chunk(choice(json!({"refusal": "I will"}), Value::Null), json!({})),
        chunk(choice(json!({"refusal": " not"}), Value::Null), json!({})),
        chunk(choice(json!({}), "stop".into()), json!({})),
        chunk(json!([]), json!({"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})),
    ];
    for dialect in DIALECTS {
        let events = streamed(Protocol::Openai, dialect, &frames);
        let text = Value::from(events.clone()).to_string();
        assert!(!text.contains("other") && text.contains("I will") && text.contains(" not"), "{text}");
        let last = events.last().expect("an end");
        match dialect {
            Dialect::Chat => assert_eq!(chat(&events), ("a".into(), vec![], "stop".into())),
            Dialect::Messages => assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "refusal"),
            Dialect::Responses => {
                assert_eq!(last["response"]["output"][0]["content"][1]["refusal"], "I will not");
                assert_eq!(last["response"]["status"], "completed");
                assert_eq!(last["response"]["usage"]["total_tokens"], 7);
            }
        }
    }
}

#[test]
fn a_stream_whose_choice_counts_its_tokens_is_translated_to_its_end() {
    // Foundry Local's (microsoft/Foundry-Local#263), and text-generation-inference's before 1.4.4 (its #1648).
    let says =
        |(index, text)| json!({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": null}]});
    let mut frames: Vec<Value> = (0..).zip(["a", "b", "c"]).map(says).collect();
    frames.push(json!({"choices": [{"index": 3, "delta": {"content": ""}, "finish_reason": "length"}]}));
    assert_eq!(chat(&streamed(Protocol::Openai, Dialect::Chat, &frames)), ("abc".into(), vec![], "length".into()));
    let events = streamed(Protocol::Openai, Dialect::Responses, &frames);
    assert_eq!(events.last().expect("an end")["response"]["output"][0]["content"][0]["text"], "abc");
}

#[test]
fn the_sequence_that_a_server_stopped_at_is_told_whole_and_streamed_if_the_client_asked_to_stop_there() {
    let request = json!({"stop_sequences": ["END"], "messages": []}).to_string();
    let ctx = || ReplyContext { asked: asked(Dialect::Messages, request.as_bytes()), ..ReplyContext::default() };
    for (stop, told) in [(json!("END"), Some("END")), (json!("<|eot|>"), None), (json!(2), None), (Value::Null, None)] {
        let choice = json!({"index": 0, "message": {"content": "a"}, "delta": {"content": "a"}, "finish_reason": "stop", "stop_reason": stop});
        let body = json!({"choices": [choice]});
        let (whole, _) =
            reply(Protocol::Openai, Dialect::Messages, body.to_string().as_bytes(), &ctx()).expect("a reply");
        let whole: Value = serde_json::from_slice(&whole).expect("JSON");
        let events = support::streamed(Protocol::Openai, Dialect::Messages, ctx(), &[body]);
        let ended = events.iter().find(|e| e["type"] == "message_delta").expect("an end")["delta"].clone();
        let reason = if told.is_some() { "stop_sequence" } else { "end_turn" };
        for end in [&whole, &ended] {
            assert_eq!((&end["stop_reason"], end["stop_sequence"].as_str()), (&json!(reason), told), "{end}");
        }
    }
}

#[test]
fn calls_that_a_server_does_not_end_have_their_arguments() {
    let begin = |at: u8| {
        let block = json!({"type": "tool_use", "id": format!("t{at}"), "name": "f", "input": {}});
        json!({"type": "content_block_start", "index": at, "content_block": block})
    };
    let frames = [
        json!({"type": "message_start", "message": {"id": "i", "model": "m"}}),
        begin(0),
        begin(1),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
        json!({"type": "message_stop"}),
    ];
    let events = streamed(Protocol::Anthropic, Dialect::Responses, &frames);
    let output = events.last().expect("an end")["response"]["output"].as_array().expect("items");
    assert_eq!(output.iter().map(|item| item["arguments"].as_str()).collect::<Vec<_>>(), [Some("{}"); 2], "{events:?}");
}

#[test]
fn an_empty_text_is_no_item_of_a_response_whole_or_streamed() {
    let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    let text = json!({"type": "text", "text": ""});
    let whole = json!({"type": "message", "id": "m", "model": "c", "content": [text, call], "stop_reason": "tool_use"});
    let (out, _) =
        reply(Protocol::Anthropic, Dialect::Responses, whole.to_string().as_bytes(), &context()).expect("a reply");
    let out: Value = serde_json::from_slice(&out).expect("JSON");
    let mut frames = vec![json!({"type": "message_start", "message": {"id": "m", "model": "c"}})];
    let nothing = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ""}});
    frames.extend([start(0, &text), nothing, stop(0), start(1, &call), stop(1)]);
    frames.extend(ended("tool_use"));
    let events = streamed(Protocol::Anthropic, Dialect::Responses, &frames);
    let last = &events.last().expect("an event")["response"]["output"];
    assert_eq!((&out["output"], last.as_array().map(Vec::len)), (last, Some(1)));
}
