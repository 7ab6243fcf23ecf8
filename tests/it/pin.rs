//! Requests that name their backend: strict, permitted or refused, logged, counted.

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Reply},
    proxy::{HELLO_STREAM, Proxy, hello_at},
    script::{Answer, Gate},
    settings::Settings,
    sse,
    upstream::Upstream,
};

async fn stage(one: Answer) -> (Upstream, Upstream, Proxy) {
    let (one, two) = (Upstream::always(one).await, Upstream::saying("two").await);
    let settings = Settings::new()
        .backend("one", one.addr)
        .backend("two", two.addr)
        .set("models.elsewhere", "backends = [{ backend = \"two\" }]")
        .set("users.plain", "token = \"token-of-plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]")
        .set("users.half", "token = \"token-of-half\"\nmodels = [\"*\"]\nbackends = [\"two\"]\nmay_pin = true");
    let proxy = Proxy::start(&settings).await;
    (one, two, proxy)
}

/// A proxy with this backend alone, whose first answer has this status and shuts the gate for half a minute; and its report then.
async fn shut_by(status: u16, sick: &Upstream) -> (Proxy, Value) {
    let settings = Settings::new()
        .backend("one", sick.addr)
        .set("defaults.backend", "breaker_failures = 1\nbackoff_min = \"30s\"")
        .set("failover", "max_attempts = 1");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.hello().await.status(), status);
    let report = proxy.until("one", "a shut gate", |report| report["state"] == "open").await;
    (proxy, report)
}

fn pinned_to(backend: &Value) -> String {
    json!({"model": "m", "messages": [], "backend": backend}).to_string()
}

fn face(reply: &Reply) -> (u16, String, String, String) {
    let told = ["x-greenroom-attempts", "x-greenroom-route"].map(|name| reply.head.get(name));
    assert_eq!(told, [Some("0"), Some("pinned")], "{reply:?}");
    (reply.status(), reply.error("type"), reply.error("code"), reply.error("param"))
}

fn refusal(status: u16, kind: &str, code: &str) -> (u16, String, String, String) {
    (status, kind.to_owned(), code.to_owned(), "backend".to_owned())
}

#[tokio::test]
async fn a_pinned_request_goes_where_it_says_every_time_and_says_so() {
    let (one, two, proxy) = stage(Answer::says("one")).await;
    for _ in 0..12 {
        let reply = proxy.chat(hello_at("two")).await;
        assert_eq!((reply.status(), reply.backend(), reply.header("x-greenroom-route")), (200, "two", "pinned"));
        assert!(!two.last().text().contains("backend"), "the pin was passed on");
    }
    assert_eq!((one.asked(), two.asked()), (0, 12));
    assert_eq!(proxy.report("two").await["pins"], 12);
    proxy.logged(&["event=pin", "user=tester", "backend=two"]).await;
    proxy.logged(&["greenroom::request", "backend=two", "route=pinned", "pinned=true"]).await;
}

#[tokio::test]
async fn a_stream_can_be_pinned() {
    let (one, _two, proxy) = stage(Answer::says("one")).await;
    let reply = proxy.chat(HELLO_STREAM.replace("{\"model\"", "{\"backend\":\"two\",\"model\"")).await;
    assert_eq!((reply.backend(), sse::text_of(&reply.body), one.asked()), ("two", "two".to_owned(), 0));
    assert!(sse::is_done(&reply.body));
}

