//! The log: one line a request with its fields, the decision at debug level, never a secret, never a forged line.

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Connection},
    launch::Launch,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, completion},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
};

/// The value of a field in a log line.
fn field<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn settings(upstream: &Upstream) -> Settings {
    Settings::new().target("one", upstream.addr, "model = \"theirs\"").set("failover", "max_attempts = 1")
}

#[tokio::test]
async fn a_served_request_is_one_line_with_all_its_fields() {
    let answer =
        Answer::stream().chunk(sse::text("hi")).chunk(sse::finish()).chunk(sse::usage(7, 3)).chunk(sse::DONE).end();
    let upstream = Upstream::always(answer).await;
    let proxy = Proxy::start(&settings(&upstream)).await;
    let ask = Ask::chat(HELLO_STREAM).bearer(TOKEN).header("x-request-id", "the-one");
    assert_eq!(proxy.ask(&ask).await.status(), 200);
    let line = proxy.logged(&["greenroom::request", "id=the-one"]).await;
    for (name, value) in [
        ("user", "tester"),
        ("model", "m"),
        ("backend", "one"),
        ("route", "only_candidate"),
        ("attempts", "1"),
        ("status", "200"),
        ("class", "none"),
        ("tokens_in", "7"),
        ("tokens_out", "3"),
        ("pinned", "false"),
    ] {
        assert_eq!(field(&line, name), Some(value), "{name}: {line}");
    }
    for name in ["ttft_ms", "total_ms"] {
        let time: f64 =
            field(&line, name).and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("no {name}: {line}"));
        assert!((0.0..20_000.0).contains(&time), "{line}");
    }
    assert_eq!(proxy.log().matches("id=the-one").count(), 1, "{}", proxy.log());
}

#[tokio::test]
async fn refused_and_failed_requests_have_their_line_too() {
    let upstream = Upstream::always(Answer::json(500, "{}")).await;
    let proxy = Proxy::start(&settings(&upstream)).await;
    let ask = |body: &str, id: &str| Ask::chat(body).header("x-request-id", id);
    proxy.ask(&ask(HELLO, "no-token")).await;
    proxy.ask(&ask("{", "no-json").bearer(TOKEN)).await;
    proxy.ask(&ask(&HELLO.replace("\"m\"", "\"absent\""), "no-model").bearer(TOKEN)).await;
    proxy.ask(&ask(HELLO, "no-luck").bearer(TOKEN)).await;
    let line = proxy.logged(&["greenroom::request", "status=401", "user=-", "class=policy_auth"]).await;
    assert!(field(&line, "id").is_some_and(|id| id.starts_with("req_")), "a stranger's id is not taken over: {line}");
    for (id, status, class) in [
        ("no-json", "400", "caller_invalid"),
        ("no-model", "404", "caller_invalid"),
        ("no-luck", "502", "provider_server"),
    ] {
        let line = proxy.logged(&["greenroom::request", &format!("id={id} ")]).await;
        assert_eq!((field(&line, "status"), field(&line, "class")), (Some(status), Some(class)), "{line}");
        for name in ["total_ms", "stream", "pinned"] {
            assert!(field(&line, name).is_some(), "{name}: {line}");
        }
    }
}

#[tokio::test]
async fn the_decision_is_shown_at_debug_level() {
    let upstream = Upstream::saying("hi").await;
    let settings = settings(&upstream).backend("two", upstream.addr);
    let proxy = Launch::new(&settings).env("RUST_LOG", "debug").start().await;
    assert_eq!(proxy.hello().await.status(), 200);
    proxy.logged(&["DEBUG", "greenroom", "one", "two", "cost"]).await;
}

#[tokio::test]
async fn members_that_nobody_knows_forge_no_line_and_make_no_long_one() {
    let upstream = Upstream::always(Answer::json(500, "{}")).await;
    let settings = Settings::only(upstream.addr, "/v1", "theirs", "protocol = \"anthropic\"");
    let proxy = Launch::new(&settings).env("RUST_LOG", "debug").start().await;
    let mut body = serde_json::from_str::<Value>(HELLO).expect("JSON");
    for n in 0..40 {
        body[format!("odd{n}\nforged {}", "x".repeat(500))] = 1.into();
    }
    proxy.chat(body.to_string()).await;
    let line = proxy.logged(&["DEBUG", "not expressible for only", "odd0"]).await;
    assert!(line.contains(" 40 ") && line.len() < 1500, "{line}");
    assert!(!proxy.log().lines().any(|line| line.starts_with("forged")), "{}", proxy.log());
}

