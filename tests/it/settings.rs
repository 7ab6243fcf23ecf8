//! Bad settings: every problem in one run, each with its key and what to write instead; nothing is bound.

use std::path::Path;

use crate::{
    support::{
        launch::Launch,
        process::{Said, run},
        proxy::{HELLO, Proxy},
        script::Answer,
        settings::Settings,
        upstream::Upstream,
    },
    tools::{BINARY, Tool},
};

const GOOD: &str = r#"
[backends.one]
protocol = "openai"
base_url = "http://127.0.0.1:9/v1"
[models.m]
backends = [{ backend = "one" }]
[users.tester]
token = "secret-of-tester"
models = ["*"]
backends = ["*"]
"#;

const BAD: &str = r#"
[server]
wrokers = 2
workers = 513
drain_timeout = "soon"
[defaults.backend]
idle_timeout = "0s"
[backends.one]
protocol = "openai"
base_url = "ftp://example.com"
api_key = "${GREENROOM_TEST_UNSET}"
[backends.two]
protocol = "smtp"
base_url = "http://127.0.0.1:9/v1"
weight = -1.0
[models.m]
backends = [{ backend = "absent" }]
[models.empty]
backends = []
[users.first]
token = "secret-of-first"
models = []
backends = ["*"]
[users.second]
token = "secret-of-both"
models = ["*"]
backends = ["absent"]
[users.third]
token = "secret-of-both"
models = ["*"]
backends = ["*"]
"#;

/// Where each problem of `BAD` is, and a word of what is said about it.
const PROBLEMS: [(&str, &str); 12] = [
    ("server.workers", "512"),
    ("server.wrokers", "workers"),
    ("server.drain_timeout", "15s"),
    ("defaults.backend.idle_timeout", "0"),
    ("backends.one.base_url", "http"),
    ("backends.one.api_key", "GREENROOM_TEST_UNSET"),
    ("backends.two.protocol", "openai"),
    ("backends.two.weight", "above 0"),
    ("models.m.backends", "not under [backends]"),
    ("models.empty.backends", "empty"),
    ("users.first.models", "[\"*\"]"),
    ("users.second.backends[0]", "not under [backends]"),
];

async fn with(dir: &Path, text: &str, args: &[&str]) -> Said {
    std::fs::write(dir.join("greenroom.toml"), text).expect("a temporary file can be written");
    run(dir, args, "").await
}

/// The lines that name a key.
fn problems(said: &Said) -> Vec<(&str, &str)> {
    said.err.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(": ")).collect()
}

#[tokio::test]
async fn every_problem_is_reported_in_one_run_and_nothing_is_bound() {
    let dir = tempfile::tempdir().unwrap();
    // Taken: had it been bound before the settings were judged, that would have been the complaint.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = taken.local_addr().unwrap().to_string();
    for args in [&["serve", "--config", "greenroom.toml", "--bind", &bind][..], &["validate", "greenroom.toml"]] {
        let said = with(dir.path(), BAD, args).await;
        assert_eq!(said.code, Some(64), "{said:?}");
        assert!(!said.out.contains("listening"), "{said:?}");
        let problems = problems(&said);
        for (key, word) in PROBLEMS {
            let lines: Vec<_> = problems.iter().filter(|(k, _)| k.starts_with(key)).collect();
            assert!(lines.iter().any(|(_, text)| text.contains(word)), "{key} with {word:?}: {}", said.err);
        }
        let shared = |(key, text): &(&str, &str)| key.starts_with("users.") && text.contains("token");
        assert!(problems.iter().any(shared), "two users with one token: {}", said.err);
        assert!(!said.err.contains("secret-of-both"), "{}", said.err);
    }
}

