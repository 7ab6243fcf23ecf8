//! Limits of tokens: set aside when a request comes, settled when its answer has told what it used, given back where nobody worked
//! on it. A day's limit of a thousand refills one in a minute and a half: nothing while a test runs.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    client::{Ask, Connection, Reply},
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, Gate},
    settings::Settings,
    sse,
    upstream::Upstream,
};

const TOKEN: &str = "token-of-limited";

/// Tokens that `HELLO` is taken for: four bytes each.
const ESTIMATE: u64 = HELLO.len() as u64 / 4;

async fn stage(upstream: &Upstream, tokens: u64) -> Proxy {
    start(Settings::new().backend("one", upstream.addr), tokens).await
}

async fn start(settings: Settings, tokens: u64) -> Proxy {
    let user = format!(
        "token = \"{TOKEN}\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nlimits = {{ tokens_per_day = {tokens}, requests_per_day = 100 }}"
    );
    let settings = settings.set("defaults.backend", "breaker_failures = 0").set("failover", "max_attempts = 1");
    Proxy::start(&settings.set("users.limited", &user)).await
}

async fn ask(proxy: &Proxy, path: &str, body: &str) -> Reply {
    proxy.ask(&Ask::post(path, body).bearer(TOKEN)).await
}

async fn chat(proxy: &Proxy, body: &str) -> Reply {
    ask(proxy, "/v1/chat/completions", body).await
}

fn left(head: &crate::support::wire::Head) -> u64 {
    let left = head.get("x-ratelimit-remaining-tokens").and_then(|left| left.parse().ok());
    left.unwrap_or_else(|| panic!("{head:?}"))
}

/// A request with one member more.
fn with(body: &str, member: &str) -> String {
    body.replacen('{', &format!("{{{member},"), 1)
}

/// A whole answer that used so many tokens.
fn using(prompt: u64, completion: u64) -> Answer {
    let usage = json!({"prompt_tokens": prompt, "completion_tokens": completion});
    Answer::json(200, &json!({"choices": [{"message": {"content": "hi"}}], "usage": usage}).to_string())
}

#[tokio::test]
async fn tokens_are_set_aside_when_a_request_comes_and_settled_when_its_answer_ends() {
    let gate = Gate::new();
    let stream = Answer::stream().chunk(sse::text("a")).wait(&gate).chunk(sse::finish());
    let stream = stream.chunk(sse::usage(7, 3)).chunk(sse::DONE).end();
    let upstream = Upstream::start(move |_, ask| if ask.wants_stream() { stream.clone() } else { using(20, 5) }).await;
    let proxy = stage(&upstream, 1000).await;
    let mut used = 0;
    for members in ["\"max_tokens\":300", "\"max_completion_tokens\":300", "\"max_tokens\":100,\"n\":3"] {
        let body = with(HELLO_STREAM, members);
        let mut client = Connection::open(proxy.addr).await;
        client.send(&Ask::chat(&*body).bearer(TOKEN)).await;
        assert_eq!(left(&client.head().await), 1000 - used - body.len() as u64 / 4 - 300, "{members}");
        gate.open();
        assert!(sse::is_done(&client.rest().await.0));
        used += 10 + 25;
        assert_eq!(
            left(&chat(&proxy, HELLO).await.head),
            1000 - used,
            "a whole answer is settled before its head goes out"
        );
    }
}

