//! What is told where there is no endpoint: which one may be meant, or what there is; and what operators see of each endpoint.

use serde_json::Value;

use crate::{
    metrics::until,
    support::{
        client::Ask,
        launch::Launch,
        proxy::{HELLO, Proxy},
        script::Answer,
        settings::{Settings, TOKEN},
        upstream::Upstream,
    },
};

#[tokio::test]
async fn who_asks_beside_an_endpoint_is_told_where_it_is() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::before(&upstream).await;
    for (wrong, meant) in [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1/responses/", "/v1/responses"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/deployments/gpt-4o/chat/completions?api-version=1", "/v1/chat/completions"),
        ("/models", "/v1/models"),
        ("/rerank", "/v1/rerank"),
        ("/v1/audio/transcription", "/v1/audio/transcriptions"),
        ("/v1/image/generations", "/v1/images/generations"),
        ("/v1/images/edit", "/v1/images/edits"),
        ("/v1/moderation", "/v1/moderations"),
        ("/v1/reranks/", "/v1/rerank"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v2/embeddings", "/v1/embeddings"),
    ] {
        let said = proxy.ask(&Ask::new("POST", wrong).bearer(TOKEN)).await.error("message");
        assert!(said.contains(&format!(" Did you mean {meant}?")), "{said}");
    }
    for other in ["/v1/files", "/v1/batches", "/v1/images/variations", "/v1/threads/one/messages", "/", "/v1"] {
        let said = proxy.ask(&Ask::new("POST", other).bearer(TOKEN)).await.error("message");
        assert!(said.contains("/v1/chat/completions, /v1/messages"), "{said}");
    }
}

#[tokio::test]
async fn who_misses_the_endpoints_is_seen_in_the_log_and_the_metrics() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::before(&upstream).await;
    let long = format!("/v1/{}", "x".repeat(500));
    for (n, (method, path, status, seen)) in [
        ("POST", "/chat/completions", 404, "method=POST path=/chat/completions"),
        ("POST", "/a=b%0Aid=forged?key=secret", 404, "method=POST path=/a_b%0Aid_forged"),
        ("POST", &long, 404, "method=POST path=/v1/xxx"),
        ("GET", "/v1/chat/completions", 405, "endpoint=chat "),
        ("GET", "/v1/messages", 405, "method=GET path=-"),
        ("POST", "/v1/models", 405, "endpoint=models "),
        ("POST", "/admin/backends", 405, "endpoint=admin "),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, begins) = (format!("id=miss-{n} user=tester"), "peer=127.0.0.1:");
        let ask = Ask::new(method, path).bearer(TOKEN).header("x-request-id", &format!("miss-{n}"));
        assert_eq!(proxy.ask(&ask).await.status(), status, "{path}");
        let line = proxy.logged(&["INFO", "greenroom::request", &id, &format!("status={status}"), seen, begins]).await;
        assert!(line.len() < 400 && line.contains("class=caller_invalid"), "{line}");
    }
    let stranger = proxy.ask(&Ask::post("/chat/completions", HELLO)).await;
    let id = format!("id={} user=- model=- endpoint=other", stranger.header("x-request-id"));
    proxy.logged(&[&id, "status=404", "path=/chat/completions"]).await;
    assert!(!proxy.log().contains("secret"), "{}", proxy.log());
    let counted = "greenroom_requests_total{backend=\"none\",model=\"other\",status_class=\"4xx\",outcome=\"failure\",stream=\"false\"}";
    until(&proxy, counted, 8.0).await;
    assert!(!proxy.get("/metrics").await.text().contains("/chat"), "a path is no label");
}

#[tokio::test]
async fn the_log_and_the_ledger_tell_which_endpoint_was_asked_and_who_a_stranger_is() {
    const VECTORS: &str =
        r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0]}],"model":"m"}"#;
    let upstream = Upstream::start(|_, ask| {
        if ask.head.line.contains("/embeddings") { Answer::json(200, VECTORS) } else { ask.saying("hi") }
    })
    .await;
    let settings = Settings::new().backend("one", upstream.addr);
    let asked = [
        ("/v1/chat/completions", HELLO, "chat"),
        ("/v1/messages", r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hello!"}]}"#, "messages"),
        ("/v1/embeddings", r#"{"model":"m","input":"Hello!"}"#, "embeddings"),
    ];
    for (form, word) in [("text", "endpoint="), ("json", "\"endpoint\":\"")] {
        let proxy = Launch::new(&settings).env("GREENROOM_LOG_FORMAT", form).start().await;
        for (path, body, endpoint) in asked {
            let ask = Ask::post(path, body);
            let reply = proxy.ask(&ask.clone().bearer(TOKEN)).await;
            assert_eq!(reply.status(), 200, "{reply:?}");
            let id = reply.header("x-request-id").to_owned();
            let endpoint_word = format!("{word}{endpoint}");
            let line = proxy.logged(&["greenroom::request", &id, &endpoint_word]).await;
            assert!(!line.contains("peer"), "{line}");
            let told = proxy.get(&format!("/admin/requests/{id}")).await.json();
            assert_eq!(told["endpoint"], endpoint, "{told}");
            let refused = proxy.ask(&ask.bearer("the-old-key")).await;
            let line = proxy.logged(&[refused.header("x-request-id"), &endpoint_word, "401", "peer"]).await;
            let peer = match serde_json::from_str::<Value>(&line) {
                Ok(line) => line["peer"].as_str().unwrap_or_default().to_owned(),
                Err(_) => line.split_once("peer=").unwrap_or_default().1.to_owned(),
            };
            assert!(peer.starts_with("127.0.0.1:"), "{line}");
        }
    }
}
