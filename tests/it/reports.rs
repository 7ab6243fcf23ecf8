//! What operators are told of one backend beside its state: failures by class and in a row, changes of its gates, who waits for a place.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    eventually,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    upstream::{Received, Upstream},
};

#[tokio::test]
async fn failures_are_told_by_class_and_changes_of_gates_by_what_they_changed_to() {
    let one = Upstream::start(|n, _| Answer::json(if n == 0 { 400 } else { 401 }, "{}")).await;
    let settings = Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.report("one").await["failures_by_class"], json!({}));
    assert_eq!((proxy.hello().await.status(), proxy.hello().await.status()), (400, 502));
    let report = proxy.until("one", "a shut gate", |report| report["state"] == "open").await;
    assert_eq!(report["failures_by_class"], json!({"caller_invalid": 1, "provider_auth": 1}), "{report}");
    assert_eq!(report["transitions"], json!({"open": 1}), "{report}");
    assert_eq!((&report["models"][0]["transitions"], &report["models"][0]["queued"]), (&json!({}), &json!(0)));
    assert_eq!(proxy.post("/admin/backends/one/reset").await.status(), 200);
    let report = proxy.until("one", "an open gate", |report| report["state"] != "open").await;
    assert!(report["transitions"].as_object().is_some_and(|to| to.len() > 1), "{report}");
}

#[tokio::test]
async fn percentiles_are_near_what_was_measured_in_reports_in_history_and_by_the_command() {
    let works = Duration::from_millis(90);
    let answer = move |_: usize, ask: &Received| Answer::new().work(works).then(ask.saying("hi"));
    let one = Upstream::start(answer).await;
    let proxy = Proxy::start(
        &Settings::new().backend("one", one.addr).set("history", "path = \":memory:\"\nflush_every = \"10ms\""),
    )
    .await;
    let mut slowest = works;
    for n in 0..10 {
        let begun = Instant::now();
        assert_eq!(proxy.chat(if n % 2 == 0 { HELLO } else { HELLO_STREAM }).await.status(), 200);
        slowest = slowest.max(begun.elapsed());
    }
    // The last word may be out a moment before the request is told of.
    let possible = 90.0..=slowest.as_secs_f64() * 1e3 + 5.0;
    let plausible = |times: &Value| {
        ["p50", "p95", "p99"].iter().all(|p| times[p].as_f64().is_some_and(|ms| possible.contains(&ms)))
    };
    let report = proxy.until("one", "all of them", |report| report["requests"]["success"] == 10).await;
    // By the day: ten requests may be of two minutes.
    let history =
        async || Some(proxy.get("/admin/history?step=1d").await.json()).filter(|h| h["points"][0]["success"] == 10);
    let history = eventually("all of them in history", history).await;
    for told in [&report, &history["points"][0]] {
        for times in ["latency_ms", "first_token_ms"] {
            assert!(plausible(&told[times]), "{times} within {possible:?}: {told}");
        }
    }
    let args = [
        "history".to_owned(),
        "--url".to_owned(),
        format!("http://{}", proxy.addr),
        "--token".to_owned(),
        TOKEN.to_owned(),
    ];
    let command = move || Command::new(env!("CARGO_BIN_EXE_greenroom")).args(args).output();
    let said = tokio::task::spawn_blocking(command).await.expect("it ends").expect("it starts");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let median = said.split(" ms").next().and_then(|head| head.rsplit(' ').next()?.parse().ok());
    assert!(median.is_some_and(|ms: f64| possible.contains(&ms)), "P50 within {possible:?}: {said}");
}

#[tokio::test]
async fn a_models_queue_is_told_at_each_of_its_backends() {
    let gate = Gate::new();
    let full = Upstream::always(Answer::new().wait(&gate).then(Answer::says("hi"))).await;
    let settings = Settings::new()
        .backend("one", full.addr)
        .set("defaults.backend", "max_in_flight = 1")
        .set("models.m", "queue = 4\nqueue_timeout = \"15s\"");
    let proxy = Proxy::start(&settings).await;
    let mut first = proxy.begin(HELLO).await;
    full.until("the first request", |seen| seen.busy == 1).await;
    let mut second = proxy.begin(HELLO).await;
    proxy.until("one", "one who waits", |report| report["models"][0]["queued"] == 1).await;
    gate.open_for_all();
    assert_eq!((first.reply().await.status(), second.reply().await.status()), (200, 200));
    eventually("an empty queue", async || {
        let report = proxy.report("one").await;
        (report["models"][0]["queued"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_models_success_hides_no_other_models_failures() {
    let broken = || Answer::json(500, r#"{"error":{"message":"no","type":"x","code":null}}"#);
    let script = move |_, ask: &Received| {
        if ask.text().contains(r#""model":"m""#) { broken() } else { Answer::says("hi") }
    };
    let upstream = Upstream::start(script).await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("failover", "max_attempts = 1")
        .set("models.n", "backends = [{ backend = \"one\" }]");
    let proxy = Proxy::start(&settings).await;
    for _ in 0..2 {
        assert_eq!(proxy.hello().await.status(), 502);
    }
    proxy.until("one", "two failures", |r| r["consecutive_failures"] == 2).await;
    let other = HELLO.replace(r#""model":"m""#, r#""model":"n""#);
    for _ in 0..6 {
        assert_eq!(proxy.chat(other.as_str()).await.status(), 200);
    }
    // An answer to an operator is told behind them.
    assert_eq!(proxy.post("/admin/backends/one/probe").await.status(), 200);
    let report = proxy.report("one").await;
    assert_eq!((&report["state"], &report["consecutive_failures"]), (&json!("degraded"), &json!(2)), "{report}");
    let states: Vec<_> = report["models"].as_array().expect("models").iter().map(|m| &m["state"]).collect();
    assert_eq!(states, ["degraded", "healthy"], "{report}");
}
