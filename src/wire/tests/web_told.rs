//! Cases of searches of the web that were made: what each dialect's clients hear of them, whole and in a stream.

use serde_json::{Value, json};

use super::{
    added_up,
    support::{context, streamed},
};
use crate::wire::{
    Protocol,
    asked::asked,
    translate::{Dialect, ReplyContext, reply},
};

/// Of a request that wished a search.
pub(super) fn searching() -> ReplyContext {
    let asked = asked(Dialect::Messages, br#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#);
    ReplyContext { asked, ..context() }
}

pub(super) fn whole(from: Protocol, to: Dialect, body: &Value) -> Value {
    let (out, _) = reply(from, to, body.to_string().as_bytes(), &searching()).expect("an answer");
    serde_json::from_slice(&out).expect("JSON")
}

/// What Gemini says of two claims: the first has one source, the second two.
pub(super) fn grounding() -> Value {
    json!({"webSearchQueries": ["zurich weather", "bern weather"], "searchEntryPoint": {"renderedContent": "<div>"},
        "groundingChunks": [{"web": {"uri": "https://a.test/1", "title": "a.test"}},
            {"web": {"uri": "https://b.test/2", "title": "b.test"}}, {"retrievedContext": {"uri": "gs://c"}}],
        "groundingSupports": [
            {"segment": {"endIndex": 15, "text": "Zürich is dry."}, "groundingChunkIndices": [0]},
            {"segment": {"startIndex": 16, "endIndex": 28, "text": "Bern is wet."}, "groundingChunkIndices": [0, 1, 2, 9]},
            {"segment": {"startIndex": 4000, "endIndex": 4001, "text": "elsewhere"}, "groundingChunkIndices": [0]},
            {"segment": null, "groundingChunkIndices": [0]}]})
}

pub(super) fn frame(text: &str, end: Option<Value>) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": [{"text": text}]}, "index": 0});
    if let Some(grounding) = end {
        candidate["finishReason"] = "STOP".into();
        candidate["groundingMetadata"] = grounding;
    }
    json!({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}})
}

pub(super) fn of_gemini() -> Value {
    frame("Zürich is dry. Bern is wet.", Some(grounding()))
}

fn frames_of_gemini() -> [Value; 3] {
    [frame("Zürich is ", None), frame("dry. Bern", None), frame(" is wet.", Some(grounding()))]
}

/// What Claude says of the same, searching in between.
fn blocks_of_claude() -> Value {
    let cited = |page: &str| {
        json!({"type": "web_search_result_location", "url": format!("https://{page}"), "title": page,
            "encrypted_index": "i", "cited_text": "It is."})
    };
    let found = |page: &str| {
        json!({"type": "web_search_result", "url": format!("https://{page}"), "title": page, "encrypted_content": "e",
            "page_age": "1 day"})
    };
    json!([
        {"type": "text", "text": "I look. "},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "zurich weather"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found("a.test"), found("b.test")]},
        {"type": "text", "text": "Zürich is dry.", "citations": [cited("a.test")]},
        {"type": "text", "text": " And "},
        {"type": "text", "text": "Bern is wet.", "citations": [cited("a.test"), cited("b.test")]},
        {"type": "server_tool_use", "id": "srvtoolu_2", "name": "web_search", "input": {"query": "too much"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_2",
            "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}},
    ])
}

fn of_claude() -> Value {
    json!({"type": "message", "id": "msg_1", "model": "c", "content": blocks_of_claude(), "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 4, "server_tool_use": {"web_search_requests": 2}}})
}

/// The same as a stream, in which sources come ahead of what they are for, and calls in pieces.
fn frames_of_claude() -> Vec<Value> {
    let mut frames = vec![json!({"type": "message_start", "message": {"id": "msg_1", "model": "c", "content": []}})];
    for (index, block) in blocks_of_claude().as_array().into_iter().flatten().enumerate() {
        let delta = |delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        let (mut begun, mut deltas) = (block.clone(), Vec::new());
        if let Some(text) = block["text"].as_str() {
            begun["text"] = "".into();
            for citation in block["citations"].as_array().into_iter().flatten() {
                deltas.push(delta(json!({"type": "citations_delta", "citation": citation})));
            }
            begun.as_object_mut().expect("a block").remove("citations");
            deltas.push(delta(json!({"type": "text_delta", "text": text})));
        } else if let Some(input) = block.get("input") {
            let input = input.to_string();
            let (one, two) = input.split_at(5);
            deltas.extend([one, two].map(|piece| delta(json!({"type": "input_json_delta", "partial_json": piece}))));
            begun["input"] = json!({});
        }
        frames.push(json!({"type": "content_block_start", "index": index, "content_block": begun}));
        frames.extend(deltas);
        frames.push(json!({"type": "content_block_stop", "index": index}));
    }
    frames.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}));
    frames.push(json!({"type": "message_stop"}));
    frames
}

