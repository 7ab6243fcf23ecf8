//! A user's own limits: what they refuse and how, what every answer says of them, and that nobody else notices. Of days, so that
//! nothing refills while a test runs.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Connection, Reply},
    eventually,
    launch::Launch,
    proxy::{HELLO, HELLO_STREAM, Proxy, hello_at},
    script::{Answer, Gate, completion},
    settings::Settings,
    sse,
    upstream::Upstream,
    wire::Head,
};

/// The token of the user `limited`.
const LIMITED: &str = "token-of-limited";

/// What is said of each kind of limit.
const NAMES: [&str; 3] = ["limit", "remaining", "reset"];

/// The lines of the user `limited`.
fn user(limits: &str) -> String {
    format!("token = \"{LIMITED}\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nlimits = {{ {limits} }}")
}

async fn stage(upstream: &Upstream, limits: &str) -> Proxy {
    let settings = Settings::new().backend("one", upstream.addr).set("users.limited", &user(limits));
    Proxy::start(&settings.set("defaults.backend", "breaker_failures = 0")).await
}

async fn ask(proxy: &Proxy, path: &str, body: &str) -> Reply {
    proxy.ask(&Ask::post(path, body).bearer(LIMITED)).await
}

async fn hello(proxy: &Proxy) -> Reply {
    ask(proxy, "/v1/chat/completions", HELLO).await
}

/// A stream that the test lets go on.
async fn begin(proxy: &Proxy, body: &str) -> Connection {
    let mut client = Connection::open(proxy.addr).await;
    client.send(&Ask::chat(body).bearer(LIMITED)).await;
    client
}

/// What a head says of this kind of limit: its size, what is left, when all of it is there again. Each of it is said once.
fn told(head: &Head, unit: &str) -> Option<[String; 3]> {
    let of = |name: &str| match head.all(&format!("x-ratelimit-{name}-{unit}"))[..] {
        [] => None,
        [value] => Some(value.to_owned()),
        ref more => panic!("{name} of {unit}: {more:?}"),
    };
    let [limit, remaining, reset] = NAMES.map(of);
    Some([limit?, remaining?, reset?])
}

fn remaining(head: &Head, unit: &str) -> u64 {
    told(head, unit).and_then(|[_, remaining, _]| remaining.parse().ok()).unwrap_or_else(|| panic!("{head:?}"))
}

