//! Owns the cases of tool calls: the digits of their arguments.

use serde_json::{Value, json};

use super::{
    Protocol,
    translate::{Dialect, ReplyContext, StreamTranslator, reply},
};

/// What a tree of values would write otherwise.
const DIGITS: &str =
    r#"{"id":12345678901234567890123,"safe":9007199254740993,"price":1.10,"big":1E5,"in":[{"x":-0.0}]}"#;

fn context() -> ReplyContext {
    ReplyContext { id: "i".into(), created: 1, model: "m".into(), ..ReplyContext::default() }
}

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
    let text = String::from_utf8(out).expect("UTF-8");
    text.lines().filter_map(|l| l.strip_prefix("data: ")).filter_map(|l| serde_json::from_str(l).ok()).collect()
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
        [("", "{}"), (" null ", "{}"), ("[1]", r#"{"value":[1]}"#), ("{\"a\":", r#"{"value":"{\"a\":"}"#)]
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
