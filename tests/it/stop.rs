//! Signals: not ready at once, no new work, running streams to their end or their time, exit 0; a second one ends at once.

use std::time::Duration;

use tempfile::tempdir;
use tokio::{net::TcpStream, time::Instant};

use crate::support::{
    client::{self, Ask, Connection},
    eventually,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
};

async fn stage(server: &str, gate: &Gate) -> (Upstream, Proxy) {
    let answer = Answer::stream().chunk(sse::text("a")).wait(gate).chunk(sse::text("b")).finished();
    let upstream = Upstream::always(answer).await;
    let settings = Settings::default()
        .set("server", &format!("workers = 1\n{server}"))
        .set("users.tester", &format!("token = \"{TOKEN}\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nadmin = true"))
        .set("models.m", "rescue = \"off\"")
        .backend("one", upstream.addr);
    let proxy = Proxy::start(&settings).await;
    (upstream, proxy)
}

async fn streaming(proxy: &Proxy) -> Connection {
    let mut client = proxy.begin(HELLO_STREAM).await;
    assert_eq!(client.head().await.status(), 200);
    client.frame().await.expect("a first frame");
    client
}

async fn refuses_connections(proxy: &Proxy) {
    eventually("no new connection", async || TcpStream::connect(proxy.addr).await.is_err().then_some(())).await;
}

#[tokio::test]
async fn an_idle_proxy_stops_at_once_with_code_0_on_either_signal() {
    for signal in ["TERM", "INT"] {
        let (_upstream, mut proxy) = stage("drain_timeout = \"20s\"", &Gate::new()).await;
        // A client that keeps its connection open does not hold it up.
        let mut idle = Connection::open(proxy.addr).await;
        idle.send(&Ask::new("GET", "/livez")).await;
        assert_eq!(idle.reply().await.status(), 200);
        let told = Instant::now();
        proxy.signal(signal);
        assert_eq!(proxy.ended().await.code(), Some(0), "{signal}");
        assert!(told.elapsed() < Duration::from_secs(5), "{signal}: {:?}", told.elapsed());
    }
}

