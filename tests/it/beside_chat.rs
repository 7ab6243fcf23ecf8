//! Endpoints beside chat that a server answers with nothing but failures: these shut no model at those that work.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering::SeqCst},
};

use serde_json::json;

use crate::support::{
    client::{Ask, Reply},
    proxy::{HELLO_STREAM, Proxy},
    script::Answer,
    settings::{Settings, TOKEN},
    upstream::{Received, Upstream},
};

const VECTORS: &str = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0]}],"model":"m"}"#;

/// A server with one model, what it answers at its endpoints, and a proxy before it.
struct Stage {
    embeddings: Arc<AtomicU16>,
    chat: Arc<AtomicU16>,
    proxy: Proxy,
}

impl Stage {
    async fn open(upstream_lines: &str) -> (Self, Upstream) {
        let [embeddings, chat] = [500, 200].map(|status| Arc::new(AtomicU16::new(status)));
        let statuses = [embeddings.clone(), chat.clone()];
        let upstream = Upstream::start(move |_, ask: &Received| {
            let is_chat = ask.head.line.contains("/chat/");
            match statuses[usize::from(is_chat)].load(SeqCst) {
                200 if is_chat => ask.saying("hi"),
                200 => Answer::json(200, VECTORS),
                0 => Answer::new().hang(),
                503 => Answer::json_with(503, "retry-after: 60\r\n", "{}"),
                status => Answer::json(status, r#"{"error":{"message":"no such thing","type":"api_error"}}"#),
            }
        })
        .await;
        let settings = Settings::new()
            .backend("one", upstream.addr)
            .set("failover", "max_attempts = 1")
            .set("defaults.backend", &format!("breaker_failures = 3\nbackoff_min = \"30s\"\n{upstream_lines}"));
        let proxy = Proxy::start(&settings).await;
        (Self { embeddings, chat, proxy }, upstream)
    }

    async fn embed(&self) -> Reply {
        let body = json!({"model": "m", "input": "a"}).to_string();
        self.proxy.ask(&Ask::post("/v1/embeddings", body).bearer(TOKEN)).await
    }

    async fn embeds(&self, times: usize, status: u16) {
        for _ in 0..times {
            assert_eq!(self.embed().await.status(), status);
        }
    }

    async fn until_shut(&self) {
        self.proxy.until("one", "a shut gate", |report| !report["models"][0]["reopens_in_ms"].is_null()).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_has_never_worked_shuts_no_model_that_chats() {
    for failing in [500, 502] {
        // By the share of failures it would shut, too.
        let (stage, _upstream) = Stage::open("breaker_min_samples = 4").await;
        assert_eq!(stage.proxy.chat(HELLO_STREAM).await.status(), 200);
        stage.embeddings.store(failing, SeqCst);
        stage.embeds(8, 502).await;
        let report = stage.proxy.report("one").await;
        assert_eq!(
            (&report["state"], report["consecutive_failures"].as_u64()),
            (&json!("healthy"), Some(0)),
            "{report}"
        );
        // Operators see it all the same, and clients get what is wrong.
        assert!(report["requests"]["failure"].as_u64() >= Some(8) && !report["last_error"].is_null(), "{report}");
        assert_eq!(stage.proxy.hello().await.status(), 200);
    }
}

#[tokio::test]
async fn an_endpoint_that_has_worked_shuts_its_model_as_chat_does() {
    let (stage, _upstream) = Stage::open("").await;
    assert_eq!(stage.proxy.hello().await.status(), 200);
    stage.embeddings.store(200, SeqCst);
    stage.embeds(1, 200).await;
    stage.embeddings.store(500, SeqCst);
    stage.embeds(3, 502).await;
    stage.until_shut().await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_there_and_shuts_its_model_as_chat_does() {
    let (stage, _upstream) = Stage::open("total_timeout = \"500ms\"").await;
    assert_eq!(stage.proxy.hello().await.status(), 200);
    stage.embeddings.store(0, SeqCst);
    stage.embeds(3, 504).await;
    stage.until_shut().await;
}

#[tokio::test]
async fn a_model_that_has_answered_nothing_is_shut_by_whatever_fails() {
    let (stage, _upstream) = Stage::open("").await;
    stage.embeds(3, 502).await;
    stage.until_shut().await;
}

#[tokio::test]
async fn chat_that_fails_shuts_its_model_whatever_else_never_worked() {
    let (stage, _upstream) = Stage::open("").await;
    assert_eq!(stage.proxy.hello().await.status(), 200);
    stage.chat.store(500, SeqCst);
    for _ in 0..3 {
        stage.embeds(1, 502).await;
        assert_eq!(stage.proxy.hello().await.status(), 502);
    }
    stage.until_shut().await;
}

#[tokio::test]
async fn a_wait_that_a_provider_names_holds_wherever_it_is_named() {
    let (stage, _upstream) = Stage::open("").await;
    assert_eq!(stage.proxy.hello().await.status(), 200);
    stage.embeddings.store(503, SeqCst);
    stage.embeds(1, 503).await;
    stage.until_shut().await;
}
