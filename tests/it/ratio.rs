//! The error ratio: failures among all that was answered, from a backend's first request on.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering::SeqCst},
};

use serde_json::{Value, json};

use crate::support::{
    proxy::{HELLO, Proxy},
    script::Answer,
    settings::Settings,
    upstream::Upstream,
};

/// A proxy whose gates shut by the ratio alone, and the status with which its backend answers.
async fn stage() -> (Upstream, Proxy, Arc<AtomicU16>) {
    judged_by("breaker_failures = 0\nbreaker_min_samples = 10").await
}

async fn judged_by(breaker: &str) -> (Upstream, Proxy, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let cell = status.clone();
    let script = move |_: usize, _: &_| match cell.load(SeqCst) {
        200 => Answer::says("hi"),
        0 => Answer::new().reset(),
        status => Answer::json(status, r#"{"error":{"message":"no","type":"x","code":null}}"#),
    };
    let upstream = Upstream::start(script).await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("failover", "max_attempts = 1")
        .set("defaults.backend", &format!("{breaker}\nbackoff_min = \"30s\""));
    let proxy = Proxy::start(&settings).await;
    (upstream, proxy, status)
}

/// Fails so often, each time until the backend's actor has heard of it; its last report.
async fn fail(proxy: &Proxy, times: u64) -> Value {
    let mut report = Value::Null;
    for n in 1..=times {
        assert_eq!(proxy.hello().await.status(), 502);
        report = proxy.until("one", "the count", |r| r["consecutive_failures"] == n).await;
    }
    report
}

/// Fails three times by this status, with an answer to a request at fault behind each.
async fn fail_apart(proxy: &Proxy, status: &AtomicU16, by: u16) {
    for _ in 0..3 {
        status.store(by, SeqCst);
        let report = fail(proxy, 1).await;
        assert_eq!(report["state"], "degraded", "three that are no row: {report}");
        status.store(400, SeqCst);
        assert_eq!(proxy.hello().await.status(), 400);
        proxy.until("one", "the end of the row", |r| r["consecutive_failures"] == 0).await;
    }
}

#[tokio::test]
async fn what_succeeded_before_the_first_failure_counts_beside_it() {
    let (_upstream, proxy, status) = stage().await;
    for _ in 0..12 {
        assert_eq!(proxy.hello().await.status(), 200);
    }
    status.store(500, SeqCst);
    let report = fail(&proxy, 11).await;
    assert_ne!(report["state"], "open", "11 of 23 have failed: {report}");
    assert_eq!(proxy.hello().await.status(), 502);
    proxy.until("one", "a gate that half of all have shut", |r| r["state"] == "open").await;
}

#[tokio::test]
async fn successes_before_the_first_failure_are_samples() {
    let (_upstream, proxy, status) = stage().await;
    for _ in 0..5 {
        assert_eq!(proxy.hello().await.status(), 200);
    }
    status.store(500, SeqCst);
    fail(&proxy, 4).await;
    assert_eq!(proxy.hello().await.status(), 502);
    proxy.until("one", "a gate that half of ten have shut", |r| r["state"] == "open").await;
}

#[tokio::test]
async fn who_answers_a_request_that_is_at_fault_is_alive_which_is_no_success() {
    let (_upstream, proxy, status) = judged_by("breaker_failures = 3\nbreaker_min_samples = 4").await;
    fail_apart(&proxy, &status, 500).await;
    status.store(500, SeqCst);
    assert_eq!(proxy.hello().await.status(), 502);
    proxy.until("one", "a gate that four failures of four have shut", |r| r["state"] == "open").await;
}

#[tokio::test]
async fn a_request_that_cannot_be_translated_says_nothing_of_a_backend_that_never_had_it() {
    let upstream = Upstream::always(Answer::json(500, "{}")).await;
    let settings = Settings::only(upstream.addr, "/v1", "theirs", "protocol = \"anthropic\"")
        .set("failover", "max_attempts = 1")
        .set("defaults.backend", "breaker_failures = 2\nbackoff_min = \"30s\"");
    let proxy = Proxy::start(&settings).await;
    let odd = HELLO.replacen('{', r#"{"backend":"only","seed":"odd","#, 1);
    for (failures, state) in [(1, "degraded"), (2, "open")] {
        assert_eq!(proxy.hello().await.status(), 502);
        // At the second one it is the gate's probe.
        assert_eq!(proxy.chat(odd.as_str()).await.status(), 400);
        let report = proxy.report("only").await;
        assert_eq!((&report["state"], &report["consecutive_failures"]), (&json!(state), &json!(failures)), "{report}");
        assert_eq!(report["requests"]["let_go"], failures, "{report}");
    }
    assert_eq!(upstream.asked(), 2);
}

#[tokio::test]
async fn an_answer_to_a_request_at_fault_ends_a_row_of_broken_connections_too() {
    let (_upstream, proxy, status) = judged_by("breaker_failures = 2\nbreaker_min_samples = 100").await;
    fail_apart(&proxy, &status, 0).await;
}

#[tokio::test]
async fn a_probe_that_was_at_fault_itself_opens_the_gate() {
    let upstream = Upstream::start(|n, _| Answer::json(if n == 0 { 500 } else { 400 }, "{}")).await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("failover", "max_attempts = 1")
        .set("defaults.backend", "breaker_failures = 1\nbackoff_min = \"100ms\"\nprobe = \"off\"");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.hello().await.status(), 502);
    proxy.until("one", "a gate that is due", |r| r["state"] == "half_open").await;
    assert_eq!(proxy.hello().await.status(), 400);
    proxy.until("one", "an open gate", |r| r["state"] != "half_open" && r["state"] != "open").await;
}