#[tokio::test]
async fn good_settings_are_called_good() {
    let dir = tempfile::tempdir().unwrap();
    let said = with(dir.path(), GOOD, &["validate", "greenroom.toml"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!format!("{said:?}").contains("secret-of-tester"), "{said:?}");
}

#[tokio::test]
async fn a_soft_limit_that_is_not_below_the_hard_one_is_good_and_noted() {
    let dir = tempfile::tempdir().unwrap();
    for (limits, noted) in [
        ("first_token_hard = \"5s\"", true),
        ("first_token_soft = \"9s\"\nfirst_token_hard = \"9s\"", true),
        ("first_token_soft = \"4s\"\nfirst_token_hard = \"5s\"", false),
    ] {
        let text = GOOD.replace("[backends.one]", &format!("[backends.one]\n{limits}"));
        let said = with(dir.path(), &text, &["validate", "greenroom.toml"]).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{limits}: {said:?}");
        let note = said.out.lines().find(|line| line.trim_start().starts_with("note: backends.one.first_token_soft: "));
        assert_eq!(note.map(|line| line.contains("first_token_hard")), noted.then_some(true), "{limits}: {said:?}");
    }
}

#[tokio::test]
async fn one_fault_is_one_problem_that_names_the_key() {
    let dir = tempfile::tempdir().unwrap();
    for (good, bad, key) in [
        ("[backends.one]", "[backends.one]\nurl = \"x\"", "backends.one.url"),
        ("protocol = \"openai\"", "", "backends.one.protocol"),
        ("[backends.one]", "[backends.one]\nprobe_every = \"1ns\"", "backends.one.probe_every"),
        ("[backends.one]", "[history]\nflush_every = \"1ns\"\n[backends.one]", "history.flush_every"),
        ("[backends.one]", "[failover]\nmax_attempts = 101\n[backends.one]", "failover.max_attempts"),
        ("http://127.0.0.1:9/v1", "", "backends.one.base_url"),
        ("http://127.0.0.1:9/v1", "http://user:pass@host/v1", "backends.one.base_url"),
        ("{ backend = \"one\" }", "{ backend = \"one\", prio = 1 }", "models.m.backends"),
        ("{ backend = \"one\" }", "{ backend = \"one\" }, { backend = \"one\" }", "models.m.backends"),
        ("token = \"secret-of-tester\"", "", "users.tester"),
        ("token = \"secret-of-tester\"", "token_sha256 = \"abc\"", "users.tester.token_sha256"),
        ("models = [\"*\"]", "models = [\"absent\"]", "users.tester.models"),
        ("models = [\"*\"]", "", "users.tester.models"),
        (
            "models = [\"*\"]",
            "may_explain = true\nmay_see_backends = false\nmodels = [\"*\"]",
            "users.tester.may_see_backends",
        ),
    ] {
        let said = with(dir.path(), &GOOD.replace(good, bad), &["validate", "greenroom.toml"]).await;
        let problems = problems(&said);
        assert_eq!((said.code, problems.len()), (Some(64), 1), "{bad}: {said:?}");
        assert!(problems[0].0.starts_with(key), "{key}: {said:?}");
    }
}

#[tokio::test]
async fn what_is_not_toml_is_reported_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let said = with(dir.path(), "[server\nworkers = 1", &["validate", "greenroom.toml"]).await;
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.err.contains("line 1"), "{said:?}");
}

#[tokio::test]
async fn a_key_in_a_line_that_is_no_toml_is_shown_neither_by_validate_nor_by_a_reload() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new().backend("one", upstream.addr);
    let proxy = Proxy::start(&settings).await;
    let bad = settings.toml().replace("api_key = \"key-of-one\"", "api_key = sk-very-secret");
    let dir = tempfile::tempdir().unwrap();
    let said = with(dir.path(), &bad, &["validate", "greenroom.toml"]).await;
    let line = bad.lines().position(|line| line.starts_with("api_key")).expect("it is there") + 1;
    assert!(said.code == Some(64) && said.err.contains(&format!("line {line}, column 11: ")), "{said:?}");
    assert!(!said.err.contains("secret"), "{said:?}");
    proxy.rewrite(&bad);
    let reply = proxy.post("/admin/reload").await;
    assert_eq!(reply.status(), 400);
    assert!(
        reply.error("message").contains(&format!("line {line}, ")) && !reply.text().contains("secret"),
        "{reply:?}"
    );
    proxy.signal("HUP");
    proxy.logged(&["not reloaded: ", &format!("line {line}, ")]).await;
    assert!(!proxy.log().contains("secret"), "{}", proxy.log());
}

#[tokio::test]
async fn a_key_in_braces_is_shown_neither_at_the_start_nor_by_a_reload_nor_in_the_log() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new().backend("one", upstream.addr);
    let proxy = Proxy::start(&settings).await;
    let bad = settings.toml().replace("\"key-of-one\"", "\"${sk-very-secret}\"");
    let dir = tempfile::tempdir().unwrap();
    let said = with(dir.path(), &bad, &["serve", "--config", "greenroom.toml"]).await;
    assert!(said.code == Some(64) && said.err.contains("backends.one.api_key: "), "{said:?}");
    proxy.rewrite(&bad);
    let reply = proxy.post("/admin/reload").await;
    assert!(reply.status() == 400 && reply.error("message").contains("backends.one.api_key: "), "{reply:?}");
    proxy.signal("HUP");
    proxy.logged(&["not reloaded: ", "backends.one.api_key: "]).await;
    let told = format!("{said:?}{}{}", reply.text(), proxy.log());
    assert!(!told.contains("very-secret"), "{told}");
}

