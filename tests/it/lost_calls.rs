//! Frames that cannot be read: one of words may be lost, one of a call may not, which would run with other arguments than the model's.

use serde_json::{Value, json};

use crate::support::{
    client::Reply, proxy::Proxy, script::Answer, settings::Settings, sse, upstream::Upstream, wire::End,
};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";

/// A protocol's stream: words, a call whose arguments come in pieces, and the end.
struct Script {
    protocol: &'static str,
    words: Vec<String>,
    call: Vec<String>,
    end: Vec<String>,
}

fn event(data: &Value) -> String {
    format!("event: {}\n{}", data["type"].as_str().expect("a type"), sse::data(data))
}

fn anthropic() -> Script {
    let delta = |at: u8, delta: Value| event(&json!({"type": "content_block_delta", "index": at, "delta": delta}));
    let begin =
        |at: u8, block: Value| event(&json!({"type": "content_block_start", "index": at, "content_block": block}));
    let stop = |at: u8| event(&json!({"type": "content_block_stop", "index": at}));
    let piece = |json: &str| delta(1, json!({"type": "input_json_delta", "partial_json": json}));
    let word = |text: &str| delta(0, json!({"type": "text_delta", "text": text}));
    Script {
        protocol: "protocol = \"anthropic\"",
        words: vec![
            event(
                &json!({"type": "message_start", "message": {"id": "i", "model": "m", "usage": {"input_tokens": 1}}}),
            ),
            begin(0, json!({"type": "text", "text": ""})),
            word("Hello"),
            word(" there"),
            stop(0),
        ],
        call: vec![
            begin(1, json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
            piece("{\"path\":\"/tm"),
            piece("p/a\",\"n\":"),
            piece("1}"),
            stop(1),
        ],
        end: vec![
            event(
                &json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
            ),
            event(&json!({"type": "message_stop"})),
        ],
    }
}

fn openai(lines: &'static str) -> Script {
    let chunk = |delta: Value, finish: Option<&str>| {
        sse::data(&json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    };
    let piece = |json: &str| chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": json}}]}), None);
    let begun = json!({"index": 0, "id": "c0", "type": "function", "function": {"name": "f", "arguments": ""}});
    Script {
        protocol: lines,
        words: ["Hello", " there"].map(|said| chunk(json!({"content": said, "tool_calls": []}), None)).to_vec(),
        call: vec![
            chunk(json!({"tool_calls": [begun]}), None),
            piece("{\"path\":\"/tm"),
            piece("p/a\",\"n\":"),
            piece("1}"),
        ],
        end: vec![chunk(json!({}), Some("tool_calls")), sse::DONE.to_owned()],
    }
}

fn gemini() -> Script {
    let frame = |part: Value| sse::data(&json!({"candidates": [{"content": {"parts": [part]}}]}));
    let piece = |path: &str, goes_on: bool| {
        let arg = json!({"jsonPath": path, "stringValue": "x"});
        frame(json!({"functionCall": {"partialArgs": [arg], "willContinue": goes_on}}))
    };
    Script {
        protocol: "protocol = \"gemini\"",
        words: ["Hello", " there"].map(|said| frame(json!({"text": said}))).to_vec(),
        call: vec![
            frame(json!({"functionCall": {"name": "f", "willContinue": true}})),
            piece("$.a", true),
            piece("$.b", true),
            piece("$.c", false),
        ],
        end: vec![sse::data(&json!({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}))],
    }
}

fn responses() -> Script {
    let piece = |delta: &str| {
        event(
            &json!({"type": "response.function_call_arguments.delta", "item_id": "fc", "output_index": 1, "delta": delta}),
        )
    };
    let word = |said: &str| event(&json!({"type": "response.output_text.delta", "output_index": 0, "delta": said}));
    let item = json!({"type": "function_call", "id": "fc", "call_id": "c0", "name": "f", "arguments": ""});
    Script {
        protocol: "protocol = \"openai\"\nnative_responses = true",
        words: vec![word("Hello"), word(" there")],
        call: vec![
            event(&json!({"type": "response.output_item.added", "output_index": 1, "item": item})),
            piece("{\"path\":\"/tm"),
            piece("p/a\",\"n\":"),
            piece("1}"),
        ],
        end: vec![event(&json!({"type": "response.completed", "response": {"status": "completed"}}))],
    }
}

/// Asks at an endpoint for a stream of such a backend's, one of whose frames is not UTF-8.
async fn heard(script: &Script, path: &str, broken: &str) -> Reply {
    let frames = script.words.iter().chain(&script.call).chain(&script.end);
    let answer = frames.fold(Answer::stream(), |answer, frame| {
        let mut bytes = frame.clone().into_bytes();
        if frame == broken {
            // Within the last text of the frame.
            let at = bytes.iter().rposition(|byte| *byte == b'"').expect("a text");
            bytes.insert(at, 0xff);
        }
        answer.chunk(bytes)
    });
    let upstream = Upstream::always(answer.end()).await;
    let base = if script.protocol.contains("gemini") { "/v1beta" } else { "/v1" };
    let proxy = Proxy::start(&Settings::only(upstream.addr, base, "m", script.protocol)).await;
    let prompt = if path == RESPONSES { "input" } else { "messages" };
    let body = json!({"model": "m", "stream": true, "max_tokens": 9, prompt: [{"role": "user", "content": "Hello!"}]});
    proxy.send(path, &body).await
}

#[tokio::test]
async fn a_frame_of_a_call_that_cannot_be_read_fails_the_stream_and_one_of_words_does_not() {
    const OPENAI: &str = "protocol = \"openai\"";
    for (script, path) in [
        (anthropic(), CHAT),
        (anthropic(), RESPONSES),
        (anthropic(), MESSAGES),
        (openai(OPENAI), CHAT),
        (openai(OPENAI), MESSAGES),
        (openai(OPENAI), RESPONSES),
        (gemini(), CHAT),
        (gemini(), MESSAGES),
        (responses(), RESPONSES),
    ] {
        let ends = ["[DONE]", "message_stop", "response.completed"];
        let is_whole = |reply: &Reply| ends.iter().any(|end| reply.text().contains(end));
        let word = script.words.iter().rfind(|frame| frame.contains("there")).expect("words");
        for (broken, whole) in [("", true), (word.as_str(), true), (script.call[2].as_str(), false)] {
            let reply = heard(&script, path, broken).await;
            assert_eq!(is_whole(&reply), whole, "{path} {broken}: {}\n{reply:?}", script.protocol);
            assert_eq!(reply.text().contains("upstream_invalid_response"), !whole, "{path} {broken}: {reply:?}");
            assert_eq!(reply.end == End::Clean || path == RESPONSES, whole || path == RESPONSES, "{path}: {reply:?}");
        }
    }
}