#[tokio::test]
async fn who_finds_all_tokens_set_aside_for_another_request_is_to_come_back_soon() {
    let upstream = Upstream::always(Answer::new().hang()).await;
    let proxy = stage(&upstream, 1000).await;
    // No more than is left is set aside for an answer, however long it may be.
    let body = with(r#"{"model":"m","input":"Hello!"}"#, "\"max_output_tokens\":32000");
    let mut first = Connection::open(proxy.addr).await;
    first.send(&Ask::post("/v1/responses", body).bearer(TOKEN)).await;
    upstream.until("the first", |seen| seen.busy == 1).await;
    let reply = chat(&proxy, HELLO).await;
    assert_eq!((reply.status(), reply.header("retry-after"), left(&reply.head)), (429, "1", 0));
}

#[tokio::test]
async fn a_count_that_no_model_can_have_used_keeps_nobody_out() {
    let upstream = Upstream::always(using(1 << 62, 1 << 62)).await;
    let proxy = stage(&upstream, 1000).await;
    for _ in 0..3 {
        assert_eq!(chat(&proxy, HELLO).await.status(), 200);
    }
}

#[tokio::test]
async fn every_endpoint_counts_what_its_provider_counted() {
    let counted = |used: &str| Answer::json(200, &format!(r#"{{"data":[],"choices":[],"usage":{used}}}"#));
    let upstream = Upstream::start(move |_, ask| match &ask.head.line {
        line if line.contains("embeddings") => counted(r#"{"prompt_tokens":4,"total_tokens":4}"#),
        line if line.contains("chat") => using(6, 2),
        line if line.contains("rerank") => Answer::json(200, r#"{"results":[],"usage":{"total_tokens":9}}"#),
        line if line.contains("images") => counted(r#"{"input_tokens":3,"output_tokens":40,"total_tokens":43}"#),
        _ => Answer::json(200, r#"{"choices":[{"text":"hi"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#),
    })
    .await;
    let proxy = stage(&upstream, 1000).await;
    let mut expected = 1000;
    for (path, body, used) in [
        ("/v1/embeddings", r#"{"model":"m","input":"Hello!"}"#, 4),
        ("/v1/completions", r#"{"model":"m","prompt":"Hello!"}"#, 6),
        ("/v1/rerank", r#"{"model":"m","query":"Hello!"}"#, 9),
        ("/v1/images/generations", r#"{"model":"m","prompt":"Hello!"}"#, 43),
        ("/v1/messages", HELLO, 8),
        ("/v1/responses", r#"{"model":"m","input":"Hello!"}"#, 8),
    ] {
        expected -= used;
        let reply = ask(&proxy, path, body).await;
        assert_eq!((reply.status(), left(&reply.head)), (200, expected), "{path} {reply:?}");
    }
}

fn overloaded() -> String {
    sse::data(&json!({"error": {"type": "overloaded_error", "message": "later"}}))
}

#[tokio::test]
async fn what_nobody_counted_costs_what_was_estimated() {
    let upstream = Upstream::start(|_, ask| match ask.text() {
        text if text.contains("cut") => Answer::stream().chunk(sse::text("a")).close(),
        // It has said something before it found itself too busy.
        text if text.contains("bad") => Answer::stream().chunk(sse::text("a")).chunk(overloaded()).end(),
        // It has had the request, and for longer than a dead connection would have looked like one that lives.
        text if text.contains("gone") => Answer::new().work(Duration::from_millis(1100)).close(),
        _ if ask.wants_stream() => Answer::streams("hi"),
        _ => Answer::json(200, r#"{"choices":[{"message":{"content":"hi"}}]}"#),
    })
    .await;
    let proxy = stage(&upstream, 1000).await;
    assert_eq!(left(&chat(&proxy, HELLO).await.head), 1000 - ESTIMATE);
    let mut estimates = ESTIMATE + HELLO_STREAM.len() as u64 / 4;
    for broken in ["cut", "bad", "gone"] {
        let body = with(HELLO_STREAM, &format!("\"user\":\"{broken}\""));
        estimates += body.len() as u64 / 4;
        chat(&proxy, &body).await;
    }
    assert_eq!(left(&chat(&proxy, HELLO_STREAM).await.head), 1000 - estimates);
}

#[tokio::test]
async fn what_nobody_worked_on_costs_a_request_and_no_tokens() {
    let upstream = Upstream::start(|_, ask| match ask.text() {
        text if text.contains("refuse") => Answer::json(400, r#"{"error":{"message":"no","code":"bad"}}"#),
        text if text.contains("page") => Answer::json(502, "<html>Bad Gateway</html>"),
        _ => Answer::json(500, "{}"),
    })
    .await;
    let nobody = "protocol = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\nconnect_timeout = \"5s\"";
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("backends.nobody", nobody)
        .set("models.gone", "backends = [{ backend = \"nobody\" }]");
    let proxy = start(settings, 1000).await;
    for (n, (body, status)) in [
        (with(HELLO, "\"user\":\"refuse\""), 400),
        (with(HELLO, "\"user\":\"spoil\""), 502),
        (with(HELLO, "\"user\":\"page\""), 502),
        (HELLO.replace("\"m\"", "\"gone\""), 502),
        (HELLO.replace("\"m\"", "\"absent\""), 404),
        (with(HELLO, "\"backend\":\"one\",\"max_tokens\":500"), 403),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = chat(&proxy, &body).await;
        assert_eq!((reply.status(), left(&reply.head)), (status, 1000), "{reply:?}");
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), (99 - n).to_string());
    }
}

#[tokio::test]
async fn a_request_larger_than_the_limit_is_served_when_nothing_is_used_and_its_user_then_waits_for_as_long() {
    let upstream = Upstream::always(using(17, 3)).await;
    let proxy = stage(&upstream, 10).await;
    let reply = chat(&proxy, HELLO).await;
    assert_eq!((reply.status(), left(&reply.head)), (200, 0));
    assert!(
        reply.header("x-ratelimit-reset-tokens").starts_with("47h59m")
            || reply.header("x-ratelimit-reset-tokens") == "48h0m0s"
    );
    let reply = chat(&proxy, HELLO).await;
    assert_eq!((reply.status(), reply.error("code")), (429, "rate_limit_exceeded".to_owned()));
    assert!(reply.error("message").contains("10 tokens per day (tokens_per_day)"), "{reply:?}");
    let wait: u64 = reply.header("retry-after").parse().expect("seconds");
    assert!((172_700..=172_800).contains(&wait), "{wait}");
    assert_eq!(upstream.asked(), 1);
    let page = proxy.get("/metrics").await.text();
    assert!(page.contains("greenroom_ratelimit_rejections_total{dimension=\"tokens_per_day\"} 1"), "{page}");
}

#[tokio::test]
async fn counting_tokens_costs_a_request_and_no_tokens() {
    let message = r#"{"type":"message","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":900,"output_tokens":300}}"#;
    let upstream = Upstream::start(move |_, ask| {
        let counts = ask.head.line.contains("count_tokens");
        Answer::json(200, if counts { r#"{"input_tokens":300}"# } else { message })
    })
    .await;
    let proxy = start(Settings::only(upstream.addr, "/v1", "m", "protocol = \"anthropic\""), 1000).await;
    let body = with(HELLO, "\"max_tokens\":9");
    let reply = ask(&proxy, "/v1/messages/count_tokens", &body).await;
    assert_eq!((reply.status(), left(&reply.head)), (200, 1000));
    assert_eq!(left(&ask(&proxy, "/v1/messages", &body).await.head), 0);
    assert_eq!(ask(&proxy, "/v1/messages", &body).await.status(), 429);
    let reply = ask(&proxy, "/v1/messages/count_tokens", &body).await;
    assert_eq!((reply.status(), reply.header("anthropic-ratelimit-requests-remaining")), (200, "97"), "{reply:?}");
}