fn is_silent(head: &Head) -> bool {
    !head.headers.iter().any(|(name, _)| name.contains("ratelimit"))
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused_in_terms_that_sdks_know_and_asks_no_backend() {
    let upstream = Upstream::saying("hi").await;
    let proxy = stage(&upstream, "requests_per_day = 2").await;
    assert_eq!((hello(&proxy).await.status(), hello(&proxy).await.status()), (200, 200));
    let ask = Ask::chat(hello_at("one")).bearer(LIMITED).header("x-request-id", "too-many");
    let reply = proxy.ask(&ask).await;
    let face = ["type", "code", "param"].map(|member| reply.error(member));
    assert_eq!((reply.status(), face), (429, ["rate_limit_error", "rate_limit_exceeded", "-"].map(str::to_owned)));
    let wait: u64 = reply.header("retry-after").parse().expect("whole seconds");
    // One comes back in half a day.
    assert!((43_000..=43_200).contains(&wait), "{reply:?}");
    let millis: u64 = reply.header("retry-after-ms").parse().expect("milliseconds");
    assert_eq!(millis.div_ceil(1000), wait, "{reply:?}");
    assert_eq!(reply.head.get("x-should-retry"), None);
    let message = reply.error("message");
    assert!(
        message.contains("2 requests per day (requests_per_day)") && message.contains(&format!("{wait} s")),
        "{message}"
    );
    let [limit, remaining, reset] = told(&reply.head, "requests").expect("limited");
    assert_eq!((&*limit, &*remaining), ("2", "0"));
    assert!(reset.starts_with("23h5") || reset == "24h0m0s", "{reset}");
    assert_eq!(upstream.asked(), 2);
    // And operators are told.
    let line = proxy.logged(&["greenroom::request", "id=too-many "]).await;
    assert!(line.contains("user=limited") && line.contains("status=429 class=policy_ratelimit"), "{line}");
    let ledger = proxy.get("/admin/requests?outcome=policy_ratelimit").await.json();
    assert_eq!((&ledger["requests"][0]["id"], &ledger["requests"][1]), (&json!("too-many"), &Value::Null), "{ledger}");
    assert_eq!(ledger["requests"][0]["message"], json!(message));
    let page = proxy.get("/metrics").await.text();
    for sample in [
        "greenroom_ratelimit_rejections_total{dimension=\"requests_per_day\"} 1",
        "greenroom_ratelimit_rejections_total{dimension=\"max_in_flight\"} 0",
        "greenroom_pinned_requests_total{backend=\"one\",model=\"m\",outcome=\"denied\"} 1",
    ] {
        assert!(page.contains(sample), "{sample} in\n{page}");
    }
}

#[tokio::test]
async fn all_workers_share_one_account() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::default()
        .set("server", "workers = 4")
        .backend("one", upstream.addr)
        .set("users.limited", &user("requests_per_day = 7"));
    let proxy = Proxy::start(&settings).await;
    let replies = join_all((0..40).map(|_| hello(&proxy))).await;
    let count = |status| replies.iter().filter(|reply| reply.status() == status).count();
    assert_eq!((count(200), count(429), upstream.asked()), (7, 33, 7));
}

