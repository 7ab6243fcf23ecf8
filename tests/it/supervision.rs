//! Actors that are killed on purpose: they come back, under the same address, and nobody else notices.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Connection},
    eventually,
    proxy::{HELLO, HELLO_STREAM, Proxy, hello_at},
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
};

async fn stage(chaos: bool, gate: &Gate) -> (Upstream, Upstream, Proxy) {
    let answer = Answer::stream().chunk(sse::text("before ")).wait(gate).chunk(sse::text("after")).finished();
    let scripted = move |_: usize, ask: &crate::support::upstream::Received| {
        if ask.wants_stream() { answer.clone() } else { Answer::says("whole") }
    };
    let (one, two) = (Upstream::start(scripted.clone()).await, Upstream::start(scripted).await);
    let settings = Settings::new()
        .backend("one", one.addr)
        .backend("two", two.addr)
        .set("server", &format!("chaos = {chaos}"))
        .set("models.m", "rescue = \"off\"")
        .set("history", "path = \":memory:\"\nflush_every = \"10ms\"");
    let proxy = Proxy::start(&settings).await;
    (one, two, proxy)
}

fn stream_at(backend: &str) -> String {
    HELLO_STREAM.replace("{\"model\"", &format!("{{\"backend\":\"{backend}\",\"model\""))
}

#[tokio::test]
async fn a_killed_backend_actor_comes_back_and_the_restart_and_its_cause_are_shown() {
    let (_one, _two, proxy) = stage(true, &Gate::new()).await;
    for _ in 0..4 {
        assert_eq!(proxy.chat(hello_at("one")).await.status(), 200);
    }
    assert_eq!(proxy.report("one").await["restarts"], json!({"count": 0, "last_cause": null}));
    assert_eq!(proxy.post("/admin/chaos/backends/one").await.status(), 200);
    let report = proxy.until("one", "the restart", |r| r["restarts"]["count"] == 1).await;
    assert!(report["restarts"]["last_cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{report}");
    assert_eq!(report["state"], "healthy", "{report}");
    assert_eq!(report["requests"]["success"], 4, "facts outlive the actor: {report}");
    assert_eq!(proxy.report("two").await["restarts"]["count"], 0);
    assert_eq!(proxy.chat(hello_at("one")).await.status(), 200);
    proxy.logged(&["one", "restarted"]).await;
}

#[tokio::test]
async fn requests_in_flight_notice_nothing_of_a_killed_backend_actor() {
    let gate = Gate::new();
    let (_one, _two, proxy) = stage(true, &gate).await;
    let mut clients = Vec::new();
    for backend in ["one", "one", "two", "two"] {
        let mut client = proxy.begin(stream_at(backend)).await;
        assert_eq!(client.head().await.status(), 200);
        assert_eq!(client.frame().await.unwrap() + "\n\n", sse::text("before "));
        clients.push(client);
    }
    assert_eq!(proxy.post("/admin/chaos/backends/one").await.status(), 200);
    proxy.until("one", "the restart", |r| r["restarts"]["count"] == 1).await;
    let report = proxy.report("one").await;
    assert_eq!(report["streaming"], 2, "leases outlive the actor: {report}");
    gate.open_for_all();
    for mut client in clients {
        let (rest, end) = client.rest().await;
        assert_eq!((sse::text_of(&rest).as_str(), sse::is_done(&rest), end), ("after", true, End::Clean));
    }
    proxy.until("one", "all leases given back", |r| r["streaming"] == 0).await;
}

#[tokio::test]
async fn a_shut_gate_outlives_its_actor() {
    let one = Upstream::always(Answer::json(500, "{}")).await;
    let settings = Settings::new()
        .backend("one", one.addr)
        .set("server", "chaos = true")
        .set("failover", "max_attempts = 1")
        .set("defaults.backend", "breaker_failures = 2\nbackoff_min = \"30s\"");
    let proxy = Proxy::start(&settings).await;
    for _ in 0..2 {
        assert_eq!(proxy.hello().await.status(), 502);
    }
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    assert_eq!(proxy.post("/admin/chaos/backends/one").await.status(), 200);
    let report = proxy.until("one", "the restart", |r| r["restarts"]["count"] == 1).await;
    assert_eq!(report["state"], "open", "{report}");
    assert_eq!((proxy.hello().await.status(), one.asked()), (503, 2));
}

#[tokio::test]
async fn a_given_up_backend_can_be_resumed_and_nothing_else_is_said_to_be_done() {
    let (_one, _two, proxy) = stage(true, &Gate::new()).await;
    for _ in 0..11 {
        assert_eq!(proxy.post("/admin/chaos/backends/one").await.status(), 200);
    }
    proxy.until("one", "the end of its actor", |r| r["state"] == "gave_up").await;
    let actions = ["drain", "reset", "probe", "diagnose"].map(|action| format!("/admin/backends/one/{action}"));
    for path in actions.iter().map(String::as_str).chain(["/admin/chaos/backends/one"]) {
        let reply = proxy.post(path).await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (409, "conflict"), "{path}: {reply:?}");
        assert!(reply.error("message").contains("/admin/backends/one/resume"), "{path}: {reply:?}");
    }
    assert_eq!(proxy.report("one").await["state"], "gave_up");
    assert_eq!(proxy.post("/admin/backends/one/resume").await.status(), 200);
    proxy.until("one", "its return", |r| r["state"] != "gave_up").await;
    assert_eq!(proxy.chat(hello_at("one")).await.status(), 200);
    let returned = |history: &Value| {
        let all = history["events"].as_array()?.iter().filter(|event| event["model"].is_null() || event["model"] == "");
        let states: Vec<_> = all.filter_map(|event| event["state"].as_str()).collect();
        (states.contains(&"gave_up") && states.last() == Some(&"ramping")).then_some(())
    };
    let history = async || returned(&proxy.get("/admin/history?backend=one").await.json());
    eventually("its return in history", history).await;
    assert_eq!(proxy.post("/admin/backends/one/drain").await.status(), 200);
    proxy.until("one", "the drain", |r| r["state"] == "draining").await;
}

