//! What is given to commands, taken for what it is: names, addresses and tokens, a Greenroom that cannot be asked, and limits.

use std::{fs::File, net::TcpListener, process::Command};

use crate::support::{
    eventually,
    process::{Said, run},
    proxy::{HELLO, Proxy},
    script::{Answer, reasoning},
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

async fn said(args: &[&str], input: &str) -> Said {
    run(tempfile::tempdir().expect("a temporary directory can be made").path(), args, input).await
}

#[tokio::test]
async fn a_name_is_no_path_to_another_endpoint() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr)).await;
    let url = format!("http://{}", proxy.addr);
    for name in ["a/drain#", "a/drain?", "a%2Fdrain%23", "../backends/a/drain#", "é b", ".", ".."] {
        let said = said(&["diagnose", name, "--url", &url, "--token", TOKEN], "").await;
        assert!(said.code == Some(2) && said.err.contains("There is no backend"), "{name}: {said:?}");
    }
    assert_eq!(said(&["diagnose", "", "--url", &url, "--token", TOKEN], "").await.code, Some(2));
    assert_eq!(proxy.report("a").await["state"], "healthy");
    let said = said(&["diagnose", "a", "--url", &url, "--token", TOKEN], "").await;
    assert!(said.out.starts_with("STEP"), "{said:?}");
}

#[tokio::test]
async fn a_greenroom_that_cannot_be_asked_is_no_backend_that_fails() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr)).await;
    let url = format!("http://{}", proxy.addr);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let gone = format!("http://{}", taken.local_addr().expect("it is bound"));
    drop(taken);
    for names in [&["--backends", "a", "--model", "m"][..], &["--backends", "a"], &[]] {
        for (url, token, word) in [(&url, "wrong", "GREENROOM_TOKEN"), (&gone, TOKEN, &*gone)] {
            let said = said(&[&["check", "--url", url, "--token", token][..], names].concat(), "").await;
            assert!(said.code == Some(2) && said.err.contains(word) && said.out.is_empty(), "{names:?}: {said:?}");
        }
        let said = said(&[&["check", "--url", &url, "--token", TOKEN][..], names].concat(), "").await;
        assert_eq!(said.code, Some(0), "{names:?}: {said:?}");
    }
    let known = gone.replace("http://", "http://me:pass@word@");
    let said = said(&["check", "--url", &known, "--token", TOKEN], "").await;
    assert!(said.err.contains(&gone) && !said.err.contains("word") && !said.err.contains("me:"), "{said:?}");
}

/// The commands that say how backends are.
const ASKING: [&[&str]; 4] = [&["check"], &["monitor", "--once"], &["benchmark", "--rounds", "1"], &["compare"]];

#[tokio::test]
async fn every_command_that_asks_ends_with_the_exit_code_of_the_worst_that_it_met() {
    let (well, bad) = (Upstream::saying("hi").await, Upstream::always(Answer::json(500, "{}")).await);
    let settings = Settings::new().backend("well", well.addr).backend("bad", bad.addr);
    let proxy = Proxy::start(&settings.set("backends.well", "ask_usage = false")).await;
    let url = format!("http://{}", proxy.addr);
    let ended =
        async |command: &[&str], token: &str| said(&[command, &["--url", &url, "--token", token]].concat(), "").await;
    for command in ASKING {
        for (names, code) in [(&["well"][..], 0), (&["well", "bad"], 1), (&["bad", "nobody"], 2)] {
            let said = ended(&[command, &["--backends"], names].concat(), TOKEN).await;
            assert_eq!(said.code, Some(code), "{command:?} {names:?}: {said:?}");
            let is_shown_on = said.out.contains("greenroom diagnose NAME");
            assert_eq!(is_shown_on, command == ["check"] && code > 0, "{command:?} {names:?}: {said:?}");
        }
    }
    for (command, code) in [(&["diagnose", "well"][..], 0), (&["diagnose", "bad"], 1), (&["history"], 0)] {
        let said = ended(command, TOKEN).await;
        assert_eq!(said.code, Some(code), "{command:?}: {said:?}");
    }
    for command in ASKING.into_iter().chain([&["diagnose", "well"][..], &["history"]]) {
        let said = ended(command, "wrong").await;
        assert!(said.code == Some(2) && said.err.contains("GREENROOM_TOKEN"), "{command:?}: {said:?}");
        assert_eq!(ended(&[command, &["--nonsense"]].concat(), TOKEN).await.code, Some(2), "{command:?}");
    }
}

