//! Vectors of Gemini's protocol for clients of OpenAI's: asked for in Google's words, told in OpenAI's, failures too.

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Reply},
    proxy::Proxy,
    script::Answer,
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

const VECTORS: &str =
    r#"{"embeddings":[{"values":[1.0,-0.5]},{"values":[0.25,0]}],"usageMetadata":{"promptTokenCount":7}}"#;

/// What OpenAI's own servers answer.
const OTHERS: &str = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[9.0]}],"model":"o"}"#;

async fn gemini(upstream: &Upstream, lines: &str) -> Proxy {
    let lines = format!("protocol = \"gemini\"\n{lines}");
    let settings = Settings::only(upstream.addr, "/v1beta", "gemini-embedding-001", &lines);
    Proxy::start(&settings.set("failover", "max_attempts = 1")).await
}

/// Where another backend is asked after that one.
async fn both(google: &Upstream, peer: &Upstream, lines: &str) -> Proxy {
    let at = format!("protocol = \"gemini\"\nbase_url = \"http://{}/v1beta\"\napi_key = \"k\"\n{lines}", google.addr);
    let peers = format!("protocol = \"openai\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"", peer.addr);
    let route = "backends = [{ backend = \"google\" }, { backend = \"peer\", priority = 2 }]";
    let settings = Settings::new().set("backends.google", &at).set("backends.peer", &peers).set("models.m", route);
    Proxy::start(&settings).await
}

async fn embed(proxy: &Proxy, body: Value) -> Reply {
    proxy.ask(&Ask::post("/v1/embeddings", body.to_string()).bearer(TOKEN)).await
}

#[tokio::test]
async fn vectors_are_asked_for_and_told_in_each_sides_own_words_and_counted() {
    let upstream = Upstream::always(Answer::json(200, VECTORS)).await;
    let proxy = gemini(&upstream, "").await;
    let vector = |n: usize, embedding: Value| json!({"object": "embedding", "index": n, "embedding": embedding});
    for (encoding, one, two) in [
        (json!(null), json!([1.0, -0.5]), json!([0.25, 0])),
        (json!("float"), json!([1.0, -0.5]), json!([0.25, 0])),
        (json!("base64"), json!("AACAPwAAAL8="), json!("AACAPgAAAAA=")),
    ] {
        let reply = embed(&proxy, json!({"model": "m", "input": ["a", "b"], "encoding_format": encoding})).await;
        let usage = json!({"prompt_tokens": 7, "total_tokens": 7});
        let want = json!({"object": "list", "data": [vector(0, one), vector(1, two)],
            "model": "gemini-embedding-001", "usage": usage});
        assert_eq!((reply.status(), reply.json()), (200, want));
        let seen = upstream.last();
        assert_eq!(seen.head.line, "POST /v1beta/models/gemini-embedding-001:batchEmbedContents HTTP/1.1");
        assert_eq!(seen.head.get("x-goog-api-key"), Some("the-key"));
        let sent: Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!(sent["requests"][1]["content"], json!({"parts": [{"text": "b"}]}));
        let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
        assert_eq!((&entry["tokens_in"], &entry["outcome"]), (&json!(7), &json!("success")), "{entry}");
    }
}

#[tokio::test]
async fn an_answer_of_fewer_vectors_than_texts_is_a_failure_and_another_backend_is_asked() {
    for short in [r#"{"embeddings":[{"values":[1.0]}]}"#, r#"{"embeddings":[{"values":[1.0]},{"values":[]}]}"#] {
        let google = Upstream::always(Answer::json(200, short)).await;
        let asks = json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64"});
        let reply = embed(&gemini(&google, "").await, asks.clone()).await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (502, "upstream_invalid_response"), "{reply:?}");
        let peer = Upstream::always(Answer::json(200, OTHERS)).await;
        let reply = embed(&both(&google, &peer, "").await, asks).await;
        assert_eq!((reply.status(), reply.backend(), reply.text().as_str()), (200, "peer", OTHERS), "{reply:?}");
    }
}

