//! `Retry-After` and its relatives: read in every form, kept as a floor, told to the client, never slept on for long.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tokio::time::Instant;

use crate::support::{
    eventually,
    heard::{Heard, WAYS, hear, hello},
    proxy::{HELLO, Proxy},
    script::Answer,
    settings::Settings,
    upstream::{Received, Upstream},
};

const NO: &str = r#"{"error":{"message":"no","type":"x","param":null,"code":null}}"#;

fn limited(lines: &str) -> Answer {
    Answer::json_with(429, lines, NO)
}

async fn alone(answer: Answer, failover: &str) -> (Upstream, Proxy) {
    let one = Upstream::always(answer).await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", failover)).await;
    (one, proxy)
}

/// The header lines and, in milliseconds, what a client may be told.
fn forms() -> Vec<(String, Range<u64>)> {
    let from_now = |seconds| SystemTime::now() + Duration::from_secs(seconds);
    let date = httpdate::fmt_http_date(from_now(90));
    let stamp = humantime::format_rfc3339_seconds(from_now(80)).to_string();
    let form = |lines: &str, least: u64, most: u64| (lines.to_owned(), least..most + 1);
    vec![
        form("retry-after-ms: 70500\r\nretry-after: 999\r\n", 60_000, 70_500),
        form("x-ms-retry-after-ms: 71000\r\n", 60_000, 71_000),
        form("retry-after: 72\r\n", 60_000, 72_000),
        form("retry-after: 72.5\r\n", 60_000, 72_500),
        form(&format!("retry-after: {date}\r\n"), 70_000, 90_000),
        form("x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1m15s\r\n", 60_000, 75_000),
        form("x-ratelimit-reset-requests: 1m14s\r\n", 60_000, 74_000),
        form("x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 76000ms\r\n", 60_000, 76_000),
        form(
            &format!("anthropic-ratelimit-tokens-remaining: 0\r\nanthropic-ratelimit-tokens-reset: {stamp}\r\n"),
            60_000,
            80_000,
        ),
        // What is not used up is not meant, and what is no time is none: a backoff of one second at most.
        form("x-ratelimit-remaining-tokens: 5\r\nx-ratelimit-reset-tokens: 76s\r\n", 1, 1000),
        form("retry-after: soon\r\n", 1, 1000),
        form("retry-after: -5\r\n", 1, 1000),
        // No provider is left alone for longer than a day.
        form("retry-after: 99999999\r\n", 80_000_000, 86_400_000),
    ]
}

