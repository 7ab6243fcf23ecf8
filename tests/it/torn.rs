//! Refusals that do not end, or not soon: their status is acted on at once, and their words as far as they came.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    heard::{Heard, WAYS, hear, hello},
    proxy::Proxy,
    script::Answer,
    settings::Settings,
    upstream::Upstream,
};

/// A refusal whose body begins like this, and then comes to no end.
fn stalled(status: u16, beginning: &str) -> Answer {
    let head = "Scripted\r\ncontent-type: application/json\r\ncontent-length: 9000";
    Answer::new().raw(format!("HTTP/1.1 {status} {head}\r\n\r\n{beginning}")).hang()
}

#[tokio::test]
async fn a_refusal_whose_body_stalls_sends_the_request_elsewhere_at_once() {
    for stream in WAYS {
        let (bad, peer) = (Upstream::always(stalled(500, "")).await, Upstream::saying("hi").await);
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
        let asked = Instant::now();
        assert_eq!(hear(&proxy, stream).await, Heard::said("hi", "peer"));
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(proxy.until("bad", "its failure", |r| r["requests"]["failure"] == 1).await["state"], "degraded");
    }
}

#[tokio::test]
async fn of_a_refusal_that_stalls_what_has_come_is_judged() {
    let bad = Upstream::always(stalled(429, r#"{"error":{"code":"insufficient_quota","message":"You have"#)).await;
    let proxy = Proxy::before(&bad).await;
    assert_eq!(proxy.hello().await.error("code"), "upstream_auth_failed");
    let report = proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    assert!(
        report["reopens_in_ms"].as_u64() > Some(1_000_000),
        "an account without money is no passing limit: {report}"
    );
}

#[tokio::test]
async fn a_refusal_of_many_words_keeps_them() {
    let refusal = |bytes: usize| {
        let words = "x".repeat(bytes);
        format!(r#"{{"error":{{"type":"invalid_request_error","code":"bad_value","param":"n","message":"{words}"}}}}"#)
    };
    for (bytes, stream) in [(200_000, true), (3_000_000, false)] {
        let one = Upstream::always(Answer::json(400, &refusal(bytes))).await;
        let proxy = Proxy::before(&one).await;
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!(
            (reply.status(), reply.error("code").as_str(), reply.error("param").as_str()),
            (400, "bad_value", "n")
        );
        assert!(reply.error("message").len() >= bytes.min(1_000_000), "{} bytes", reply.body.len());
    }
}
