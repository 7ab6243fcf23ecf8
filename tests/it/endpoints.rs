//! What is told where there is no endpoint: which one may be meant, or what there is.

use crate::support::{client::Ask, proxy::Proxy, settings::TOKEN, upstream::Upstream};

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