#[tokio::test]
async fn every_form_is_read_told_to_the_client_and_kept_by_the_gate() {
    for (n, (lines, told)) in forms().into_iter().enumerate() {
        let (one, proxy) = alone(limited(&lines), "max_attempts = 1").await;
        let first = proxy.chat(hello(n % 2 == 0)).await;
        assert_eq!((first.status(), first.error("code").as_str()), (429, "upstream_rate_limited"), "{lines}{first:?}");
        let words = if told.start > 1 { "asked to wait" } else { "too many requests" };
        let report =
            proxy.until("one", "a shut gate", |r| r["reason"].as_str().is_some_and(|r| r.contains(words))).await;
        let reopens = report["reopens_in_ms"].as_u64().unwrap_or_default();
        assert!(reopens <= told.end && (reopens >= told.start || told.start == 1), "{lines}{report}");
        if told.start > 1 {
            let second = proxy.chat(hello(n % 2 == 1)).await;
            assert_eq!((second.status(), one.asked()), (503, 1), "{lines}: asked again too early");
            for reply in [first, second] {
                let millis: u64 = reply.header("retry-after-ms").parse().unwrap();
                let seconds: u64 = reply.header("retry-after").parse().unwrap();
                assert!(told.contains(&millis) && seconds == millis.div_ceil(1000), "{lines}{reply:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_503_that_asks_to_wait_shuts_the_gate_as_well() {
    let (one, proxy) = alone(Answer::json_with(503, "retry-after: 70\r\n", NO), "max_attempts = 1").await;
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (503, "upstream_overloaded"));
    assert_eq!(reply.header("retry-after"), "70");
    proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    assert_eq!((proxy.hello().await.error("code").as_str(), one.asked()), ("no_healthy_backend", 1));
}

#[tokio::test]
async fn a_long_wait_is_told_at_once_and_never_slept_on() {
    for (stream, lines) in WAYS.into_iter().zip(["retry-after: 61\r\n", "retry-after: 3600\r\n"]) {
        let (one, proxy) = alone(limited(lines), "").await;
        let asked = Instant::now();
        assert_eq!(hear(&proxy, stream).await.status, 429);
        assert!(asked.elapsed() < Duration::from_secs(2));
        assert_eq!(one.asked(), 1);
    }
}

#[tokio::test]
async fn a_wait_that_outlives_the_deadline_is_told_at_once() {
    for stream in WAYS {
        let (one, proxy) = alone(limited("retry-after: 9\r\n"), "deadline = \"5s\"").await;
        let asked = Instant::now();
        let reply = proxy.chat(hello(stream)).await;
        assert!(asked.elapsed() < Duration::from_secs(2));
        assert_eq!((reply.status(), reply.header("retry-after"), one.asked()), (429, "9", 1));
    }
}

#[tokio::test]
async fn where_all_are_limited_the_client_hears_of_the_one_that_is_free_first() {
    for stream in WAYS {
        let one = Upstream::always(limited("retry-after: 300\r\n")).await;
        let two = Upstream::always(limited("retry-after: 100\r\n")).await;
        let three = Upstream::always(limited("retry-after: 200\r\n")).await;
        let settings = Settings::new().backend("one", one.addr).target("two", two.addr, "priority = 2").target(
            "three",
            three.addr,
            "priority = 3",
        );
        let proxy = Proxy::start(&settings).await;
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!((reply.status(), reply.header("retry-after")), (429, "100"), "{reply:?}");
        assert_eq!((one.asked(), two.asked(), three.asked()), (1, 1, 1));
        shut(&proxy, "three").await;
        let refused = proxy.chat(hello(stream)).await;
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!(refused.status() == 503 && (90..=100).contains(&seconds), "{refused:?}");
    }
}

#[tokio::test]
async fn the_last_attempt_is_for_who_named_a_wait_and_not_for_who_has_just_failed() {
    for (status, most) in [(500, 3), (503, 3), (503, 4), (500, 5)] {
        let named = limited("retry-after: 1\r\n");
        let one = Upstream::start(move |n, _| if n == 0 { named.clone() } else { Answer::says("hi") }).await;
        let peer = Upstream::always(Answer::json(status, "{}")).await;
        let settings = Settings::bad_and_peer(&one, &peer).set("failover", &format!("max_attempts = {most}"));
        let proxy = Proxy::start(&settings).await;
        let asked = Instant::now();
        let reply = proxy.hello().await;
        assert_eq!((reply.status(), reply.backend()), (200, "bad"), "{status}, {most}: {reply:?}");
        assert!(asked.elapsed() >= Duration::from_secs(1), "{status}, {most}: {:?}", asked.elapsed());
        assert_eq!(one.asked(), 2, "{status}, {most}");
    }
}

#[tokio::test]
async fn a_wait_counts_from_when_it_was_named_and_not_from_when_the_others_have_failed() {
    let named = limited("retry-after: 2\r\n");
    let one = Upstream::start(move |n, _| if n == 0 { named.clone() } else { Answer::says("hi") }).await;
    let peer = Upstream::always(Answer::new().work(Duration::from_millis(1500)).then(Answer::json(401, "{}"))).await;
    let proxy = Proxy::start(&Settings::bad_and_peer(&one, &peer)).await;
    let asked = Instant::now();
    assert_eq!(proxy.hello().await.status(), 200);
    let took = asked.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_millis(3200)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_client_that_is_told_of_a_limit_is_told_when_that_is_over() {
    for status in [500, 503] {
        let one = Upstream::always(limited("retry-after: 90\r\n")).await;
        let peer = Upstream::always(Answer::json(status, "{}")).await;
        let reply = Proxy::start(&Settings::bad_and_peer(&one, &peer)).await.hello().await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (429, "upstream_rate_limited"), "{reply:?}");
        assert_eq!(reply.header("retry-after"), "90", "{status}: {reply:?}");
    }
}

#[tokio::test]
async fn a_wait_is_a_floor_for_probes_and_the_backend_is_asked_right_after_it() {
    let limited_once = |n, ask: &Received| match n {
        0 => limited("retry-after-ms: 700\r\n"),
        _ => ask.saying("hi"),
    };
    let one = Upstream::start(limited_once).await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1")).await;
    let asked = Instant::now();
    assert_eq!(proxy.hello().await.status(), 429);
    shut(&proxy, "one").await;
    let back = eventually("the end of the wait", async || {
        let heard = hear(&proxy, true).await;
        (heard.status == 200).then_some(heard)
    })
    .await;
    assert_eq!(back, Heard::said("hi", "one"));
    assert!((Duration::from_millis(700)..Duration::from_secs(3)).contains(&asked.elapsed()), "{:?}", asked.elapsed());
    assert_eq!(one.asked(), 2);
}

/// Waits until the gate is shut: a backend's actor does that on its own thread, a moment after the answer.
async fn shut(proxy: &Proxy, name: &str) {
    proxy.until(name, "a shut gate", |report| report["state"] == "open").await;
}

#[tokio::test]
async fn to_be_asked_again_at_once_shuts_nobody_out() {
    for lines in ["retry-after: 0\r\n", "retry-after-ms: 0\r\n", "retry-after: Thu, 01 Jan 1970 00:00:09 GMT\r\n"] {
        let (one, proxy) = alone(Answer::json_with(500, lines, NO), "max_attempts = 1").await;
        for failures in 1..=2 {
            assert_eq!(proxy.hello().await.status(), 502, "{lines}");
            let report = proxy.until("one", "the failure", |r| r["consecutive_failures"] == failures).await;
            assert_eq!(report["state"], "degraded", "{lines}{report}");
        }
        assert_eq!(one.asked(), 2);
    }
}

#[tokio::test]
async fn an_error_within_an_answer_asks_to_wait_by_the_answers_head() {
    const LIMITED: &str = r#"{"error":{"message":"no","type":"rate_limit_error","param":null,"code":null}}"#;
    for stream in WAYS {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nretry-after: 70\r\ntransfer-encoding: chunked\r\n\r\n";
        let streamed = Answer::new().raw(head).chunk(format!("data: {LIMITED}\n\n")).end();
        let answer = if stream { streamed } else { Answer::json_with(200, "retry-after: 70\r\n", LIMITED) };
        let (one, proxy) = alone(answer, "max_attempts = 1").await;
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!((reply.status(), reply.header("retry-after"), one.asked()), (429, "70", 1), "{reply:?}");
    }
}

#[tokio::test]
async fn while_a_probe_is_under_way_a_client_is_told_to_wait_for_what_comes_of_it() {
    let one = Upstream::start(|n, _| if n == 0 { Answer::json(500, NO) } else { Answer::new().hang() }).await;
    let two = Upstream::always(limited("retry-after: 70\r\n")).await;
    let settings = Settings::new()
        .backend("one", one.addr)
        .peer(two.addr)
        .set("failover", "max_attempts = 1")
        .set("backends.one", "breaker_failures = 1\nbackoff_min = \"50ms\"\nfirst_token_soft = \"20s\"");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.hello().await.status(), 502);
    proxy.until("one", "the end of the backoff", |r| r["state"] == "half_open").await;
    let _probe = proxy.begin(HELLO).await;
    one.until("the probe", |seen| seen.busy == 1).await;
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), two.asked()), (429, 1), "{reply:?}");
    let millis: u64 = reply.header("retry-after-ms").parse().expect("a wait");
    assert!((500..=1000).contains(&millis), "{reply:?}");
}

