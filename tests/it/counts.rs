//! Tokens counted for clients of Messages: by whom, in which words, and what it does to health and limits: nothing.

use serde_json::{Value, json};

use crate::support::{
    client::Reply,
    proxy::{HELLO, Proxy},
    script::Answer,
    settings::Settings,
    upstream::Upstream,
};

const COUNT: &str = "/v1/messages/count_tokens";

/// The protocols that count.
const PROTOCOLS: [&str; 2] = ["anthropic", "gemini"];

/// A backend of one of them that answers as told, and counts tokens as told; what is asked of it.
async fn stage(protocol: &str, answers: u16, counts: u16) -> (Upstream, Proxy) {
    let upstream = Upstream::start(move |_, ask| {
        let counting = ["/count_tokens", ":countTokens"].iter().any(|end| ask.head.line.contains(end));
        match counting {
            true if counts == 200 => Answer::json(200, r#"{"input_tokens":3,"totalTokens":3}"#),
            true => Answer::json(counts, "{}"),
            // Each protocol finds its own in it.
            false if answers == 200 => Answer::json(
                200,
                r#"{"type":"message","content":[],"stop_reason":"end_turn","candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}]}"#,
            ),
            false => Answer::json(answers, "{}"),
        }
    })
    .await;
    let lines = format!("protocol = \"{protocol}\"\nbackoff_min = \"100ms\"");
    let settings = Settings::only(upstream.addr, "/v1", "theirs", &lines).set("failover", "max_attempts = 1");
    let proxy = Proxy::start(&settings).await;
    (upstream, proxy)
}

async fn reply(proxy: &Proxy, path: &str, body: &str) -> Reply {
    proxy.send(path, &body).await
}

async fn ask(proxy: &Proxy, path: &str) -> u16 {
    let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hello!"}]}"#;
    reply(proxy, path, body).await.status()
}

#[tokio::test]
async fn gemini_counts_all_that_it_would_be_sent() {
    let (upstream, proxy) = stage("gemini", 200, 200).await;
    let body = json!({"model": "m", "backend": "only", "system": "Be brief.", "messages": [
        {"role": "user", "content": "Hello!"}], "tools": [
        {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}]});
    let reply = reply(&proxy, COUNT, &body.to_string()).await;
    assert_eq!((reply.status(), reply.json()), (200, json!({"input_tokens": 3})), "{reply:?}");
    assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
    assert_eq!(upstream.last().head.line, "POST /v1/models/theirs:countTokens HTTP/1.1");
    let sent: Value = serde_json::from_slice(&upstream.last().body).expect("JSON");
    let asked = &sent["generateContentRequest"];
    assert_eq!((sent.as_object().map(serde_json::Map::len), &asked["model"]), (Some(1), &json!("models/theirs")));
    assert_eq!(asked["systemInstruction"]["parts"][0]["text"], "Be brief.");
    assert_eq!(asked["contents"][0]["parts"][0]["text"], "Hello!");
    assert_eq!(asked["tools"][0]["functionDeclarations"][0]["name"], "f");
    assert!(!proxy.log().contains("tokens=3"), "nothing was generated: {}", proxy.log());
}

#[tokio::test]
async fn a_count_goes_to_who_can_and_is_refused_where_nobody_can() {
    let counts = Upstream::always(Answer::json(200, r#"{"totalTokens":3}"#)).await;
    let cannot = Upstream::saying("hi").await;
    let gemini = format!("protocol = \"gemini\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"", counts.addr);
    let settings = Settings::new()
        .backend("cannot", cannot.addr)
        .set("backends.can", &gemini)
        .set("models.both", "backends = [{ backend = \"cannot\" }, { backend = \"can\" }]");
    let proxy = Proxy::start(&settings).await;
    let both = HELLO.replace("\"m\"", "\"both\"");
    for _ in 0..4 {
        let reply = reply(&proxy, COUNT, &both).await;
        assert_eq!((reply.status(), reply.backend()), (200, "can"), "{reply:?}");
    }
    let pinned = both.replacen('{', "{\"backend\":\"cannot\",", 1);
    for body in [HELLO, &pinned] {
        let reply = reply(&proxy, COUNT, body).await;
        assert_eq!(reply.status(), 400, "{reply:?}");
    }
    assert_eq!((counts.asked(), cannot.asked()), (4, 0));
}

#[tokio::test]
async fn prompts_that_are_counted_hide_no_failures_and_are_no_probes() {
    for protocol in PROTOCOLS {
        let (upstream, proxy) = stage(protocol, 500, 200).await;
        for _ in 0..2 {
            for (path, status) in [("/v1/messages", 502), (COUNT, 200), (COUNT, 200)] {
                assert_eq!(ask(&proxy, path).await, status, "{protocol}");
            }
        }
        assert_eq!(ask(&proxy, "/v1/messages").await, 502);
        let report = proxy.until("only", "the time to probe", |r| r["state"] == "half_open").await;
        let told = (&report["requests"]["success"], &report["latency_ms"]["p50"]);
        assert_eq!(told, (&4.into(), &Value::Null), "{report}");
        assert_eq!((ask(&proxy, COUNT).await, upstream.asked()), (200, 8));
        let report = proxy.until("only", "the count", |r| r["requests"]["success"] == 5).await;
        assert_eq!(report["state"], "half_open", "{report}");
    }
}

#[tokio::test]
async fn a_server_without_the_endpoint_is_passed_over_and_has_not_failed() {
    let missing = || Answer::json(404, r#"{"detail":"Not Found"}"#);
    let (lacks, counts) =
        (Upstream::always(missing()).await, Upstream::always(Answer::json(200, r#"{"input_tokens":3}"#)).await);
    let backend = |addr| format!("protocol = \"anthropic\"\nbase_url = \"http://{addr}/v1\"\napi_key = \"k\"");
    let settings = Settings::new()
        .set("backends.lacks", &backend(lacks.addr))
        .set("backends.counts", &backend(counts.addr))
        .set("models.m", "backends = [{ backend = \"lacks\" }]")
        .set("models.both", "backends = [{ backend = \"lacks\" }, { backend = \"counts\", priority = 2 }]");
    let proxy = Proxy::start(&settings).await;
    for _ in 0..4 {
        assert_eq!(reply(&proxy, COUNT, &HELLO.replace("\"m\"", "\"both\"")).await.backend(), "counts");
        let refused = reply(&proxy, COUNT, HELLO).await;
        assert_eq!((refused.status(), refused.error("type")), (400, "invalid_request_error".to_owned()));
        assert!(
            refused.error("message").contains("does not serve this endpoint (/v1/messages/count_tokens)"),
            "{refused:?}"
        );
    }
    let report = proxy.until("lacks", "all of them", |r| r["requests"]["total"] == 8).await;
    assert_eq!((&report["requests"]["failure"], &report["state"]), (&0.into(), &"healthy".into()), "{report}");
    assert_eq!(report["failures_by_class"], json!({"caller_invalid": 8}), "{report}");
}

#[tokio::test]
async fn a_backend_that_cannot_count_tokens_is_not_shut_for_it() {
    for protocol in PROTOCOLS {
        for status in [404, 429, 500] {
            let (_upstream, proxy) = stage(protocol, 200, status).await;
            for _ in 0..4 {
                assert_ne!(ask(&proxy, COUNT).await, 200);
            }
            assert_eq!(ask(&proxy, "/v1/messages").await, 200);
            assert_eq!(proxy.report("only").await["state"], "healthy", "{protocol} {status}");
        }
    }
}