#[tokio::test]
async fn words_of_a_request_that_cannot_be_translated_forge_no_line() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::only(upstream.addr, "/v1", "theirs", "protocol = \"anthropic\"");
    let proxy = Launch::new(&settings).env("RUST_LOG", "debug").start().await;
    let part = json!({"type": "odd\nforged by a client"});
    let reply = proxy.chat(json!({"model": "m", "messages": [{"role": "user", "content": [part]}]}).to_string()).await;
    assert_eq!(reply.status(), 400, "{reply:?}");
    proxy.logged(&["DEBUG", "attempt failed: backend=only", "forged by a client"]).await;
    assert!(!proxy.log().lines().any(|line| line.starts_with("forged")), "{}", proxy.log());
}

#[tokio::test]
async fn a_gate_that_shuts_says_what_the_provider_said_in_words_but_never_in_its_text() {
    let refused = r#"{"error":{"message":"Incorrect key sk-private-1.","type":"the key sk-private-2 is bad","code":"invalid_api_key"}}"#;
    let upstream = Upstream::always(Answer::json(401, refused)).await;
    let proxy = Proxy::start(&settings(&upstream)).await;
    assert_eq!(proxy.chat(HELLO).await.error("code"), "upstream_auth_failed");
    let line = proxy.logged(&["gate shut", "backend=one"]).await;
    assert!(line.contains("401 (invalid_api_key)"), "{line}");
    assert!(!proxy.log().contains("sk-private"), "{}", proxy.log());
}

#[tokio::test]
async fn secrets_and_contents_never_appear_at_any_level() {
    let script = |n: usize, _: &_| match n {
        0 | 1 => Answer::json(200, &completion("text-of-answer")),
        2 => Answer::streams("text-of-answer"),
        3 => Answer::json(400, r#"{"error":{"message":"text-of-refusal","type":"invalid_request_error","code":"x"}}"#),
        4 => Answer::json(
            401,
            r#"{"error":{"message":"text-of-refusal: key-of-one","type":"x","code":"invalid_api_key"}}"#,
        ),
        _ => Answer::json(500, r#"{"error":{"message":"text-of-refusal"}}"#),
    };
    for level in ["debug", "trace"] {
        let upstream = Upstream::start(script).await;
        let settings = settings(&upstream)
            .set("backends.one", "headers = { \"x-team\" = \"value-of-header\" }")
            .set("defaults.backend", "breaker_failures = 0");
        let proxy = Launch::new(&settings).env("RUST_LOG", level).start().await;
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "text-of-prompt"}]}).to_string();
        let stream = body.replace("{\"messages\"", "{\"stream\":true,\"messages\"");
        for body in [&body, &body, &stream, &body, &body, &body] {
            proxy.ask(&Ask::chat(body.as_str()).bearer(TOKEN).header("cookie", "session=text-of-cookie")).await;
        }
        proxy.ask(&Ask::chat(body).bearer("token-of-nobody")).await;
        proxy.logged(&["greenroom::request", "status=401"]).await;
        let log = proxy.log();
        for secret in [
            TOKEN,
            "key-of-one",
            "value-of-header",
            "text-of-prompt",
            "text-of-answer",
            "text-of-refusal",
            "text-of-cookie",
            "token-of-nobody",
        ] {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} at level {level}");
        }
        assert!(upstream.asked() >= 5);
    }
}