#[tokio::test]
async fn what_google_says_of_a_limit_in_a_body_is_heeded_whoevers_protocol_it_speaks() {
    let details = |quota: &str| {
        format!(
            r#"{{"error":{{"code":429,"message":"q","status":"RESOURCE_EXHAUSTED","details":[
            {{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"Requests{quota}PerModel"}}]}},
            {{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"72s"}}]}}}}"#
        )
    };
    for protocol in ["openai", "gemini", "anthropic"] {
        for list in [false, true] {
            let body = |quota| if list { format!("[{}]", details(quota)) } else { details(quota) };
            let stage = async |quota| {
                let one = Upstream::always(Answer::json(429, &body(quota))).await;
                let settings = Settings::only(one.addr, "/v1", "m", &format!("protocol = \"{protocol}\""));
                let settings = settings.set("failover", "max_attempts = 1");
                (Proxy::start(&settings).await, one)
            };
            let (proxy, _one) = stage("PerMinute").await;
            let reply = proxy.hello().await;
            let told: u64 = reply.header("retry-after-ms").parse().unwrap();
            assert!((60_000..=72_000).contains(&told), "{protocol}, in a list: {list}: {reply:?}");
            let (proxy, _one) = stage("PerDay").await;
            assert_eq!(proxy.hello().await.status(), 502, "{protocol}, in a list: {list}");
            let spent = |report: &Value| report["reason"].as_str().is_some_and(|reason| reason.contains("no money"));
            proxy.until("only", "an account that has nothing left for today", spent).await;
        }
    }
}
