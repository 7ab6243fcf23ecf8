//! Owns the cases of tool calls: the digits of their arguments, and calls of `functions`, as they were before there were tools.

use serde_json::{Value, json};

use super::support::{self, context, events, kept};
use crate::wire::{
    Protocol,
    translate::{Dialect, ReplyContext, StreamTranslator, asked, reply},
};

/// What a tree of values would write otherwise.
const DIGITS: &str =
    r#"{"id":12345678901234567890123,"safe":9007199254740993,"price":1.10,"big":1E5,"in":[{"x":-0.0}]}"#;

/// The reply's own text: a test that parsed it would lose the digits, too.
fn whole(from: Protocol, to: Dialect, body: &str) -> String {
    let (out, _) = reply(from, to, body.as_bytes(), &context()).expect("a reply");
    String::from_utf8(out).expect("UTF-8")
}

fn streamed(from: Protocol, to: Dialect, frames: &[&str]) -> Vec<Value> {
    let (mut translator, mut out) = (StreamTranslator::new(from, to, context(), true), Vec::new());
    for frame in frames {
        translator.frame(None, frame.as_bytes(), &mut out).expect("a frame");
    }
    assert!(translator.end(&mut out));
    events(&out)
}

#[test]
fn arguments_keep_their_providers_digits_in_every_dialect() {
    let claude = format!(
        r#"{{"type":"message","content":[{{"type":"text","text":"hm"}},{{"type":"tool_use","id":"t","name":"f","input":{DIGITS}}}],"stop_reason":"tool_use"}}"#
    );
    let gemini = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","args":{DIGITS}}}}}]}},"finishReason":"STOP"}}]}}"#
    );
    let arguments = json!(DIGITS).to_string();
    let openai = format!(
        r#"{{"choices":[{{"index":0,"message":{{"tool_calls":[{{"id":"c","function":{{"name":"f","arguments":{arguments}}}}}]}},"finish_reason":"tool_calls"}}]}}"#
    );
    for (from, body) in [(Protocol::Anthropic, &claude), (Protocol::Gemini, &gemini), (Protocol::Openai, &openai)] {
        for to in [Dialect::Chat, Dialect::Responses] {
            let out = whole(from, to, body);
            assert!(out.contains(&format!("\"arguments\":{arguments}")), "{from:?} {to:?}: {out}");
        }
        let out = whole(from, Dialect::Messages, body);
        assert!(out.contains(&format!("\"input\":{DIGITS}")), "{from:?}: {out}");
    }
}

#[test]
fn what_is_no_object_is_made_one_in_a_message() {
    for (given, want) in
        [("", "{}"), (" null ", "{}"), ("[1]", r#"{"value":[1]}"#), ("{\"a\":", r#"{"INVALID_JSON":"{\"a\":"}"#)]
    {
        let function = json!({"name": "f", "arguments": given});
        let body = json!({"choices": [{"message": {"tool_calls": [{"id": "c", "function": function}]}}]});
        let out = whole(Protocol::Openai, Dialect::Messages, &body.to_string());
        assert!(out.contains(&format!("\"input\":{want}")), "{given}: {out}");
    }
}

#[test]
fn arguments_that_come_in_pieces_keep_their_digits_too() {
    let call = |members: &str| {
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{{members}}}}}]}},"finishReason":"STOP"}}]}}"#
        )
    };
    let pieces = r#""name":"f","partialArgs":[{"jsonPath":"$.id","numberValue":12345678901234567890123},{"jsonPath":"$.price","numberValue":1.10},{"jsonPath":"$.none","numberValue":null}]"#;
    let chunks = streamed(Protocol::Gemini, Dialect::Chat, &[&call(pieces)]);
    let said: String =
        chunks.iter().filter_map(|c| c.pointer("/choices/0/delta/tool_calls/0/function/arguments")?.as_str()).collect();
    assert_eq!(said, r#"{"id":12345678901234567890123,"price":1.10,"none":null}"#);
}

/// A turn of a client that knows no tools, with a call and its result behind it.
fn older() -> Value {
    json!({"model": "m", "functions": [{"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}],
    "function_call": {"name": "f"},
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"x\":1}",
            "extra_content": {"google": {"thought_signature": "s"}}}},
        {"role": "function", "name": "f", "content": "r1"},
        {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"x\":2}"}},
        {"role": "function", "name": "f", "content": "r2"},
    ]})
}

fn sent(protocol: Protocol, model: &str, body: &Value) -> Value {
    let (body, dropped) = support::sent(Dialect::Chat, (protocol, model), body);
    assert!(dropped.is_empty(), "{dropped:?}");
    body
}