#[tokio::test]
async fn a_model_that_no_backend_takes_requests_for_is_told_though_every_backend_answers() {
    let missing = r#"{"error":{"message":"The model `one` does not exist","code":"model_not_found"}}"#;
    let two = Upstream::start(move |_, ask| {
        if ask.text().contains(r#""model":"one""#) { Answer::json(404, missing) } else { ask.saying("hi") }
    })
    .await;
    let other = Upstream::saying("hi").await;
    let settings = Settings::new().backend("a", two.addr).backend("b", other.addr);
    let proxy = Proxy::start(&settings.set("models.one", "backends = [{ backend = \"a\" }]")).await;
    let url = format!("http://{}", proxy.addr);
    let ended = async |args: &[&str]| said(&[args, &["--url", &url, "--token", TOKEN]].concat(), "").await;
    let once: &[&str] = &["monitor", "--once"];
    for args in [&["check"], once] {
        assert_eq!(ended(args).await.code, Some(0));
    }
    let ask = HELLO.replace("\"m\"", "\"one\"");
    assert_eq!(proxy.chat(&*ask).await.status(), 502);
    proxy.until("a", "a shut gate", |report| report["state"] == "degraded").await;
    for args in [&["check"], once, &["check", "--backends", "a"]] {
        let said = ended(args).await;
        assert!(said.code == Some(1) && said.out.contains("model one"), "{args:?}: {said:?}");
        assert!(said.out.contains("no backend takes requests for it; a: it does not know this model"), "{said:?}");
    }
    for others in [["--backends", "b"], ["--model", "m"]] {
        assert_eq!(ended(&[&["check"][..], &others].concat()).await.code, Some(0), "{others:?}");
    }
    let listed = proxy.get("/admin/backends").await.json();
    assert_eq!(listed["unserved"][0]["model"], "one", "{listed}");
    assert_eq!(proxy.post("/admin/backends/a/reset").await.status(), 200);
    assert_eq!(ended(&["check"]).await.code, Some(0));
}

#[tokio::test]
async fn a_model_whose_gate_is_due_has_no_backend_until_one_has_served_it() {
    let bad = Upstream::always(Answer::json(500, "{}")).await;
    let lines = "breaker_failures = 1\nbackoff_min = \"50ms\"\nbackoff_max = \"50ms\"";
    let proxy = Proxy::start(&Settings::new().backend("a", bad.addr).set("backends.a", lines)).await;
    assert_eq!(proxy.hello().await.status(), 502);
    proxy.until("a", "the end of the backoff", |report| report["state"] == "half_open").await;
    let listed = proxy.get("/admin/backends").await.json();
    assert_eq!(listed["unserved"][0]["reasons"]["a"], "it failed too often", "{listed}");
}

#[tokio::test]
async fn who_may_not_list_the_backends_is_refused_once_and_a_backend_is_asked_whatever_its_name() {
    for status in [403, 404] {
        let greenroom = Upstream::start(move |_, ask| match ask.head.line.split(' ').nth(1) {
            Some("/admin/backends") => Answer::json(status, r#"{"error":{"code":"no","message":"no"}}"#),
            Some("/v1/models") => Answer::json(200, r#"{"data":[{"id":"m"}]}"#),
            _ => Answer::json(500, "{}"),
        })
        .await;
        let url = format!("http://{}", greenroom.addr);
        let watch = ["monitor", "--count", "3", "--interval", "0.001", "--backends", "none", "--url", &url];
        for (model, asked) in [(&["--model", "m"][..], 1 + 1 + 3), (&[], 5 + 1 + 1 + 3)] {
            let said = said(&[&watch[..], model].concat(), "").await;
            assert!(said.code == Some(1) && said.out.contains("  none  "), "{said:?}");
            assert_eq!(greenroom.asked(), asked, "{status} {model:?}");
        }
    }
}

#[tokio::test]
async fn history_tells_medians_of_the_time_that_its_steps_are_of() {
    let answer = |from: &str| {
        Answer::json(200, &format!(r#"{{"from":"{from}","to":"2026-01-01T03:37:00Z","points":[],"events":[]}}"#))
    };
    // Its steps begin with an hour.
    let greenroom =
        Upstream::start(move |n, _| answer(if n == 0 { "2026-01-01T00:37:00Z" } else { "2026-01-01T00:00:00Z" })).await;
    let url = format!("http://{}", greenroom.addr);
    let said = said(&["history", "--from", "3h", "--step", "1h", "--url", &url, "--token", TOKEN], "").await;
    assert_eq!((said.code, greenroom.asked()), (Some(0), 3), "{said:?}");
    let last = greenroom.last().head.line;
    assert!(last.contains("from=2026-01-01T00%3A00%3A00Z&") && last.contains("step=100y"), "{last}");
}

#[tokio::test]
async fn what_is_shown_to_try_takes_the_token_from_the_shell_it_is_pasted_into() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr)).await;
    let shown = async || proxy.said().lines().find_map(|line| Some(line.strip_prefix("try: curl ")?.to_owned()));
    let pasted = format!("printf '%s\\n' {}", eventually("a curl to try", shown).await);
    let taken = Command::new("sh").args(["-c", &pasted]).env("TOKEN", TOKEN).output().expect("a shell");
    let taken = String::from_utf8_lossy(&taken.stdout).into_owned();
    assert!(taken.lines().any(|word| word == format!("Authorization: Bearer {TOKEN}")), "{taken}");
}

#[tokio::test]
async fn who_cannot_listen_says_where_and_exits_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("it is bound").to_string();
    let said = said(&["serve", "--demo", "--bind", &addr], "").await;
    assert!(said.code == Some(1) && said.err.contains(&format!("cannot listen on {addr}")), "{said:?}");
}

#[tokio::test]
async fn the_base_url_that_clients_use_is_an_address_too() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr)).await;
    for end in ["/v1", "/v1/", "/"] {
        let url = format!("http://{}{end}", proxy.addr);
        let said = said(&["check", "--url", &url, "--token", TOKEN], "").await;
        assert_eq!(said.code, Some(0), "{end}: {said:?}");
    }
}