#[tokio::test]
async fn a_killed_router_comes_back_and_streams_under_way_go_on() {
    let gate = Gate::new();
    let (_one, _two, proxy) = stage(true, &gate).await;
    let mut client = proxy.begin(stream_at("one")).await;
    assert_eq!(client.head().await.status(), 200);
    client.frame().await.unwrap();
    assert_eq!(proxy.post("/admin/chaos/router").await.status(), 200);
    // Sent right behind the kill, these wait in the mailbox of an actor that is being rebuilt.
    for _ in 0..10 {
        assert_eq!(proxy.hello().await.status(), 200);
    }
    proxy.logged(&["router", "restarted"]).await;
    let actors = proxy.get("/admin/backends").await.json()["actors"].clone();
    let router = actors.as_array().and_then(|all| all.iter().find(|a| a["actor"] == "router")).expect("the routers");
    assert_eq!((&router["restarts"], &router["given_up"]), (&json!(1), &json!(false)), "{actors}");
    assert_eq!(router["last_cause"], "crashed on request of an operator");
    gate.open_for_all();
    let (rest, end) = client.rest().await;
    assert!(sse::is_done(&rest) && end == End::Clean);
}

#[tokio::test]
async fn who_is_slow_while_its_router_is_away_does_not_wait_for_that_to_be_asked_beside_another() {
    let slow = Upstream::always(Answer::new().work(Duration::from_millis(300)).then(Answer::says("late"))).await;
    let peer = Upstream::saying("hi").await;
    let settings = Settings::bad_and_peer(&slow, &peer)
        .set("server", "chaos = true")
        .set("failover", "hedge_budget = 1.0")
        .set("backends.bad", "first_token_soft = \"50ms\"");
    let proxy = Proxy::start(&settings).await;
    let crash = async || assert_eq!(proxy.post("/admin/chaos/router").await.status(), 200);
    for _ in 0..8 {
        crash().await;
    }
    let mut client = proxy.begin(HELLO).await;
    // The one worker takes connections in turn: once it has answered this, the request is in the mailbox.
    assert_eq!(proxy.get("/livez").await.status(), 200);
    // It comes back from its ninth after a second at least.
    crash().await;
    let reply = client.reply().await;
    assert_eq!((reply.status(), reply.backend(), reply.header("x-greenroom-attempts")), (200, "bad", "1"), "{reply:?}");
}

#[tokio::test]
async fn a_request_that_panics_costs_nobody_else_anything_and_its_log_line_names_its_user() {
    let (_one, _two, proxy) = stage(true, &Gate::new()).await;
    let mut client = Connection::open(proxy.addr).await;
    let ask = Ask::chat(HELLO).bearer(TOKEN).header("x-request-id", "the-one");
    client.send(&ask.clone().header("x-greenroom-chaos", "panic")).await;
    let reply = client.reply().await;
    assert_eq!((reply.status(), reply.error("type").as_str()), (500, "server_error"), "{reply:?}");
    proxy.logged(&["request the-one panicked: crashed on request of an operator"]).await;
    let line = proxy.logged(&["greenroom::request", "id=the-one", "status=500", "class=gateway_internal"]).await;
    assert!(line.contains(" user=tester "), "{line}");
    client.send(&ask).await;
    assert_eq!(client.reply().await.status(), 200);
}

#[tokio::test]
async fn nothing_can_be_killed_unless_the_settings_allow_it() {
    let (_one, _two, proxy) = stage(false, &Gate::new()).await;
    for path in ["/admin/chaos/backends/one", "/admin/chaos/router"] {
        let reply = proxy.post(path).await;
        assert!(matches!(reply.status(), 403 | 404), "{reply:?}");
    }
    assert_eq!(proxy.ask(&Ask::chat(HELLO).bearer(TOKEN).header("x-greenroom-chaos", "panic")).await.status(), 200);
    assert_eq!(proxy.report("one").await["restarts"]["count"], 0);
}

#[tokio::test]
async fn a_worker_without_its_router_is_not_ready_until_a_reload_starts_one_anew() {
    let (_one, _two, proxy) = stage(true, &Gate::new()).await;
    assert_eq!(proxy.get("/readyz").await.status(), 200);
    for _ in 0..11 {
        assert_eq!(proxy.post("/admin/chaos/router").await.status(), 200);
    }
    eventually("not ready", async || (proxy.get("/readyz").await.status() == 503).then_some(())).await;
    assert_eq!(proxy.hello().await.status(), 500);
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    assert_eq!((proxy.get("/readyz").await.status(), proxy.hello().await.status()), (200, 200));
}

#[tokio::test]
async fn whatever_starts_a_router_anew_makes_its_worker_ready() {
    let (_one, _two, proxy) = stage(true, &Gate::new()).await;
    for path in ["/admin/chaos/router", "/admin/chaos/backends/one"] {
        for _ in 0..11 {
            assert_eq!(proxy.post(path).await.status(), 200);
        }
    }
    eventually("not ready", async || (proxy.get("/readyz").await.status() == 503).then_some(())).await;
    proxy.until("one", "the end of its actor", |r| r["state"] == "gave_up").await;
    // A backend that comes back comes with a new table, which a worker without its router starts another for.
    assert_eq!(proxy.post("/admin/backends/one/resume").await.status(), 200);
    assert_eq!((proxy.get("/readyz").await.status(), proxy.hello().await.status()), (200, 200));
}
