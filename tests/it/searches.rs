//! Searches of the web by providers of another protocol: asked for in every dialect, told whole and in a stream, and gone on from.

use serde_json::{Value, json};

use crate::support::{
    client::Reply,
    proxy::Proxy,
    script::Answer,
    settings::Settings,
    sse,
    upstream::{Received, Upstream},
};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

/// Who searches for whom.
const PAIRS: [(&str, &str, &str); 5] = [
    ("gemini", "gemini-2.5-flash", MESSAGES),
    ("gemini", "gemini-2.5-flash", RESPONSES),
    ("gemini", "gemini-2.5-flash", CHAT),
    ("anthropic", "claude-sonnet-4-5", CHAT),
    ("anthropic", "claude-sonnet-4-5", RESPONSES),
];

/// What Google grounds an answer in.
fn gemini(stream: bool) -> Answer {
    let frame = |text: &str, grounding: Option<Value>| {
        let finish = grounding.as_ref().map(|_| "STOP");
        json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": finish,
            "groundingMetadata": grounding}], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}})
    };
    let grounding = json!({"webSearchQueries": ["tides"], "groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}],
        "groundingSupports": [{"segment": {"endIndex": 12, "text": "Twice a day."}, "groundingChunkIndices": [0]}]});
    if !stream {
        return Answer::json(200, &frame("Twice a day.", Some(grounding)).to_string());
    }
    let answer = Answer::stream().chunk(sse::data(&frame("Twice ", None)));
    answer.chunk(sse::data(&frame("a day.", Some(grounding)))).end()
}

/// What Claude tells of a search of its own.
fn claude(stream: bool) -> Answer {
    let call =
        json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "tides"}});
    let page = json!({"type": "web_search_result", "url": "https://a.test", "title": "A", "encrypted_content": "e"});
    let result = json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [page]});
    let citation = json!({"type": "web_search_result_location", "url": "https://a.test", "title": "A", "encrypted_index": "i",
        "cited_text": "Tides"});
    let text = |text: &str, citations: Value| json!({"type": "text", "text": text, "citations": citations});
    if !stream {
        let content = [call, result, text("Twice a day.", json!([citation]))];
        return Answer::json(
            200,
            &json!({"type": "message", "content": content, "stop_reason": "end_turn"}).to_string(),
        );
    }
    let start =
        |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |delta: Value| json!({"type": "content_block_delta", "index": 2, "delta": delta});
    let stop = |index: u32| json!({"type": "content_block_stop", "index": index});
    [
        json!({"type": "message_start", "message": {"content": []}}),
        start(0, call),
        stop(0),
        start(1, result),
        stop(1),
        start(2, text("", json!([]))),
        delta(json!({"type": "citations_delta", "citation": citation})),
        delta(json!({"type": "text_delta", "text": "Twice a day."})),
        stop(2),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        json!({"type": "message_stop"}),
    ]
    .iter()
    .fold(Answer::stream(), |answer, event| answer.chunk(sse::data(event)))
    .end()
}

async fn stage(protocol: &str, model: &str, unsupported: &str) -> (Upstream, Proxy) {
    let upstream = Upstream::start(|_, ask: &Received| {
        let stream = ask.wants_stream() || ask.head.line.contains(":streamGenerateContent");
        if ask.head.line.contains("/models/") { gemini(stream) } else { claude(stream) }
    })
    .await;
    let settings = Settings::only(
        upstream.addr,
        "/v1",
        model,
        &format!("protocol = \"{protocol}\"\nunsupported = \"{unsupported}\""),
    );
    let proxy = Proxy::start(&settings).await;
    (upstream, proxy)
}