#[tokio::test]
async fn a_token_that_no_request_can_carry_has_no_digest() {
    for token in [" tok ", "t\u{e9}", "a\nb", "", "\n"] {
        let said = said(&["hash-token"], token).await;
        assert!(said.code == Some(1) && said.out.is_empty() && said.err.contains("token"), "{token:?}: {said:?}");
    }
    // `echo` ends it with a line end, which is none of it.
    for token in ["secret", "secret\n", "secret\r\n"] {
        let said = said(&["hash-token"], token).await;
        let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n";
        assert_eq!((said.code, &*said.out), (Some(0), digest), "{said:?}");
    }
}

#[tokio::test]
async fn a_model_that_reasons_is_asked_in_words_that_it_takes_once_it_has_said_so() {
    let one = Upstream::start(|_, ask| reasoning(&serde_json::from_slice(&ask.body).unwrap_or_default())).await;
    let proxy = Proxy::before(&one).await;
    let url = format!("http://{}", proxy.addr);
    for args in [&["check"][..], &["check", "--streaming"], &["compare", "--prompt", "Why?"], &["benchmark"]] {
        let said = said(&[args, &["--url", &url, "--token", TOKEN]].concat(), "").await;
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    }
    assert_eq!(one.asked(), 2 * (1 + 1 + 1 + 3));
}

#[tokio::test]
async fn a_question_that_greenroom_itself_refuses_is_no_backend_that_fails() {
    let upstream = Upstream::saying("hi").await;
    let user = "token = \"plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]";
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr).set("users.plain", user)).await;
    let url = format!("http://{}", proxy.addr);
    for (token, args, word) in [
        (TOKEN, &["--backends", "b"][..], "backend_not_found"),
        (TOKEN, &["--model", "n"], "model_not_found"),
        ("plain", &["--backends", "a"], "backend_not_allowed"),
    ] {
        let said = said(&[&["check", "--url", &url, "--token", token][..], args].concat(), "").await;
        assert!(said.code == Some(2) && said.out.contains(word), "{args:?}: {said:?}");
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_an_address_or_a_token_is_said_of_it() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr)).await;
    let [plain, secure] = ["http", "https"].map(|scheme| format!("{scheme}://{}", proxy.addr));
    for (args, word) in [
        (&["check", "--url", &plain, "--token", "secret\n"][..], "the token begins or ends with a blank or a line end"),
        (&["check", "--url", &plain, "--token", "Bearer secret"], "the token begins with \"Bearer\""),
        (&["check", "--url", &secure, "--token", TOKEN], "it does not speak TLS"),
        (&["monitor", "--once", "--url", &plain, "--token", TOKEN, "--webhook", "nowhere"], "--webhook"),
    ] {
        let said = said(args, "").await;
        assert!(said.code == Some(2) && said.err.contains(word) && !said.err.contains("secret"), "{args:?}: {said:?}");
    }
}

#[tokio::test]
async fn an_error_is_read_in_whichever_shape_a_backend_has_for_it() {
    for body in [
        r#"{"code":"invalid-argument","error":"No such tool."}"#,
        r#"{"object":"error","message":"No such tool.","type":"BadRequestError","code":400}"#,
        r#"{"detail":"No such tool."}"#,
        r#"{"detail":[{"loc":["body"],"msg":"No such tool."}]}"#,
    ] {
        let upstream = Upstream::always(Answer::json(422, body)).await;
        let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr)).await;
        let url = format!("http://{}", proxy.addr);
        let said = said(&["check", "--url", &url, "--token", TOKEN], "").await;
        assert!(said.code == Some(1) && said.out.contains("No such tool."), "{body}: {said:?}");
    }
}

#[tokio::test]
async fn a_file_that_has_no_end_is_left_off_and_told_of() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    // No device stands for one in a test that goes wrong: it would fill the memory.
    File::create(dir.path().join("endless")).and_then(|file| file.set_len(20 << 20)).expect("a file can be made");
    std::fs::write(dir.path().join("cut-amid-a-letter"), "é".repeat(9 << 20)).expect("a file can be written");
    for (file, words) in [
        ("endless", "larger than 16 MiB"),
        ("cut-amid-a-letter", "larger than 16 MiB"),
        ("nowhere.toml", "cannot be read"),
    ] {
        let said = run(dir.path(), &["validate", file], "").await;
        assert!(said.code == Some(64) && said.err.contains(words), "{said:?}");
    }
}