#[tokio::test]
async fn where_google_counts_nothing_clients_that_read_usage_find_nought_and_history_knows_no_count() {
    let upstream = Upstream::always(Answer::json(200, r#"{"embeddings":[{"values":[0.30000000000000004441]}]}"#)).await;
    let proxy = gemini(&upstream, "").await;
    let reply = embed(&proxy, json!({"model": "m", "input": "a"})).await;
    assert_eq!(reply.json()["usage"], json!({"prompt_tokens": 0, "total_tokens": 0}), "{reply:?}");
    assert!(reply.text().contains("[0.30000000000000004441]"), "{reply:?}");
    let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
    assert_eq!((entry.get("tokens_in"), &entry["outcome"]), (Some(&json!(null)), &json!("success")), "{entry}");
}

#[tokio::test]
async fn googles_refusals_are_told_in_openais_shape_and_a_model_that_cannot_embed_is_kept_for_chat() {
    let invalid = r#"{"error":{"code":400,"message":"At most 100 requests.","status":"INVALID_ARGUMENT"}}"#;
    let lacks = r#"{"error":{"code":404,"message":"models/m is not found for API version v1beta, or is not supported for embedContent.","status":"NOT_FOUND"}}"#;
    for (status, body, face) in
        [(400, invalid, (400, "At most 100")), (404, lacks, (400, "does not serve this endpoint"))]
    {
        let chat = r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}]}"#;
        let upstream = Upstream::start(move |_, ask| {
            if ask.head.line.contains(":batchEmbedContents") {
                Answer::json(status, body)
            } else {
                Answer::json(200, chat)
            }
        })
        .await;
        let proxy = gemini(&upstream, "breaker_failures = 1").await;
        for _ in 0..2 {
            let reply = embed(&proxy, json!({"model": "m", "input": "a"})).await;
            assert_eq!((reply.status(), reply.error("type").as_str()), (face.0, "invalid_request_error"), "{reply:?}");
            assert!(reply.error("message").contains(face.1), "{reply:?}");
        }
        assert_eq!((proxy.hello().await.status(), &proxy.report("only").await["state"]), (200, &json!("healthy")));
    }
}

#[tokio::test]
async fn what_google_cannot_be_asked_is_asked_of_another_backend_and_refused_where_there_is_none() {
    for (body, lines, param) in [
        (json!({"model": "m", "input": [1, 2]}), "", "input"),
        (json!({"model": "m", "input": "a", "user": "u"}), "unsupported = \"refuse\"", "user"),
    ] {
        let google = Upstream::always(Answer::json(200, VECTORS)).await;
        let reply = embed(&gemini(&google, lines).await, body.clone()).await;
        let face = (reply.status(), reply.error("code"), reply.error("param"));
        assert_eq!(face, (400, "unsupported_parameter".to_owned(), param.to_owned()), "{reply:?}");
        let peer = Upstream::always(Answer::json(200, OTHERS)).await;
        let reply = embed(&both(&google, &peer, lines).await, body).await;
        assert_eq!((reply.status(), reply.backend(), reply.text().as_str()), (200, "peer", OTHERS), "{reply:?}");
        assert_eq!(google.asked(), 0);
    }
}

#[tokio::test]
async fn vertex_which_embeds_one_text_at_a_time_is_not_asked() {
    let vertex = "protocol = \"gemini\"\napi_key = \"k\"\n\
                  base_url = \"https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google\"";
    let settings = Settings::new().set("backends.only", vertex).set("models.m", "backends = [{ backend = \"only\" }]");
    let reply = embed(&Proxy::start(&settings).await, json!({"model": "m", "input": "a"})).await;
    assert_eq!((reply.status(), reply.error("param").as_str()), (400, "model"), "{reply:?}");
    assert!(reply.error("message").contains("serves this endpoint"), "{reply:?}");
}