/// A turn that wishes a search, behind those before it.
fn turn(path: &str, stream: bool, before: &[Value]) -> Value {
    let user = json!({"role": "user", "content": "When?"});
    let user = [user];
    let turns = [&user[..], before, &user[..before.len().min(1)]].concat();
    match path {
        CHAT => json!({"model": "m", "stream": stream, "web_search_options": {}, "messages": turns}),
        MESSAGES => json!({"model": "m", "stream": stream, "max_tokens": 99, "messages": turns,
            "tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        _ => json!({"model": "m", "stream": stream, "input": turns, "tools": [{"type": "web_search"}]}),
    }
}

async fn post(proxy: &Proxy, path: &str, body: &Value) -> Reply {
    let reply = proxy.send(path, body).await;
    assert_eq!(reply.status(), 200, "{path} {reply:?}");
    reply
}

/// What a client keeps of a whole answer for its next turn, and what that says of sources.
fn kept(path: &str, answer: &Value) -> (Vec<Value>, Vec<Value>) {
    match path {
        CHAT => {
            let message = &answer["choices"][0]["message"];
            let cited = message["annotations"].as_array().cloned().unwrap_or_default();
            (vec![message.clone()], cited.into_iter().map(|one| one["url_citation"].clone()).collect())
        }
        MESSAGES => {
            let content = answer["content"].as_array().expect("blocks");
            let cited = content.iter().flat_map(|block| block["citations"].as_array().cloned().unwrap_or_default());
            (vec![json!({"role": "assistant", "content": content})], cited.collect())
        }
        _ => {
            let output = answer["output"].as_array().expect("items");
            let parts = output.iter().flat_map(|item| item["content"].as_array().cloned().unwrap_or_default());
            let cited = parts.flat_map(|part| part["annotations"].as_array().cloned().unwrap_or_default());
            (output.clone(), cited.collect())
        }
    }
}

/// What a stream says of sources, and whether it tells of the search.
fn streamed(path: &str, events: &[Value]) -> (Vec<Value>, bool) {
    let at = |pointer: &str| events.iter().filter_map(|event| event.pointer(pointer).cloned()).collect::<Vec<_>>();
    match path {
        CHAT => (at("/choices/0/delta/annotations/0/url_citation"), true),
        MESSAGES => (at("/delta/citation"), at("/content_block/type").contains(&json!("web_search_tool_result"))),
        _ => (at("/annotation"), at("/type").contains(&json!("response.web_search_call.completed"))),
    }
}

#[tokio::test]
async fn a_search_is_asked_for_told_whole_and_streamed_and_gone_on_from() {
    for (protocol, model, path) in PAIRS {
        let (upstream, proxy) = stage(protocol, model, "refuse").await;
        let reply = post(&proxy, path, &turn(path, false, &[])).await;
        let sent: Value = serde_json::from_slice(&upstream.last().body).expect("JSON");
        let tool = if protocol == "gemini" {
            json!({"googleSearch": {}})
        } else {
            json!({"type": "web_search_20250305", "name": "web_search"})
        };
        assert_eq!(sent["tools"], json!([tool]), "{path} {protocol}");
        let (before, cited) = kept(path, &reply.json());
        let told: Vec<&Value> = cited.iter().map(|one| &one["url"]).collect();
        assert_eq!(told, ["https://a.test"], "{path} {protocol} {reply:?}");
        if path != MESSAGES {
            assert_eq!((&cited[0]["start_index"], &cited[0]["end_index"]), (&json!(0), &json!(12)));
        }
        let stream = post(&proxy, path, &turn(path, true, &[])).await;
        let (again, searched) = streamed(path, &stream.events());
        assert_eq!((again.iter().map(|one| &one["url"]).collect::<Vec<_>>(), searched), (told, true), "{stream:?}");
        post(&proxy, path, &turn(path, false, &before)).await;
        let sent = upstream.last().text();
        assert!(sent.contains("Twice a day.") && !sent.contains("a.test"), "{path} {protocol} {sent}");
    }
}

#[tokio::test]
async fn claude_code_is_told_of_a_search_as_it_counts_them_and_goes_on_at_anthropic() {
    let (_gemini, proxy) = stage("gemini", "gemini-2.5-flash", "drop").await;
    let mut body = turn(MESSAGES, true, &[]);
    // Google has no word for either.
    body["tools"][0]["max_uses"] = 8.into();
    body["tool_choice"] = json!({"type": "tool", "name": "web_search"});
    let events = post(&proxy, MESSAGES, &body).await.events();
    let blocks: Vec<&Value> = events.iter().filter_map(|event| event.get("content_block")).collect();
    let kinds: Vec<&Value> = blocks.iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["text", "server_tool_use", "web_search_tool_result"]);
    assert_eq!(blocks[2]["content"][0]["title"], "A");
    let usage = events.iter().find(|event| event["type"] == "message_delta").map(|event| event["usage"].clone());
    assert_eq!(usage.expect("counts")["server_tool_use"]["web_search_requests"], 1);
    let whole = post(&proxy, MESSAGES, &turn(MESSAGES, false, &[])).await;
    let (before, _) = kept(MESSAGES, &whole.json());
    let (upstream, anthropic) = stage("anthropic", "claude-sonnet-4-5", "drop").await;
    post(&anthropic, MESSAGES, &turn(MESSAGES, false, &before)).await;
    let sent: Value = serde_json::from_slice(&upstream.last().body).expect("JSON");
    assert_eq!(sent["messages"][1]["content"], json!([{"type": "text", "text": "Twice a day.", "citations": []}]));
}
