//! The metrics page: true counts under bounded labels, nothing secret, readable by promtool, for admins only.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    rescue,
    support::{
        client::{Ask, ask},
        eventually,
        launch::Launch,
        proxy::{HELLO, HELLO_STREAM, Proxy, hello_at},
        script::{Answer, Gate},
        settings::{Settings, TOKEN},
        sse,
        upstream::Upstream,
    },
};

/// Reads the page as the user `tester`.
pub(super) async fn page(proxy: &Proxy) -> String {
    let reply = proxy.get("/metrics").await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    reply.text()
}

/// The value of a sample by its name and labels as they stand on the page.
pub(super) fn sample(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until a sample has a value.
pub(super) async fn until(proxy: &Proxy, name: &str, value: f64) -> String {
    let is = |page: &str| sample(page, name).is_some_and(|found| (found - value).abs() < 1e-9);
    eventually(&format!("{name} {value}"), async || Some(page(proxy).await).filter(|page| is(page))).await
}

/// A backend that fails and is asked first, and one that works.
async fn failing_and_working() -> (Upstream, Upstream, Proxy) {
    let failing = Upstream::always(Answer::json(500, r#"{"error":{"message":"text-of-provider"}}"#)).await;
    let answer = Answer::stream().chunk(sse::text("a")).chunk(sse::text("b")).chunk(sse::finish());
    let answer = answer.chunk(sse::usage(7, 3)).chunk(sse::DONE).end();
    let working =
        Upstream::start(move |_, ask| if ask.wants_stream() { answer.clone() } else { Answer::says("hi") }).await;
    let settings = Settings::new()
        .target("bad", failing.addr, "priority = 1")
        .target("good", working.addr, "priority = 2")
        .set("defaults.backend", "breaker_failures = 2\nbackoff_min = \"30s\"")
        .set("failover", "retry_budget = 1.0")
        .set("history", "enabled = false");
    let proxy = Proxy::start(&settings).await;
    (failing, working, proxy)
}

#[tokio::test]
async fn every_request_attempt_failover_and_token_is_counted_where_it_belongs() {
    let (_failing, _working, proxy) = failing_and_working().await;
    for _ in 0..2 {
        assert_eq!(proxy.chat(HELLO_STREAM).await.status(), 200);
    }
    // Its actor hears of the second failure by a message, which the next request must not overtake.
    proxy.until("bad", "its gate is shut", |report| report["state"] == "open").await;
    assert_eq!(proxy.chat(HELLO_STREAM).await.status(), 200);
    assert_eq!(proxy.chat(HELLO).await.status(), 200);
    let good = |name: &str, more: &str| format!("greenroom_{name}{{backend=\"good\",model=\"m\"{more}}}");
    let ok = |stream: &str| {
        good("requests_total", &format!(",status_class=\"2xx\",outcome=\"success\",stream=\"{stream}\""))
    };
    until(&proxy, &ok("true"), 3.0).await;
    let page = until(&proxy, &ok("false"), 1.0).await;
    for (name, value) in [
        (good("request_duration_seconds_count", ",stream=\"true\""), 3.0),
        (good("overhead_seconds_count", ",phase=\"auth\""), 4.0),
        (good("overhead_seconds_count", ",phase=\"route\""), 4.0),
        (good("overhead_seconds_count", ",phase=\"translate\""), 4.0),
        (good("time_to_first_token_seconds_count", ""), 3.0),
        (good("time_per_output_token_seconds_count", ""), 3.0),
        (good("upstream_attempts_total", ",error_class=\"none\""), 4.0),
        ("greenroom_upstream_attempts_total{backend=\"bad\",model=\"m\",error_class=\"provider_server\"}".into(), 2.0),
        ("greenroom_failovers_total{from=\"bad\",to=\"good\",model=\"m\",reason=\"provider_server\"}".into(), 2.0),
        (good("tokens_total", ",direction=\"input\""), 21.0 + 3.0),
        (good("backend_inflight", ""), 0.0),
        (good("backend_state", ",state=\"healthy\""), 1.0),
        (good("backend_state", ",state=\"open\""), 0.0),
        ("greenroom_backend_state{backend=\"bad\",model=\"m\",state=\"open\"}".into(), 1.0),
        ("greenroom_backend_breaker_transitions_total{backend=\"bad\",model=\"m\",to=\"open\"}".into(), 1.0),
        (good("backend_cooldown_remaining_seconds", ""), 0.0),
    ] {
        assert_eq!(sample(&page, &name), Some(value), "{name}\n{page}");
    }
    let cooldown = sample(&page, "greenroom_backend_cooldown_remaining_seconds{backend=\"bad\",model=\"m\"}");
    assert!(cooldown.is_some_and(|left| (1.0..=30.0).contains(&left)), "{page}");
    for gauge in ["backend_score", "backend_latency_ewma_seconds"] {
        assert!(sample(&page, &good(gauge, "")).is_some_and(|value| value > 0.0), "{page}");
    }
}

#[tokio::test]
async fn what_clients_make_up_is_counted_under_other() {
    let (_failing, _working, proxy) = failing_and_working().await;
    let odd = json!({"model": "made-up\"}\n", "messages": [], "backend": "made-up"}).to_string();
    assert_eq!(proxy.chat(odd).await.status(), 404);
    assert_eq!(proxy.chat(hello_at("made-up")).await.status(), 400);
    assert_eq!(proxy.chat(hello_at("good")).await.status(), 200);
    assert_eq!(proxy.chat(hello_at("bad")).await.status(), 502);
    assert_eq!(proxy.ask(&Ask::chat(HELLO)).await.status(), 401);
    assert_eq!(proxy.chat(r#"{"model":"m"}"#).await.status(), 400, "no messages, but a model that there is");
    until(&proxy, "greenroom_requests_total{backend=\"none\",model=\"m\",status_class=\"4xx\",outcome=\"failure\",stream=\"false\"}", 2.0).await;
    let refused = "greenroom_requests_total{backend=\"none\",model=\"other\",status_class=\"4xx\",outcome=\"failure\",stream=\"false\"}";
    let page = until(&proxy, refused, 2.0).await;
    for (labels, value) in [
        ("backend=\"other\",model=\"other\",outcome=\"unknown\"", 1.0),
        ("backend=\"other\",model=\"m\",outcome=\"unknown\"", 1.0),
        ("backend=\"good\",model=\"m\",outcome=\"served\"", 1.0),
        ("backend=\"bad\",model=\"m\",outcome=\"unavailable\"", 1.0),
    ] {
        let name = format!("greenroom_pinned_requests_total{{{labels}}}");
        assert_eq!(sample(&page, &name), Some(value), "{name}\n{page}");
    }
    for secret in ["made-up", TOKEN, "tester", "key-of-good", "127.0.0.1", "text-of-provider"] {
        assert!(!page.contains(secret), "{secret} in\n{page}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_by_when_it_left() {
    let gate = Gate::new();
    let answer = Answer::stream().chunk(sse::text("before")).wait(&gate).finished();
    let upstream = Upstream::always(answer).await;
    let proxy = Proxy::before(&upstream).await;
    let mut client = proxy.begin(HELLO_STREAM).await;
    client.head().await;
    assert!(client.frame().await.is_some_and(|frame| frame.contains("before")));
    until(&proxy, "greenroom_backend_inflight{backend=\"one\",model=\"m\"}", 1.0).await;
    drop(client);
    until(&proxy, "greenroom_client_cancelled_total{backend=\"one\",model=\"m\",phase=\"streaming\"}", 1.0).await;
    let page = until(&proxy, "greenroom_backend_inflight{backend=\"one\",model=\"m\"}", 0.0).await;
    let left = "greenroom_requests_total{backend=\"one\",model=\"m\",status_class=\"4xx\",outcome=\"cancelled\",stream=\"true\"}";
    assert_eq!(sample(&page, left), Some(1.0), "{page}");
}

#[tokio::test]
async fn what_becomes_of_broken_streams_is_counted_at_the_backend_that_broke_them() {
    let counted =
        |outcome: &str| format!("greenroom_rescues_total{{backend=\"bad\",model=\"m\",outcome=\"{outcome}\"}}");
    let goes_on = Answer::streams(&format!(" {}", rescue::words(60)[40..].concat()));
    for (peer, keys, how, outcome) in [
        (goes_on, ", continues = true", "prefix", "continued"),
        (Answer::streams(&rescue::story()), "", "replay", "replayed"),
        (Answer::streams("something else"), "", "replay", "failed"),
    ] {
        let (bad, peer) = (Upstream::always(rescue::cut(40)).await, Upstream::always(peer).await);
        let settings =
            Settings::new().target("bad", bad.addr, "").target("peer", peer.addr, &format!("priority = 2{keys}"));
        let proxy = Proxy::start(&settings.set("models.m", &format!("rescue = \"{how}\""))).await;
        assert_eq!(sample(&page(&proxy).await, &counted("failed")), Some(0.0), "a series starts at zero");
        assert_eq!(proxy.chat(HELLO_STREAM).await.status(), 200);
        until(&proxy, &counted(outcome), 1.0).await;
    }
    let (bad, hangs) = (Upstream::always(rescue::cut(40)).await, Upstream::always(Answer::new().hang()).await);
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &hangs)).await;
    let mut client = proxy.begin(HELLO_STREAM).await;
    client.head().await;
    hangs.until("the rescue", |seen| seen.busy == 1).await;
    drop(client);
    let page = until(&proxy, &counted("cancelled"), 1.0).await;
    assert_eq!(sample(&page, &counted("failed")), Some(0.0), "{page}");
}

#[tokio::test]
async fn the_build_that_runs_is_told_by_its_commit() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::before(&upstream).await;
    // The tests are built along with the program.
    let commit = env!("GREENROOM_COMMIT");
    let git = Command::new("git").args(["rev-parse", "--show-prefix"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let is_repository = git.is_ok_and(|git| git.status.success() && git.stdout.trim_ascii().is_empty());
    assert!(commit != "unknown" || !is_repository, "git knows it");
    let name = format!("greenroom_build_info{{version=\"{}\",commit=\"{commit}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(sample(&page(&proxy).await, &name), Some(1.0), "{name}");
}

#[tokio::test]
async fn who_was_given_up_is_told_until_it_is_back() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr).set("server", "chaos = true")).await;
    let router = "greenroom_actor_given_up{actor=\"router\"}";
    let page = page(&proxy).await;
    for actor in ["overseer", "router", "recorder"] {
        assert_eq!(sample(&page, &format!("greenroom_actor_given_up{{actor=\"{actor}\"}}")), Some(0.0), "{page}");
    }
    for _ in 0..11 {
        assert_eq!(proxy.post("/admin/chaos/router").await.status(), 200);
    }
    until(&proxy, router, 1.0).await;
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    until(&proxy, router, 0.0).await;
}

#[tokio::test]
async fn users_are_told_apart_only_where_the_operator_wants_that() {
    let counted =
        json!({"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}});
    let upstream = Upstream::always(Answer::json(200, &counted.to_string())).await;
    let other = "token = \"token-of-other\"\nmodels = [\"*\"]\nbackends = [\"*\"]";
    let settings = Settings::new().backend("one", upstream.addr).set("users.other", other);
    let proxy = Proxy::start(&settings.clone().set("server", "metrics_by_user = true")).await;
    let told =
        |name: &str, user: &str, more: &str| format!("greenroom_user_{name}{{user=\"{user}\",model=\"m\",{more}}}");
    for _ in 0..2 {
        assert_eq!(proxy.chat(HELLO).await.status(), 200);
    }
    assert_eq!(proxy.ask(&Ask::chat(HELLO).bearer("token-of-other")).await.status(), 200);
    let success = "outcome=\"success\"";
    until(&proxy, &told("requests_total", "other", success), 1.0).await;
    let seen = until(&proxy, &told("requests_total", "tester", success), 2.0).await;
    for (user, direction, tokens) in [("other", "input", 7.0), ("tester", "input", 14.0), ("tester", "output", 6.0)] {
        let name = told("tokens_total", user, &format!("direction=\"{direction}\""));
        assert_eq!(sample(&seen, &name), Some(tokens), "{name}\n{seen}");
    }
    std::fs::write(proxy.config(), settings.toml()).expect("the settings file can be written");
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    assert!(!page(&proxy).await.contains("greenroom_user_"));
}

#[tokio::test]
async fn restarts_and_reloads_are_counted() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new().backend("one", upstream.addr).set("server", "chaos = true");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(sample(&page(&proxy).await, "greenroom_config_last_reload_successful{}"), Some(1.0));
    assert_eq!(proxy.post("/admin/chaos/backends/one").await.status(), 200);
    until(&proxy, "greenroom_backend_actor_restarts_total{backend=\"one\",reason=\"panic\"}", 1.0).await;
    assert_eq!(proxy.post("/admin/chaos/router").await.status(), 200);
    until(&proxy, "greenroom_actor_restarts_total{actor=\"router\"}", 1.0).await;
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    assert_eq!(proxy.post("/admin/reload?dry_run=true").await.status(), 200);
    let page = until(&proxy, "greenroom_config_reloads_total{result=\"success\"}", 1.0).await;
    assert!(sample(&page, "greenroom_config_last_reload_timestamp_seconds{}").is_some_and(|at| at > 1.7e9), "{page}");
    std::fs::write(proxy.config(), "[server").expect("the settings file can be written");
    assert_eq!(proxy.post("/admin/reload").await.status(), 400);
    let page = until(&proxy, "greenroom_config_reloads_total{result=\"failure\"}", 1.0).await;
    assert_eq!(sample(&page, "greenroom_config_last_reload_successful{}"), Some(0.0), "{page}");
}

#[tokio::test]
async fn the_page_passes_promtool() {
    let (_failing, _working, proxy) = failing_and_working().await;
    for body in [HELLO_STREAM, HELLO, &hello_at("bad"), &hello_at("nobody")] {
        proxy.chat(body).await;
    }
    let page = page(&proxy).await;
    let promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut promtool = promtool.expect("promtool is installed: it is in Debian's package prometheus");
    promtool.stdin.take().expect("stdin is piped").write_all(page.as_bytes()).expect("promtool reads");
    let said = promtool.wait_with_output().expect("promtool ends");
    assert!(said.status.success(), "{}\n{page}", String::from_utf8_lossy(&said.stderr));
}

#[tokio::test]
async fn clients_need_an_admins_token_and_the_operators_listener_none() {
    let upstream = Upstream::saying("hi").await;
    let plain = Settings::new()
        .backend("one", upstream.addr)
        .set("users.plain", "token = \"plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]");
    let proxy = Proxy::start(&plain).await;
    let get = Ask::new("GET", "/metrics");
    assert_eq!(proxy.ask(&get).await.status(), 401);
    assert_eq!(proxy.ask(&get.clone().bearer("plain")).await.status(), 403);
    assert_eq!(proxy.ask(&get.clone().bearer(TOKEN)).await.status(), 200);
    let proxy = Launch::new(&plain.set("server", "admin_bind = \"127.0.0.1:0\"")).start().await;
    let operators = proxy.announced("admin and metrics on http://").await;
    let reply = ask(operators, &get).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert!(reply.text().contains("greenroom_build_info{version="), "{reply:?}");
    assert_eq!(proxy.ask(&get.bearer(TOKEN)).await.status(), 404, "not among clients any more");
}
