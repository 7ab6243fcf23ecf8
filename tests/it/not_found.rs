//! A 404 that is none of a model's: of a page in front, of a deployment that is still to come, of a model that was there before.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::SeqCst},
};

use serde_json::{Value, json};

use crate::support::{eventually, proxy::Proxy, script::Answer, settings::Settings, upstream::Upstream};

const WELL: u8 = 0;
const PAGE: u8 = 1;
const PLAIN: u8 = 2;
const TOLD: u8 = 3;
const COMING: u8 = 4;
const UNFIT: u8 = 5;

/// The body of a 404 that says which model is missing.
const MISSING: &str =
    r#"{"error":{"message":"The model `m` does not exist","type":"invalid_request_error","code":"model_not_found"}}"#;

/// As OpenAI tells it of a model that its list names.
const NO_CHAT: &str = r#"{"error":{"message":"This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use v1/completions?","type":"invalid_request_error","param":"model","code":null}}"#;

/// As Azure tells it.
const NOT_YET: &str = r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."}}"#;

/// A backend that answers as the cell says, whose models list names `listed`.
async fn stage(first: u8, listed: &'static str, lines: &str) -> (Upstream, Arc<AtomicU8>, Proxy) {
    let state = Arc::new(AtomicU8::new(first));
    let cell = state.clone();
    let one = Upstream::start(move |_, ask| {
        let text = |body: &str| {
            let length = body.len();
            Answer::new().raw(format!(
                "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{body}"
            ))
        };
        match cell.load(SeqCst) {
            PAGE => text("<html><head><title>404 Not Found</title></head></html>"),
            PLAIN => text("default backend - 404"),
            state if ask.head.line.starts_with("GET") => match state {
                WELL | UNFIT => Answer::json(200, &format!(r#"{{"object":"list","data":[{{"id":"{listed}"}}]}}"#)),
                _ => Answer::json(503, "{}"),
            },
            TOLD => Answer::json(404, MISSING),
            COMING => Answer::json(404, NOT_YET),
            UNFIT => Answer::json(404, NO_CHAT),
            _ => ask.saying("hi"),
        }
    })
    .await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("backends.one", lines)).await;
    (one, state, proxy)
}

#[tokio::test]
async fn one_stray_404_shuts_no_model_that_has_answered() {
    for stray in [PAGE, PLAIN, TOLD, COMING] {
        let (_one, state, proxy) = stage(WELL, "m", "").await;
        for _ in 0..6 {
            assert_eq!(proxy.hello().await.status(), 200);
        }
        state.store(stray, SeqCst);
        let reply = proxy.hello().await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (502, "upstream_model_not_found"));
        state.store(WELL, SeqCst);
        for _ in 0..6 {
            assert_eq!(proxy.hello().await.status(), 200, "after {stray}");
        }
    }
}

#[tokio::test]
async fn a_model_that_answered_and_is_gone_is_shut_for_short_times_that_grow() {
    let (one, state, proxy) = stage(WELL, "m", "backoff_min = \"20ms\"\nbackoff_max = \"20ms\"").await;
    assert_eq!(proxy.hello().await.status(), 200);
    state.store(TOLD, SeqCst);
    // Each time shut is longer than the one before, beyond what other failures shut for.
    let longer = |report: &Value| report["reopens_in_ms"].as_f64() > Some(100.0);
    loop {
        proxy.hello().await;
        if longer(&proxy.report("one").await) {
            break;
        }
    }
    assert!(one.asked() < 20, "asked {} times", one.asked());
    state.store(WELL, SeqCst);
    proxy.until("one", "its probe", |report| report["state"] == "half_open").await;
    assert_eq!(proxy.hello().await.status(), 200);
}

#[tokio::test]
async fn a_model_that_never_answered_is_shut_at_once_and_for_long_only_if_it_is_told_to_be_missing() {
    for (first, is_long) in [(TOLD, true), (PAGE, false), (PLAIN, false), (COMING, false)] {
        let (one, _, proxy) = stage(first, "m", "backoff_min = \"10s\"").await;
        assert_eq!(proxy.hello().await.status(), 502);
        let report = proxy.until("one", "a shut gate", |report| report["state"] == "open").await;
        let ms = report["reopens_in_ms"].as_f64().expect("a time");
        assert_eq!(ms > 600_000.0, is_long, "{first}: {ms} ms");
        let reply = proxy.hello().await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (503, "no_healthy_backend"));
        // SDKs wait for two minutes at most, and ask again at once if told to wait longer.
        assert_eq!(reply.head.get("x-should-retry"), is_long.then_some("false"));
        assert_eq!(one.asked(), 1);
    }
}

#[tokio::test]
async fn a_models_list_that_names_the_model_opens_it_and_no_other_list_does() {
    for (listed, opens) in [("m", true), ("another", false)] {
        let (_one, state, proxy) = stage(TOLD, listed, "").await;
        assert_eq!(proxy.hello().await.status(), 502);
        proxy.until("one", "a shut gate", |report| report["state"] == "open").await;
        let probe = async || proxy.post("/admin/backends/one/probe").await.text();
        for shut in [PAGE, PLAIN, TOLD] {
            state.store(shut, SeqCst);
            probe().await;
            assert_eq!(proxy.report("one").await["state"], "open", "{shut}");
        }
        state.store(WELL, SeqCst);
        let said = probe().await;
        assert_eq!(proxy.hello().await.status(), if opens { 200 } else { 503 }, "{said}");
        assert_eq!(said.contains("does not name 'm'"), !opens, "{said}");
    }
    // The settings may have it asked without an operator.
    let (_one, state, proxy) = stage(TOLD, "m", "probe = \"models\"\nprobe_every = \"50ms\"").await;
    assert_eq!(proxy.hello().await.status(), 502);
    state.store(WELL, SeqCst);
    proxy.until("one", "an open gate", |report| report["reopens_in_ms"].is_null()).await;
    assert_eq!(proxy.hello().await.status(), 200);
}

