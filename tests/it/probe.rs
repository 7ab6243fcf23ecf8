//! Asking a provider whether it is well: only where the settings want it, only while sick, or when an operator asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    client::Ask,
    eventually,
    heard::{Heard, hear},
    proxy::{HELLO, Proxy},
    script::{Answer, Gate, reasoning},
    settings::Settings,
    upstream::{Seen, Upstream},
};

/// A backend that is sick until the cell says otherwise, its models list included, and a gate that stays shut for long.
async fn stage(probe: &str) -> (Upstream, Arc<AtomicBool>, Proxy) {
    let well = Arc::new(AtomicBool::new(false));
    let cell = well.clone();
    let one = Upstream::start(move |_, ask| match cell.load(SeqCst) {
        false => Answer::json(503, "{}"),
        true if ask.head.line.starts_with("GET") => Answer::json(200, r#"{"object":"list","data":[]}"#),
        true => ask.saying("hi"),
    })
    .await;
    let lines = format!("probe = \"{probe}\"\nprobe_every = \"100ms\"\nbackoff_min = \"30s\"\nbreaker_failures = 2");
    let settings =
        Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1").set("backends.one", &lines);
    let proxy = Proxy::start(&settings).await;
    (one, well, proxy)
}

async fn shut(proxy: &Proxy) {
    for _ in 0..2 {
        assert_eq!(proxy.hello().await.status(), 503);
    }
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
}

/// Waits until requests may pass. That it is healthy is for a request to prove.
async fn opened(proxy: &Proxy) {
    let open = |r: &Value| r["reopens_in_ms"].is_null() && matches!(r["state"].as_str(), Some("healthy" | "degraded"));
    proxy.until("one", "an open gate", open).await;
}

fn lists(seen: &Seen) -> usize {
    seen.requests.iter().filter(|r| r.head.line.starts_with("GET /v1/models ")).count()
}

fn one_token(seen: &Seen) -> usize {
    let asks = seen.requests.iter().filter_map(|r| serde_json::from_slice::<Value>(&r.body).ok());
    asks.filter(|body| body["max_tokens"] == 1).count()
}

/// Long enough for several probes, were there any.
const SEVERAL: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_sick_backend_is_asked_for_its_models_and_opens_without_a_request_having_to_try() {
    let (one, well, proxy) = stage("models").await;
    shut(&proxy).await;
    one.until("probes", |seen| lists(seen) >= 3).await;
    assert_eq!(proxy.report("one").await["state"], "open", "probes that fail open nothing");
    well.store(true, SeqCst);
    opened(&proxy).await;
    assert_eq!(hear(&proxy, true).await, Heard::said("hi", "one"));
    assert_eq!(one.seen(one_token), 0);
    assert_eq!(one.last().head.get("authorization"), Some("Bearer key-of-one"));
    // Well again, it is left alone.
    let before = one.asked();
    sleep(SEVERAL).await;
    assert_eq!(one.asked(), before);
}

#[tokio::test]
async fn a_completion_of_one_token_may_be_asked_for_instead() {
    let (one, well, proxy) = stage("completion").await;
    shut(&proxy).await;
    one.until("a probe", |seen| one_token(seen) >= 1).await;
    well.store(true, SeqCst);
    opened(&proxy).await;
    assert_eq!(one.seen(lists), 0);
}

#[tokio::test]
async fn a_model_that_reasons_is_asked_in_words_that_it_takes_be_it_that_only_it_says_so() {
    // A deployment may have any name.
    for model in ["gpt-5", "house"] {
        let well = Arc::new(AtomicBool::new(false));
        let cell = well.clone();
        let one = Upstream::start(move |_, ask| {
            if cell.load(SeqCst) {
                reasoning(&serde_json::from_slice(&ask.body).unwrap_or_default())
            } else {
                Answer::json(500, "{}")
            }
        })
        .await;
        let lines = "probe = \"completion\"\nprobe_every = \"50ms\"\nbackoff_min = \"30s\"\nbreaker_failures = 2";
        let settings = Settings::new()
            .target("one", one.addr, &format!("model = \"{model}\""))
            .set("failover", "max_attempts = 1")
            .set("backends.one", lines);
        let proxy = Proxy::start(&settings).await;
        for _ in 0..2 {
            assert_eq!(proxy.hello().await.status(), 502);
        }
        proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
        well.store(true, SeqCst);
        opened(&proxy).await;
        let before = one.asked();
        let steps = proxy.post("/admin/backends/one/diagnose").await.json();
        let outcome = |name: &str| {
            let step = steps["steps"].as_array().and_then(|all| all.iter().find(|step| step["step"] == name));
            step.map_or(Value::Null, |step| step["outcome"].clone())
        };
        assert_eq!(["one token", "stream", "tool call"].map(outcome), ["ok"; 3], "{model}: {steps}");
        let learned = usize::from(model == "house");
        assert_eq!(one.asked() - before, 4 + learned, "said once, it is known");
    }
}

#[tokio::test]
async fn nobody_is_probed_who_is_well_or_whose_settings_do_not_say_so() {
    let (sick, _well, proxy) = stage("off").await;
    shut(&proxy).await;
    let (sound, well, other) = stage("models").await;
    well.store(true, SeqCst);
    assert_eq!(other.hello().await.status(), 200);
    sleep(SEVERAL).await;
    assert_eq!((sick.asked(), sound.asked()), (2, 1));
    assert_eq!(proxy.report("one").await["state"], "open");
}

#[tokio::test]
async fn an_operator_may_ask_at_any_time_and_the_answer_counts() {
    let (one, well, proxy) = stage("off").await;
    shut(&proxy).await;
    let sick = proxy.post("/admin/backends/one/probe").await;
    let said = sick.json();
    assert_eq!((sick.status(), &said["healthy"], &said["class"]), (200, &json!(false), &json!("provider_overloaded")));
    assert_eq!((&said["status"], &said["asked"]), (&json!(503), &json!("models")), "{said}");
    assert_eq!(proxy.report("one").await["state"], "open");
    well.store(true, SeqCst);
    let said = proxy.post("/admin/backends/one/probe").await.json();
    assert_eq!((&said["healthy"], &said["asked"]), (&json!(true), &json!("models")), "{said}");
    opened(&proxy).await;
    assert_eq!((hear(&proxy, false).await, one.seen(lists)), (Heard::said("hi", "one"), 2));
}

#[tokio::test]
async fn a_probe_of_a_backend_that_is_gone_says_so() {
    let (one, _well, proxy) = stage("off").await;
    drop(one);
    let said = proxy.post("/admin/backends/one/probe").await.json();
    assert_eq!((&said["healthy"], &said["class"]), (&json!(false), &json!("provider_transport")), "{said}");
    assert_eq!(proxy.post("/admin/backends/nobody/probe").await.status(), 404);
    assert_eq!(proxy.ask(&Ask::new("POST", "/admin/backends/one/probe")).await.status(), 401);
}

#[tokio::test]
async fn an_operators_reset_opens_a_shut_gate_and_forgets_its_failures() {
    let (_one, well, proxy) = stage("off").await;
    shut(&proxy).await;
    well.store(true, SeqCst);
    assert_eq!(proxy.chat(HELLO).await.error("code"), "no_healthy_backend");
    assert_eq!(proxy.post("/admin/backends/one/reset").await.status(), 200);
    let report = proxy.until("one", "an open gate", |r| r["state"] == "healthy").await;
    assert_eq!(report["consecutive_failures"], 0, "{report}");
    assert_eq!(hear(&proxy, true).await, Heard::said("hi", "one"));
}

#[tokio::test]
async fn a_probe_that_ends_behind_an_open_gate_bars_no_later_one() {
    let (gate, mood) = (Gate::new(), Arc::new(AtomicU8::new(0)));
    let (wait, now) = (gate.clone(), mood.clone());
    let one = Upstream::start(move |_, ask| match (now.load(SeqCst), ask.text().contains("slowly")) {
        (_, true) => Answer::new().wait(&wait).then(Answer::says("hi")),
        (0, _) => Answer::json(500, "{}"),
        (1, _) => Answer::says("hi"),
        _ => Answer::json_with(429, "retry-after-ms: 300\r\n", "{}"),
    })
    .await;
    let settings = Settings::new()
        .backend("one", one.addr)
        .set("failover", "max_attempts = 1")
        .set("backends.one", "max_in_flight = 2\nbackoff_min = \"30s\"\nbreaker_failures = 2");
    let proxy = Proxy::start(&settings).await;
    for _ in 0..2 {
        assert_eq!(proxy.hello().await.status(), 502);
    }
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    // A pin may look early, and is the probe.
    let slowly = HELLO.replace("Hello!", "slowly").replacen('{', r#"{"backend":"one","#, 1);
    let mut slow = proxy.begin(slowly).await;
    one.until("the probe", |seen| seen.busy == 1).await;
    mood.store(1, SeqCst);
    assert_eq!(proxy.post("/admin/backends/one/reset").await.status(), 200);
    proxy.until("one", "an open gate", |r| r["state"] == "healthy").await;
    for _ in 0..9 {
        assert_eq!(proxy.hello().await.status(), 200);
    }
    gate.open();
    assert_eq!(slow.reply().await.status(), 200);
    mood.store(2, SeqCst);
    assert_eq!(proxy.hello().await.status(), 429);
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    mood.store(1, SeqCst);
    eventually("a request that passes", async || (proxy.hello().await.status() == 200).then_some(())).await;
}

/// A backend whose chat is refused and whose models list is given, and how its gate stands after several probes.
async fn refused_but_listed(chat: Answer, list: Answer, probe: &str) -> (Upstream, Proxy, Value) {
    let one =
        Upstream::start(move |_, ask| if ask.head.line.starts_with("GET") { list.clone() } else { chat.clone() }).await;
    let lines = format!("probe = \"{probe}\"\nprobe_every = \"50ms\"\nbackoff_min = \"30s\"\nbreaker_failures = 1");
    let settings =
        Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1").set("backends.one", &lines);
    let proxy = Proxy::start(&settings).await;
    assert_ne!(proxy.hello().await.status(), 200);
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    let asks = if probe == "models" { lists } else { one_token };
    one.until("probes", |seen| asks(seen) >= 3).await;
    let report = proxy.report("one").await;
    (one, proxy, report)
}

#[tokio::test]
async fn a_models_list_says_nothing_of_a_limit_an_account_or_a_model() {
    let list = || Answer::json(200, r#"{"object":"list","data":[]}"#);
    let said = |code: &str| format!(r#"{{"error":{{"message":"no","type":"x","code":"{code}"}}}}"#);
    for chat in [
        Answer::json_with(429, "retry-after: 3600\r\n", "{}"),
        Answer::json(429, &said("insufficient_quota")),
        Answer::json(401, "{}"),
        Answer::json(404, &said("model_not_found")),
    ] {
        let (one, proxy, report) = refused_but_listed(chat, list(), "models").await;
        assert_eq!(report["state"], "open", "{report}");
        assert!(report["reopens_in_ms"].as_u64().is_some_and(|ms| ms > 60_000), "{report}");
        assert_eq!(proxy.hello().await.error("code"), "no_healthy_backend");
        assert_eq!(one.asked() - one.seen(lists), 1, "the chat was asked again");
    }
}

#[tokio::test]
async fn a_completion_that_is_refused_inside_of_a_200_opens_nothing() {
    let said = r#"{"error":{"message":"no","type":"x","code":"insufficient_quota"}}"#;
    let (_one, proxy, report) =
        refused_but_listed(Answer::json(200, said), Answer::json(200, "{}"), "completion").await;
    assert!(report["state"] == "open" && report["reopens_in_ms"].as_u64() > Some(60_000), "{report}");
    let said = proxy.post("/admin/backends/one/probe").await.json();
    assert_eq!((&said["healthy"], &said["class"]), (&json!(false), &json!("provider_quota")), "{said}");
    assert!(said["message"].as_str().is_some_and(|why| why.contains("insufficient_quota")), "{said}");
    assert_eq!(said["asked"], "completion", "{said}");
}

#[tokio::test]
async fn a_provider_without_a_models_list_is_not_well_for_that() {
    for status in [404, 405, 501] {
        let (chat, list) = (Answer::json(500, "{}"), Answer::json(status, "{}"));
        let (_one, proxy, report) = refused_but_listed(chat, list, "models").await;
        assert_eq!(report["state"], "open", "{report}");
        let said = proxy.post("/admin/backends/one/probe").await.json();
        assert_eq!((&said["healthy"], &said["class"]), (&json!(false), &json!("provider_invalid")), "{said}");
        assert!(said["message"].as_str().is_some_and(|why| why.contains("it is there")), "{said}");
        assert_eq!(proxy.report("one").await["state"], "open");
    }
}

#[tokio::test]
async fn a_page_in_the_place_of_a_models_list_vouches_for_nothing() {
    for list in [
        Answer::new().raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 16\r\n\r\n<title>Sign in</"),
        Answer::new().raw("HTTP/1.1 204 No Content\r\n\r\n"),
        Answer::json(200, "\"well\""),
    ] {
        let (_one, proxy, report) = refused_but_listed(Answer::json(500, "{}"), list, "models").await;
        assert_eq!(report["state"], "open", "{report}");
        let said = proxy.post("/admin/backends/one/probe").await.json();
        assert_eq!((&said["healthy"], &said["class"]), (&json!(false), &json!("provider_invalid")), "{said}");
        let steps = proxy.post("/admin/backends/one/diagnose").await.json();
        let listed = steps["steps"].as_array().and_then(|all| all.iter().find(|step| step["step"] == "credentials"));
        assert!(listed.is_some_and(|step| step["outcome"] == "failed"), "{steps}");
        assert_eq!(proxy.report("one").await["state"], "open");
    }
}
