//! Addresses and accounts that are not what the settings think: what requests and diagnoses say of them, and what to do about it.

use serde_json::Value;

use crate::support::{
    proxy::Proxy,
    script::{Answer, completion},
    settings::Settings,
    sse,
    upstream::Upstream,
};

/// A page with this status.
fn page(status: u16, text: &str) -> Answer {
    let body = format!("<!DOCTYPE html><html>{text}</html>");
    let length = body.len();
    Answer::new()
        .raw(format!("HTTP/1.1 {status} Scripted\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{body}"))
}

fn redirect() -> Answer {
    Answer::json_with(302, "location: https://secret.example/login\r\n", "")
}

/// What a diagnosis says of the first step that fails from the first token on: which, what came, and the fix.
async fn diagnosis(proxy: &Proxy, name: &str) -> [String; 3] {
    let all = proxy.post(&format!("/admin/backends/{name}/diagnose")).await.json();
    let failed = |step: &&Value| step["outcome"] == "failed" && step["step"] != "credentials";
    let step = all["steps"].as_array().and_then(|steps| steps.iter().find(failed)).cloned().unwrap_or_default();
    ["step", "said", "fix"].map(|key| step[key].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_base_url_that_leads_elsewhere_is_told_as_that_by_requests_and_by_diagnose() {
    const INVALID_URL: &str =
        r#"{"error":{"message":"Invalid URL (POST /v1/v1/secret)","type":"invalid_request_error","code":null}}"#;
    for (answer, code, said) in [
        (redirect(), "upstream_invalid_response", "302 (a redirect"),
        (page(200, "secret"), "upstream_invalid_response", "it answered with a web page"),
        (page(404, "secret"), "upstream_model_not_found", "nothing is served at this path"),
        (Answer::json(404, INVALID_URL), "upstream_model_not_found", "nothing is served at this path"),
        (Answer::json(404, r#"{"detail":"Not Found"}"#), "upstream_model_not_found", "nothing is served at this path"),
        (Answer::json(405, r#"{"detail":"Method Not Allowed"}"#), "upstream_error", "nothing is served at this path"),
    ] {
        let one = Upstream::always(answer).await;
        let settings = Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1");
        let proxy = Proxy::start(&settings).await;
        let reply = proxy.hello().await;
        assert_eq!((reply.status(), &*reply.error("code")), (502, code), "{reply:?}");
        let message = reply.error("message");
        assert!(message.contains(said) && message.contains("base_url") && !message.contains("secret"), "{message}");
        let [step, told, fix] = diagnosis(&proxy, "one").await;
        assert_eq!(step, "one token", "{told}");
        assert!(told.contains(said.trim_start_matches("302 (")), "{told}");
        assert!(fix.contains("check base_url and protocol"), "{fix}");
    }
}

#[tokio::test]
async fn a_model_that_a_backend_misses_may_be_a_path_that_it_misses_and_is_told_so() {
    let one = Upstream::always(Answer::json(404, "")).await;
    let proxy = Proxy::before(&one).await;
    let message = proxy.hello().await.error("message");
    assert!(message.contains("the model or the path"), "{message}");
    let report = proxy.until("one", "a model that is benched", |report| report["state"] == "open").await;
    assert!(report.to_string().contains("base_url"), "{report}");
}

#[tokio::test]
async fn that_a_base_url_has_no_path_is_told_where_nothing_is_found() {
    for (path, protocol, answer, hint) in [
        ("", "openai", page(404, "nothing"), Some("begin at /v1. ")),
        ("", "openai", Answer::json(404, ""), Some("begin at /v1. ")),
        ("", "gemini", Answer::json(404, ""), Some("begin at /v1beta. ")),
        ("/v1", "openai", page(404, "nothing"), None),
        ("", "openai\"\nstyle = \"azure\"\napi_version = \"1", Answer::json(404, ""), None),
        ("", "openai", Answer::json(500, "{}"), None),
    ] {
        let one = Upstream::always(answer).await;
        let proxy =
            Proxy::start(&Settings::only(one.addr, path, "theirs", &format!("protocol = \"{protocol}\""))).await;
        let [step, told, fix] = diagnosis(&proxy, "only").await;
        assert_eq!(step, "one token", "{told}");
        let begins = format!("base_url has no path; most such servers {}", hint.unwrap_or_default());
        assert_eq!(fix.starts_with(&begins), hint.is_some(), "{path} {protocol}: {fix}");
    }
}

#[tokio::test]
async fn a_diagnosis_names_the_fix_that_the_class_of_a_failure_asks_for() {
    let error = |status, body: &str| Answer::json(status, body);
    let packed = Answer::json_with(200, "content-encoding: gzip\r\n", "packed");
    let limited = r#"{"error":{"message":"Slow.","type":"requests","code":"rate_limit_exceeded"}}"#;
    let stream = Answer::stream().chunk(format!("data: {limited}\n\n")).end();
    for (answer, step, fix) in [
        (page(407, "Log in."), "one token", "something in front"),
        (page(403, "You have been blocked."), "one token", "something in front"),
        (error(421, ""), "one token", "something in front"),
        (error(429, r#"{"error":{"code":"insufficient_quota","message":"No."}}"#), "one token", "no money"),
        (
            error(400, r#"{"error":{"message":"Your credit balance is too low to use this.","type":"x"}}"#),
            "one token",
            "no money",
        ),
        (error(400, r#"{"error":{"code":"billing_hard_limit_reached","message":"No."}}"#), "one token", "no money"),
        (error(400, r#"{"error":{"message":"API key not valid."}}"#), "one token", "check api_key"),
        (error(200, r#"{"error":{"message":"No auth credentials found","code":401}}"#), "one token", "check api_key"),
        (error(404, r#"{"error":{"code":"model_not_found","message":"No."}}"#), "one token", "under [models]"),
        (error(400, r#"{"error":{"message":"'x' is not supported.","type":"y"}}"#), "one token", "take the question"),
        (error(503, "{}"), "one token", "overloaded"),
        (packed, "one token", "on their way"),
        (Answer::new().raw("220 mail ESMTP\r\n\r\n"), "one token", "does not speak this protocol"),
        (Answer::new().close(), "one token", "http:// or https://"),
        (stream, "stream", "rate limit"),
        (Answer::stream().chunk(sse::text("a")).hang(), "stream", "in the middle"),
        (Answer::stream().chunk(sse::text("a")).close(), "stream", "in the middle"),
    ] {
        let said = answer.clone();
        let one = Upstream::start(move |_, ask| {
            let fails = ask.wants_stream() || step == "one token";
            if fails { said.clone() } else { Answer::json(200, &completion("hi")) }
        });
        let one = one.await;
        let settings = Settings::new().backend("one", one.addr).set("backends.one", "idle_timeout = \"100ms\"");
        let proxy = Proxy::start(&settings).await;
        let [at, told, what] = diagnosis(&proxy, "one").await;
        assert_eq!(at, step, "{told}: {answer:?}");
        assert!(what.contains(fix), "{what}: {answer:?}");
    }
}