#[test]
fn a_history_of_functions_goes_on_as_one_of_tools() {
    let claude = sent(Protocol::Anthropic, "claude-sonnet-4-5", &older());
    let turn = |id: &str, x: u8, result: &str| {
        [
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "f", "input": {"x": x}}]}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id,
                "content": [{"type": "text", "text": result}]}]}),
        ]
    };
    let want = [turn("f", 1, "r1"), turn("f_2", 2, "r2")].concat();
    assert_eq!(claude["messages"].as_array().map(|all| &all[1..]), Some(&*want), "{claude}");
    let choice = json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true});
    assert_eq!((&claude["tools"][0]["name"], &claude["tool_choice"]), (&json!("f"), &choice));
    let gemini = sent(Protocol::Gemini, "gemini-3-pro-preview", &older());
    assert_eq!(gemini["contents"][1]["parts"][0]["functionCall"], json!({"name": "f", "args": {"x": 1}}));
    assert_eq!(gemini["contents"][1]["parts"][0]["thoughtSignature"], "s");
    let result = json!({"name": "f", "response": {"result": "r2"}});
    assert_eq!(gemini["contents"][4]["parts"][0]["functionResponse"], result);
}

#[test]
fn who_offers_functions_is_answered_with_one_function_call_whole_and_streamed() {
    let context = ReplyContext { asked: asked(Dialect::Chat, older().to_string().as_bytes()), ..context() };
    let call = |n: u8| json!({"functionCall": {"name": "f", "args": {"x": n}}, "thoughtSignature": format!("s{n}")});
    let body = json!({"candidates": [{"content": {"parts": [call(1), call(2)]}, "finishReason": "STOP"}]}).to_string();
    let want = json!({"name": "f", "arguments": "{\"x\":1}", "extra_content": {"google": {"thought_signature": "s1"}}});

    let (out, _) = reply(Protocol::Gemini, Dialect::Chat, body.as_bytes(), &context).expect("a reply");
    let whole: Value = serde_json::from_slice(&out).expect("JSON");
    let choice = &whole["choices"][0];
    assert_eq!((&choice["message"]["function_call"], &choice["finish_reason"]), (&want, &json!("function_call")));
    assert!(choice["message"].get("tool_calls").is_none(), "{choice}");

    let (mut translator, mut out) =
        (StreamTranslator::new(Protocol::Gemini, Dialect::Chat, context, false), Vec::new());
    translator.frame(None, body.as_bytes(), &mut out).expect("a frame");
    assert!(translator.end(&mut out));
    let text = String::from_utf8(out).expect("UTF-8");
    let chunks = text.lines().filter_map(|l| l.strip_prefix("data: ")).filter_map(|l| serde_json::from_str(l).ok());
    let (mut call, mut finish) = (json!({"arguments": ""}), Value::Null);
    for chunk in chunks.map(|chunk: Value| chunk["choices"][0].clone()) {
        assert!(chunk["delta"].get("tool_calls").is_none(), "{chunk}");
        for (key, value) in chunk["delta"]["function_call"].as_object().into_iter().flatten() {
            match (key.as_str(), value.as_str()) {
                ("arguments", Some(more)) => {
                    call[key] = format!("{}{more}", call[key].as_str().unwrap_or_default()).into();
                }
                _ => call[key] = value.clone(),
            }
        }
        finish = chunk["finish_reason"].clone();
    }
    assert_eq!((call, finish), (want, json!("function_call")));
}

#[test]
fn who_offers_tools_as_well_is_answered_with_tool_calls() {
    let tool = json!({"type": "function", "function": {"name": "g"}});
    for (extra, functions) in [(json!({"tools": [tool]}), false), (json!({"tools": []}), true), (json!({}), true)] {
        let mut body = older();
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        let context = ReplyContext { asked: asked(Dialect::Chat, body.to_string().as_bytes()), ..context() };
        let answer = json!({"type": "message", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
            "stop_reason": "tool_use"});
        let (out, _) =
            reply(Protocol::Anthropic, Dialect::Chat, answer.to_string().as_bytes(), &context).expect("a reply");
        let out: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(out["choices"][0]["message"].get("function_call").is_some(), functions, "{body}");
    }
}

#[test]
fn text_amid_the_arguments_of_a_call_does_not_cut_them() {
    let piece = |delta: &Value| json!({"choices": [{"index": 0, "delta": delta}]}).to_string();
    let call = |arguments: &str| {
        let function = json!({"name": "f", "arguments": arguments});
        piece(&json!({"tool_calls": [{"index": 0, "id": "c", "function": function}]}))
    };
    let rest = piece(&json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}));
    let (said, end) = (
        piece(&json!({"content": "hm"})),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}).to_string(),
    );
    for (frames, want) in [
        ([call("{\"x\""), said.clone(), rest.clone(), end.clone()], "{\"x\":1}"),
        ([call("{\"x\":1}"), said.clone(), piece(&json!({})), end.clone()], "{\"x\":1}"),
        ([call(""), said.clone(), piece(&json!({})), end.clone()], ""),
        ([call("{\"x\""), rest.clone(), said.clone(), end.clone()], "{\"x\":1}"),
    ] {
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        let events = streamed(Protocol::Openai, Dialect::Messages, &frames);
        let of = |key: &str| events.iter().filter_map(|e| e["delta"][key].as_str()).collect::<String>();
        assert_eq!((of("partial_json").as_str(), of("text").as_str()), (want, "hm"), "{events:?}");
        let events = streamed(Protocol::Openai, Dialect::Responses, &frames);
        let output = &events.last().expect("an end")["response"]["output"];
        let arguments = if want.is_empty() { "{}" } else { want };
        assert_eq!((&output[0]["arguments"], &output[1]["content"][0]["text"]), (&json!(arguments), &json!("hm")));
    }
}