#[tokio::test]
async fn names_that_clients_make_up_forge_no_lines_and_no_fields() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&settings(&upstream)).await;
    let forged = "m\nINFO greenroom::request] id=forged user=root status=200";
    proxy.chat(json!({"model": forged, "messages": []}).to_string()).await;
    proxy.chat(json!({"model": "m", "messages": [], "backend": forged}).to_string()).await;
    proxy.chat(json!({"model": "\u{202e}m\u{200b}", "messages": []}).to_string()).await;
    proxy.ask(&Ask::chat(HELLO).bearer(TOKEN).header("x-request-id", "x id=forged")).await;
    proxy.ask(&Ask::chat(HELLO).bearer(TOKEN).header("x-request-id", "the-last")).await;
    proxy.logged(&["id=the-last"]).await;
    let log = proxy.log();
    let forged = log.lines().find(|line| {
        line.starts_with("INFO") || field(line, "id") == Some("forged") || field(line, "user") == Some("root")
    });
    assert_eq!(forged, None);
    assert!(!log.contains(['\u{202e}', '\u{200b}']), "nothing turns a line about or hides in it: {log}");
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_request_and_no_end() {
    let upstream = Upstream::saying("hi").await;
    let mut proxy = Launch::new(&settings(&upstream)).unread().start().await;
    let mut client = Connection::open(proxy.addr).await;
    // Far more lines than a pipe takes.
    for _ in 0..1500 {
        client.send(&Ask::chat(r#"{"model":"nobody has it","messages":[]}"#).bearer(TOKEN)).await;
        assert_eq!(client.reply().await.status(), 404);
    }
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_operators_do_and_who_is_turned_away_at_their_door_is_logged() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(
        &settings(&upstream).set("users.plain", "token = \"token-of-plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]"),
    )
    .await;
    let post = |path: &str, token: &str, id: &str| Ask::new("POST", path).bearer(token).header("x-request-id", id);
    for (path, action) in [
        ("/admin/backends/one/drain", "action=drain backend=one"),
        ("/admin/backends/one/resume", "action=resume backend=one"),
        ("/admin/backends/one/probe", "action=probe backend=one"),
        ("/admin/backends/one/diagnose", "action=diagnose backend=one"),
        ("/admin/reload", "action=reload backend=*"),
    ] {
        assert_eq!(proxy.ask(&post(path, TOKEN, "op-1")).await.status(), 200, "{path}");
        proxy.logged(&["operator: id=op-1 user=tester", action]).await;
    }
    // An id that the operator does not give is the same in the answer and in the log.
    let given = proxy.post("/admin/backends/one/drain").await.header("x-request-id").to_owned();
    proxy.logged(&[&format!("operator: id={given} user=tester")]).await;
    assert_eq!(proxy.ask(&post("/admin/reload", "token-of-plain", "op-2")).await.status(), 403);
    proxy.logged(&["id=op-2 user=plain", "status=403", "class=policy_permission"]).await;
    let turned_away = proxy.ask(&post("/admin/reload", "guessed", "op-3")).await;
    let id = turned_away.header("x-request-id");
    proxy.logged(&[&format!("id={id} user=-"), "status=401", "class=policy_auth"]).await;
    assert!(!proxy.log().contains("guessed") && !proxy.log().contains("op-3"), "{}", proxy.log());
}

#[tokio::test]
async fn as_json_each_line_is_an_object_with_the_same_fields_and_no_secrets() {
    let answer =
        Answer::stream().chunk(sse::text("hi")).chunk(sse::finish()).chunk(sse::usage(7, 3)).chunk(sse::DONE).end();
    let upstream = Upstream::always(answer).await;
    let proxy = Launch::new(&settings(&upstream)).env("GREENROOM_LOG_FORMAT", "json").start().await;
    let ask = |body: &str, id: &str| Ask::chat(body).bearer(TOKEN).header("x-request-id", id);
    let pinned = HELLO_STREAM.replace("{\"model\"", "{\"backend\":\"one\",\"model\"");
    for (body, id) in [(HELLO_STREAM, "served"), (&pinned, "pinned"), ("{", "broken")] {
        proxy.ask(&ask(body, id)).await;
        proxy.logged(&[&format!("\"id\":\"{id}\"")]).await;
    }
    proxy.ask(&Ask::new("POST", "/admin/backends/one/drain").bearer(TOKEN)).await;
    proxy.logged(&["operator: "]).await;
    let log = proxy.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    let line = |id: &str, target: &str| {
        let found = lines.iter().find(|line| line["id"] == id && line["target"] == target);
        found.unwrap_or_else(|| panic!("no {target} of {id} in {log}"))
    };
    let served = line("served", "greenroom::request");
    let wanted = json!({
        "level": "INFO", "user": "tester", "model": "m", "backend": "one", "upstream_model": "theirs",
        "route": "only_candidate", "status": 200, "class": "none", "tokens_in": 7, "tokens_out": 3, "rescue": null,
        "stream": true, "pinned": false,
    });
    for (name, value) in wanted.as_object().expect("an object") {
        assert_eq!(&served[name], value, "{name} in {served}");
    }
    assert_eq!(
        (&served["attempts"][0]["backend"], &served["attempts"][0]["outcome"]),
        (&json!("one"), &json!("success"))
    );
    for name in ["total_ms", "ttft_ms", "overhead_us"] {
        assert!(served[name].as_f64() > Some(0.0), "{name} in {served}");
    }
    assert_eq!(line("pinned", "greenroom::request")["pinned"], true);
    let audit = line("pinned", "greenroom::pin");
    assert_eq!(
        (&audit["event"], &audit["outcome"], &audit["backend"]),
        (&json!("pin"), &json!("served"), &json!("one"))
    );
    assert_eq!(
        (&line("broken", "greenroom::request")["status"], &line("broken", "greenroom::request")["class"]),
        (&json!(400), &json!("caller_invalid"))
    );
    let names = |line: &Value| line.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(line("broken", "greenroom::request")), names(served), "what it does not have is null");
    assert!(!log.contains(TOKEN) && !log.contains("Hello!"), "{log}");
}
