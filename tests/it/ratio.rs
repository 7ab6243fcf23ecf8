//! The error ratio: failures among all that was answered, from a backend's first request on.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering::SeqCst},
};

use serde_json::Value;

use crate::support::{proxy::Proxy, script::Answer, settings::Settings, upstream::Upstream};

/// A proxy whose gates shut by the ratio alone, and the status with which its backend answers.
async fn stage() -> (Upstream, Proxy, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let cell = status.clone();
    let script = move |_: usize, _: &_| match cell.load(SeqCst) {
        200 => Answer::says("hi"),
        status => Answer::json(status, r#"{"error":{"message":"no","type":"x","code":null}}"#),
    };
    let upstream = Upstream::start(script).await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("failover", "max_attempts = 1")
        .set("defaults.backend", "breaker_failures = 0\nbreaker_min_samples = 10\nbackoff_min = \"30s\"");
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