#[tokio::test]
async fn an_example_with_nothing_set_lacks_its_variables_and_nothing_else() {
    let example = include_str!("../../settings/example.toml");
    let variables = example.lines().filter(|line| !line.starts_with('#') && line.contains("${")).count();
    let dir = tempfile::tempdir().unwrap();
    let first = with(dir.path(), example, &["validate", "greenroom.toml"]).await;
    let told = problems(&first);
    assert_eq!((first.code, told.len()), (Some(64), variables), "{first:?}");
    assert!(told.iter().all(|(_, text)| text.contains("not set in the environment")), "{first:?}");
    for _ in 0..5 {
        assert_eq!(with(dir.path(), example, &["validate", "greenroom.toml"]).await.err, first.err);
    }
}

#[tokio::test]
async fn lists_come_from_the_environment_as_they_stand_in_a_file() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let settings = Settings::new().backend("one", one.addr).backend("two", two.addr);
    let launch = Launch::new(&settings)
        .env("GREENROOM__USERS__TESTER__BACKENDS", "[\"two\"]")
        .env("GREENROOM__MODELS__OTHER__BACKENDS", "[{ backend = \"two\", model = \"theirs\" }]");
    let proxy = launch.start().await;
    for model in ["m", "other"] {
        let reply = proxy.chat(HELLO.replace("\"m\"", &format!("\"{model}\""))).await;
        assert_eq!((reply.status(), reply.backend()), (200, "two"), "{reply:?}");
    }
    assert!(two.last().text().contains("theirs"));
}

#[tokio::test]
async fn without_a_settings_file_the_way_to_one_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let said = run(dir.path(), &["serve"], "").await;
    assert_eq!(said.code, Some(64), "{said:?}");
    for word in ["settings/greenroom.toml", "--demo", "settings/example.toml"] {
        assert!(said.err.contains(word), "no {word}: {said:?}");
    }
}

#[tokio::test]
async fn the_environment_fills_in_values_and_overrides_keys() {
    let upstream = Upstream::always(Answer::says("hi")).await;
    let settings =
        Settings::new().backend("one", upstream.addr).set("backends.one", "headers = { \"x-mark\" = \"a-${MARK}-z\" }");
    let launch = Launch::new(&settings).env("MARK", "from-outside").env("GREENROOM__SERVER__BODY_LIMIT", "100");
    let proxy = launch.start().await;
    assert_eq!(proxy.chat(HELLO).await.status(), 200);
    assert_eq!(upstream.last().head.get("x-mark"), Some("a-from-outside-z"));
    assert_eq!(proxy.chat(format!("{HELLO}{}", " ".repeat(100))).await.status(), 413);
}

#[tokio::test]
async fn a_problem_that_a_variable_has_made_names_it_and_not_its_value() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("greenroom.toml");
    std::fs::write(&file, GOOD).expect("a temporary file can be written");
    let file = file.to_string_lossy();
    let validated = async |env: &[(&str, &str)]| Tool::start(BINARY, &["validate", &file], env).ended().await;
    for name in ["GREENROOM__SERVER__WORKERS", "GREENROOM_SERVER__WORKERS", "GREENROOM_SERVER_WORKERS"] {
        let said = validated(&[(name, "secret")]).await;
        assert_eq!((said.code, problems(&said).len()), (Some(64), 1), "{said:?}");
        assert!(said.err.contains(name) && said.err.contains("server.workers: ") && !said.err.contains("secret"));
        assert!(said.err.contains("GREENROOM__SERVER__WORKERS"), "the right name: {said:?}");
    }
    let ours = ["URL", "ADMIN_URL", "TOKEN", "LOG_FORMAT", "BIN", "COMMIT", "MODEL", "TIMEOUT", "SERVER_PORT"];
    let ours = ours.map(|name| format!("GREENROOM_{name}"));
    let said = validated(&ours.each_ref().map(|name| (&**name, "http://127.0.0.1:1"))).await;
    assert_eq!((said.code, &*said.err), (Some(0), ""), "{said:?}");
}

#[tokio::test]
async fn what_may_be_meant_otherwise_is_told_by_validate_and_in_the_log_from_the_start() {
    let upstream = Upstream::saying("hi").await;
    let user = "token = \"YOUR_TOKEN\"\nmodels = [\"*\"]\nbackends = [\"*\"]";
    let settings = Settings::new().backend("one", upstream.addr).set("users.v", user);
    let dir = tempfile::tempdir().unwrap();
    let said = with(dir.path(), &settings.toml(), &["validate", "greenroom.toml"]).await;
    assert!(said.code == Some(0) && said.out.contains("note: users.v.token: "), "{said:?}");
    let proxy = Proxy::start(&settings).await;
    let log = proxy.logged(&["note: users.v.token: "]).await;
    assert!(!format!("{said:?}{log}").contains("YOUR_TOKEN"), "{log}");
}
