//! Budgets: what requests cost is taken from their user's when they end, and nobody is served while nothing is left. Of days, so that
//! next to nothing refills while a test runs.

use serde_json::json;

use crate::support::{
    client::{Ask, Connection, Reply},
    eventually,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::Answer,
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
};

const SPENDER: &str = "token-of-spender";

/// A dollar a million tokens.
const PRICE: &str = "price = { input = 1, output = 1 }";

/// A millionth of a dollar for each token of this limit.
fn user(tokens: u64) -> String {
    let limit = format!("limits = {{ usd_per_day = {}, requests_per_day = 100 }}", tokens as f64 / 1e6);
    format!("token = \"{SPENDER}\"\nmodels = [\"*\"]\nbackends = [\"*\"]\n{limit}")
}

fn using(prompt: u64, completion: u64) -> Answer {
    let usage = json!({"prompt_tokens": prompt, "completion_tokens": completion});
    Answer::json(200, &json!({"choices": [{"message": {"content": "hi"}}], "usage": usage}).to_string())
}

async fn ask(proxy: &Proxy, path: &str, body: &str) -> Reply {
    proxy.ask(&Ask::post(path, body).bearer(SPENDER)).await
}

async fn chat(proxy: &Proxy, body: &str) -> Reply {
    ask(proxy, "/v1/chat/completions", body).await
}

#[tokio::test]
async fn who_has_spent_the_budget_is_told_so_until_there_is_some_again_and_nobody_else_is() {
    let upstream = Upstream::always(using(20, 10)).await;
    let settings = Settings::new().target("one", upstream.addr, PRICE).set("users.spender", &user(20));
    let proxy = Proxy::start(&settings).await;
    let served = chat(&proxy, HELLO).await;
    assert_eq!((served.status(), served.head.get("x-ratelimit-limit-dollars")), (200, None), "{served:?}");
    let refused = chat(&proxy, HELLO).await;
    assert_eq!(
        (refused.status(), refused.error("code"), refused.error("type")),
        (429, quota(), quota()),
        "{refused:?}"
    );
    assert_eq!(
        (refused.header("x-should-retry"), refused.header("x-ratelimit-remaining-requests")),
        ("false", "99"),
        "{refused:?}"
    );
    assert!(refused.error("message").contains("your budget of $0.00002 per day (usd_per_day)"), "{refused:?}");
    // Ten of twenty are owed: half a day.
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((43_100..=47_600).contains(&wait), "{wait}");
    let claude = ask(&proxy, "/v1/messages", HELLO).await;
    assert_eq!(
        (claude.status(), claude.error("type"), claude.error("code")),
        (429, "rate_limit_error".into(), quota())
    );
    assert_eq!(proxy.hello().await.status(), 200, "another user");
    let page = proxy.get("/metrics").await.text();
    assert!(page.contains("greenroom_ratelimit_rejections_total{dimension=\"usd_per_day\"} 2"), "{page}");
}

fn quota() -> String {
    "insufficient_quota".to_owned()
}

#[tokio::test]
async fn a_reload_keeps_what_was_spent() {
    let upstream = Upstream::always(using(20, 10)).await;
    let settings =
        |tokens: u64| Settings::new().target("one", upstream.addr, PRICE).set("users.spender", &user(tokens));
    let proxy = Proxy::start(&settings(30)).await;
    assert_eq!(chat(&proxy, HELLO).await.status(), 200);
    for (tokens, statuses) in [(29, [429, 429]), (50, [200, 429])] {
        proxy.rewrite(&settings(tokens).toml());
        assert_eq!(proxy.post("/admin/reload").await.status(), 200);
        for status in statuses {
            assert_eq!(chat(&proxy, HELLO).await.status(), status, "{tokens}");
        }
    }
}

#[tokio::test]
async fn a_stream_and_all_its_attempts_are_paid_and_so_is_what_its_client_left() {
    let counts_first = || Answer::stream().chunk(sse::role()).chunk(sse::usage(10, 0));
    let overloaded = sse::data(&json!({"error": {"type": "overloaded_error", "message": "later"}}));
    let bad = Upstream::always(counts_first().chunk(overloaded).end()).await;
    let peer = Upstream::start(move |_, ask| match ask.text() {
        text if text.contains("leave") => counts_first().chunk(sse::text("a")).hang(),
        _ => Answer::stream().chunk(sse::text("a")).chunk(sse::finish()).chunk(sse::usage(4, 1)).chunk(sse::DONE).end(),
    })
    .await;
    let settings = Settings::new()
        .target("bad", bad.addr, PRICE)
        .target("peer", peer.addr, &format!("priority = 2, {PRICE}"))
        .set("defaults.backend", "breaker_failures = 0\nbreaker_min_samples = 1000")
        .set("users.left", &user(12).replace(SPENDER, "token-of-left"))
        // Spent by both attempts together, and by neither alone.
        .set("users.spender", &user(12));
    let proxy = Proxy::start(&settings).await;
    assert_eq!(chat(&proxy, HELLO_STREAM).await.status(), 200);
    assert_eq!(
        eventually("a budget that is spent", async || {
            let reply = chat(&proxy, HELLO).await;
            (reply.status() == 429).then(|| reply.error("code"))
        })
        .await,
        quota()
    );
    let mut client = Connection::open(proxy.addr).await;
    let body = HELLO_STREAM.replacen('{', "{\"user\":\"leave\",", 1);
    client.send(&Ask::chat(body).bearer("token-of-left").header("x-request-id", "left")).await;
    client.head().await;
    drop(client);
    proxy.logged(&["id=left ", "status=499", "cost_usd=0.00002 "]).await;
    let ask = Ask::chat(HELLO).bearer("token-of-left");
    eventually("a budget that is spent", async || (proxy.ask(&ask).await.status() == 429).then_some(())).await;
}

#[tokio::test]
async fn what_has_no_price_or_was_not_counted_spends_nothing() {
    let uncounted = Answer::json(200, r#"{"choices":[{"message":{"content":"hi"}}]}"#);
    let upstream = Upstream::start(move |n, _| if n == 1 { uncounted.clone() } else { using(20, 10) }).await;
    let settings = Settings::new()
        .target("one", upstream.addr, PRICE)
        .set("models.free", "backends = [{ backend = \"one\" }]")
        .set("users.spender", &user(1));
    let proxy = Proxy::start(&settings).await;
    for body in [HELLO.replace("\"m\"", "\"free\""), HELLO.to_owned(), HELLO.replace("\"m\"", "\"free\"")] {
        assert_eq!(chat(&proxy, &body).await.status(), 200, "{body}");
    }
    assert_eq!(chat(&proxy, HELLO).await.status(), 200);
    assert_eq!(chat(&proxy, HELLO).await.status(), 429);
    let story = proxy.ask(&Ask::new("GET", "/admin/requests?outcome=policy_ratelimit").bearer(TOKEN)).await.json();
    assert_eq!(story["requests"].as_array().map(Vec::len), Some(1), "{story}");
}
