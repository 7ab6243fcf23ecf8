//! Another provider behind a backend's name, or another model behind a public one: judged as new, counted on.

use serde_json::Value;

use crate::support::{
    proxy::{HELLO, Proxy},
    script::{Answer, Gate},
    settings::Settings,
    upstream::{Received, Upstream},
};

async fn reload(proxy: &Proxy, settings: &str) {
    proxy.rewrite(settings);
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
}

/// Attempts of `m` that were good, and gates of it that shut, by the metrics page.
async fn counted(proxy: &Proxy) -> [String; 2] {
    let page = proxy.get("/metrics").await.text();
    let of = |series: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("no {series} in {page}")).trim().to_owned()
    };
    [
        of(r#"greenroom_upstream_attempts_total{backend="one",model="m",error_class="none"}"#),
        of(r#"greenroom_backend_breaker_transitions_total{backend="one",model="*",to="open"}"#),
    ]
}

#[tokio::test]
async fn a_key_that_is_changed_resets_no_counter_and_lets_nobody_in_beyond_the_limit() {
    let gate = Gate::new();
    let wait = gate.clone();
    let script = move |n: usize, _: &_| match n {
        1 => Answer::new().wait(&wait).then(Answer::json(401, "{}")),
        _ => Answer::says("hi"),
    };
    let one = Upstream::start(script).await;
    let settings = Settings::new()
        .backend("one", one.addr)
        .set("backends.one", "max_in_flight = 1")
        .set("failover", "max_attempts = 1");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.hello().await.status(), 200);
    let mut running = proxy.begin(HELLO).await;
    one.until("the request", |seen| seen.busy == 1).await;
    reload(&proxy, &settings.toml().replace("key-of-one", "another-key")).await;
    let report = proxy.report("one").await;
    assert_eq!((&report["waiting"], &report["requests"]["success"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(proxy.hello().await.error("code"), "gateway_overloaded");
    gate.open();
    assert_eq!(running.reply().await.status(), 502);
    // That the old key is refused counts, and says nothing of the new one.
    let report = proxy.report("one").await;
    assert_eq!((&report["waiting"], &report["requests"]["failure"]), (&0.into(), &1.into()), "{report}");
    assert_eq!((&report["state"], &report["consecutive_failures"]), (&"healthy".into(), &0.into()), "{report}");
    assert_eq!(proxy.hello().await.status(), 200);
    assert_eq!((counted(&proxy).await, one.asked()), (["2".to_owned(), "0".to_owned()], 3));
}

#[tokio::test]
async fn what_still_runs_at_another_address_takes_no_place_and_makes_up_for_no_failure() {
    let gate = Gate::new();
    let old = Upstream::always(Answer::new().wait(&gate).then(Answer::says("hi"))).await;
    let new = Upstream::always(Answer::json(500, "{}")).await;
    let at = |upstream: &Upstream| {
        let limits = "max_in_flight = 3\nbreaker_failures = 3";
        Settings::new().backend("one", upstream.addr).set("backends.one", limits).set("failover", "max_attempts = 1")
    };
    let proxy = Proxy::start(&at(&old)).await;
    let mut running = Vec::new();
    for n in 1..=3 {
        running.push(proxy.begin(HELLO).await);
        old.until("the request", |seen| seen.busy == n).await;
    }
    reload(&proxy, &at(&new).toml()).await;
    let failed = async || assert_eq!(proxy.hello().await.status(), 502);
    failed().await;
    failed().await;
    for client in &mut running {
        gate.open();
        assert_eq!(client.reply().await.status(), 200);
    }
    failed().await;
    let report = proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    assert_eq!(report["requests"]["success"], 3, "{report}");
}

#[tokio::test]
async fn who_runs_under_another_model_of_the_same_server_is_still_seen_there() {
    let gate = Gate::new();
    let one = Upstream::always(Answer::new().wait(&gate).then(Answer::says("hi"))).await;
    let named = |model: &str| Settings::new().target("one", one.addr, &format!("model = \"{model}\""));
    let proxy = Proxy::start(&named("first")).await;
    let mut running = proxy.begin(HELLO).await;
    one.until("the request", |seen| seen.busy == 1).await;
    reload(&proxy, &named("other").toml()).await;
    let page = proxy.get("/metrics").await.text();
    let seen = r#"greenroom_backend_inflight{backend="one",model="m"} 1.0"#;
    assert!(page.lines().any(|line| line == seen), "{page}");
    gate.open();
    assert_eq!(running.reply().await.status(), 200);
}

#[tokio::test]
async fn gates_that_the_old_key_shut_are_open_and_were_shut() {
    let one = Upstream::start(|n, _| if n == 0 { Answer::json(401, "{}") } else { Answer::says("hi") }).await;
    let settings = Settings::new().backend("one", one.addr);
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.hello().await.status(), 502);
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    reload(&proxy, &settings.toml().replace("key-of-one", "another-key")).await;
    assert_eq!(proxy.hello().await.status(), 200);
    assert_eq!(counted(&proxy).await, ["1", "1"]);
}

#[tokio::test]
async fn what_another_model_behind_the_name_did_well_makes_up_for_nothing() {
    let script = |_: usize, ask: &Received| {
        if ask.text().contains("other") { Answer::json(500, "{}") } else { Answer::says("hi") }
    };
    let one = Upstream::start(script).await;
    let named = |model: &str| {
        let breaker = "breaker_failures = 0\nbreaker_min_samples = 4";
        let target = format!("model = \"{model}\"");
        let settings = Settings::new().target("one", one.addr, &target).set("backends.one", breaker);
        settings.set("failover", "max_attempts = 1")
    };
    let proxy = Proxy::start(&named("first")).await;
    for _ in 0..8 {
        assert_eq!(proxy.hello().await.status(), 200);
    }
    reload(&proxy, &named("other").toml()).await;
    for _ in 0..4 {
        assert_eq!(proxy.hello().await.status(), 502);
    }
    let is_shut = |r: &Value| !r["models"][0]["reopens_in_ms"].is_null();
    let report = proxy.until("one", "a shut gate", is_shut).await;
    assert_eq!(report["requests"]["success"], 8, "{report}");
}