#[tokio::test]
async fn a_pin_that_is_not_a_name_is_refused() {
    let (one, two, proxy) = stage(Answer::says("one")).await;
    for pin in [json!(7), json!(""), json!([]), json!(["one"]), json!({"name": "one"}), json!(null), json!(true)] {
        let reply = proxy.chat(pinned_to(&pin)).await;
        assert_eq!(face(&reply), refusal(400, "invalid_request_error", "invalid_backend"), "{pin}");
        let id = format!("id={} ", reply.header("x-request-id"));
        proxy.logged(&["event=pin", &id, "user=tester", "backend=- status=400 outcome=caller_invalid"]).await;
    }
    let twice = proxy.chat(r#"{"model":"m","messages":[],"backend":"one","backend":"one"}"#).await;
    assert_eq!(face(&twice), refusal(400, "invalid_request_error", "invalid_value"));
    proxy.logged(&["event=pin", &format!("id={} ", twice.header("x-request-id")), "backend=-"]).await;
    let page = proxy.get("/metrics").await.text();
    for (model, count) in [("m", 7), ("other", 1)] {
        let pins = format!("pinned_requests_total{{backend=\"other\",model=\"{model}\",outcome=\"denied\"}} {count}");
        assert!(page.contains(&pins), "no {pins} in {page}");
    }
    assert_eq!((one.asked(), two.asked()), (0, 0));
}

#[tokio::test]
async fn a_pin_to_nowhere_or_to_a_backend_without_the_model_is_refused() {
    let (one, two, proxy) = stage(Answer::says("one")).await;
    let reply = proxy.chat(hello_at("absent")).await;
    assert_eq!(face(&reply), refusal(400, "invalid_request_error", "backend_not_found"));
    let reply = proxy.chat(hello_at("one").replace("\"m\"", "\"elsewhere\"")).await;
    assert_eq!(face(&reply), refusal(400, "invalid_request_error", "model_not_on_backend"));
    assert_eq!((one.asked(), two.asked()), (0, 0));
}

#[tokio::test]
async fn a_pin_to_a_backend_that_has_the_model_but_not_the_endpoint_is_told_so() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "theirs", "protocol = \"anthropic\"")).await;
    for (path, prompt) in [
        ("/v1/embeddings", "input"),
        ("/v1/completions", "prompt"),
        ("/v1/moderations", "input"),
        ("/v1/rerank", "query"),
        ("/v1/images/generations", "prompt"),
        ("/v1/images/edits", "prompt"),
    ] {
        let body = json!({"model": "m", "backend": "only", prompt: "x"}).to_string();
        let reply = proxy.send(path, &body).await;
        assert_eq!(face(&reply), refusal(400, "invalid_request_error", "model_not_on_backend"));
        let why = "The backend 'only' serves the model 'm', but not at this endpoint.";
        assert_eq!((reply.error("message").as_str(), upstream.asked()), (why, 0));
    }
}

#[tokio::test]
async fn a_request_that_its_pinned_backend_cannot_express_makes_no_backend_unavailable() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "theirs", "protocol = \"anthropic\"")).await;
    let reply = proxy.chat(hello_at("only").replacen('{', "{\"n\":2,", 1)).await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (400, "unsupported_parameter"), "{reply:?}");
    let page = proxy.get("/metrics").await.text();
    let pins = "pinned_requests_total{backend=\"only\",model=\"m\",outcome=\"served\"} 1\n";
    assert!(page.contains(pins), "{page}");
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn a_pin_that_is_not_permitted_is_refused_logged_and_not_worth_another_try() {
    let (one, two, proxy) = stage(Answer::says("one")).await;
    for (token, user, backend) in
        [("token-of-plain", "plain", "one"), ("token-of-plain", "plain", "two"), ("token-of-half", "half", "one")]
    {
        let reply = proxy.ask(&Ask::chat(hello_at(backend)).bearer(token)).await;
        assert_eq!(face(&reply), refusal(403, "permission_error", "backend_not_allowed"), "{user} {backend}");
        assert_eq!(reply.header("x-should-retry"), "false");
        proxy.logged(&["event=pin", &format!("user={user}"), &format!("backend={backend}"), "403"]).await;
    }
    assert_eq!((one.asked(), two.asked()), (0, 0));
    assert_eq!(proxy.ask(&Ask::chat(hello_at("two")).bearer("token-of-half")).await.backend(), "two");
}

#[tokio::test]
async fn who_may_not_pin_cannot_tell_which_backends_there_are() {
    let (one, two, proxy) = stage(Answer::says("one")).await;
    for (token, absent, known) in [("token-of-plain", "absent", "two"), ("token-of-half", "absent", "one")] {
        let mut answers = Vec::new();
        for name in [absent, known] {
            let reply = proxy.ask(&Ask::chat(hello_at(name)).bearer(token)).await;
            answers.push((face(&reply), reply.error("message").replace(name, "NAME")));
        }
        assert_eq!(answers[0], answers[1], "{token}");
        assert_eq!(answers[0].0, refusal(403, "permission_error", "backend_not_allowed"));
    }
    assert_eq!((one.asked(), two.asked()), (0, 0));
}

