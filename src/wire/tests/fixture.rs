//! Owns holding translation against recordings of the real services, read anew by a second, simpler reader.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    second_readers::{Outcome, chat, gemini, messages, responses},
    support::{context, events},
};
use crate::wire::{
    Protocol, sse,
    translate::{Dialect, StreamTranslator, reply},
};

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
            out.extend(["event: ", value["type"].as_str().unwrap_or_default(), line_end]);
        }
        out.extend(["data: ", line, line_end, line_end]);
    }
    if protocol == Protocol::Openai {
        out.extend(["data: [DONE]", line_end, line_end]);
    }
    out.into_bytes()
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
            assert!(whole, "{}", path.display());
            assert_eq!(reading(&events(&out)), want, "{} in {dialect:?}", path.display());
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