/// What a client of OpenAI's is told that some letters rest on: the words, and the page.
pub(super) fn rests(text: &str, annotation: &Value) -> (String, String) {
    let place = |key: &str| usize::try_from(annotation[key].as_u64().expect("a place")).expect("a place");
    let (from, to) = (place("start_index"), place("end_index"));
    let words = text.chars().skip(from).take(to - from).collect();
    (words, annotation["url"].as_str().expect("a page").to_owned())
}

pub(super) fn claims(hosts: [&str; 3]) -> Vec<(String, String)> {
    let words = ["Zürich is dry.", "Bern is wet.", "Bern is wet."];
    words.iter().zip(hosts).map(|(words, page)| ((*words).to_owned(), format!("https://{page}"))).collect()
}

pub(super) const GOOGLES: [&str; 3] = ["a.test/1", "a.test/1", "b.test/2"];
const CLAUDES: [&str; 3] = ["a.test", "a.test", "b.test"];

#[test]
fn a_chat_completion_names_the_sources_of_its_words() {
    for (from, body, frames, hosts) in [
        (Protocol::Gemini, of_gemini(), frames_of_gemini().to_vec(), GOOGLES),
        (Protocol::Anthropic, of_claude(), frames_of_claude(), CLAUDES),
    ] {
        let message = whole(from, Dialect::Chat, &body)["choices"][0]["message"].clone();
        let (text, annotations) = (message["content"].as_str().expect("text"), message["annotations"].as_array());
        let told: Vec<_> =
            annotations.into_iter().flatten().map(|annotation| rests(text, &annotation["url_citation"])).collect();
        assert_eq!(told, claims(hosts), "{message}");
        assert_eq!((&message["annotations"][0]["type"], message.get("tool_calls")), (&json!("url_citation"), None));
        let deltas: Vec<Value> = streamed(from, Dialect::Chat, searching(), &frames)
            .iter()
            .filter_map(|event| event.pointer("/choices/0/delta").cloned())
            .collect();
        let said: String = deltas.iter().filter_map(|delta| delta["content"].as_str()).collect();
        let pieces: Vec<Value> =
            deltas.iter().flat_map(|d| d["annotations"].as_array().cloned().unwrap_or_default()).collect();
        let told: Vec<_> = pieces.iter().map(|annotation| rests(&said, &annotation["url_citation"])).collect();
        assert_eq!((said.as_str(), told), (text, claims(hosts)));
        let numbers: Vec<Option<u64>> = pieces.iter().map(|annotation| annotation["index"].as_u64()).collect();
        assert_eq!(numbers, [Some(0), Some(1), Some(2)], "by which OpenAI's client for Python joins them");
    }
}

/// The items of a response as a client puts them together from a stream, and what the events of its searches are.
pub(super) fn output_of(events: &[Value]) -> (Value, Vec<String>) {
    let done = events.iter().filter(|e| e["type"] == "response.output_item.done").map(|e| e["item"].clone());
    let end = events.last().expect("an end");
    assert_eq!(end["response"]["output"], done.collect::<Value>());
    let kinds = events.iter().filter_map(|e| e["type"].as_str()?.strip_prefix("response.web_search_call."));
    (end["response"]["output"].clone(), kinds.map(ToOwned::to_owned).collect())
}

pub(super) fn kinds(output: &Value) -> Vec<&str> {
    output.as_array().into_iter().flatten().filter_map(|item| item["type"].as_str()).collect()
}

/// What the texts of a response rest on.
pub(super) fn sources(output: &Value) -> Vec<(String, String)> {
    let parts = output.as_array().into_iter().flatten().filter_map(|item| item["content"].as_array()).flatten();
    let told = |part: &Value| -> Vec<_> {
        let text = part["text"].as_str().expect("text");
        part["annotations"].as_array().into_iter().flatten().map(|annotation| rests(text, annotation)).collect()
    };
    parts.flat_map(told).collect()
}

#[test]
fn a_response_tells_its_searches_and_the_sources_of_its_words() {
    let output = whole(Protocol::Gemini, Dialect::Responses, &of_gemini())["output"].clone();
    assert_eq!((kinds(&output), sources(&output)), (vec!["web_search_call", "message"], claims(GOOGLES)));
    let want = json!({"id": "ws_i_0", "type": "web_search_call", "status": "completed", "action": {"type": "search",
        "query": "zurich weather; bern weather", "queries": ["zurich weather", "bern weather"],
        "sources": [{"type": "url", "url": "https://a.test/1"}, {"type": "url", "url": "https://b.test/2"}]}});
    assert_eq!(output[0], want);
    let events = streamed(Protocol::Gemini, Dialect::Responses, searching(), &frames_of_gemini());
    let (output, steps) = output_of(&events);
    assert_eq!((kinds(&output), sources(&output)), (vec!["message", "web_search_call"], claims(GOOGLES)), "told last");
    assert_eq!(steps, ["in_progress", "searching", "completed"]);
    let added: Vec<&Value> = events.iter().filter(|e| e["type"] == "response.output_text.annotation.added").collect();
    let numbers: Vec<&Value> = added.iter().map(|e| &e["annotation_index"]).collect();
    assert_eq!(
        (numbers, &added[2]["annotation"]),
        (vec![&json!(0), &json!(1), &json!(2)], &output[0]["content"][0]["annotations"][2])
    );

    let output = whole(Protocol::Anthropic, Dialect::Responses, &of_claude())["output"].clone();
    let order = vec!["message", "web_search_call", "message", "web_search_call"];
    assert_eq!((kinds(&output), sources(&output)), (order.clone(), claims(CLAUDES)));
    assert_eq!((&output[1]["action"]["query"], &output[3]["status"]), (&json!("zurich weather"), &json!("failed")));
    let events = streamed(Protocol::Anthropic, Dialect::Responses, searching(), &frames_of_claude());
    let (streamed, steps) = output_of(&events);
    assert_eq!((kinds(&streamed), sources(&streamed)), (order, claims(CLAUDES)));
    assert_eq!(steps, ["in_progress", "searching", "completed", "in_progress", "searching"]);
    assert_eq!((&streamed[1]["action"], &streamed[3]["action"]), (&output[1]["action"], &output[3]["action"]));
}