#[tokio::test]
async fn every_answer_to_a_limited_user_says_what_is_left_and_none_to_others() {
    let upstream = Upstream::start(|_, ask| match ask.text() {
        text if text.contains("spoil") => Answer::json(500, "{}"),
        text if text.contains("refuse") => Answer::json(400, r#"{"error":{"message":"no","code":"bad"}}"#),
        _ if ask.head.line.contains("embeddings") => Answer::json(200, r#"{"data":[],"usage":{"prompt_tokens":3}}"#),
        _ => ask.saying("hi"),
    })
    .await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("server", "body_limit = 4096")
        .set("failover", "max_attempts = 1")
        .set("users.limited", &user("requests_per_day = 1000, tokens_per_day = 500"));
    let proxy = Proxy::start(&settings).await;
    let saying = |word: &str| HELLO.replace("Hello!", word);
    let absent = HELLO.replace("\"m\"", "\"absent\"");
    for (path, body, status) in [
        ("/v1/chat/completions", HELLO, 200),
        ("/v1/chat/completions", HELLO_STREAM, 200),
        ("/v1/chat/completions", "{", 400),
        ("/v1/chat/completions", &" ".repeat(5000), 413),
        ("/v1/chat/completions", &absent, 404),
        ("/v1/chat/completions", &hello_at("absent"), 403),
        ("/v1/chat/completions", &saying("refuse"), 400),
        ("/v1/completions", r#"{"model":"m","prompt":"Hello!"}"#, 200),
        ("/v1/embeddings", r#"{"model":"m","input":"Hello!"}"#, 200),
        ("/v1/responses", r#"{"model":"m","input":"Hello!"}"#, 200),
        ("/v1/responses", r#"{"model":"m","input":"Hello!","stream":true}"#, 200),
        ("/v1/messages", HELLO, 200),
        ("/v1/messages", "[]", 400),
        ("/v1/messages/count_tokens", HELLO, 400),
        ("/v1/chat/completions", &saying("spoil"), 502),
    ] {
        let reply = ask(&proxy, path, body).await;
        assert_eq!(reply.status(), status, "{path} {reply:?}");
        for unit in ["requests", "tokens"] {
            assert!(told(&reply.head, unit).is_some(), "{unit} of {path} {reply:?}");
        }
        let is_anthropic = reply.head.headers.iter().any(|(name, _)| name.starts_with("anthropic-ratelimit-"));
        assert_eq!(is_anthropic, path.starts_with("/v1/messages"), "{reply:?}");
        let other = proxy.send(path, &body).await;
        assert!(is_silent(&other.head), "{other:?}");
    }
    assert!(is_silent(&proxy.ask(&Ask::chat(HELLO)).await.head));
}

#[tokio::test]
async fn of_two_limits_the_tightest_is_told_and_of_none_nothing() {
    let upstream = Upstream::saying("hi").await;
    let proxy = stage(&upstream, "requests_per_minute = 100, requests_per_day = 4").await;
    let reply = hello(&proxy).await;
    assert_eq!(
        told(&reply.head, "requests").map(|[limit, remaining, _]| (limit, remaining)),
        Some(("4".into(), "3".into()))
    );
    assert_eq!(told(&reply.head, "tokens"), None);
    let at_once = stage(&upstream, "max_in_flight = 1").await;
    assert!(is_silent(&hello(&at_once).await.head));
}

#[tokio::test]
async fn the_messages_endpoint_speaks_of_limits_as_anthropic_does() {
    let upstream = Upstream::saying("hi").await;
    let proxy = stage(&upstream, "requests_per_day = 1").await;
    assert_eq!(ask(&proxy, "/v1/messages", HELLO).await.status(), 200);
    let reply = ask(&proxy, "/v1/messages", HELLO).await;
    let json = reply.json();
    assert_eq!(
        (reply.status(), &json["type"], &json["error"]["type"]),
        (429, &json!("error"), &json!("rate_limit_error"))
    );
    assert_eq!(json["request_id"], reply.header("x-request-id"));
    let header = |name: &str| reply.header(&format!("anthropic-ratelimit-requests-{name}")).to_owned();
    assert_eq!((&*header("limit"), &*header("remaining")), ("1", "0"));
    let reset = humantime::parse_rfc3339(&header("reset")).expect("RFC 3339");
    let left = reset.duration_since(std::time::SystemTime::now()).expect("in time to come").as_secs();
    assert!((86_300..=86_400).contains(&left), "{left}");
}

#[tokio::test]
async fn a_providers_own_limits_are_never_mixed_with_the_users() {
    let theirs = "x-ratelimit-limit-requests: 999\r\nx-ratelimit-remaining-tokens: 998\r\n\
                  anthropic-ratelimit-requests-limit: 997\r\n";
    let upstream = Upstream::always(Answer::json_with(200, theirs, &completion("hi"))).await;
    let proxy = stage(&upstream, "requests_per_day = 9").await;
    let head = ask(&proxy, "/v1/messages", HELLO).await.head;
    let own = |(name, _): &&(String, String)| !name.starts_with("x-greenroom-upstream-");
    assert_eq!(head.get("x-greenroom-upstream-x-ratelimit-limit-requests"), Some("999"));
    assert_eq!(
        (head.all("x-ratelimit-limit-requests"), head.all("anthropic-ratelimit-requests-limit")),
        (vec!["9"], vec!["9"])
    );
    assert!(!head.headers.iter().filter(own).any(|(name, _)| name.contains("tokens")), "{head:?}");
}

#[tokio::test]
async fn no_more_requests_run_at_once_than_may_and_the_next_gets_the_place_of_who_has_ended() {
    let gate = Gate::new();
    let answer = Answer::stream().chunk(sse::text("a")).wait(&gate).finished();
    let upstream = Upstream::always(answer).await;
    let proxy = stage(&upstream, "max_in_flight = 2").await;
    let mut streams = [begin(&proxy, HELLO_STREAM).await, begin(&proxy, HELLO_STREAM).await];
    for stream in &mut streams {
        assert_eq!(stream.head().await.status(), 200);
    }
    let reply = ask(&proxy, "/v1/chat/completions", HELLO_STREAM).await;
    assert_eq!(
        (reply.status(), reply.error("type"), reply.error("code")),
        (429, "rate_limit_error".into(), "concurrency_limit_exceeded".into())
    );
    assert_eq!((reply.header("retry-after"), reply.header("retry-after-ms")), ("1", "1000"));
    assert!(reply.error("message").contains("2 requests at once (max_in_flight)"), "{reply:?}");
    let mut other = proxy.begin(HELLO_STREAM).await;
    assert_eq!((other.head().await.status(), upstream.asked()), (200, 3));
    gate.open_for_all();
    let [first, _second] = &mut streams;
    first.rest().await;
    // Both answers had begun: the place is free with the last byte of either.
    assert_eq!(ask(&proxy, "/v1/chat/completions", HELLO_STREAM).await.status(), 200);
    let page = proxy.get("/metrics").await.text();
    assert!(page.contains("greenroom_ratelimit_rejections_total{dimension=\"max_in_flight\"} 1"), "{page}");
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back_streaming_or_not() {
    for body in [HELLO_STREAM, HELLO] {
        let hanging = Upstream::start(|n, ask| match n {
            0 if ask.wants_stream() => Answer::stream().chunk(sse::text("a")).hang(),
            0 => Answer::new().hang(),
            _ => Answer::says("hi"),
        })
        .await;
        let proxy = stage(&hanging, "max_in_flight = 1").await;
        let client = begin(&proxy, body).await;
        hanging.until("the request", |seen| seen.busy == 1).await;
        assert_eq!(hello(&proxy).await.error("code"), "concurrency_limit_exceeded");
        drop(client);
        eventually("its place", async || (hello(&proxy).await.status() == 200).then_some(())).await;
    }
}

#[tokio::test]
async fn a_reload_keeps_what_was_used_also_under_other_limits() {
    let upstream = Upstream::saying("hi").await;
    let proxy = stage(&upstream, "requests_per_day = 4, max_in_flight = 5").await;
    let under = async |limits: &str| {
        let limits = if limits.is_empty() { String::new() } else { format!("limits = {{ {limits} }}") };
        let lines = format!("token = \"{LIMITED}\"\nmodels = [\"*\"]\nbackends = [\"*\"]\n{limits}");
        let settings = Settings::new().backend("one", upstream.addr).set("users.limited", &lines);
        proxy.rewrite(&settings.toml());
        assert_eq!(proxy.post("/admin/reload?dry_run=true").await.status(), 200);
        let plan = proxy.post("/admin/reload").await.json();
        (plan["plan"]["changed"].to_string().contains("users.limited"), hello(&proxy).await)
    };
    assert_eq!(remaining(&hello(&proxy).await.head, "requests"), 3);
    let (is_changed, reply) = under("requests_per_day = 4, max_in_flight = 5").await;
    assert_eq!((is_changed, remaining(&reply.head, "requests")), (false, 2));
    let (is_changed, reply) = under("requests_per_day = 10").await;
    assert_eq!((is_changed, remaining(&reply.head, "requests")), (true, 7));
    let (_, reply) = under("requests_per_day = 2").await;
    assert_eq!((reply.status(), remaining(&reply.head, "requests")), (429, 0));
    let (_, reply) = under("").await;
    assert!(reply.status() == 200 && is_silent(&reply.head), "{reply:?}");
}

#[tokio::test]
async fn a_limit_can_come_from_the_environment() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("users.limited", &format!("token = \"{LIMITED}\"\nmodels = [\"*\"]\nbackends = [\"*\"]"));
    let proxy = Launch::new(&settings).env("GREENROOM__USERS__LIMITED__LIMITS__REQUESTS_PER_DAY", "1").start().await;
    assert_eq!((hello(&proxy).await.status(), hello(&proxy).await.status()), (200, 429));
}
