//! What operators see and do: reports that are true while requests run, actions that take effect, for admins only.

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, ask},
    proxy::{HELLO, HELLO_STREAM, Proxy, hello_at},
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
};

fn failing_at_three() -> Settings {
    Settings::new()
        .set("failover", "max_attempts = 1")
        .set("defaults.backend", "breaker_failures = 3\nbackoff_min = \"30s\"")
}

fn is_rfc3339(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z'))
}

#[tokio::test]
async fn a_fresh_backend_is_reported_with_every_member() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&failing_at_three().target("one", upstream.addr, "model = \"theirs\"")).await;
    let all = proxy.get("/admin/backends").await;
    assert_eq!(all.status(), 200);
    let all = all.json();
    assert_eq!(all["backends"].as_array().map(Vec::len), Some(1), "{all}");
    let report = &all["backends"][0];
    for (member, value) in [
        ("name", json!("one")),
        ("protocol", json!("openai")),
        ("state", json!("healthy")),
        ("waiting", json!(0)),
        ("streaming", json!(0)),
        ("max_in_flight", json!(256)),
        ("requests", json!({"total": 0, "success": 0, "caller_fault": 0, "failure": 0, "cancelled": 0, "let_go": 0})),
        ("success_rate", Value::Null),
        ("last_error", Value::Null),
        ("last_success", Value::Null),
        ("reopens_in_ms", Value::Null),
        ("consecutive_failures", json!(0)),
        ("restarts", json!({"count": 0, "last_cause": null})),
        ("pins", json!(0)),
    ] {
        assert_eq!(report[member], value, "{member}: {report}");
    }
    assert!(report["reason"].is_string() && report["uptime_s"].is_number(), "{report}");
    assert!(report["cost"].as_f64() > Some(0.0) && report["first_token_estimate_s"].as_f64() > Some(0.0), "{report}");
    for times in ["latency_ms", "first_token_ms"] {
        assert!(["p50", "p95", "p99"].iter().all(|p| report[times].get(p).is_some()), "{report}");
    }
    let model = &report["models"][0];
    assert_eq!(
        (&model["model"], &model["upstream_model"], &model["state"]),
        (&json!("m"), &json!("theirs"), &json!("healthy"))
    );
    assert_eq!(&proxy.report("one").await["name"], "one");
}