#[test]
fn a_message_tells_its_search_as_a_server_tools_and_cites() {
    let message = whole(Protocol::Gemini, Dialect::Messages, &of_gemini());
    let streamed = added_up::messages(&streamed(Protocol::Gemini, Dialect::Messages, searching(), &frames_of_gemini()));
    let page = |n: u32, host: &str| {
        json!({"type": "web_search_result", "url": format!("https://{host}/{n}"), "title": host,
        "encrypted_content": "", "page_age": null})
    };
    let cited = |n: u32, host: &str| {
        json!({"type": "web_search_result_location", "url": format!("https://{host}/{n}"),
        "title": host, "encrypted_index": "", "cited_text": ""})
    };
    let call = json!({"type": "server_tool_use", "id": "srvtoolu_i.0", "name": "web_search",
        "input": {"query": "zurich weather; bern weather"}});
    let result = json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_i.0",
        "content": [page(1, "a.test"), page(2, "b.test")]});
    let text = json!({"type": "text", "text": "Zürich is dry. Bern is wet.",
        "citations": [cited(1, "a.test"), cited(2, "b.test")]});
    assert_eq!(message["content"], json!([call, result, text]));
    assert_eq!(streamed["content"], json!([text, call, result]), "told last");
    for usage in [&message["usage"], &streamed["usage"]] {
        assert_eq!(usage["server_tool_use"], json!({"web_search_requests": 2, "web_fetch_requests": 0}));
    }
    assert_eq!(message["stop_reason"], "end_turn");
}

#[test]
fn sources_are_named_by_the_text_that_they_are_of_and_are_no_more_than_an_answer_has_room_for() {
    let thought =
        json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "hm", "thought": true}]}, "index": 0}]});
    let many = json!({"groundingChunks": [{"web": {"uri": "https://a.test/1", "title": "a"}}],
        "groundingSupports": vec![json!({"segment": {"endIndex": 1, "text": "A"}, "groundingChunkIndices": vec![0; 50]}); 3_000]});
    let frames = [frame("A", None), thought, frame("B", Some(many))];
    let events = streamed(Protocol::Gemini, Dialect::Messages, searching(), &frames);
    // Of the first text, which has ended.
    assert!(events.iter().all(|event| event["delta"]["type"] != "citations_delta"), "{events:?}");
    let chunks = streamed(Protocol::Gemini, Dialect::Chat, searching(), &frames);
    let cited = |chunk: &Value| chunk["choices"][0]["delta"]["annotations"].as_array().map_or(0, Vec::len);
    assert_eq!(chunks.iter().map(cited).sum::<usize>(), 1_024);

    let mut body = frames[2].clone();
    let part = |frame: &Value| frame["candidates"][0]["content"]["parts"][0].clone();
    body["candidates"][0]["content"]["parts"] = frames.iter().map(part).collect();
    let blocks = whole(Protocol::Gemini, Dialect::Messages, &body)["content"].clone();
    let cited = |block: &Value| block["citations"].as_array().map_or(0, Vec::len);
    let cited: Vec<usize> = blocks.as_array().into_iter().flatten().map(cited).collect();
    assert_eq!(cited, [0, 0, 1, 0, 0], "the sources of a whole answer are known before its texts are told: {blocks}");
}

#[test]
fn sources_of_an_empty_text_are_given_to_no_other() {
    let cited = json!([{"type": "web_search_result_location", "url": "https://a.test/1", "title": "a", "encrypted_index": "",
        "cited_text": ""}]);
    let (none, some) = (json!({"type": "text", "text": "", "citations": cited}), json!({"type": "text", "text": "A"}));
    for blocks in [json!([none, some]), json!([some, none])] {
        let body = json!({"id": "i", "type": "message", "role": "assistant", "model": "m", "content": blocks,
            "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
        for to in [Dialect::Chat, Dialect::Messages, Dialect::Responses] {
            let told = whole(Protocol::Anthropic, to, &body).to_string();
            assert!(told.contains("\"A\"") && !told.contains("a.test"), "{told}");
        }
    }
}