#[test]
fn a_call_without_arguments_holds_up_no_text_behind_it() {
    let piece = |delta: &Value| json!({"choices": [{"index": 0, "delta": delta}]}).to_string();
    let call = |at: u8| {
        let function = json!({"name": "f", "arguments": ""});
        piece(&json!({"tool_calls": [{"index": at, "id": format!("c{at}"), "function": function}]}))
    };
    let rest = piece(&json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\":1}"}}]}));
    let [blank, word] = ["\n", "hm"].map(|said| piece(&json!({"content": said})));
    let mut translator = StreamTranslator::new(Protocol::Openai, Dialect::Messages, context(), true);
    let mut told = |frame: &str| {
        let mut out = Vec::new();
        let seen = translator.frame(None, frame.as_bytes(), &mut out);
        seen.map(|seen| seen.text.into_owned())
    };
    for (frame, said) in [(&call(0), ""), (&call(1), ""), (&blank, ""), (&word, "\nhm"), (&word, "hm")] {
        assert_eq!(told(frame).as_deref(), Ok(said), "{frame}");
    }
    // The client has been told that the call is over: what it would make of it is another call.
    assert!(told(&rest).is_err());
    let mut late = StreamTranslator::new(Protocol::Openai, Dialect::Messages, context(), true);
    let frames = [call(0), blank, rest].map(|frame| late.frame(None, frame.as_bytes(), &mut Vec::new()));
    assert_eq!(
        frames.map(|seen| seen.map(|seen| seen.text.into_owned())),
        ["", "", "{\"x\":1}\n"].map(|t| Ok(t.to_owned()))
    );
}

#[test]
fn calls_whose_arguments_interleave_are_told_one_after_the_other() {
    let begin = |at: u8| {
        let block = json!({"type": "tool_use", "id": format!("t{at}"), "name": "f", "input": {}});
        json!({"type": "content_block_start", "index": at, "content_block": block}).to_string()
    };
    let piece = |at: u8, json: &str| {
        let delta = json!({"type": "input_json_delta", "partial_json": json});
        json!({"type": "content_block_delta", "index": at, "delta": delta}).to_string()
    };
    let stop = |at: u8| json!({"type": "content_block_stop", "index": at}).to_string();
    let frames = [
        json!({"type": "message_start", "message": {"id": "i", "model": "m"}}).to_string(),
        begin(0),
        begin(1),
        begin(2),
        piece(1, "{\"b\":"),
        piece(0, "{\"a\":1}"),
        stop(2),
        piece(1, "2}"),
        stop(0),
        stop(1),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}).to_string(),
        json!({"type": "message_stop"}).to_string(),
    ];
    let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
    let want = ["{\"a\":1}", "{\"b\":2}", "{}"];
    let events = streamed(Protocol::Anthropic, Dialect::Responses, &frames);
    let output = events.last().expect("an end")["response"]["output"].as_array().expect("items");
    assert_eq!(output.iter().map(|item| item["arguments"].as_str()).collect::<Vec<_>>(), want.map(Some), "{events:?}");
    let chunks = streamed(Protocol::Anthropic, Dialect::Chat, &frames);
    let mut said = [const { String::new() }; 3];
    for call in chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0")) {
        let at = call["index"].as_u64().expect("a number") as usize;
        said[at] += call["function"]["arguments"].as_str().unwrap_or_default();
    }
    assert_eq!(said, want, "{chunks:?}");
}

#[test]
fn a_failed_tool_says_so_unless_its_words_begin_with_that() {
    let told = |text: &str| {
        let result = json!({"type": "tool_result", "tool_use_id": "t", "content": text, "is_error": true});
        let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
            {"role": "user", "content": [result]}]});
        let out = kept(Dialect::Messages, (Protocol::Openai, "gpt-4o"), &body);
        out["messages"][2]["content"].as_str().expect("a text").to_owned()
    };
    for (text, want) in
        [("no file errors.log", "Error: no file errors.log"), (" ERROR: no file", " ERROR: no file"), ("é", "Error: é")]
    {
        assert_eq!(told(text), want);
    }
}

#[test]
fn a_search_for_tools_keeps_the_signature_that_went_out_with_it() {
    let signed = json!({"google": {"thought_signature": "c2ln"}});
    let search =
        json!({"type": "tool_search", "execution": "client", "parameters": {"type": "object", "properties": {}}});
    let body = json!({"tools": [search], "input": [{"role": "user", "content": "q"},
        {"type": "tool_search_call", "call_id": "s", "execution": "client", "arguments": {}, "extra_content": signed},
        {"type": "tool_search_output", "call_id": "s", "execution": "client", "tools": []}]});
    let out = kept(Dialect::Responses, (Protocol::Gemini, "gemini-3-pro"), &body);
    assert_eq!(out["contents"][1]["parts"][0]["thoughtSignature"], "c2ln", "{out}");
}
