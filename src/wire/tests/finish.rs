//! Owns the cases of an answer's end in translated streams: finishes that are none, that come too early, or not at all.

use serde_json::{Value, json};

use super::support::{context, streamed};
use crate::wire::{
    Malformed, Observed, Protocol,
    course::Course,
    translate::{Dialect, StreamTranslator, reply},
};

/// A stream being translated, and how far it has come.
struct Stream {
    translator: StreamTranslator,
    course: Course,
    out: Vec<u8>,
}

impl Stream {
    fn of(from: Protocol) -> Self {
        let translator = StreamTranslator::new(from, Dialect::Chat, context(), true);
        Self { translator, course: Course::new(1), out: Vec::new() }
    }

    fn data(&mut self, data: &[u8]) -> Result<Observed<'static>, Malformed> {
        self.event(None, data)
    }

    fn event(&mut self, name: Option<&str>, data: &[u8]) -> Result<Observed<'static>, Malformed> {
        let seen = self.translator.frame(name, data, &mut self.out)?;
        self.course.note(seen.moves);
        Ok(seen)
    }

    fn frame(&mut self, frame: &Value) {
        self.data(frame.to_string().as_bytes()).expect("a frame");
    }

    /// Whether it may end here: the translator and who watches over it are of one mind.
    fn may_end(&mut self) -> bool {
        let finished = self.course.is_finished();
        assert_eq!(self.translator.end(&mut self.out), finished);
        finished
    }

    /// The finish reason that the client was told.
    fn finish(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.out);
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let chunks = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        chunks.filter_map(|chunk| Some(chunk["choices"][0]["finish_reason"].as_str()?.to_owned())).next_back()
    }
}

fn chat(delta: &Value, finish: &Value) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

fn says(text: &str) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": text}]}}]})
}

#[test]
fn a_reason_that_is_empty_is_none() {
    for (from, frames) in [
        (Protocol::Openai, vec![chat(&json!({"content": "a"}), &json!("")), chat(&json!({}), &json!(""))]),
        (
            Protocol::Anthropic,
            vec![
                json!({"type": "message_start", "message": {"id": "x", "stop_reason": ""}}),
                json!({"type": "message_delta", "delta": {"stop_reason": ""}}),
            ],
        ),
        (Protocol::Gemini, vec![json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": ""}]})]),
    ] {
        let mut stream = Stream::of(from);
        for frame in &frames {
            stream.frame(frame);
        }
        assert!(!stream.may_end(), "{from:?}");
    }
}

#[test]
fn what_is_said_behind_a_finish_takes_it_back() {
    let stop = json!({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]});
    let call = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]}}]});
    for (early, more) in [
        (&stop, &says("a")),
        (&stop, &call),
        (&json!({"candidates": [], "usageMetadata": {"promptTokenCount": 3}}), &says("a")),
    ] {
        let mut stream = Stream::of(Protocol::Gemini);
        stream.frame(early);
        stream.frame(more);
        assert!(!stream.may_end(), "{early} {more}");
        stream.frame(&stop);
        assert!(stream.may_end(), "{early} {more}");
        let reason = if more == &call { "tool_calls" } else { "stop" };
        assert_eq!(stream.finish().as_deref(), Some(reason), "{early} {more}");
    }
    let mut stream = Stream::of(Protocol::Openai);
    stream.frame(&chat(&json!({"content": "a"}), &json!("stop")));
    stream.frame(&chat(&json!({"content": "b"}), &Value::Null));
    assert!(!stream.may_end());
}

#[test]
fn a_list_without_candidates_behind_words_blocks_nothing() {
    let mut stream = Stream::of(Protocol::Gemini);
    stream.frame(&says("a"));
    stream.frame(&json!({"candidates": [], "usageMetadata": {"promptTokenCount": 3}}));
    assert!(!stream.may_end());
}

