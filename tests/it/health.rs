//! Passive health: failures in a row shut a backend's gate, one probe opens it, faults of clients do neither.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use crate::support::{
    eventually,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, Gate},
    settings::Settings,
    sse,
    upstream::Upstream,
};

/// A backend that answers with the status in the cell, and a proxy whose gate shuts after three failures.
async fn stage(backoff: &str) -> (Upstream, Arc<AtomicU16>, Proxy) {
    let status = Arc::new(AtomicU16::new(200));
    let cell = status.clone();
    let script = move |_: usize, _: &_| match cell.load(SeqCst) {
        200 => Answer::says("hi"),
        status => Answer::json(status, r#"{"error":{"message":"no","type":"x","code":null}}"#),
    };
    let upstream = Upstream::start(script).await;
    let proxy = Proxy::start(&settings(&upstream, backoff)).await;
    (upstream, status, proxy)
}

fn settings(upstream: &Upstream, backoff: &str) -> Settings {
    Settings::new()
        .backend("one", upstream.addr)
        .set("failover", "max_attempts = 1")
        .set("defaults.backend", &format!("breaker_failures = 3\nbackoff_min = \"{backoff}\""))
}

#[tokio::test]
async fn failures_in_a_row_shut_the_gate_and_then_nobody_waits_for_the_backend() {
    let (upstream, status, proxy) = stage("30s").await;
    status.store(500, SeqCst);
    for failures in 1..=3 {
        assert_eq!(proxy.hello().await.status(), 502);
        proxy.until("one", "the count", |r| r["consecutive_failures"] == failures).await;
    }
    let report = proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    let reopens = report["reopens_in_ms"].as_u64().unwrap();
    assert!((1..=45_000).contains(&reopens) && report["reason"].as_str().is_some_and(|r| r.len() > 5), "{report}");
    let before = Instant::now();
    for body in [HELLO, HELLO_STREAM] {
        let reply = proxy.chat(body).await;
        assert_eq!((reply.status(), reply.error("type").as_str()), (503, "service_unavailable_error"), "{reply:?}");
        assert_eq!((reply.error("code").as_str(), reply.error("param").as_str()), ("no_healthy_backend", "model"));
        let seconds: u64 = reply.header("retry-after").parse().unwrap();
        let millis: u64 = reply.header("retry-after-ms").parse().unwrap();
        assert!(millis <= reopens && seconds == millis.div_ceil(1000), "{millis} ms, {seconds} s, {reopens} ms");
    }
    assert!(before.elapsed() < Duration::from_secs(2));
    assert_eq!(upstream.asked(), 3);
}

#[tokio::test]
async fn one_probe_goes_through_after_the_backoff_and_its_success_opens_the_gate() {
    let gate = Gate::new();
    let well = gate.clone();
    let script = move |n: usize, _: &_| match n {
        0..3 => Answer::json(503, "{}"),
        _ => Answer::new().wait(&well).then(Answer::says("well")),
    };
    let upstream = Upstream::start(script).await;
    let proxy = Proxy::start(&settings(&upstream, "200ms")).await;
    for _ in 0..3 {
        assert_eq!(proxy.hello().await.status(), 503);
    }
    proxy.until("one", "the end of the backoff", |r| r["state"] == "half_open").await;
    let mut probe = proxy.begin(HELLO).await;
    upstream.until("the probe", |seen| seen.busy == 1).await;
    for _ in 0..5 {
        let reply = proxy.hello().await;
        assert_eq!(reply.error("code"), "no_healthy_backend");
        assert!(reply.header("retry-after-ms").parse::<u64>().is_ok_and(|ms| ms >= 500), "{reply:?}");
    }
    assert_eq!(upstream.asked(), 4);
    gate.open_for_all();
    assert_eq!(probe.reply().await.status(), 200);
    proxy.until("one", "an open gate", |r| r["state"] == "healthy").await;
    assert_eq!(proxy.hello().await.status(), 200);
}

#[tokio::test]
async fn a_probe_that_fails_shuts_the_gate_for_longer() {
    let (upstream, status, proxy) = stage("150ms").await;
    status.store(500, SeqCst);
    for _ in 0..3 {
        proxy.hello().await;
    }
    let mut waits = Vec::new();
    for probes in 1..=3 {
        proxy.until("one", "the end of the backoff", |r| r["state"] == "half_open").await;
        eventually("the probe", async || {
            proxy.hello().await;
            (upstream.asked() == 3 + probes).then_some(())
        })
        .await;
        let report = proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
        waits.push(report["reopens_in_ms"].as_u64().unwrap());
    }
    // Jitter may halve each; doubling twice still shows.
    assert!(waits[2] > 150, "{waits:?}");
    status.store(200, SeqCst);
    eventually("recovery", async || (proxy.hello().await.status() == 200).then_some(())).await;
    proxy.until("one", "an open gate", |r| r["state"] == "healthy").await;
}

#[tokio::test]
async fn a_success_between_failures_starts_the_count_anew() {
    let (_upstream, status, proxy) = stage("30s").await;
    for _ in 0..3 {
        for (code, outcome) in [(500, 502), (500, 502), (200, 200)] {
            status.store(code, SeqCst);
            assert_eq!(proxy.hello().await.status(), outcome);
        }
        proxy.until("one", "no failure in a row", |r| r["consecutive_failures"] == 0).await;
    }
    assert_eq!(proxy.report("one").await["state"], "healthy");
}

#[tokio::test]
async fn faults_of_clients_never_hurt_a_backend() {
    let (upstream, status, proxy) = stage("30s").await;
    for code in [400, 413, 422] {
        status.store(code, SeqCst);
        for _ in 0..4 {
            assert_eq!(proxy.hello().await.status(), code);
        }
    }
    let report = proxy.report("one").await;
    assert_eq!((&report["state"], &report["consecutive_failures"]), (&"healthy".into(), &0.into()), "{report}");
    assert_eq!(
        (&report["requests"]["caller_fault"], &report["requests"]["failure"]),
        (&12.into(), &0.into()),
        "{report}"
    );
    assert_eq!(upstream.asked(), 12);
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_shuts_its_gate_too() {
    let (upstream, _status, proxy) = stage("30s").await;
    assert_eq!(proxy.hello().await.status(), 200);
    drop(upstream);
    for _ in 0..3 {
        let reply = proxy.hello().await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (502, "upstream_unreachable"), "{reply:?}");
    }
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    assert_eq!(proxy.hello().await.status(), 503);
}

#[tokio::test]
async fn a_stream_that_probes_opens_the_gate_with_its_first_content() {
    let (well, gate) = (Arc::new(AtomicU16::new(500)), Gate::new());
    let (cell, wait) = (well.clone(), gate.clone());
    let upstream = Upstream::start(move |_, ask| match cell.load(SeqCst) {
        200 if ask.wants_stream() => Answer::stream().chunk(sse::text("begun ")).wait(&wait).finished(),
        200 => Answer::says("hi"),
        status => Answer::json(status, "{}"),
    })
    .await;
    let proxy = Proxy::start(&settings(&upstream, "100ms").set("defaults.backend", "backoff_max = \"100ms\"")).await;
    for _ in 0..3 {
        assert_eq!(proxy.hello().await.status(), 502);
    }
    well.store(200, SeqCst);
    proxy.until("one", "the time to probe", |r| r["state"] == "half_open").await;
    let mut probe = proxy.begin(HELLO_STREAM).await;
    assert_eq!(probe.head().await.status(), 200);
    // Long before the probe's own end.
    eventually("others are let in", async || (proxy.hello().await.status() == 200).then_some(())).await;
    gate.open();
    assert!(sse::is_done(&probe.rest().await.0));
}

#[tokio::test]
async fn a_whole_answer_that_probes_keeps_others_out_no_longer_than_first_token_soft() {
    let gate = Gate::new();
    let well = gate.clone();
    let script = move |n: usize, _: &_| match n {
        0..3 => Answer::json(503, "{}"),
        3 => Answer::new().wait(&well).then(Answer::says("long")),
        _ => Answer::says("well"),
    };
    let upstream = Upstream::start(script).await;
    let settings = settings(&upstream, "100ms").set("backends.one", "first_token_soft = \"400ms\"");
    let proxy = Proxy::start(&settings).await;
    for _ in 0..3 {
        assert_eq!(proxy.hello().await.status(), 503);
    }
    proxy.until("one", "the end of the backoff", |r| r["state"] == "half_open").await;
    let mut probe = proxy.begin(HELLO).await;
    upstream.until("the probe", |seen| seen.busy == 1).await;
    assert_eq!(proxy.hello().await.error("code"), "no_healthy_backend");
    // Long before the probe's own end.
    eventually("others are let in", async || (proxy.hello().await.status() == 200).then_some(())).await;
    gate.open();
    assert_eq!(probe.reply().await.status(), 200);
}

#[tokio::test]
async fn streams_lead_up_the_ramp_by_their_beginnings() {
    let gate = Gate::new();
    let wait = gate.clone();
    let script = move |n: usize, _: &_| match n {
        0..3 => Answer::json(500, "{}"),
        _ => Answer::stream().chunk(sse::text("begun ")).wait(&wait).finished(),
    };
    let upstream = Upstream::start(script).await;
    let proxy = Proxy::start(&settings(&upstream, "100ms")).await;
    for _ in 0..3 {
        assert_eq!(proxy.hello().await.status(), 502);
    }
    proxy.until("one", "the time to probe", |r| r["state"] == "half_open").await;
    let mut clients = Vec::new();
    for streams in 1..=5 {
        let mut client = proxy.begin(HELLO_STREAM).await;
        assert_eq!(client.head().await.status(), 200);
        clients.push(client);
        proxy.until("one", "an open gate", |r| r["state"] == "healthy" && r["streaming"] == streams).await;
    }
    let says = |report: &Value| report["models"][0]["reason"].as_str().is_some_and(|r| r.contains("32 at a time"));
    proxy.until("one", "the fifth step", says).await;
    // What they have told is not told again at their end.
    gate.open_for_all();
    for client in &mut clients {
        assert!(sse::is_done(&client.rest().await.0));
    }
    let report = proxy.until("one", "their ends", |r| r["requests"]["success"] == 5).await;
    assert!(says(&report), "{report}");
}
