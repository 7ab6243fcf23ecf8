//! What backends of each protocol and URL style are sent: request line, headers, and histories that other providers wrote.

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Connection},
    proxy::{HELLO, HELLO_STREAM, Proxy, hello_at},
    script::{Answer, Gate, completion},
    settings::{Settings, TOKEN},
    upstream::{Received, Upstream},
    wire::End,
};

/// One backend that serves `m` as `deployed-model`.
fn only(upstream: &Upstream, path: &str, lines: &str) -> Settings {
    Settings::only(upstream.addr, path, "deployed-model", lines).set("models.m", "rescue = \"off\"")
}

const AZURE: &str = "protocol = \"openai\"\nstyle = \"azure\"\napi_version = \"2024-10-21\"";
const ANTHROPIC: &str = "protocol = \"anthropic\"";

/// Path and query of the latest request, which is checked to carry the key in `header` and nowhere else.
fn target(upstream: &Upstream, header: &str, key: &str) -> String {
    let head = upstream.last().head;
    assert_eq!(head.all(header), [key], "{head:?}");
    for other in ["authorization", "api-key", "x-api-key", "x-goog-api-key"].iter().filter(|name| **name != header) {
        assert_eq!(head.get(other), None, "{head:?}");
    }
    let line = head.line.strip_prefix("POST ").and_then(|line| line.strip_suffix(" HTTP/1.1"));
    line.expect("a POST of HTTP/1.1").to_owned()
}

#[tokio::test]
async fn azure_is_sent_deployment_version_and_key_as_it_wants_them() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&only(&upstream, "", AZURE)).await;
    let at = |path: &str| format!("/openai/deployments/deployed-model/{path}?api-version=2024-10-21");
    for (hello, accept) in [(HELLO, "application/json"), (HELLO_STREAM, "text/event-stream")] {
        let reply = proxy.chat(hello).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        assert_eq!(target(&upstream, "api-key", "the-key"), at("chat/completions"));
        let head = upstream.last().head;
        assert_eq!(head.get("accept"), Some(accept));
        assert_eq!(head.get("content-type"), Some("application/json"));
        assert_eq!(head.get("host"), Some(upstream.addr.to_string().as_str()));
        assert_eq!(serde_json::from_str::<Value>(&upstream.last().text()).expect("JSON")["model"], "deployed-model");
    }
    let vectors = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}"#;
    let upstream = Upstream::always(Answer::json(200, vectors)).await;
    let proxy = Proxy::start(&only(&upstream, "/", AZURE)).await;
    let reply = proxy.send("/v1/embeddings", &json!({"model": "m", "input": "hi"})).await;
    assert_eq!((reply.status(), reply.text().as_str()), (200, vectors));
    assert_eq!(target(&upstream, "api-key", "the-key"), at("embeddings"));
}

#[tokio::test]
async fn each_protocol_is_asked_at_its_own_path_with_its_own_key() {
    let claude = r#"{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
    let upstream = Upstream::always(Answer::json(200, claude)).await;
    let proxy = Proxy::start(&only(&upstream, "/v1", ANTHROPIC)).await;
    assert_eq!(proxy.chat(HELLO).await.json()["choices"][0]["message"]["content"], "hi");
    assert_eq!(target(&upstream, "x-api-key", "the-key"), "/v1/messages");
    assert_eq!(upstream.last().head.get("anthropic-version"), Some("2023-06-01"));
    let gemini = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP"}]}"#;
    let upstream = Upstream::always(Answer::json(200, gemini)).await;
    let proxy = Proxy::start(&only(&upstream, "/v1beta", "protocol = \"gemini\"")).await;
    assert_eq!(proxy.chat(HELLO).await.json()["choices"][0]["message"]["content"], "hi");
    assert_eq!(target(&upstream, "x-goog-api-key", "the-key"), "/v1beta/models/deployed-model:generateContent");
    let streamed = Answer::stream().chunk(format!("data: {gemini}\r\n\r\n")).end();
    let upstream = Upstream::always(streamed).await;
    let proxy = Proxy::start(&only(&upstream, "/v1beta", "protocol = \"gemini\"")).await;
    assert!(proxy.chat(HELLO_STREAM).await.text().ends_with("data: [DONE]\n\n"));
    let path = target(&upstream, "x-goog-api-key", "the-key");
    assert_eq!(path, "/v1beta/models/deployed-model:streamGenerateContent?alt=sse");
}

/// A Messages turn in which the assistant's thinking has this signature.
fn thought(signature: &str) -> Value {
    json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": signature}, {"type": "text", "text": "a"}]},
        {"role": "user", "content": "r"}]})
}