#[tokio::test]
async fn a_pin_to_a_failing_backend_fails_there_and_nowhere_else() {
    let (one, two, proxy) = stage(Answer::json(500, r#"{"error":{"message":"no"}}"#)).await;
    let reply = proxy.chat(hello_at("one")).await;
    assert_eq!((reply.status(), reply.backend(), reply.header("x-greenroom-attempts")), (502, "one", "1"), "{reply:?}");
    assert_eq!((one.asked(), two.asked()), (1, 0));
}

#[tokio::test]
async fn the_audit_line_tells_the_class_and_never_what_a_provider_said_of_the_prompt() {
    let refusal = r#"{"error":{"message":"no: words-of-the-prompt","type":"invalid_request_error","code":"x"}}"#;
    let (_one, _two, proxy) = stage(Answer::json(400, refusal)).await;
    let reply = proxy.chat(hello_at("one")).await;
    assert!(reply.status() == 400 && reply.error("message").contains("words-of-the-prompt"), "{reply:?}");
    proxy.logged(&["event=pin", "backend=one", "status=400", "outcome=caller_invalid"]).await;
    assert!(!proxy.log().contains("words-of-the-prompt"), "{}", proxy.log());
    assert_eq!(proxy.chat(hello_at("absent")).await.status(), 400);
    proxy.logged(&["event=pin", "outcome=caller_invalid", "said=\"There is no backend 'absent'.\""]).await;
    assert_eq!(proxy.chat(hello_at("two")).await.status(), 200);
    proxy.logged(&["event=pin", "backend=two", "outcome=served"]).await;
}

#[tokio::test]
async fn a_pin_to_a_drained_backend_is_told_to_wait() {
    let (one, two, proxy) = stage(Answer::says("one")).await;
    assert_eq!(proxy.post("/admin/backends/one/drain").await.status(), 200);
    proxy.until("one", "the drain", |report| report["state"] == "draining").await;
    let reply = proxy.chat(hello_at("one")).await;
    assert_eq!(face(&reply), refusal(503, "service_unavailable_error", "backend_unavailable"));
    assert_eq!((reply.backend(), reply.header("x-greenroom-route")), ("one", "pinned"));
    assert!(reply.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!((one.asked(), two.asked()), (0, 0));
    proxy.logged(&["event=pin", "backend=one", "503"]).await;
}

#[tokio::test]
async fn a_pin_to_a_full_backend_is_told_to_wait() {
    let gate = Gate::new();
    let full = Upstream::always(Answer::new().wait(&gate)).await;
    let settings = Settings::new().backend("one", full.addr).set("backends.one", "max_in_flight = 1");
    let proxy = Proxy::start(&settings).await;
    let first = proxy.begin(hello_at("one")).await;
    full.until("the first request", |seen| seen.busy == 1).await;
    let reply = proxy.chat(hello_at("one")).await;
    assert_eq!(face(&reply), refusal(503, "service_unavailable_error", "backend_overloaded"));
    assert_eq!((reply.backend(), reply.header("x-greenroom-route")), ("one", "pinned"));
    assert!(reply.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(full.asked(), 1);
    drop(first);
}

#[tokio::test]
async fn a_pin_may_pass_a_shut_gate_as_its_single_probe_and_opens_it() {
    let gate = Gate::new();
    let well = gate.clone();
    let sick = Upstream::start(move |n, _| match n {
        0 => Answer::json(500, "{}"),
        _ => Answer::new().wait(&well).then(Answer::says("well again")),
    })
    .await;
    let (proxy, _) = shut_by(502, &sick).await;
    assert_eq!(proxy.hello().await.error("code"), "no_healthy_backend");
    let mut probe = proxy.begin(hello_at("one")).await;
    sick.until("the probe", |seen| seen.busy == 1).await;
    let second = proxy.chat(hello_at("one")).await;
    assert_eq!(face(&second), refusal(503, "service_unavailable_error", "backend_unavailable"));
    gate.open();
    assert_eq!(probe.reply().await.status(), 200);
    proxy.until("one", "an open gate", |report| report["state"] == "healthy").await;
    gate.open();
    assert_eq!((proxy.hello().await.status(), sick.asked()), (200, 3));
}

#[tokio::test]
async fn pins_that_fail_at_a_shut_gate_do_not_keep_it_shut_for_longer() {
    let sick = Upstream::always(Answer::json(500, "{}")).await;
    let (proxy, shut) = shut_by(502, &sick).await;
    for pins in 1..=4 {
        assert_eq!(proxy.chat(hello_at("one")).await.status(), 502);
        let judged = |report: &Value| report["consecutive_failures"] == 1 + pins;
        let report = proxy.until("one", "the pin's failure", judged).await;
        assert!(report["reopens_in_ms"].as_u64() <= shut["reopens_in_ms"].as_u64(), "{shut} {report}");
    }
}

#[tokio::test]
async fn a_pin_may_look_at_who_had_too_many_requests_and_named_no_wait() {
    for (head, passes) in [("", true), ("retry-after: 30\r\n", false)] {
        let limited = Answer::json_with(429, head, "{}");
        let one = Upstream::start(move |n, _| if n == 0 { limited.clone() } else { Answer::says("well again") }).await;
        let (proxy, report) = shut_by(429, &one).await;
        let asked_to_wait = report["reason"].as_str().is_some_and(|reason| reason.contains("asked to wait"));
        let status = proxy.chat(hello_at("one")).await.status();
        assert_eq!((status == 200, asked_to_wait), (passes, !passes), "{status}: {report}");
    }
}