#[tokio::test]
async fn a_running_stream_is_finished_and_new_work_is_not_taken() {
    let gate = Gate::new();
    let (upstream, mut proxy) = stage("drain_timeout = \"20s\"", &gate).await;
    let mut kept = Connection::open(proxy.addr).await;
    kept.send(&Ask::new("GET", "/livez")).await;
    assert_eq!(kept.reply().await.status(), 200);
    let mut client = streaming(&proxy).await;
    proxy.signal("TERM");
    refuses_connections(&proxy).await;
    kept.send(&Ask::chat(HELLO).bearer(TOKEN)).await;
    if let Some(head) = kept.maybe_head().await {
        assert_eq!(head.status(), 503);
        assert!(String::from_utf8_lossy(&kept.rest().await.0).contains("shutting_down"));
    }
    assert_eq!(upstream.asked(), 1);
    gate.open();
    let (rest, end) = client.rest().await;
    assert_eq!((sse::text_of(&rest).as_str(), sse::is_done(&rest), end), ("b", true, End::Clean));
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn readiness_goes_first_while_work_is_still_taken_for_the_settle_time() {
    let gate = Gate::new();
    let (upstream, mut proxy) = stage("drain_settle = \"1s\"\ndrain_timeout = \"20s\"", &gate).await;
    let ready = Ask::new("GET", "/readyz");
    assert_eq!(proxy.ask(&ready).await.status(), 200);
    proxy.signal("TERM");
    let told = Instant::now();
    eventually("readiness gone", async || (proxy.ask(&ready).await.status() == 503).then_some(())).await;
    assert!(told.elapsed() < Duration::from_millis(500), "{:?}", told.elapsed());
    let mut late = streaming(&proxy).await;
    assert_eq!(proxy.ask(&Ask::new("GET", "/livez")).await.status(), 200);
    refuses_connections(&proxy).await;
    assert!(told.elapsed() >= Duration::from_millis(900), "{:?}", told.elapsed());
    gate.open();
    assert!(sse::is_done(&late.rest().await.0));
    assert_eq!((proxy.ended().await.code(), upstream.asked()), (Some(0), 1));
}

#[tokio::test]
async fn operators_with_a_listener_of_their_own_see_the_whole_drain() {
    let gate = Gate::new();
    let (_upstream, mut proxy) = stage("admin_bind = \"127.0.0.1:0\"\ndrain_timeout = \"20s\"", &gate).await;
    let operators = proxy.announced("admin and metrics on http://").await;
    let mut client = streaming(&proxy).await;
    assert_eq!(client::ask(operators, &Ask::new("GET", "/readyz")).await.status(), 200);
    proxy.signal("TERM");
    refuses_connections(&proxy).await;
    for _ in 0..20 {
        assert_eq!(client::ask(operators, &Ask::new("GET", "/readyz")).await.status(), 503);
        let page = client::ask(operators, &Ask::new("GET", "/metrics")).await.text();
        assert!(page.contains("greenroom_backend_inflight{backend=\"one\",model=\"m\"} 1"), "{page}");
        let report = client::ask(operators, &Ask::new("GET", "/admin/backends/one").bearer(TOKEN)).await.json();
        assert_eq!(report["streaming"], 1, "{report}");
    }
    gate.open();
    assert!(sse::is_done(&client.rest().await.0));
    let told = Instant::now();
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    assert!(TcpStream::connect(operators).await.is_err());
}

#[tokio::test]
async fn a_stream_that_outlives_the_drain_is_ended_with_an_error() {
    let (upstream, mut proxy) = stage("drain_timeout = \"300ms\"", &Gate::new()).await;
    let mut client = streaming(&proxy).await;
    proxy.signal("TERM");
    let (rest, end) = client.rest().await;
    let error = sse::error_of(&rest).expect("an error frame");
    assert_eq!(
        (error["type"].as_str(), error["code"].as_str()),
        (Some("service_unavailable_error"), Some("shutting_down"))
    );
    assert!(!sse::is_done(&rest) && end == End::Truncated);
    assert_eq!(proxy.ended().await.code(), Some(0));
    upstream.until("the backend being let go", |seen| seen.abandoned == 1).await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (_upstream, mut proxy) = stage("drain_timeout = \"60s\"", &Gate::new()).await;
    let mut client = streaming(&proxy).await;
    proxy.signal("TERM");
    refuses_connections(&proxy).await;
    let told = Instant::now();
    proxy.signal("INT");
    proxy.ended().await;
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    let (rest, end) = client.rest().await;
    assert!(!sse::is_done(&rest) && end == End::Truncated);
}

#[tokio::test]
async fn a_whole_answer_that_outlives_the_drain_is_ended_with_an_error() {
    let upstream = Upstream::always(Answer::new().hang()).await;
    let settings = Settings::new().backend("one", upstream.addr);
    let mut proxy = Proxy::start(&settings).await;
    let mut client = proxy.begin(HELLO).await;
    upstream.until("the request", |seen| seen.busy == 1).await;
    proxy.signal("TERM");
    let told = Instant::now();
    let reply = client.reply().await;
    assert_eq!((reply.status(), reply.error("code").as_str(), reply.end), (503, "shutting_down", End::Clean));
    assert!(!reply.header("retry-after").is_empty());
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
    proxy.logged(&["greenroom::request", "backend=one", "status=503"]).await;
}

#[tokio::test]
async fn a_request_that_was_taken_on_is_still_tried_elsewhere_while_it_stops() {
    let gate = Gate::new();
    let failing = Upstream::always(Answer::new().wait(&gate).then(Answer::json(500, "{}"))).await;
    let free = Upstream::saying("hi").await;
    let settings = Settings::new().backend("failing", failing.addr).target("free", free.addr, "priority = 2");
    let mut proxy = Proxy::start(&settings).await;
    let mut client = proxy.begin(HELLO).await;
    failing.until("the request", |seen| seen.busy == 1).await;
    proxy.signal("TERM");
    refuses_connections(&proxy).await;
    gate.open_for_all();
    let reply = client.reply().await;
    assert_eq!((reply.status(), reply.backend()), (200, "free"), "{reply:?}");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_within_the_settle_time_ends_streams_with_an_error_too() {
    let (_upstream, mut proxy) = stage("drain_settle = \"60s\"", &Gate::new()).await;
    let mut client = streaming(&proxy).await;
    proxy.signal("TERM");
    proxy.logged(&["draining"]).await;
    proxy.signal("TERM");
    let (rest, end) = client.rest().await;
    let error = sse::error_of(&rest).unwrap_or_default();
    assert_eq!((error["code"].as_str(), end), (Some("shutting_down"), End::Truncated));
    proxy.ended().await;
}

#[tokio::test]
async fn a_stop_leaves_all_of_history_in_its_file_and_no_log_beside_it() {
    for (signals, settle) in [(1, "0s"), (2, "20s")] {
        let (dir, upstream) = (tempdir().expect("a directory"), Upstream::saying("hi").await);
        let path = dir.path().join("history.db").display().to_string();
        let settings = Settings::new().backend("one", upstream.addr).set("history", &format!("path = {path:?}"));
        let mut proxy = Proxy::start(&settings.set("server", &format!("drain_settle = \"{settle}\""))).await;
        assert_eq!(proxy.hello().await.status(), 200);
        for _ in 0..signals {
            proxy.signal("TERM");
            proxy.logged(&["draining"]).await;
        }
        assert_eq!(proxy.ended().await.code(), Some(0));
        let files = std::fs::read_dir(dir.path()).expect("it is there");
        let names: Vec<_> = files.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect();
        assert_eq!(names, ["history.db"], "{signals} signals");
    }
}