#[tokio::test]
async fn a_list_that_names_a_model_all_along_opens_it_once_and_then_the_wait_holds() {
    let (one, state, proxy) = stage(TOLD, "m", "probe = \"models\"\nprobe_every = \"50ms\"").await;
    let lists = || one.seen(|seen| seen.requests.iter().filter(|ask| ask.head.line.starts_with("GET")).count());
    let listed = async |more: usize| {
        let enough = lists() + more;
        eventually("models lists", async || (lists() >= enough).then_some(())).await;
    };
    assert_eq!(proxy.hello().await.status(), 502);
    proxy.until("one", "a shut gate", |report| report["state"] == "open").await;
    // Each time that the list is back, it counts once.
    for _ in 0..2 {
        listed(2).await;
        assert_eq!(proxy.report("one").await["state"], "open");
        state.store(UNFIT, SeqCst);
        proxy.until("one", "an open gate", |report| report["reopens_in_ms"].is_null()).await;
        assert_eq!(proxy.hello().await.error("code"), "upstream_model_not_found");
        listed(4).await;
        let report = proxy.report("one").await;
        assert!(report["state"] == "open" && report["reopens_in_ms"].as_f64() > Some(600_000.0), "{report}");
        assert_eq!(proxy.hello().await.error("code"), "no_healthy_backend");
        state.store(TOLD, SeqCst);
    }
    // An operator may want to see for himself.
    state.store(UNFIT, SeqCst);
    let said = proxy.post("/admin/backends/one/probe").await.json();
    assert_eq!(said["healthy"], true, "{said}");
    assert_eq!(proxy.hello().await.error("code"), "upstream_model_not_found");
}

#[tokio::test]
async fn a_model_is_told_to_be_missing_only_from_a_list_that_is_whole_and_names_what_can_be_asked() {
    let claude = |more: bool| json!({"data": [{"id": "another"}], "has_more": more}).to_string();
    let google = |token: &str| json!({"models": [{"name": "models/another"}], "nextPageToken": token}).to_string();
    let anthropic = ("protocol = \"anthropic\"", "/v1", "/v1/models?limit=1000");
    let gemini = ("protocol = \"gemini\"", "/v1beta", "/v1beta/models?pageSize=1000");
    let azure = "protocol = \"openai\"\nstyle = \"azure\"\napi_version = \"1\"";
    let azure = (azure, "", "/openai/models?api-version=1");
    let openai = ("protocol = \"openai\"", "/v1", "/v1/models");
    for ((lines, path, asked), list, is_told) in [
        (anthropic, claude(false), true),
        (anthropic, claude(true), false),
        (gemini, google(""), true),
        (gemini, google("next"), false),
        (openai, r#"{"data":[{"id":"another"}]}"#.to_owned(), true),
        (openai, r#"{"data":[{"id":"another"},"#.to_owned(), false),
        (azure, r#"{"data":[{"id":"another"}]}"#.to_owned(), false),
        (azure, r#"{"data":[{"id":"theirs"}]}"#.to_owned(), false),
    ] {
        let said = list.clone();
        let one = Upstream::start(move |_, ask| {
            if ask.head.line.starts_with("GET") { Answer::json(200, &said) } else { Answer::json(404, "{}") }
        })
        .await;
        let lines = format!("{lines}\nbackoff_min = \"10s\"");
        let proxy = Proxy::start(&Settings::only(one.addr, path, "theirs", &lines)).await;
        assert_eq!(proxy.hello().await.status(), 502);
        proxy.until("only", "a shut gate", |report| report["state"] == "open").await;
        let said = proxy.post("/admin/backends/only/probe").await.json();
        assert_eq!(one.last().head.line, format!("GET {asked} HTTP/1.1"));
        assert_eq!(said["healthy"], !is_told, "{list}: {said}");
        let words = said["message"].as_str().unwrap_or_default();
        assert_eq!(words.contains("does not name 'theirs'"), is_told, "{list}: {said}");
        assert_eq!(proxy.report("only").await["state"], "open", "{list}");
    }
}

#[tokio::test]
async fn a_reset_of_a_backend_that_is_well_changes_nothing() {
    let (_one, _, proxy) = stage(WELL, "m", "max_in_flight = 4").await;
    for _ in 0..6 {
        assert_eq!(proxy.hello().await.status(), 200);
    }
    let before = proxy.until("one", "an open gate", |report| report["reason"] == "taking requests").await;
    assert_eq!(proxy.post("/admin/backends/one/reset").await.status(), 200);
    assert_eq!(proxy.hello().await.status(), 200);
    let after = proxy.report("one").await;
    let told = |report: &Value| [&report["reason"], &report["transitions"], &report["models"]].map(Value::to_string);
    let [reason, gates, models] = told(&after);
    assert_eq!([&reason, &gates], [&told(&before)[0], &told(&before)[1]]);
    assert!(!models.contains("ramping"), "{models}");
}
