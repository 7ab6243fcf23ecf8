//! New settings into a running proxy: whole or not at all, with a plan, and without anybody noticing who need not.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use serde_json::{Value, json};

use crate::support::{
    client::Ask,
    eventually,
    heard::{Heard, hear},
    launch::Launch,
    proxy::{HELLO, HELLO_STREAM, Proxy, hello_at},
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
};

async fn stage() -> (Upstream, Upstream, Proxy) {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let proxy = Proxy::before(&one).await;
    (one, two, proxy)
}

fn with_both(one: &Upstream, two: &Upstream) -> String {
    Settings::new().backend("one", one.addr).backend("two", two.addr).toml()
}

fn names(plan: &Value, list: &str) -> Vec<String> {
    let all = plan[list].as_array().unwrap_or_else(|| panic!("no list {list} in {plan}"));
    all.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

async fn status_at(proxy: &Proxy, backend: &str) -> u16 {
    proxy.chat(hello_at(backend)).await.status()
}

#[tokio::test]
async fn a_reload_installs_the_file_and_lists_what_it_did() {
    let (one, two, proxy) = stage().await;
    assert_eq!(status_at(&proxy, "two").await, 400);
    let more =
        with_both(&one, &two).replace("workers = 1", "workers = 2") + "[backends.spare]\nprotocol = \"openai\"\n";
    proxy.rewrite(&format!("{more}base_url = \"http://{}/v1\"\n", two.addr));
    let reply = proxy.post("/admin/reload").await;
    assert_eq!((reply.status(), &reply.json()["installed"]), (200, &json!(true)), "{reply:?}");
    let plan = reply.json()["plan"].clone();
    assert_eq!(names(&plan, "added"), ["backends.spare", "backends.two"]);
    assert_eq!(names(&plan, "changed"), ["models.m", "server"]);
    assert_eq!(names(&plan, "kept"), ["backends.one", "users.tester", "failover", "history", "traces"]);
    assert_eq!(names(&plan, "needs_restart"), ["server.workers"]);
    let notes = names(&plan, "notes");
    assert!(matches!(&notes[..], [note] if note.starts_with("backends.spare: serves no model")), "{plan}");
    proxy.logged(&["WARN", "note: backends.spare"]).await;
    assert_eq!(status_at(&proxy, "two").await, 200);
    // The same again changes nothing more, and still waits for the restart.
    let again = proxy.post("/admin/reload").await.json()["plan"].clone();
    assert_eq!(
        (names(&again, "changed").len(), names(&again, "needs_restart")),
        (0, vec!["server.workers".to_owned()])
    );
    assert_eq!((names(&again, "notes").len(), proxy.log().matches("note: ").count()), (0, 1), "{again}");
    proxy.rewrite(&Settings::new().backend("two", two.addr).toml());
    let plan = proxy.post("/admin/reload").await.json()["plan"].clone();
    assert_eq!(names(&plan, "removed"), ["backends.one", "backends.spare"]);
    assert!(names(&plan, "needs_restart").is_empty(), "taken back: {plan}");
    assert_eq!(hear(&proxy, true).await, Heard::said("two", "two"));
    assert_eq!(proxy.chat(hello_at("one")).await.error("code"), "backend_not_found");
    assert_eq!(proxy.get("/admin/backends/one").await.status(), 404);
}

#[tokio::test]
async fn a_hangup_signal_reloads_too() {
    let (one, two, proxy) = stage().await;
    proxy.rewrite(&with_both(&one, &two));
    proxy.signal("HUP");
    eventually("the new backend", async || (status_at(&proxy, "two").await == 200).then_some(())).await;
    proxy.logged(&["settings installed: added: backends.two; changed: models.m; kept: "]).await;
    assert!(!proxy.log().contains("Plan {"), "{}", proxy.log());
    proxy.rewrite("[server]\nbind = 7\nworkers = \"many\"\n");
    proxy.signal("HUP");
    proxy.logged(&["not reloaded: ", "; server.bind: ", "; server.workers: "]).await;
    assert_eq!((status_at(&proxy, "one").await, status_at(&proxy, "two").await), (200, 200));
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_changes_nothing() {
    let (one, two, proxy) = stage().await;
    proxy.rewrite(&with_both(&one, &two));
    let dry = proxy.post("/admin/reload?dry_run=true").await;
    assert_eq!((dry.status(), &dry.json()["installed"]), (200, &json!(false)), "{dry:?}");
    assert_eq!(names(&dry.json()["plan"], "added"), ["backends.two"]);
    assert_eq!(status_at(&proxy, "two").await, 400);
    let wet = proxy.post("/admin/reload").await;
    assert_eq!(wet.json()["plan"], dry.json()["plan"]);
    assert_eq!(proxy.post("/admin/reload?dry=yes").await.status(), 400);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_every_error_in_it_is_told() {
    let (one, two, proxy) = stage().await;
    let good = with_both(&one, &two);
    let bad = good.replace("[backends.two]", "[backends.two]\nwieght = 2\nidle_timeout = \"soon\"")
        + "[failover]\nretry_budget = 7\n";
    for (text, words) in [
        (bad.as_str(), ["backends.two.wieght", "backends.two.idle_timeout", "failover.retry_budget"]),
        ("this is not TOML", ["is not valid TOML", "greenroom.toml", ""]),
    ] {
        proxy.rewrite(text);
        for path in ["/admin/reload", "/admin/reload?dry_run=true"] {
            let reply = proxy.post(path).await;
            assert_eq!(reply.status(), 400, "{reply:?}");
            assert!(words.iter().all(|word| reply.error("message").contains(word)), "{words:?} in {reply:?}");
        }
        assert_eq!((status_at(&proxy, "one").await, status_at(&proxy, "two").await), (200, 400));
        // Who is on call and did not ask sees why, once for what was to be installed.
        proxy.logged(&["ERROR", "not reloaded: ", words[0], words[1]]).await;
    }
    assert_eq!(proxy.log().matches("not reloaded: ").count(), 2, "{}", proxy.log());
    proxy.rewrite(&good);
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    assert_eq!(status_at(&proxy, "two").await, 200);
}

#[tokio::test]
async fn kept_backends_keep_what_they_have_learned() {
    let (one, sick) = (Upstream::saying("one").await, Upstream::always(Answer::json(401, "{}")).await);
    let base = || Settings::new().backend("one", one.addr).target("sick", sick.addr, "priority = 2");
    let proxy = Proxy::start(&base()).await;
    for _ in 0..5 {
        assert_eq!(hear(&proxy, true).await, Heard::said("one", "one"));
    }
    assert_eq!(status_at(&proxy, "sick").await, 502);
    proxy.until("sick", "a shut gate", |r| r["state"] == "open").await;
    let before = proxy.report("one").await;
    let two = Upstream::saying("two").await;
    proxy.rewrite(&base().target("two", two.addr, "priority = 3").toml());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    let after = proxy.report("one").await;
    for fact in ["requests", "first_token_ms", "latency_ms", "last_success", "restarts"] {
        assert_eq!(before[fact], after[fact], "{fact}");
    }
    let report = proxy.report("sick").await;
    assert!(report["state"] == "open" && report["reopens_in_ms"].as_u64() > Some(60_000), "{report}");
}

#[tokio::test]
async fn a_reload_that_puts_credentials_in_a_header_right_opens_what_the_wrong_ones_have_shut() {
    let one = Upstream::start(|_, ask| match ask.head.get("x-account") {
        Some("right") => Answer::says("hi"),
        _ => Answer::json(401, "{}"),
    })
    .await;
    let of = |account: &str| {
        let lines = format!("headers = {{ x-account = \"{account}\" }}");
        Settings::new().backend("one", one.addr).set("backends.one", &lines)
    };
    let proxy = Proxy::start(&of("wrong")).await;
    assert_eq!(proxy.hello().await.status(), 502);
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    reload(&proxy, &of("right").toml()).await;
    assert_eq!(hear(&proxy, false).await, Heard::said("hi", "one"));
}

#[tokio::test]
async fn a_running_stream_finishes_on_the_old_settings() {
    let gate = Gate::new();
    let answer = Answer::stream().chunk(sse::text("before ")).wait(&gate).chunk(sse::text("after")).finished();
    let (one, two) = (Upstream::always(answer).await, Upstream::saying("two").await);
    let proxy = Proxy::before(&one).await;
    let mut client = proxy.begin(HELLO_STREAM).await;
    assert_eq!(client.head().await.status(), 200);
    // The backend, and with it everything that the stream was begun under, goes.
    proxy.rewrite(&Settings::new().backend("two", two.addr).toml());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    assert_eq!(hear(&proxy, true).await, Heard::said("two", "two"));
    gate.open();
    let (body, end) = client.rest().await;
    assert_eq!((sse::text_of(&body).as_str(), sse::is_done(&body), end), ("before after", true, End::Clean));
    proxy.logged(&["greenroom::request", "backend=one", "status=200"]).await;
}

#[tokio::test]
async fn users_and_limits_change_with_the_file() {
    let (one, _two, proxy) = stage().await;
    let other = "[users.other]\ntoken = \"token-of-other\"\nmodels = [\"m\"]\nbackends = [\"*\"]\n";
    let base = Settings::new().backend("one", one.addr);
    proxy.rewrite(&(base.toml() + other));
    let ask = || Ask::chat(r#"{"model":"m","messages":[]}"#).bearer("token-of-other");
    assert_eq!(proxy.ask(&ask()).await.status(), 401);
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    assert_eq!(proxy.ask(&ask()).await.status(), 200);
    assert_eq!(proxy.ask(&Ask::new("POST", "/admin/reload").bearer("token-of-other")).await.status(), 403);
    proxy.rewrite(&base.toml().replace(TOKEN, "another-token"));
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    assert_eq!(proxy.ask(&ask()).await.status(), 401);
    assert_eq!(proxy.post("/admin/reload").await.status(), 401, "the old token is gone");
}

#[tokio::test]
async fn a_proxy_without_a_settings_file_says_so() {
    let proxy = Launch::demo().start().await;
    let ask = Ask::new("POST", "/admin/reload").bearer("your-token");
    let reply = proxy.ask(&ask).await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (409, "conflict"), "{reply:?}");
}

/// A backend that serves `m` under this name and `a` under its own.
fn named(one: &Upstream, model: &str) -> Settings {
    Settings::new()
        .target("one", one.addr, &format!("model = \"{model}\""))
        .set("models.a", "backends = [{ backend = \"one\" }]")
        .set("failover", "max_attempts = 1")
        .set("backends.one", "breaker_failures = 2\nbackoff_min = \"100ms\"\nbackoff_max = \"100ms\"")
}

async fn reload(proxy: &Proxy, settings: &str) {
    proxy.rewrite(settings);
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
}

/// `settings` without the model `m`.
fn without_m(settings: &Settings) -> String {
    let text = settings.toml();
    let at = text.find("[models.m]").expect("it is there");
    text[..at].to_owned()
}

#[tokio::test]
async fn what_was_learned_of_a_model_is_forgotten_with_its_name_at_the_backend() {
    let one = Upstream::start(|_, ask| match () {
        () if ask.text().contains("wrong") => Answer::json(404, r#"{"error":{"code":"model_not_found"}}"#),
        () if ask.text().contains("sick") => Answer::json(500, "{}"),
        () => Answer::says("hi"),
    })
    .await;
    let proxy = Proxy::start(&named(&one, "wrong")).await;
    assert_eq!(proxy.hello().await.status(), 502);
    eventually("the model is out", async || (proxy.hello().await.status() == 503).then_some(())).await;
    reload(&proxy, &named(&one, "right").toml()).await;
    assert_eq!(hear(&proxy, false).await, Heard::said("hi", "one"), "the name was corrected");
    // Taken away and served again it is a new model, too, and judged as one.
    reload(&proxy, &named(&one, "wrong").toml()).await;
    assert_eq!(proxy.hello().await.status(), 502);
    eventually("the model is out", async || (proxy.hello().await.status() == 503).then_some(())).await;
    reload(&proxy, &without_m(&named(&one, "wrong"))).await;
    reload(&proxy, &named(&one, "sick").toml()).await;
    for _ in 0..2 {
        assert_eq!(proxy.hello().await.status(), 502);
    }
    let is_shut =
        |r: &Value| r["models"].as_array().is_some_and(|all| all.iter().any(|m| !m["reopens_in_ms"].is_null()));
    proxy.until("one", "a shut gate", is_shut).await;
}

#[tokio::test]
async fn a_probe_whose_model_is_taken_away_still_opens_the_backend_to_its_others() {
    let (step, gate) = (Arc::new(AtomicUsize::new(0)), Gate::new());
    let (at, wait) = (step.clone(), gate.clone());
    let one = Upstream::start(move |_, _| match at.load(SeqCst) {
        0 => Answer::new().close(),
        1 => Answer::new().wait(&wait).then(Answer::says("hi")),
        _ => Answer::says("hi"),
    })
    .await;
    let settings = named(&one, "m");
    let proxy = Proxy::start(&settings).await;
    for _ in 0..2 {
        assert_eq!(proxy.hello().await.status(), 502);
    }
    step.store(1, SeqCst);
    proxy.until("one", "the time to probe", |r| r["state"] == "half_open").await;
    let mut probe = proxy.begin(HELLO).await;
    one.until("the probe", |seen| seen.busy == 1).await;
    reload(&proxy, &without_m(&settings)).await;
    step.store(2, SeqCst);
    gate.open();
    assert_eq!(probe.reply().await.status(), 200);
    let of_a = HELLO.replace("\"m\"", "\"a\"");
    eventually("the other model", async || (proxy.chat(of_a.as_str()).await.status() == 200).then_some(())).await;
}

#[tokio::test]
async fn a_drained_backend_stays_so_wherever_it_moves() {
    let (one, two, proxy) = stage().await;
    assert_eq!(proxy.post("/admin/backends/one/drain").await.status(), 200);
    proxy.until("one", "the drain", |r| r["state"] == "draining").await;
    proxy.rewrite(&Settings::new().backend("one", two.addr).toml());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    assert_eq!(proxy.report("one").await["state"], "draining");
    assert_eq!((proxy.hello().await.status(), one.asked(), two.asked()), (503, 0, 0));
    assert_eq!(proxy.post("/admin/backends/one/resume").await.status(), 200);
    proxy.until("one", "its return", |r| r["state"] != "draining").await;
    assert_eq!((proxy.hello().await.status(), two.asked()), (200, 1));
}