#[tokio::test]
async fn thinking_that_another_provider_signed_is_kept_from_anthropic_and_its_own_passes_untouched() {
    let upstream =
        Upstream::always(Answer::json(200, r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#)).await;
    let proxy = Proxy::start(&only(&upstream, "/v1", ANTHROPIC)).await;
    for (signature, blocks) in [("EqQBCgIYAhIM", 2), ("gemini:c2ln", 1), ("", 1)] {
        let reply = proxy.send("/v1/messages", &thought(signature)).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        let sent: Value = serde_json::from_str(&upstream.last().text()).expect("JSON");
        assert_eq!(sent["messages"][1]["content"].as_array().map(Vec::len), Some(blocks), "{signature}");
    }
}

#[tokio::test]
async fn azure_is_spared_the_members_that_translated_answers_add_and_other_servers_are_not() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a",
        "reasoning_content": "hm", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}]});
    for (style, kept) in [(AZURE, false), ("protocol = \"openai\"", true)] {
        let upstream = Upstream::saying("hi").await;
        let proxy = Proxy::start(&only(&upstream, "/v1", style)).await;
        let reply = proxy.send("/v1/chat/completions", &body).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        let said = serde_json::from_str::<Value>(&upstream.last().text()).expect("JSON")["messages"][1].clone();
        assert_eq!(said["content"], "a");
        assert_eq!(said.get("reasoning_content").is_some() && said.get("thinking_blocks").is_some(), kept);
    }
}

/// A stream of each protocol that breaks off after its first word, once the gate is open.
fn broken(protocol: &str, gate: &Gate) -> Answer {
    let frames: &[&str] = match protocol {
        "anthropic" => &[
            r#"{"type":"message_start","message":{"id":"msg_1","model":"c","usage":{"input_tokens":1}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word"}}"#,
        ],
        "gemini" => &[r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"word"}]}}],"responseId":"r"}"#],
        _ => &[
            r#"{"id":"chatcmpl-1","model":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"word"},"finish_reason":null}]}"#,
        ],
    };
    let said = frames.iter().fold(Answer::stream(), |answer, frame| answer.chunk(format!("data: {frame}\n\n")));
    said.wait(gate).close()
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_the_error_of_the_clients_own_protocol() {
    let hello = json!([{"role": "user", "content": "Hello!"}]);
    for protocol in ["openai", "anthropic", "gemini"] {
        let gate = Gate::new();
        let upstream = Upstream::always(broken(protocol, &gate)).await;
        let proxy = Proxy::start(&only(&upstream, "/v1", &format!("protocol = \"{protocol}\""))).await;
        for (path, prompt) in [("chat/completions", "messages"), ("messages", "messages"), ("responses", "input")] {
            if (protocol, path) == ("anthropic", "messages") || (protocol, path) == ("openai", "chat/completions") {
                // Its own bytes, which other tests see.
                continue;
            }
            let body = json!({"model": "m", "stream": true, "max_tokens": 9, prompt: hello});
            let mut connection = Connection::open(proxy.addr).await;
            connection.send(&Ask::post(&format!("/v1/{path}"), body.to_string()).bearer(TOKEN)).await;
            assert_eq!(connection.head().await.status(), 200);
            let mut text = String::new();
            while !text.contains("word") {
                text += &(connection.frame().await.expect("a word") + "\n\n");
            }
            gate.open();
            let (rest, end) = connection.rest().await;
            // A response that failed has an end of its own.
            assert_eq!(end, if path == "responses" { End::Clean } else { End::Truncated });
            text += &String::from_utf8_lossy(&rest);
            assert!(text.contains("word") && !text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
            let data =
                |line: &str| line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
            let events: Vec<Value> = text.lines().filter_map(data).collect();
            let last = events.last().expect("events");
            assert!(last["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{text}");
            match path {
                "messages" => {
                    assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("api_error")));
                }
                "responses" => {
                    let failed = &events[events.len() - 2];
                    assert_eq!(failed["type"], "response.failed");
                    assert_eq!(failed["response"]["id"], events[0]["response"]["id"]);
                    let numbers: Vec<Option<u64>> = events.iter().map(|e| e["sequence_number"].as_u64()).collect();
                    assert_eq!(numbers, (0..events.len() as u64).map(Some).collect::<Vec<_>>());
                    assert_eq!((&last["type"], &last["code"]), (&json!("error"), &last["error"]["code"]));
                }
                _ => assert_eq!(last["error"]["code"], "upstream_error"),
            }
        }
    }
}

