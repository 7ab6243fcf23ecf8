//! Owns holding translation against recordings of the real services, read anew by a second, simpler reader.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Protocol, Usage, sse,
    translate::{Dialect, ReplyContext, StreamTranslator, reply},
};

/// What a client is left with.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    text: String,
    calls: Vec<(String, Value)>,
    finish: String,
    usage: Usage,
}

/// The recordings' folder; not there is a failure in CI and a note elsewhere.
fn recordings() -> Option<PathBuf> {
    let folder = std::env::var_os("GREENROOM_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("shared").join("fixtures"),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no recordings at {}", folder.display());
    eprintln!("skipped: no recordings at {}", folder.display());
    None
}

fn files(maker: &str, ending: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, ending, found);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    let Some(folder) = recordings() else { return Vec::new() };
    let mut found = Vec::new();
    walk(&folder.join("vercel__ai").join("packages").join(maker), ending, &mut found);
    assert!(!found.is_empty(), "no {ending} of {maker}");
    found.sort();
    found
}

/// The streams of a recording, each as its lines of data: some hold several, one after the other.
fn recorded(path: &Path) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    let text = std::fs::read_to_string(path).expect("a readable recording");
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        if line.starts_with(r#"{"type":"message_start""#) && all.last().is_some_and(|l| !l.is_empty()) {
            all.push(Vec::new());
        }
        all.last_mut().expect("one at least").push(line.to_owned());
    }
    all
}

fn sse_of(lines: &[String], protocol: Protocol, line_end: &str) -> Vec<u8> {
    let mut out = String::new();
    for line in lines {
        if let (Protocol::Anthropic, Ok(value)) = (protocol, serde_json::from_str::<Value>(line)) {
            out += &format!("event: {}{line_end}", value["type"].as_str().unwrap_or_default());
        }
        out += &format!("data: {line}{line_end}{line_end}");
    }
    if protocol == Protocol::Openai {
        out += &format!("data: [DONE]{line_end}{line_end}");
    }
    out.into_bytes()
}

fn context() -> ReplyContext {
    ReplyContext { id: "fallback".into(), created: 7, model: "m".into() }
}

fn translate(chunks: &[&[u8]], from: Protocol, to: Dialect) -> (Vec<u8>, bool) {
    let mut translator = StreamTranslator::new(from, to, context(), true);
    let (mut splitter, mut out) = (sse::Splitter::default(), Vec::new());
    for chunk in chunks {
        let run = splitter.push(Bytes::copy_from_slice(chunk)).expect("short frames");
        for frame in sse::frames(&run) {
            if let Some(data) = &frame.data {
                let seen = translator.frame(frame.event, data, &mut out).expect("a recorded frame");
                assert_eq!(seen.fault, None);
            }
        }
    }
    let whole = translator.end(&mut out);
    (out, whole)
}

fn events(sse: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(sse).expect("UTF-8");
    text.lines().filter_map(|l| l.strip_prefix("data: ")).filter_map(|l| serde_json::from_str(l).ok()).collect()
}

fn count(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn arguments(calls: Vec<(String, String)>) -> Vec<(String, Value)> {
    let object = |text: String| serde_json::from_str(&text).expect("arguments are JSON");
    calls.into_iter().map(|(name, text)| (name, object(text))).collect()
}

/// Reads a chat completion stream as its SDK does.
fn chat(events: &[Value]) -> Outcome {
    let (mut got, mut calls) = (Outcome::default(), Vec::<(String, String)>::new());
    for chunk in events {
        if chunk["usage"].is_object() {
            got.usage = Usage {
                input: count(chunk, "/usage/prompt_tokens"),
                output: count(chunk, "/usage/completion_tokens"),
                cached: count(chunk, "/usage/prompt_tokens_details/cached_tokens"),
                reasoning: count(chunk, "/usage/completion_tokens_details/reasoning_tokens"),
            };
        }
        let choice = &chunk["choices"][0];
        got.text += choice["delta"]["content"].as_str().unwrap_or_default();
        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            if let Some(name) = call["function"]["name"].as_str() {
                calls.push((name.to_owned(), String::new()));
            }
            let at = usize::try_from(count(call, "/index")).expect("an index");
            calls[at].1 += call["function"]["arguments"].as_str().unwrap_or_default();
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            reason.clone_into(&mut got.finish);
        }
    }
    got.calls = arguments(calls);
    got
}

