//! Endpoints whose requests are passed on as they are, or not at all: moderations, reranking, pictures. Not every server has them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Reply},
    proxy::Proxy,
    script::Answer,
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

const MODERATION: (&str, &str) =
    ("/v1/moderations", r#"{"id":"modr-1","model":"omni","results":[{"flagged":false,"categories":{}}]}"#);
const RANKS: (&str, &str) =
    ("/v1/rerank", r#"{"results":[{"index":1,"relevance_score":0.9}],"usage":{"total_tokens":56}}"#);
const PICTURE: (&str, &str) = (
    "/v1/images/generations",
    r#"{"created":1,"data":[{"b64_json":"aGk="}],"usage":{"input_tokens":13,"output_tokens":1056,"total_tokens":1069}}"#,
);

/// A request to any of them.
fn body() -> Value {
    json!({"model": "m", "input": "a", "prompt": "a", "query": "a", "documents": ["b", "c"]})
}

async fn post(proxy: &Proxy, path: &str, body: &Value) -> Reply {
    proxy.ask(&Ask::post(path, body.to_string()).bearer(TOKEN)).await
}

#[tokio::test]
async fn each_is_passed_on_in_its_clients_bytes_and_counted_as_its_server_counts() {
    for ((path, answer), asked, tokens) in [
        (MODERATION, "/v1/moderations", json!([null, null])),
        (RANKS, "/v1/rerank", json!([56, 0])),
        // As Cohere's newer client asks.
        (("/v2/rerank", RANKS.1), "/v1/rerank", json!([56, 0])),
        (PICTURE, "/v1/images/generations", json!([13, 1056])),
    ] {
        let upstream = Upstream::always(Answer::json(200, answer)).await;
        let settings = Settings::only(upstream.addr, "/v1", "theirs", "protocol = \"openai\"");
        let proxy = Proxy::start(&settings).await;
        let sent = r#"{ "backend":"only", "model":"m","query":"a","input" : ["a"],"prompt":"\u00e9","top_n":1 }"#;
        let reply = proxy.ask(&Ask::post(path, sent).bearer(TOKEN)).await;
        assert_eq!((reply.status(), reply.text().as_str(), reply.backend()), (200, answer, "only"), "{reply:?}");
        assert_eq!(reply.header("x-greenroom-route"), "pinned");
        let seen = upstream.last();
        assert_eq!(seen.head.line, format!("POST {asked} HTTP/1.1"));
        let theirs = r#"{ "model":"theirs","query":"a","input" : ["a"],"prompt":"\u00e9","top_n":1 }"#;
        assert_eq!(seen.text(), theirs);
        let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
        assert_eq!(json!([entry["tokens_in"], entry["tokens_out"]]), tokens, "{entry}");
    }
}

#[tokio::test]
async fn a_request_without_its_model_or_what_it_is_about_is_told_what_is_missing() {
    let upstream = Upstream::always(Answer::json(200, MODERATION.1)).await;
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr)).await;
    for (path, prompt) in [(MODERATION.0, "input"), (RANKS.0, "query"), (PICTURE.0, "prompt")] {
        for missing in ["model", prompt] {
            let mut body = body();
            body.as_object_mut().expect("an object").remove(missing);
            let reply = post(&proxy, path, &body).await;
            let face = (reply.status(), reply.error("code"), reply.error("param"));
            assert_eq!(face, (400, "missing_required_parameter".to_owned(), missing.to_owned()), "{path}");
        }
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn a_server_without_the_endpoint_is_left_aside_for_it_and_its_model_stays_open() {
    for (status, says) in [
        (404, r#"{"detail":"Not Found"}"#),
        (404, r#"{"error":{"message":"Invalid URL (POST /v1/rerank)","type":"invalid_request_error"}}"#),
        (404, ""),
        (405, ""),
        (501, r#"{"error":{"code":501,"message":"This server does not support reranking."}}"#),
        (404, r#"{"error":{"message":"Unknown request URL: POST /v1/rerank.","code":"unknown_url"}}"#),
        (403, r#"{"error":{"message":"You are not allowed to generate embeddings from this model"}}"#),
        (200, r#"{"error":"Unexpected endpoint or method. (POST /v1/rerank)"}"#),
    ] {
        let lacks = Upstream::start(move |_, ask| {
            if ask.head.line.contains("/chat/") { Answer::says("hi") } else { Answer::json(status, says) }
        })
        .await;
        let peer = Upstream::always(Answer::json(200, RANKS.1)).await;
        let settings = Settings::bad_and_peer(&lacks, &peer).set("backends.bad", "breaker_failures = 1");
        let proxy = Proxy::start(&settings).await;
        for _ in 0..3 {
            let reply = post(&proxy, RANKS.0, &body()).await;
            assert_eq!((reply.status(), reply.backend()), (200, "peer"), "{reply:?}");
        }
        assert_eq!(proxy.hello().await.backend(), "bad", "{status} {says}");
        let report = proxy.report("bad").await;
        assert_eq!((&report["requests"]["failure"], &report["state"]), (&json!(0), &json!("healthy")), "{report}");
        let mut alone = body();
        alone["backend"] = json!("bad");
        let reply = post(&proxy, RANKS.0, &alone).await;
        assert_eq!((reply.status(), reply.error("param").as_str()), (400, "model"), "{reply:?}");
        assert!(reply.error("message").contains("does not serve this endpoint"), "{reply:?}");
    }
}

#[tokio::test]
async fn of_a_refusal_that_stalls_nobody_knows_whether_the_endpoint_is_meant() {
    let stalls = Answer::new().raw("HTTP/1.1 404 Not Found\r\ncontent-length: 99\r\n\r\n").hang();
    let upstream = Upstream::always(stalls).await;
    let proxy = Proxy::before(&upstream).await;
    let reply = post(&proxy, RANKS.0, &body()).await;
    assert_eq!((reply.status(), reply.header("x-greenroom-upstream-status")), (502, "404"), "{reply:?}");
}

#[tokio::test]
async fn that_one_server_lacks_the_endpoint_does_not_hide_what_ails_the_one_that_has_it() {
    let limited =
        Answer::json_with(429, "retry-after: 100\r\n", r#"{"error":{"message":"Slow down.","code":"slow_down"}}"#);
    let denied = Answer::json(401, r#"{"error":{"message":"Wrong key.","code":"invalid_api_key"}}"#);
    for (ails, first) in [(limited, 429), (denied, 502)] {
        let lacks = Upstream::always(Answer::json(404, r#"{"detail":"Not Found"}"#)).await;
        let peer = Upstream::always(ails).await;
        let proxy = Proxy::start(&Settings::bad_and_peer(&lacks, &peer)).await;
        assert_eq!(post(&proxy, RANKS.0, &body()).await.status(), first);
        // It is out by now, and may be back.
        let reply = post(&proxy, RANKS.0, &body()).await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (503, "no_healthy_backend"), "{reply:?}");
        assert!(reply.header("retry-after").parse::<u64>().expect("seconds") > 60);
        assert_eq!((lacks.asked(), peer.asked()), (2, 1));
    }
    // Nor one that an operator has taken out.
    let (lacks, peer) = (Answer::json(404, r#"{"detail":"Not Found"}"#), Answer::json(200, RANKS.1));
    let (lacks, peer) = (Upstream::always(lacks).await, Upstream::always(peer).await);
    let proxy = Proxy::start(&Settings::bad_and_peer(&lacks, &peer)).await;
    assert_eq!(proxy.ask(&Ask::post("/admin/backends/peer/drain", "").bearer(TOKEN)).await.status(), 200);
    assert_eq!(post(&proxy, RANKS.0, &body()).await.error("code"), "no_healthy_backend");
}

#[tokio::test]
async fn a_picture_that_takes_its_time_is_asked_of_nobody_else_as_well() {
    let slow =
        Upstream::always(Answer::new().work(Duration::from_millis(500)).then(Answer::json(200, PICTURE.1))).await;
    let peer = Upstream::always(Answer::json(200, PICTURE.1)).await;
    let settings = Settings::bad_and_peer(&slow, &peer).set("failover", "hedge_budget = 1.0");
    let proxy = Proxy::start(&settings.set("backends.bad", "first_token_soft = \"50ms\"")).await;
    let reply = post(&proxy, PICTURE.0, &body()).await;
    assert_eq!((reply.status(), reply.backend(), peer.asked()), (200, "bad", 0), "{reply:?}");
}