#[tokio::test]
async fn outcomes_times_and_errors_are_counted_as_they_happen() {
    let script = |n: usize, ask: &crate::support::upstream::Received| match n {
        0..3 if ask.wants_stream() => Answer::streams("hi"),
        3 => Answer::json(400, r#"{"error":{"message":"your fault","type":"invalid_request_error"}}"#),
        _ => Answer::json(500, r#"{"error":{"message":"text-of-provider"}}"#),
    };
    let upstream = Upstream::start(script).await;
    let proxy = Proxy::start(&failing_at_three().backend("one", upstream.addr)).await;
    for status in [200, 200, 200, 400, 502] {
        let body = if status == 200 { HELLO_STREAM } else { HELLO };
        assert_eq!(proxy.chat(body).await.status(), status);
    }
    let report = proxy.until("one", "all five counted", |r| r["requests"]["total"] == 5).await;
    let counted = json!({"total": 5, "success": 3, "caller_fault": 1, "failure": 1, "cancelled": 0, "let_go": 0});
    assert_eq!(report["requests"], counted);
    let rate = report["success_rate"].as_f64().unwrap();
    assert!((0.74..=0.81).contains(&rate), "{rate}");
    assert_eq!((&report["state"], &report["consecutive_failures"]), (&json!("degraded"), &json!(1)));
    for times in ["latency_ms", "first_token_ms"] {
        let of = |p: &str| report[times][p].as_f64().unwrap();
        assert!(of("p50") > 0.0 && of("p50") <= of("p95") && of("p95") <= of("p99") && of("p99") < 5000.0, "{report}");
    }
    assert_eq!(report["last_error"]["class"], "provider_server");
    assert!(report["last_error"]["message"].is_string() && is_rfc3339(&report["last_error"]["at"]), "{report}");
    assert!(is_rfc3339(&report["last_success"]), "{report}");
}

#[tokio::test]
async fn waiting_and_streaming_are_told_apart_while_they_last() {
    let (silent, talking) = (Gate::new(), Gate::new());
    let answer = Answer::stream().chunk(sse::role()).wait(&silent).chunk(sse::text("hi")).wait(&talking).finished();
    let upstream = Upstream::always(answer).await;
    let proxy = Proxy::before(&upstream).await;
    let counts = |waiting: u64, streaming: u64| {
        move |r: &Value| r["waiting"] == waiting && r["streaming"] == streaming && r["models"][0]["waiting"] == waiting
    };
    let mut client = proxy.begin(HELLO_STREAM).await;
    proxy.until("one", "a request that waits", counts(1, 0)).await;
    silent.open();
    proxy.until("one", "a request that streams", counts(0, 1)).await;
    talking.open();
    client.head().await;
    client.rest().await;
    proxy.until("one", "the lease given back", counts(0, 0)).await;
}

#[tokio::test]
async fn operators_endpoints_are_for_admins_only() {
    let upstream = Upstream::saying("hi").await;
    let plain = "token = \"token-of-plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]";
    let settings =
        Settings::new().backend("one", upstream.addr).set("server", "chaos = true").set("users.plain", plain);
    let proxy = Proxy::start(&settings).await;
    for (method, path) in [
        ("GET", "/admin/backends"),
        ("GET", "/admin/backends/one"),
        ("GET", "/admin/users"),
        ("POST", "/admin/backends/one/drain"),
        ("POST", "/admin/backends/one/resume"),
        ("POST", "/admin/backends/one/reset"),
        ("POST", "/admin/chaos/backends/one"),
        ("POST", "/admin/chaos/router"),
    ] {
        let reply = proxy.ask(&Ask::new(method, path).bearer("token-of-plain")).await;
        let face = (reply.status(), reply.error("type"), reply.error("code"));
        assert_eq!(face, (403, "permission_error".to_owned(), "permission_denied".to_owned()), "{path}");
        assert_eq!(proxy.ask(&Ask::new(method, path)).await.status(), 401, "{path}");
    }
    let report = proxy.report("one").await;
    assert_eq!((&report["state"], &report["restarts"]["count"]), (&json!("healthy"), &json!(0)));
    for (method, path) in [
        ("GET", "/admin/backends/absent"),
        ("POST", "/admin/backends/absent/drain"),
        ("POST", "/admin/backends/one/dance"),
    ] {
        assert_eq!(proxy.ask(&Ask::new(method, path).bearer(TOKEN)).await.status(), 404, "{path}");
    }
    let known = proxy.post("/admin/backends/one/dance").await.error("message");
    for action in ["drain", "resume", "reset", "probe", "diagnose"] {
        assert!(known.contains(action), "{action}: {known}");
    }
}

#[tokio::test]
async fn a_drained_backend_finishes_what_it_has_and_gets_nothing_new_until_resumed() {
    let gate = Gate::new();
    let one = Upstream::always(Answer::stream().chunk(sse::text("a")).wait(&gate).finished()).await;
    let two = Upstream::saying("two").await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).backend("two", two.addr)).await;
    let mut client = proxy.begin(HELLO_STREAM.replace("{\"model\"", "{\"backend\":\"one\",\"model\"")).await;
    client.head().await;
    assert_eq!(proxy.post("/admin/backends/one/drain").await.status(), 200);
    let report = proxy.until("one", "the drain", |r| r["state"] == "draining").await;
    assert_eq!(report["streaming"], 1, "{report}");
    for _ in 0..10 {
        assert_eq!(proxy.hello().await.backend(), "two");
    }
    gate.open_for_all();
    assert!(sse::is_done(&client.rest().await.0));
    assert_eq!(one.asked(), 1);
    assert_eq!(proxy.post("/admin/backends/one/resume").await.status(), 200);
    proxy.until("one", "the resumption", |r| r["state"] == "healthy").await;
    let resumed = HELLO_STREAM.replace("{\"model\"", "{\"backend\":\"one\",\"model\"");
    assert_eq!(proxy.chat(resumed).await.status(), 200);
}

#[tokio::test]
async fn reset_opens_a_shut_gate_at_once() {
    let script = |n: usize, _: &_| if n < 3 { Answer::json(500, "{}") } else { Answer::says("well") };
    let upstream = Upstream::start(script).await;
    let proxy = Proxy::start(&failing_at_three().backend("one", upstream.addr)).await;
    for status in [502, 502, 502] {
        assert_eq!(proxy.hello().await.status(), status);
    }
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    assert_eq!(proxy.post("/admin/backends/one/reset").await.status(), 200);
    let report = proxy.until("one", "an open gate", |r| r["state"] != "open").await;
    assert_eq!(report["consecutive_failures"], 0, "{report}");
    assert_eq!(proxy.hello().await.status(), 200);
}

#[tokio::test]
async fn reset_leaves_a_drained_backend_drained() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&failing_at_three().backend("one", upstream.addr)).await;
    assert_eq!(proxy.post("/admin/backends/one/drain").await.status(), 200);
    proxy.until("one", "the drain", |r| r["state"] == "draining").await;
    assert_eq!(proxy.post("/admin/backends/one/reset").await.status(), 200);
    // Asked of the actor behind the reset, so that it has been seen to.
    assert_eq!(proxy.report("one").await["state"], "draining");
    assert_eq!((proxy.hello().await.status(), upstream.asked()), (503, 0));
    assert_eq!(proxy.post("/admin/backends/one/resume").await.status(), 200);
    proxy.until("one", "the resumption", |r| r["state"] != "draining").await;
    assert_eq!(proxy.hello().await.status(), 200);
}

