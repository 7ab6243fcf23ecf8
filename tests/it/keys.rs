//! Keys in files of their own: another one there is in use soon, at the same provider, and the one before is read nowhere.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use serde_json::json;

use crate::support::{
    eventually,
    heard::{Heard, hear},
    launch::Launch,
    process::run,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, Gate},
    settings::Settings,
    sse,
    upstream::{Received, Upstream},
    volume::Volume,
};

pub(crate) const OLD: &str = "key-of-yesterday";
pub(crate) const NEW: &str = "key-of-today";

pub(crate) fn keyed(one: &Upstream, file: &Path) -> Settings {
    Settings::new()
        .set("server", "watch_every = \"10ms\"")
        .set("failover", "max_attempts = 1")
        .set("backends.one", &lines(one, file))
        .set("models.m", "backends = [{ backend = \"one\" }]")
}

/// The table of a backend whose key stands in this file.
pub(crate) fn lines(backend: &Upstream, file: &Path) -> String {
    let (addr, file) = (backend.addr, file.display());
    format!("protocol = \"openai\"\nbase_url = \"http://{addr}/v1\"\napi_key_file = \"{file}\"")
}

pub(crate) fn key_of(request: &Received) -> String {
    request.head.get("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned()
}

pub(crate) async fn until_in_use(proxy: &Proxy, nth: usize) {
    let installed = "settings installed: changed: backends.one; kept: ";
    eventually("the other key", async || (proxy.log().matches(installed).count() == nth).then_some(())).await;
}

#[tokio::test]
async fn another_key_in_the_file_is_used_by_the_same_provider_and_opens_the_gate_that_the_last_ones_refusal_shut() {
    let (expired, gate) = (Arc::new(AtomicBool::new(false)), Gate::new());
    let has_expired = expired.clone();
    let wait = gate.clone();
    let one = Upstream::start(move |n, ask: &Received| match key_of(ask) {
        key if (key == OLD) == has_expired.load(SeqCst) => Answer::json(401, "{}"),
        _ if n == 2 => Answer::stream()
            .chunk(sse::text("Hello"))
            .wait(&wait)
            .then(Answer::new().chunk(sse::text(" there")).finished()),
        _ => ask.saying("hi"),
    })
    .await;
    let volume = Volume::with(OLD);
    let proxy = Proxy::start(&keyed(&one, &volume.file())).await;
    assert_eq!((hear(&proxy, true).await, proxy.hello().await.status()), (Heard::said("hi", "one"), 200));
    let mut running = proxy.begin(HELLO_STREAM).await;
    assert_eq!(running.head().await.status(), 200);
    assert!(running.frame().await.is_some_and(|frame| frame.contains("Hello")));
    // Nothing is known of a new provider, which is taken to need most of a second.
    let learned = |report: &serde_json::Value| {
        (report["first_token_estimate_s"].as_f64() < Some(0.1), report["requests"]["success"].as_u64())
    };
    assert_eq!(learned(&proxy.report("one").await), (true, Some(2)));
    expired.store(true, SeqCst);
    assert_eq!(proxy.hello().await.error("code"), "upstream_auth_failed");
    let long = |report: &serde_json::Value| report["reopens_in_ms"].as_u64().is_some_and(|ms| ms > 60_000);
    proxy.until("one", "a gate shut for long", long).await;
    volume.publish(NEW);
    let report = proxy.until("one", "an open gate", |report| report["state"] == "healthy").await;
    assert_eq!((learned(&report), &report["streaming"]), ((true, Some(2)), &json!(1)), "{report}");
    assert_eq!((proxy.hello().await.status(), key_of(&one.last()).as_str()), (200, NEW));
    // Operators ask with it, too.
    assert_eq!(proxy.post("/admin/backends/one/probe").await.json()["healthy"], true);
    assert_eq!(key_of(&one.last()), NEW);
    gate.open();
    let (rest, _) = running.rest().await;
    assert!(sse::text_of(&rest).contains("there") && sse::is_done(&rest), "{rest:?}");
    let page = proxy.get("/metrics").await.text();
    assert!(page.contains("greenroom_config_reloads_total{result=\"success\"} 0"), "nobody has reloaded: {page}");
    let all =
        proxy.log() + &page + &proxy.get("/admin/backends").await.text() + &proxy.get("/admin/requests").await.text();
    assert!(!all.contains(OLD) && !all.contains(NEW), "{all}");
}

#[tokio::test]
async fn what_the_last_key_is_refused_for_counts_no_more_and_each_is_taken_out_of_what_was_said_to_it() {
    let gates = [Gate::new(), Gate::new()];
    let waits = gates.clone();
    let one = Upstream::start(move |n, ask: &Received| {
        let said =
            json!({"error": {"message": format!("No such value (key {})", key_of(ask)), "param": "n"}}).to_string();
        match waits.get(n) {
            Some(gate) => Answer::new().wait(gate).then(Answer::json([401, 400][n], &said)),
            None => Answer::json(400, &said),
        }
    })
    .await;
    let volume = Volume::with(OLD);
    let settings = keyed(&one, &volume.file()).set("server", "chaos = true");
    let proxy = Proxy::start(&settings).await;
    let mut refused = proxy.begin(HELLO).await;
    one.until("the first request", |seen| seen.busy == 1).await;
    let mut faulty = proxy.begin(HELLO).await;
    one.until("the second request", |seen| seen.busy == 2).await;
    volume.publish(NEW);
    until_in_use(&proxy, 1).await;
    // The actor keeps that in mind, whatever befalls it.
    proxy.post("/admin/chaos/backends/one").await;
    proxy.until("one", "a restart", |report| report["restarts"]["count"] == 1).await;
    gates.iter().for_each(Gate::open);
    assert_eq!(refused.reply().await.error("code"), "upstream_auth_failed");
    let told = [faulty.reply().await, proxy.hello().await].map(|reply| reply.error("message"));
    assert_eq!(told, ["No such value (key …)"; 2]);
    assert_eq!(one.seen(|seen| seen.requests.iter().map(key_of).collect::<Vec<_>>()), [OLD, OLD, NEW]);
    let report = proxy.report("one").await;
    assert_eq!((&report["state"], &report["consecutive_failures"]), (&"healthy".into(), &0.into()), "{report}");
}

#[tokio::test]
async fn while_a_file_has_no_sound_key_the_last_one_stays_and_a_warning_says_so_once() {
    let (one, dir) = (Upstream::saying("hi").await, tempfile::tempdir().expect("a temporary directory can be made"));
    let file = dir.path().join("token");
    // In one step: half of a file that is written in place might be seen for long enough on a busy machine.
    let write = |text: &str| {
        fs::write(dir.path().join("next"), text).expect("a temporary file can be written");
        fs::rename(dir.path().join("next"), &file).expect("a file can be moved");
    };
    write(OLD);
    let proxy = Proxy::start(&keyed(&one, &file)).await;
    fs::remove_file(&file).expect("it is there");
    let warning = |word| ["WARN", "backends.one.api_key_file: names a", word, "the key read before stays in use"];
    proxy.logged(&warning("cannot be read")).await;
    let reply = proxy.post("/admin/reload").await;
    assert_eq!((reply.status(), proxy.hello().await.status()), (400, 200));
    assert!(
        reply.error("message").contains("backends.one.api_key_file: names a file that cannot be read"),
        "{reply:?}"
    );
    write("");
    proxy.logged(&warning("empty")).await;
    write(&format!("{NEW}\n{NEW}"));
    proxy.logged(&warning("several lines")).await;
    assert_eq!((proxy.hello().await.status(), key_of(&one.last()).as_str()), (200, OLD));
    write(NEW);
    until_in_use(&proxy, 1).await;
    assert_eq!((proxy.hello().await.status(), key_of(&one.last()).as_str()), (200, NEW));
    let log = proxy.log();
    assert_eq!(log.matches("stays in use").count(), 3, "{log}");
    assert!(!log.contains(OLD) && !log.contains(NEW), "{log}");
}

#[tokio::test]
async fn a_key_whose_header_the_settings_send_already_is_not_taken_up() {
    let one = Upstream::saying("hi").await;
    let volume = Volume::with(OLD);
    let lines = "protocol = \"gemini\"\nheaders = { authorization = \"Bearer of-the-gateway\" }";
    let toml = keyed(&one, &volume.file()).toml().replace("protocol = \"openai\"", lines);
    let launch = Launch::new(&Settings::new());
    fs::write(launch.config(), toml).expect("a temporary file can be written");
    let proxy = launch.start().await;
    volume.publish("ya29.of-google");
    proxy.logged(&["WARN", "backends.one.api_key_file: names a file whose key goes out as 'authorization'"]).await;
    let _ = proxy.hello().await;
    let head = one.last().head;
    assert_eq!((head.get("x-goog-api-key"), head.get("authorization")), (Some(OLD), Some("Bearer of-the-gateway")));
}

#[tokio::test]
async fn a_backends_own_key_outranks_a_default_whichever_of_the_two_stands_in_a_file() {
    let volume = Volume::with(OLD);
    let file = format!("api_key_file = \"{}\"", volume.file().display());
    let key = format!("api_key = \"{NEW}\"");
    for (default, own, sent) in [(&key, &file, OLD), (&file, &key, NEW), (&file, &String::new(), OLD)] {
        let one = Upstream::saying("hi").await;
        let lines = format!("protocol = \"openai\"\nbase_url = \"http://{}/v1\"\n{own}", one.addr);
        let settings = Settings::new()
            .set("defaults.backend", default)
            .set("backends.one", &lines)
            .set("models.m", "backends = [{ backend = \"one\" }]");
        let proxy = Proxy::start(&settings).await;
        assert_eq!((proxy.hello().await.status(), key_of(&one.last()).as_str()), (200, sent), "{default}, {own}");
    }
}

#[tokio::test]
async fn settings_that_come_before_the_file_with_a_key_are_tried_again_until_it_is_there() {
    let one = Upstream::saying("hi").await;
    let (old, new) = (Volume::with(OLD), tempfile::tempdir().expect("a temporary directory can be made"));
    let proxy = Proxy::start(&keyed(&one, &old.file())).await;
    let late = new.path().join("late");
    proxy.rewrite(&keyed(&one, &late).toml());
    proxy.logged(&["not reloaded: ", "backends.one.api_key_file: names a file that cannot be read"]).await;
    // Each of these takes two looks at the keys, which come as often as those at the settings.
    for (n, key) in ["second", "third", "fourth"].into_iter().enumerate() {
        old.publish(key);
        until_in_use(&proxy, n + 1).await;
    }
    let page = proxy.get("/metrics").await.text();
    assert!(page.contains("greenroom_config_reloads_total{result=\"failure\"} 1\n"), "{page}");
    assert_eq!(proxy.log().matches("not reloaded: ").count(), 1, "{}", proxy.log());
    // What an operator has installed in between makes it news again.
    let lacking = fs::read_to_string(proxy.config()).expect("it is there");
    proxy.rewrite(&keyed(&one, &old.file()).toml());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    proxy.rewrite(&lacking);
    eventually("the same words", async || (proxy.log().matches("not reloaded: ").count() == 2).then_some(())).await;
    fs::write(&late, NEW).expect("a temporary file can be written");
    until_in_use(&proxy, 4).await;
    assert_eq!((proxy.hello().await.status(), key_of(&one.last()).as_str()), (200, NEW));
}

#[tokio::test]
async fn access_tokens_go_out_as_bearer_tokens_at_azure_and_google_too() {
    let azure = "protocol = \"openai\"\nstyle = \"azure\"\napi_version = \"2024-10-21\"";
    let (entra, google) = ("eyJ0eXAiOiJKV1Qi.eyJhdWQiOiJo.c2ln", "ya29.a0AfB_token");
    for (lines, key, header, value) in [
        (azure, entra, "authorization", format!("Bearer {entra}")),
        (azure, OLD, "api-key", OLD.to_owned()),
        ("protocol = \"gemini\"", google, "authorization", format!("Bearer {google}")),
        ("protocol = \"gemini\"", OLD, "x-goog-api-key", OLD.to_owned()),
        ("protocol = \"anthropic\"", OLD, "x-api-key", OLD.to_owned()),
    ] {
        let (one, volume) = (Upstream::saying("hi").await, Volume::with(key));
        let text = keyed(&one, &volume.file()).toml().replace("protocol = \"openai\"", lines);
        let launch = Launch::new(&Settings::new());
        fs::write(launch.config(), text).expect("a temporary file can be written");
        let proxy = launch.start().await;
        let _ = proxy.hello().await;
        let head = one.last().head;
        assert_eq!(head.get(header), Some(value.as_str()), "{lines}");
        let keys = ["authorization", "api-key", "x-goog-api-key", "x-api-key"];
        assert_eq!(keys.iter().filter(|name| head.get(name).is_some()).count(), 1, "{lines}: {head:?}");
    }
}

#[tokio::test]
async fn validate_reads_the_file_from_where_it_is_started_and_shows_nothing_of_it() {
    let (one, dir) = (Upstream::saying("hi").await, tempfile::tempdir().expect("a temporary directory can be made"));
    fs::create_dir(dir.path().join("settings")).expect("a folder can be made");
    let toml = keyed(&one, Path::new("token-of-pod")).toml();
    fs::write(dir.path().join("settings/greenroom.toml"), toml).expect("a temporary file can be written");
    let validate = async || run(dir.path(), &["validate", "settings/greenroom.toml"], "").await;
    let bad = validate().await;
    assert_eq!(bad.code, Some(64), "{bad:?}");
    assert!(bad.err.contains("backends.one.api_key_file: names a file that cannot be read"), "{bad:?}");
    // Whoever restarts services is told that this may pass.
    let served = run(dir.path(), &["serve", "--config", "settings/greenroom.toml"], "").await;
    assert_eq!((served.code, served.err.contains("api_key_file")), (Some(75), true), "{served:?}");
    fs::write(dir.path().join("token-of-pod"), OLD).expect("a temporary file can be written");
    let good = validate().await;
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(![bad, good].iter().any(|said| format!("{said:?}").contains(OLD) || said.err.contains("token-of-pod")));
}
