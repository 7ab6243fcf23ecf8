//! New settings into a running proxy: whole or not at all, with a plan, and without anybody noticing who need not.

use serde_json::{Value, json};

use crate::support::{
    client::Ask,
    eventually,
    heard::{Heard, hear},
    proxy::{HELLO_STREAM, Launch, Proxy, hello_at},
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
};

async fn stage() -> (Upstream, Upstream, Proxy) {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr)).await;
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
    assert_eq!(names(&plan, "kept"), ["backends.one", "users.tester", "failover", "history"]);
    assert_eq!(names(&plan, "needs_restart"), ["server.workers"]);
    assert_eq!(status_at(&proxy, "two").await, 200);
    // The same again changes nothing more, and still waits for the restart.
    let again = proxy.post("/admin/reload").await.json()["plan"].clone();
    assert_eq!(
        (names(&again, "changed").len(), names(&again, "needs_restart")),
        (0, vec!["server.workers".to_owned()])
    );
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
        ("this is not TOML", ["Nothing was installed", "greenroom.toml", ""]),
    ] {
        proxy.rewrite(text);
        for path in ["/admin/reload", "/admin/reload?dry_run=true"] {
            let reply = proxy.post(path).await;
            assert_eq!(reply.status(), 400, "{reply:?}");
            assert!(words.iter().all(|word| reply.error("message").contains(word)), "{words:?} in {reply:?}");
        }
        assert_eq!((status_at(&proxy, "one").await, status_at(&proxy, "two").await), (200, 400));
    }
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
async fn a_running_stream_finishes_on_the_old_settings() {
    let gate = Gate::new();
    let answer = Answer::stream().chunk(sse::text("before ")).wait(&gate).chunk(sse::text("after")).finished();
    let (one, two) = (Upstream::always(answer).await, Upstream::saying("two").await);
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr)).await;
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