/// Reads a Messages stream as its SDK does, in OpenAI's words.
fn messages(events: &[Value]) -> Outcome {
    let (mut blocks, mut got, mut usage) = (Vec::<(Value, String)>::new(), Outcome::default(), json!({}));
    for event in events {
        for counts in [&event["message"]["usage"], &event["usage"]] {
            for (key, value) in counts.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
                usage[key] = value.clone();
            }
        }
        let at = usize::try_from(count(event, "/index")).expect("an index");
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                for block in event["message"]["content"].as_array().into_iter().flatten() {
                    blocks.push((block.clone(), String::new()));
                }
                let reason = event["message"]["stop_reason"].as_str();
                reason.unwrap_or_default().clone_into(&mut got.finish);
            }
            "content_block_start" => {
                assert_eq!(at, blocks.len());
                blocks.push((event["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                for key in ["text", "partial_json"] {
                    blocks[at].1 += event["delta"][key].as_str().unwrap_or_default();
                }
            }
            "message_delta" => event["delta"]["stop_reason"].as_str().unwrap_or_default().clone_into(&mut got.finish),
            _ => {}
        }
    }
    for (block, text) in blocks {
        match block["type"].as_str() {
            Some("text") => got.text += &text,
            Some("tool_use") => {
                let input =
                    if text.is_empty() { block["input"].clone() } else { serde_json::from_str(&text).expect("JSON") };
                got.calls.push((block["name"].as_str().unwrap_or_default().to_owned(), input));
            }
            _ => {}
        }
    }
    got.finish = match got.finish.as_str() {
        "end_turn" | "stop_sequence" | "pause_turn" => "stop",
        "tool_use" => "tool_calls",
        "max_tokens" => "length",
        "refusal" => "content_filter",
        other => other,
    }
    .to_owned();
    let cached = count(&usage, "/cache_read_input_tokens");
    got.usage = Usage {
        input: count(&usage, "/input_tokens") + cached + count(&usage, "/cache_creation_input_tokens"),
        output: count(&usage, "/output_tokens"),
        cached,
        reasoning: count(&usage, "/output_tokens_details/thinking_tokens"),
    };
    got
}

/// Reads a Gemini stream as its SDK does, in OpenAI's words.
fn gemini(chunks: &[Value]) -> Outcome {
    let mut got = Outcome::default();
    for chunk in chunks {
        let candidate = &chunk["candidates"][0];
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            if part["thought"] != true {
                got.text += part["text"].as_str().unwrap_or_default();
            }
            let call = &part["functionCall"];
            if let Some(name) = call["name"].as_str() {
                let args = if call["args"].is_object() { call["args"].clone() } else { json!({}) };
                got.calls.push((name.to_owned(), args));
            }
            for piece in call["partialArgs"].as_array().into_iter().flatten() {
                let (_, args) = got.calls.last_mut().expect("a call");
                let key = piece["jsonPath"].as_str().expect("a path").trim_start_matches("$.");
                let before = args[key].as_str().unwrap_or_default().to_owned();
                args[key] = (before + piece["stringValue"].as_str().expect("text")).into();
            }
        }
        if let Some(reason) = candidate["finishReason"].as_str() {
            got.finish = if reason == "MAX_TOKENS" { "length" } else { "stop" }.to_owned();
        }
        let usage = &chunk["usageMetadata"];
        if usage["promptTokenCount"].is_u64() {
            let reasoning = count(usage, "/thoughtsTokenCount");
            got.usage = Usage {
                input: count(usage, "/promptTokenCount") + count(usage, "/toolUsePromptTokenCount"),
                output: count(usage, "/candidatesTokenCount") + reasoning,
                cached: count(usage, "/cachedContentTokenCount"),
                reasoning,
            };
        }
    }
    if got.finish == "stop" && !got.calls.is_empty() {
        "tool_calls".clone_into(&mut got.finish);
    }
    got
}

/// Reads a Responses stream's last event, in OpenAI's chat words.
fn responses(events: &[Value]) -> Outcome {
    let last = events.last().expect("events");
    let response = &last["response"];
    let mut got = Outcome::default();
    let mut deltas = String::new();
    for event in events.iter().filter(|e| e["type"] == "response.output_text.delta") {
        deltas += event["delta"].as_str().expect("a delta");
    }
    for item in response["output"].as_array().into_iter().flatten() {
        match item["type"].as_str() {
            Some("message") => got.text += item["content"][0]["text"].as_str().unwrap_or_default(),
            Some("function_call") => {
                let args = item["arguments"].as_str().expect("arguments");
                let args = serde_json::from_str(args).expect("JSON");
                got.calls.push((item["name"].as_str().expect("a name").to_owned(), args));
            }
            _ => {}
        }
    }
    assert_eq!(deltas, got.text);
    got.finish =
        match (response["status"].as_str(), response.pointer("/incomplete_details/reason").and_then(Value::as_str)) {
            (Some("incomplete"), Some("content_filter")) => "content_filter",
            (Some("incomplete"), _) => "length",
            _ if got.calls.is_empty() => "stop",
            _ => "tool_calls",
        }
        .to_owned();
    got.usage = Usage {
        input: count(response, "/usage/input_tokens"),
        output: count(response, "/usage/output_tokens"),
        cached: count(response, "/usage/input_tokens_details/cached_tokens"),
        reasoning: count(response, "/usage/output_tokens_details/reasoning_tokens"),
    };
    got
}

type Reading = fn(&[Value]) -> Outcome;

const SOURCES: [(&str, Protocol, Reading); 6] = [
    ("anthropic", Protocol::Anthropic, messages),
    ("google", Protocol::Gemini, gemini),
    ("openai", Protocol::Openai, chat),
    ("azure", Protocol::Openai, chat),
    ("deepseek", Protocol::Openai, chat),
    ("groq", Protocol::Openai, chat),
];