#[tokio::test]
async fn a_listener_of_their_own_takes_operators_away_from_clients() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new().backend("one", upstream.addr).set("server", "admin_bind = \"127.0.0.1:0\"");
    let proxy = Proxy::start(&settings).await;
    let operators = proxy.announced("admin and metrics on http://").await;
    let reports = Ask::new("GET", "/admin/backends").bearer(TOKEN);
    assert_eq!(ask(operators, &reports).await.status(), 200);
    assert_eq!(ask(operators, &Ask::new("GET", "/admin/backends")).await.status(), 401);
    assert_eq!(proxy.ask(&reports).await.status(), 404);
    let chat = ask(operators, &Ask::chat(HELLO).bearer(TOKEN)).await;
    assert_eq!(chat.status(), 404);
    assert!(chat.error("message").ends_with("This address is for operators only."), "{chat:?}");
    for addr in [operators, proxy.addr] {
        assert_eq!(ask(addr, &Ask::new("GET", "/livez")).await.status(), 200);
        assert_eq!(ask(addr, &Ask::new("GET", "/readyz")).await.status(), 200);
    }
}

#[tokio::test]
async fn readiness_stays_when_all_backends_are_down_later_whoever_asks_first() {
    let upstream = Upstream::always(Answer::json(500, "{}")).await;
    let proxy = Proxy::start(&failing_at_three().backend("one", upstream.addr)).await;
    for _ in 0..3 {
        assert_eq!(proxy.chat(hello_at("one")).await.status(), 502);
    }
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    assert_eq!(proxy.ask(&Ask::new("GET", "/readyz")).await.status(), 200);
    assert_eq!(proxy.ask(&Ask::new("GET", "/livez")).await.status(), 200);
}

#[tokio::test]
async fn keys_of_backends_are_shown_to_nobody() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("backends.one", "headers = { \"x-team\" = \"value-of-header\" }");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.hello().await.status(), 200);
    for path in ["/admin/backends", "/admin/backends/one", "/v1/models"] {
        let text = proxy.get(path).await.text();
        assert!(!text.contains("key-of-one") && !text.contains("value-of-header") && !text.contains(TOKEN), "{text}");
    }
}

#[tokio::test]
async fn what_a_backends_protocol_cannot_express_is_nobodys_failure() {
    let upstream = Upstream::saying("hi").await;
    let lines = format!(
        "protocol = \"anthropic\"\nbase_url = \"http://{}\"\napi_key = \"k\"\nunsupported = \"refuse\"",
        upstream.addr
    );
    let settings = Settings::new().set("backends.one", &lines).set("models.m", "backends = [{ backend = \"one\" }]");
    let proxy = Proxy::start(&settings).await;
    let reply = proxy.chat(HELLO.replacen('{', "{\"n\":2,", 1)).await;
    assert_eq!(reply.status(), 400, "{reply:?}");
    let report = proxy.until("one", "the attempt counted", |r| r["requests"]["total"] == 1).await;
    let requests = &report["requests"];
    let counts = ["let_go", "caller_fault", "failure"].map(|name| &requests[name]);
    assert_eq!(counts, [&json!(1), &json!(0), &json!(0)], "{report}");
    assert_eq!(report["success_rate"], Value::Null);
}

#[tokio::test]
async fn an_outcome_that_no_request_has_is_refused_with_those_there_are() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::before(&upstream).await;
    assert_eq!(proxy.hello().await.status(), 200);
    for (outcome, found) in [("success", 1), ("failure", 0), ("provider_server", 0)] {
        let reply = proxy.get(&format!("/admin/requests?outcome={outcome}")).await;
        assert_eq!(reply.json()["requests"].as_array().map(Vec::len), Some(found), "{reply:?}");
    }
    let reply = proxy.get("/admin/requests?outcome=zz").await;
    assert_eq!((reply.status(), reply.error("param").as_str()), (400, "outcome"), "{reply:?}");
    for known in ["success", "cancelled", "provider_server"] {
        assert!(reply.error("message").contains(known), "{reply:?}");
    }
}

#[tokio::test]
async fn every_answer_names_its_request_and_a_strangers_own_name_is_not_taken_over() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::before(&upstream).await;
    for path in ["/livez", "/readyz", "/metrics", "/v1/models", "/admin/backends", "/nothing", "/v1/chat/completions"] {
        let ask = Ask::new("GET", path).header("x-request-id", "mine");
        let stranger = proxy.ask(&ask).await;
        assert!(stranger.header("x-request-id").starts_with("req_"), "{path}: {stranger:?}");
        assert_eq!(proxy.ask(&ask.bearer(TOKEN)).await.header("x-request-id"), "mine", "{path}");
    }
    let stranger = proxy.ask(&Ask::chat(HELLO).header("x-request-id", "mine")).await;
    assert!(stranger.status() == 401 && stranger.header("x-request-id").starts_with("req_"), "{stranger:?}");
}
