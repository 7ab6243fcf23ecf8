//! Owns reading recordings a second, simpler time, as the makers' SDKs do, for tests to compare with.

use serde_json::{Value, json};

use crate::wire::Usage;

/// What a client is left with.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) text: String,
    pub(super) calls: Vec<(String, Value)>,
    pub(super) finish: String,
    pub(super) usage: Usage,
}

fn count(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn arguments(calls: Vec<(String, String)>) -> Vec<(String, Value)> {
    let object = |text: String| serde_json::from_str(&text).expect("arguments are JSON");
    calls.into_iter().map(|(name, text)| (name, object(text))).collect()
}

/// Reads a chat completion stream as its SDK does.
pub(super) fn chat(events: &[Value]) -> Outcome {
    let (mut got, mut calls) = (Outcome::default(), Vec::<(String, String)>::new());
    for chunk in events {
        if chunk["usage"].is_object() {
            got.usage = Usage {
                input: count(chunk, "/usage/prompt_tokens"),
                output: count(chunk, "/usage/completion_tokens"),
                cached: count(chunk, "/usage/prompt_tokens_details/cached_tokens"),
                written: count(chunk, "/usage/prompt_tokens_details/cache_write_tokens"),
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
pub(super) fn messages(events: &[Value]) -> Outcome {
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
        "end_turn" | "stop_sequence" => "stop",
        "tool_use" => "tool_calls",
        "max_tokens" | "pause_turn" => "length",
        "refusal" => "content_filter",
        other => other,
    }
    .to_owned();
    let cached = count(&usage, "/cache_read_input_tokens");
    got.usage = Usage {
        input: count(&usage, "/input_tokens") + cached + count(&usage, "/cache_creation_input_tokens"),
        output: count(&usage, "/output_tokens"),
        cached,
        written: count(&usage, "/cache_creation_input_tokens"),
        reasoning: count(&usage, "/output_tokens_details/thinking_tokens"),
    };
    got
}

/// Reads a Gemini stream as its SDK does, in OpenAI's words.
pub(super) fn gemini(chunks: &[Value]) -> Outcome {
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
                written: 0,
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
pub(super) fn responses(events: &[Value]) -> Outcome {
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
        written: count(response, "/usage/input_tokens_details/cache_write_tokens"),
        reasoning: count(response, "/usage/output_tokens_details/reasoning_tokens"),
    };
    got
}