/// One recorded stream.
struct Recording {
    path: PathBuf,
    protocol: Protocol,
    lines: Vec<String>,
    want: Outcome,
}

fn streams() -> Vec<Recording> {
    if recordings().is_none() {
        return Vec::new();
    }
    let mut all = Vec::new();
    for (maker, protocol, reading) in SOURCES {
        for path in files(maker, ".chunks.txt") {
            for lines in recorded(&path) {
                let values: Vec<Value> = lines.iter().filter_map(|l| serde_json::from_str(l).ok()).collect();
                // The same folders hold streams of other endpoints.
                if protocol != Protocol::Openai || values.iter().any(|v| v["object"] == "chat.completion.chunk") {
                    all.push(Recording { path: path.clone(), protocol, lines, want: reading(&values) });
                }
            }
        }
    }
    all
}

#[test]
fn every_recorded_stream_means_the_same_in_every_dialect() {
    for Recording { path, protocol, lines, want } in streams() {
        for (dialect, reading) in
            [(Dialect::Chat, chat as Reading), (Dialect::Messages, messages), (Dialect::Responses, responses)]
        {
            if (protocol, dialect) == (Protocol::Anthropic, Dialect::Messages) {
                // Passed through, never translated.
                continue;
            }
            let (out, whole) = translate(&[&sse_of(&lines, protocol, "\n")], protocol, dialect);
            let mut got = reading(&events(&out));
            if dialect == Dialect::Messages {
                // Messages counts thinking with the rest.
                got.usage.reasoning = want.usage.reasoning;
            }
            assert!(whole, "{}", path.display());
            assert_eq!(got, want, "{} in {dialect:?}", path.display());
        }
    }
}

#[test]
fn cutting_a_recording_at_any_byte_changes_nothing() {
    for Recording { path, protocol, lines, .. } in streams() {
        let stream = sse_of(&lines, protocol, "\r\n");
        let (want, _) = translate(&[&stream], protocol, Dialect::Chat);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert!(translate(&bytes, protocol, Dialect::Chat) == (want.clone(), true), "{} bytewise", path.display());
        // Every position of the short ones; of the long ones as many, spread out by a prime.
        let stride = if stream.len() < 4096 { 1 } else { 1009 };
        for at in (0..stream.len()).step_by(stride) {
            let (head, tail) = stream.split_at(at);
            let (got, whole) = translate(&[head, tail], protocol, Dialect::Chat);
            assert!(whole && got == want, "{} cut at {at}", path.display());
        }
    }
}

#[test]
fn a_recording_that_stops_before_its_finish_never_ends_cleanly() {
    for Recording { path, protocol, lines, .. } in streams() {
        let text = String::from_utf8(sse_of(&lines, protocol, "\n")).expect("UTF-8");
        let marks = ["\"stop_reason\":\"", "\"finishReason\":\"", "\"finish_reason\":\""];
        let ends: Vec<&str> =
            text.split_inclusive("\n\n").take_while(|f| !marks.iter().any(|m| f.contains(m))).collect();
        let (out, whole) = translate(&[ends.concat().as_bytes()], protocol, Dialect::Chat);
        assert!(!whole, "{}", path.display());
        assert!(!String::from_utf8_lossy(&out).contains("[DONE]"), "{}", path.display());
    }
}

#[test]
fn every_recorded_reply_means_the_same_as_a_chat_completion() {
    if recordings().is_none() {
        return;
    }
    for (maker, protocol) in [("anthropic", Protocol::Anthropic), ("google", Protocol::Gemini)] {
        for path in files(maker, ".json") {
            let body = std::fs::read(&path).expect("a readable recording");
            let source: Value = serde_json::from_slice(&body).expect("JSON");
            let (out, seen) = reply(protocol, Dialect::Chat, &body, &context()).expect("a recorded reply");
            if source.get("error").is_some() {
                assert!(seen.fault.is_some(), "{}", path.display());
                continue;
            }
            let got: Value = serde_json::from_slice(&out).expect("JSON");
            let mut choice = got["choices"][0].clone();
            let mut delta = choice["message"].take();
            for (at, call) in delta["tool_calls"].as_array_mut().into_iter().flatten().enumerate() {
                call["index"] = at.into();
            }
            choice["delta"] = delta;
            let got = chat(&[json!({"choices": [choice], "usage": got["usage"]})]);
            let want = if protocol == Protocol::Gemini { gemini(&[source]) } else { whole_message(&source) };
            assert_eq!(got, want, "{}", path.display());
        }
    }
}

/// A message as the events that would have streamed it.
fn whole_message(message: &Value) -> Outcome {
    let mut events = vec![json!({"type": "message_start", "message": {"usage": message["usage"]}})];
    for (at, block) in message["content"].as_array().into_iter().flatten().enumerate() {
        events.push(json!({"type": "content_block_start", "index": at, "content_block": block}));
        let text = block["text"].as_str().unwrap_or_default();
        events.push(json!({"type": "content_block_delta", "index": at, "delta": {"text": text}}));
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": message["stop_reason"]}}));
    messages(&events)
}
