//! What a backend, or something in front of it, refuses: told by what it says from a refusal of our account, and blamed on nobody else.

use serde_json::json;

use crate::support::{
    client::Ask,
    proxy::{HELLO, Proxy},
    script::Answer,
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

/// A page with this status.
fn page(status: u16, body: &str) -> Answer {
    let length = body.len();
    Answer::new()
        .raw(format!("HTTP/1.1 {status} Scripted\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n{body}"))
}

const BLOCKED: &str = "<!DOCTYPE html><html>Sorry, you have been blocked</html>";

/// Refusals in which nobody says that the key or the account is why.
fn denials() -> Vec<Answer> {
    vec![
        page(403, BLOCKED),
        page(403, ""),
        page(403, "error code: 1020"),
        Answer::json(403, r#"{"message":"Forbidden"}"#),
        Answer::json(403, r#"{"error":{"message":"a secret rule matched \"my api key\"","type":"x","code":null}}"#),
        Answer::json(451, r#"{"error":{"message":"no","code":451}}"#),
    ]
}

/// A backend that answers one prompt this way and all others well.
async fn picky(answer: Answer) -> Upstream {
    Upstream::start(move |_, ask| if ask.text().contains("<script>") { answer.clone() } else { Answer::says("hi") })
        .await
}

const PROMPT: &str = r#"{"model":"m","messages":[{"role":"user","content":"What does <script> do?"}]}"#;

#[tokio::test]
async fn a_prompt_that_something_in_front_of_a_backend_blocks_takes_nothing_from_others() {
    for denial in denials() {
        let (one, two) = (picky(denial.clone()).await, picky(denial).await);
        let settings = Settings::new().backend("one", one.addr).target("two", two.addr, "priority = 2");
        let proxy = Proxy::start(&settings).await;
        let reply = proxy.chat(PROMPT).await;
        assert_eq!(reply.face(), (502, "upstream_error".to_owned()), "{reply:?}");
        assert_eq!(reply.header("x-should-retry"), "false");
        assert!(!reply.text().contains("secret") && !reply.text().contains("blocked"), "{reply:?}");
        assert_eq!((one.asked(), two.asked()), (1, 1), "each is asked once, and the second at all");
        let reply = proxy.hello().await;
        assert_eq!((reply.status(), reply.backend()), (200, "one"), "{reply:?}");
    }
}

#[tokio::test]
async fn a_backend_that_denies_everything_is_out_like_one_that_fails() {
    for denial in denials() {
        let one = Upstream::always(denial).await;
        let proxy = Proxy::before(&one).await;
        for _ in 0..3 {
            assert_eq!(proxy.hello().await.status(), 502);
        }
        let report = proxy.until("one", "a shut gate", |report| report["state"] == "open").await;
        assert!(report["reopens_in_ms"].as_u64().is_some_and(|ms| ms < 60_000), "{report}");
    }
}

#[tokio::test]
async fn a_refusal_that_names_key_or_account_takes_the_backend_out_at_once() {
    for (status, said) in [
        (401, ""),
        (403, r#"{"error":{"type":"permission_error","message":"no"}}"#),
        (403, r#"{"error":{"message":"no","code":"unsupported_country_region_territory"}}"#),
        (403, r#"{"error":{"message":"Key limit exceeded (total limit).","code":403}}"#),
        (403, r#"{"error":"You do not have permission to use this API."}"#),
        (403, r#"{"error":{"code":"insufficient_quota","message":"no"}}"#),
    ] {
        let one = Upstream::always(Answer::json(status, said)).await;
        let proxy = Proxy::before(&one).await;
        assert_eq!(proxy.hello().await.face(), (502, "upstream_auth_failed".to_owned()), "{said}");
        let long = |report: &serde_json::Value| report["reopens_in_ms"].as_u64().is_some_and(|ms| ms > 60_000);
        proxy.until("one", "a gate shut for long", long).await;
    }
}

#[tokio::test]
async fn a_403_about_the_prompt_is_the_callers() {
    let long = r#"{"error":{"message":"This model's maximum context length is 8193 tokens. However, you requested 9000 tokens.","type":"invalid_request_error","code":null}}"#;
    let filtered = r#"{"message":"Request blocked by content policy"}"#;
    for (said, told) in [(long, (400, "-")), (filtered, (403, "content_filter"))] {
        let one = Upstream::always(Answer::json(403, said)).await;
        let proxy = Proxy::before(&one).await;
        let reply = proxy.hello().await;
        assert_eq!(reply.face(), (told.0, told.1.to_owned()), "{reply:?}");
        assert_eq!(reply.text().contains("8193"), told.0 == 400, "{reply:?}");
        assert_eq!(proxy.report("one").await["state"], "healthy");
    }
}

#[tokio::test]
async fn a_model_that_our_key_may_not_use_shuts_no_other_of_its_backend() {
    for (status, error) in [
        (403, json!({"message": "Project `p` does not have access to model `m`", "code": "model_not_found"})),
        (403, json!({"message": "blocked", "type": "permissions_error", "code": "model_permission_blocked_project"})),
        (
            403,
            json!({"message": "Access to model denied. Please make sure you are eligible.", "code": "access_denied"}),
        ),
        (401, json!({"message": "key not allowed to access model.", "type": "key_model_access_denied", "code": "401"})),
    ] {
        let refusal = Answer::json(status, &json!({"error": error}).to_string());
        let one =
            Upstream::start(
                move |_, ask| {
                    if ask.text().contains(r#""model":"m""#) { refusal.clone() } else { Answer::says("hi") }
                },
            )
            .await;
        let settings =
            Settings::new().backend("one", one.addr).set("models.other", "backends = [{ backend = \"one\" }]");
        let proxy = Proxy::start(&settings).await;
        assert_eq!(proxy.hello().await.face(), (502, "upstream_model_not_found".to_owned()), "{error}");
        proxy
            .until("one", "a model that is benched", |report| report.to_string().contains("does not know this model"))
            .await;
        assert_eq!(proxy.hello().await.error("code"), "no_healthy_backend");
        assert_eq!(proxy.chat(HELLO.replace(r#""m""#, r#""other""#)).await.status(), 200, "{error}");
    }
}

#[tokio::test]
async fn a_400_that_says_that_our_key_is_wrong_is_not_the_callers() {
    for said in [
        json!({"code": "Client specified an invalid argument", "error": "Incorrect API key provided: sk***56."}),
        json!({"error": {"message": "Invalid API key: a secret", "type": "invalid_request_error"}}),
        json!({"error": {"message": "a secret", "type": "authentication_error"}}),
    ] {
        for protocol in ["openai", "anthropic"] {
            let one = Upstream::always(Answer::json(400, &said.to_string())).await;
            let two = Upstream::saying("hi").await;
            let lines = format!("protocol = \"{protocol}\"\nbase_url = \"http://{}/v1\"\napi_key = \"key\"", one.addr);
            let settings = Settings::new()
                .set("backends.one", &lines)
                .set("backends.two", &format!("protocol = \"openai\"\nbase_url = \"http://{}/v1\"", two.addr))
                .set("models.m", "backends = [{ backend = \"one\" }, { backend = \"two\", priority = 2 }]")
                .set("models.alone", "backends = [{ backend = \"one\" }]");
            let proxy = Proxy::start(&settings).await;
            let reply = proxy.chat(HELLO.replace(r#""m""#, r#""alone""#)).await;
            assert_eq!(reply.face(), (502, "upstream_auth_failed".to_owned()), "{protocol} {said}");
            assert!(!reply.text().contains("secret") && !reply.text().contains("sk***"), "{reply:?}");
            proxy.until("one", "a shut gate", |report| report["state"] == "open").await;
            assert_eq!(proxy.hello().await.backend(), "two");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_between_here_and_the_backend_is_not_told_as_the_clients_fault() {
    let plain = |status| Answer::json(status, r#"{"error":{"message":"a secret","type":"x"}}"#);
    let of_http = page(400, " <html><center>The plain HTTP request was sent to HTTPS port</center></html>");
    for refusal in [405, 407, 411, 421, 426, 431, 505].map(plain).into_iter().chain([of_http]) {
        let (one, two) = (Upstream::always(refusal).await, Upstream::saying("hi").await);
        let settings = Settings::new()
            .backend("one", one.addr)
            .target("two", two.addr, "priority = 2")
            .set("models.alone", "backends = [{ backend = \"one\" }]");
        let proxy = Proxy::start(&settings).await;
        let reply = proxy.chat(HELLO.replace(r#""m""#, r#""alone""#)).await;
        assert_eq!((reply.face(), one.asked()), ((502, "upstream_error".to_owned()), 1), "{reply:?}");
        assert!(!reply.text().contains("secret") && !reply.text().contains("HTTPS"), "{reply:?}");
        assert_eq!(proxy.hello().await.backend(), "two");
    }
}

/// How OpenAI tells that a restricted key lacks an endpoint.
fn out_of_scope() -> Answer {
    let said =
        "You have insufficient permissions for this operation. Missing scopes: model.request. Check that you have";
    let denial = json!({"error": {"message": said, "type": "invalid_request_error", "param": null, "code": null}});
    Answer::json(401, &denial.to_string())
}

#[tokio::test]
async fn a_restricted_key_that_may_not_use_one_endpoint_goes_on_serving_at_others() {
    let one =
        Upstream::start(move |_, ask| if ask.head.line.contains("/chat/") { ask.saying("hi") } else { out_of_scope() })
            .await;
    let settings = Settings::new()
        .backend("one", one.addr)
        .set("backends.one", "native_responses = true\nbackoff_min = \"30s\"")
        .set("models.vectors", "backends = [{ backend = \"one\" }]");
    let proxy = Proxy::start(&settings).await;
    // Embeddings at a model that has never answered, too.
    for (path, model, times) in
        [("/v1/responses", "m", 5), ("/v1/embeddings", "m", 5), ("/v1/embeddings", "vectors", 1)]
    {
        assert_eq!(proxy.chat(HELLO).await.status(), 200);
        for _ in 0..times {
            let body = json!({"model": model, "input": "a"}).to_string();
            let reply = proxy.ask(&Ask::post(path, body).bearer(TOKEN)).await;
            assert_eq!(reply.face(), (502, "upstream_error".to_owned()), "{reply:?}");
            assert_eq!(reply.header("x-should-retry"), "false");
        }
        assert_eq!(proxy.chat(HELLO).await.status(), 200, "{path} {model}");
    }
    // Operators see it all the same.
    assert!(!proxy.report("one").await["last_error"].is_null());
}

#[tokio::test]
async fn a_restricted_key_that_serves_nothing_is_out_like_a_backend_that_fails() {
    let one = Upstream::always(out_of_scope()).await;
    let proxy = Proxy::before(&one).await;
    for _ in 0..3 {
        assert_eq!(proxy.hello().await.status(), 502);
    }
    proxy.until("one", "a shut gate", |report| report["state"] == "open").await;
}
