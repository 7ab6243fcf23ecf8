//! Providers that quote the key that they were sent, or name its owner: nobody reads it, neither clients nor operators.

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Reply},
    launch::Launch,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::Answer,
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
};

const KEY: &str = "sk-of-the/backend-123456";

/// What clients, operators and the log read of a backend of this protocol that answers so.
async fn read(protocol: &str, answer: Answer, body: &str) -> (Reply, String) {
    let one = Upstream::always(answer).await;
    let lines = format!(
        "protocol = \"{protocol}\"\nbase_url = \"http://{}/v1\"\napi_key = \"{KEY}\"\n\
         headers = {{ \"x-team\" = \"Bearer {KEY}-2\" }}",
        one.addr
    );
    let settings = Settings::new()
        .set("backends.one", &lines)
        .set("models.m", "backends = [{ backend = \"one\" }]")
        .set("failover", "max_attempts = 1");
    let proxy = Launch::new(&settings).env("RUST_LOG", "debug").start().await;
    let reply = proxy.ask(&Ask::chat(body).bearer(TOKEN)).await;
    proxy.logged(&["greenroom::request", "model=m"]).await;
    let operators = operators(&proxy).await;
    (reply, operators)
}

async fn operators(proxy: &Proxy) -> String {
    let mut all = proxy.log();
    for path in ["/admin/requests", "/admin/backends", "/metrics"] {
        all += &proxy.get(path).await.text();
    }
    all + &proxy.post("/admin/backends/one/diagnose").await.text() + &proxy.log()
}

fn errors() -> Vec<Value> {
    vec![
        json!({"message": format!("Incorrect key: {KEY}."), "type": "x", "code": null}),
        json!({"message": "no", "type": KEY, "code": format!("{KEY}-2"), "param": format!("headers.{KEY}")}),
        json!({"message": "no", "code": 7, "debug": {"authorization": format!("Bearer {KEY}")}}),
    ]
}

#[tokio::test]
async fn a_key_that_a_provider_quotes_reaches_nobody() {
    for status in [400, 403, 404, 429, 500] {
        for error in errors() {
            for protocol in ["openai", "anthropic", "gemini"] {
                let body = json!({"error": error}).to_string();
                for body in [body.clone(), body.replace('/', "\\/")] {
                    let (reply, operators) = read(protocol, Answer::json(status, &body), HELLO).await;
                    assert!(reply.status() >= 400, "{reply:?}");
                    assert!(!reply.text().contains("backend-123456"), "{status} {protocol}: {reply:?}");
                    assert!(!operators.contains("backend-123456"), "{status} {protocol}: {operators}");
                }
            }
        }
    }
}

#[tokio::test]
async fn nor_does_one_that_it_quotes_within_an_answer() {
    for error in errors() {
        let frame = format!("data: {}\n\n", json!({"error": error}));
        for begun in [Answer::stream(), Answer::stream().chunk(sse::text("Hello"))] {
            let (reply, operators) = read("openai", begun.chunk(&frame).end(), HELLO_STREAM).await;
            assert!(!reply.text().contains("backend-123456"), "{reply:?}");
            assert!(!operators.contains("backend-123456"), "{operators}");
        }
    }
}

#[tokio::test]
async fn a_caller_reads_what_is_wrong_though_the_key_stands_beside_it() {
    let error = json!({"error": {"message": format!("No such value (key {KEY})"), "code": "bad", "param": "n"}});
    let (reply, _) = read("openai", Answer::json(400, &error.to_string()), HELLO).await;
    assert_eq!((reply.status(), reply.error("message").as_str()), (400, "No such value (key …)"), "{reply:?}");
    assert_eq!((reply.error("code").as_str(), reply.error("param").as_str()), ("bad", "n"), "{reply:?}");
}

#[tokio::test]
async fn a_code_that_no_list_knows_is_for_operators() {
    let error = |code: &str| json!({"error": {"message": "no", "type": "server_error", "code": code}}).to_string();
    for status in [404, 429, 500, 503] {
        let (reply, operators) = read("openai", Answer::json(status, &error("llm-7.internal")), HELLO).await;
        assert!(!reply.text().contains("llm-7") && reply.error("message").contains("(server_error)"), "{reply:?}");
        assert!(operators.contains(&format!("it answered {status} (server_error, llm-7.internal)")), "{operators}");
    }
}

#[tokio::test]
async fn whose_the_account_is_reaches_no_client() {
    let mut said = json!({"error": {"message": "n is too large", "code": 400, "metadata": {"raw": "n=9"}}, "user_id": "user_x", "id": 1});
    let (reply, _) = read("openai", Answer::json(400, &said.to_string()), HELLO).await;
    said.as_object_mut().and_then(|members| members.remove("user_id"));
    assert_eq!((reply.status(), reply.json()), (400, said));
}