#[test]
fn a_block_that_ends_behind_the_finish_takes_nothing_back() {
    let mut stream = Stream::of(Protocol::Anthropic);
    for frame in [
        json!({"type": "message_start", "message": {"id": "x"}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
        json!({"type": "content_block_stop", "index": 0}),
    ] {
        stream.frame(&frame);
    }
    assert!(stream.may_end());
    assert_eq!(stream.finish().as_deref(), Some("tool_calls"));
}

#[test]
fn the_end_marker_stands_for_a_finish_behind_words_and_whole_calls() {
    let call = |arguments: &str| {
        chat(
            &json!({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": arguments}}]}),
            &Value::Null,
        )
    };
    for (said, reason) in [
        (chat(&json!({"content": "a"}), &json!("")), Some("stop")),
        (call("{}"), Some("tool_calls")),
        (call(""), Some("tool_calls")),
        (call("{\"a\":"), None),
        (chat(&json!({"role": "assistant", "content": ""}), &Value::Null), None),
    ] {
        let mut stream = Stream::of(Protocol::Openai);
        stream.frame(&said);
        assert_eq!(stream.data(b"[DONE]").is_ok_and(|seen| seen.done && seen.finish), reason.is_some(), "{said}");
        assert_eq!((stream.may_end(), stream.finish().as_deref()), (reason.is_some(), reason), "{said}");
    }
    let mut stream = Stream::of(Protocol::Openai);
    stream.frame(&chat(&json!({"content": "a"}), &json!("length")));
    stream.data(b"[DONE]").expect("the end");
    assert_eq!(stream.finish().as_deref(), Some("length"), "the reason that was given stands");
}

#[test]
fn an_error_is_told_as_one_in_whatever_shape_it_comes() {
    for (event, data) in [
        (Some("error"), r#"{"code":500,"message":"boom"}"#),
        (Some("error"), "boom"),
        (None, r#"{"object":"error","message":"boom","type":"BadRequestError","param":null,"code":400}"#),
        (None, r#"{"text":"boom","error_code":50001}"#),
    ] {
        let mut stream = Stream::of(Protocol::Openai);
        stream.frame(&chat(&json!({"content": "a"}), &Value::Null));
        let seen = stream.event(event, data.as_bytes()).expect("a frame");
        assert!(seen.fault.is_some(), "{data}");
    }
}

#[test]
fn the_end_marker_stands_for_no_finish_where_a_frame_was_not_understood() {
    let unknown = r#"{"message":"boom"}"#;
    for (frame, understood) in [
        (unknown, false),
        (r#"{"choices":null}"#, false),
        (r#"{"choices":"#, false),
        (r#"{"choices":[{"delta":{"content":1}}]}"#, false),
        (r#"{"choices":[],"prompt_filter_results":[]}"#, true),
        (r#"{"usage":{"prompt_tokens":1}}"#, true),
    ] {
        let mut stream = Stream::of(Protocol::Openai);
        // What it is does not matter then: the frames that follow are understood.
        let _ = stream.data(frame.as_bytes());
        stream.frame(&chat(&json!({"content": "a"}), &Value::Null));
        assert_eq!(stream.data(b"[DONE]").is_ok_and(|seen| seen.done), understood, "{frame}");
        assert_eq!(stream.may_end(), understood, "{frame}");
    }
    let mut stream = Stream::of(Protocol::Openai);
    stream.data(unknown.as_bytes()).expect("a frame");
    stream.frame(&chat(&json!({"content": "a"}), &json!("stop")));
    stream.data(b"[DONE]").expect("a finish that was given stands");
    assert!(stream.may_end());
}

#[test]
fn an_empty_delta_written_as_a_list_brings_its_finish() {
    let mut stream = Stream::of(Protocol::Openai);
    stream.frame(&chat(&json!({"content": "a"}), &Value::Null));
    stream.frame(&chat(&json!([]), &json!("length")));
    assert!(stream.may_end());
    assert_eq!(stream.finish().as_deref(), Some("length"));
}

/// Whether a whole answer is one.
fn is_whole(from: Protocol, body: &Value) -> bool {
    reply(from, Dialect::Chat, body.to_string().as_bytes(), &context()).is_ok_and(|(body, _)| !body.is_empty())
}

#[test]
fn a_whole_answer_of_geminis_ends_by_the_same_words_as_a_stream() {
    let words = json!({"parts": [{"text": "a"}]});
    for (body, whole) in [
        (json!({"candidates": [{"content": words, "finishReason": "STOP"}]}), true),
        (json!({"candidates": [{"content": words}]}), false),
        (json!({"candidates": []}), true),
        (json!({"promptFeedback": {"blockReason": "SAFETY"}}), true),
        (json!({"promptFeedback": {}}), false),
        (json!({"usageMetadata": {"promptTokenCount": 3}, "modelVersion": "m"}), false),
        (json!({}), false),
    ] {
        assert_eq!(is_whole(Protocol::Gemini, &body), whole, "{body}");
        let mut stream = Stream::of(Protocol::Gemini);
        stream.frame(&body);
        assert_eq!(stream.may_end(), whole, "{body}");
    }
}

#[test]
fn a_whole_answer_of_claudes_without_a_reason_for_its_end_is_none() {
    let message =
        |reason: Value| json!({"type": "message", "content": [{"type": "text", "text": "a"}], "stop_reason": reason});
    for (reason, whole) in
        [(json!("end_turn"), true), (json!("some_new_one"), true), (Value::Null, false), (json!(""), false)]
    {
        assert_eq!(is_whole(Protocol::Anthropic, &message(reason.clone())), whole, "{reason}");
    }
}

#[test]
fn an_answer_that_its_server_gave_up_is_an_error_whole_and_streamed() {
    for (reason, told) in [("abort", None), ("error", None), ("model_length", Some("length")), ("new", Some("stop"))] {
        let mut stream = Stream::of(Protocol::Openai);
        let seen = stream.data(chat(&json!({"content": "half"}), &json!(reason)).to_string().as_bytes());
        assert_eq!(seen.expect("a frame").fault.is_some(), told.is_none(), "{reason}");
        assert_eq!((stream.may_end(), stream.finish().as_deref()), (told.is_some(), told), "{reason}");
        let choice = json!({"index": 0, "message": {"content": "half"}, "finish_reason": reason});
        assert_eq!(is_whole(Protocol::Openai, &json!({"choices": [choice]})), told.is_some(), "{reason}");
    }
}

#[test]
fn arguments_behind_a_thought_amid_them_are_no_answer() {
    let call = |function: Value| chat(&json!({"tool_calls": [{"index": 0, "function": function}]}), &Value::Null);
    let thinking = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]);
    for thought in [json!({"content": thinking}), json!({"reasoning_content": "hm"}), json!({"reasoning": "hm"})] {
        let mut stream = Stream::of(Protocol::Openai);
        stream.frame(&call(json!({"name": "f", "arguments": "{\"a\":"})));
        stream.frame(&chat(&thought, &Value::Null));
        let late = call(json!({"arguments": "1}"})).to_string();
        assert!(stream.data(late.as_bytes()).is_err(), "{thought}");
    }
}

#[test]
fn a_stream_without_an_end_is_given_up_before_it_fills_the_memory() {
    let mut stream = Stream::of(Protocol::Openai);
    stream.frame(&chat(&json!({"content": "a"}), &Value::Null));
    let seen = stream.data(&vec![0; 256 << 20]).expect("it is not looked into");
    assert_eq!(seen.fault.map(|fault| fault.code).as_deref(), Some("answer_too_long"));
}

#[test]
fn a_stream_that_says_nothing_but_its_end_begins_all_the_same() {
    let frames =
        [json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}), json!({"type": "message_stop"})];
    for (to, begins) in [(Dialect::Chat, "role"), (Dialect::Responses, "response.created")] {
        let events = streamed(Protocol::Anthropic, to, context(), &frames);
        assert!(events[0].to_string().contains(begins), "{events:?}");
    }
}