#[tokio::test]
async fn a_translated_answer_has_the_type_of_what_greenroom_wrote() {
    let body = completion("hi");
    for theirs in ["content-type: text/html\r\n", "content-type: application/json; charset=utf-8\r\n", ""] {
        let answer = format!("HTTP/1.1 200 OK\r\n{theirs}content-length: {}\r\n\r\n{body}", body.len());
        let upstream = Upstream::always(Answer::new().raw(answer)).await;
        let proxy = Proxy::before(&upstream).await;
        let messages = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
        for (path, ask) in [("/v1/messages", messages), ("/v1/responses", json!({"model": "m", "input": "hi"}))] {
            let reply = proxy.send(path, &ask).await;
            assert_eq!((reply.status(), reply.head.all("content-type")), (200, vec!["application/json"]), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn where_a_request_stands_in_a_trace_is_told_only_to_backends_that_are_to_know() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (ours, theirs) = (Upstream::saying("hi").await, Upstream::saying("hi").await);
    let settings = Settings::new().backend("ours", ours.addr).backend("theirs", theirs.addr);
    let proxy = Proxy::start(&settings.set("backends.ours", "trace_context = true")).await;
    for (name, upstream, told) in [("ours", &ours, Some(parent)), ("theirs", &theirs, None)] {
        let ask = Ask::chat(hello_at(name)).bearer(TOKEN).header("traceparent", parent);
        // One list, though in two lines.
        let ask = ask.header("tracestate", "a=1").header("tracestate", "b=2");
        assert_eq!(proxy.ask(&ask).await.status(), 200);
        let head = upstream.last().head;
        assert_eq!((head.get("traceparent"), head.get("tracestate")), (told, told.map(|_| "a=1,b=2")), "{name}");
    }
}

#[tokio::test]
async fn every_answer_of_messages_names_the_request_as_anthropics_sdks_read_it() {
    let stream = "event: content_block_delta\ndata: {\"index\":0,\"delta\":{\"text\":\"hi\"}}\n\n\
                  event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n\
                  event: message_stop\ndata: {}\n\n";
    let answer = move |n: usize, ask: &Received| match (n, ask.wants_stream()) {
        (0, _) => Answer::json(500, "{}"),
        (_, true) if ask.head.line.contains("/messages") => Answer::stream().chunk(stream).end(),
        (_, true) => Answer::streams("hi"),
        // Each protocol finds its own in it.
        (_, false) => Answer::json(
            200,
            &completion("hi").replacen('{', "{\"type\":\"message\",\"content\":[],\"input_tokens\":3,\"data\":[],", 1),
        ),
    };
    for lines in [ANTHROPIC, "protocol = \"openai\""] {
        let upstream = Upstream::start(answer).await;
        let proxy = Proxy::start(&only(&upstream, "", lines).set("failover", "max_attempts = 1")).await;
        let messages = "/v1/messages";
        for (ask, status) in [
            (Ask::post(messages, HELLO).bearer(TOKEN), 502),
            (Ask::post(messages, HELLO).bearer(TOKEN), 200),
            (Ask::post(messages, HELLO_STREAM).bearer(TOKEN), 200),
            (Ask::post(messages, HELLO), 401),
            (Ask::post(messages, "{").bearer(TOKEN), 400),
            (Ask::new("GET", messages).bearer(TOKEN), 405),
            (Ask::post("/v1/messages/count_tokens", HELLO).bearer(TOKEN), if lines == ANTHROPIC { 200 } else { 400 }),
        ] {
            let reply = proxy.ask(&ask.header("x-request-id", "mine")).await;
            let id = reply.header("x-request-id");
            assert_eq!((reply.status(), reply.head.all("request-id")), (status, vec![id]), "{lines}: {reply:?}");
            assert!(id == "mine" || status == 401, "{reply:?}");
        }
        assert_eq!(proxy.chat(HELLO).await.head.get("request-id"), None);
    }
}

#[tokio::test]
async fn the_query_of_messages_goes_on_to_anthropic_without_credentials_and_to_nobody_else() {
    let lines = |n: usize| if n == 0 { "protocol = \"anthropic\"" } else { "protocol = \"openai\"" };
    let counted =
        completion("hi").replacen('{', "{\"type\":\"message\",\"content\":[],\"input_tokens\":3,\"data\":[],", 1);
    for (n, path, trial, sent) in [
        (0, "/v1/messages", false, "/messages?beta=true"),
        (0, "/v1/messages", true, "/messages?beta=true"),
        (0, "/v1/messages/count_tokens", false, "/messages/count_tokens?beta=true"),
        (1, "/v1/messages", false, "/chat/completions"),
        (1, "/v1/chat/completions", false, "/chat/completions"),
        (1, "/v1/embeddings", false, "/embeddings"),
    ] {
        let upstream = Upstream::always(Answer::json(200, &counted)).await;
        let proxy = Proxy::start(&only(&upstream, "", lines(n))).await;
        let body = HELLO.replacen('{', "{\"input\":\"hi\",", 1);
        let ask = Ask::post(&format!("{path}?key=my-secret&beta=true"), body).bearer(TOKEN);
        let ask = if trial { ask.header("anthropic-beta", "a-trial") } else { ask };
        let reply = proxy.ask(&ask).await;
        assert_eq!(reply.status(), 200, "{path}: {reply:?}");
        let head = upstream.last().head;
        assert_eq!(head.line, format!("POST {sent} HTTP/1.1"));
        assert_eq!((head.get("anthropic-beta").is_some(), proxy.log().contains("my-secret")), (trial, false));
    }
}
