//! What users of gateways suffer from, as one failover suite lists it: the cases before any content, each streamed and whole.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::support::{
    eventually,
    heard::{Heard, WAYS, hear, hello},
    proxy::Proxy,
    script::{Answer, completion},
    settings::Settings,
    sse,
    upstream::{Received, Upstream},
};

const NO: &str = r#"{"error":{"message":"no","type":"x","param":null,"code":null}}"#;

fn alone(bad: &Upstream) -> Settings {
    Settings::new().backend("bad", bad.addr)
}

#[tokio::test]
async fn a_429_with_retry_after_is_answered_by_a_peer_at_once() {
    for stream in WAYS {
        let bad = Upstream::always(Answer::json_with(429, "retry-after: 2\r\n", NO)).await;
        let peer = Upstream::saying("hi").await;
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
        let asked = Instant::now();
        for _ in 0..3 {
            assert_eq!(hear(&proxy, stream).await, Heard::said("hi", "peer"));
        }
        assert!(asked.elapsed() < Duration::from_millis(1900));
        assert_eq!((bad.asked(), peer.asked()), (1, 3), "its gate stays shut until then");
    }
}

#[tokio::test]
async fn a_429_with_retry_after_and_no_peer_is_answered_after_it_and_never_before() {
    for stream in WAYS {
        let limited = |n, ask: &Received| match n {
            0 => Answer::json_with(429, "retry-after: 1\r\n", NO),
            _ => ask.saying("hi"),
        };
        let bad = Upstream::start(limited).await;
        let proxy = Proxy::start(&alone(&bad)).await;
        let asked = Instant::now();
        assert_eq!(hear(&proxy, stream).await, Heard::said("hi", "bad"));
        let waited = asked.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
        assert_eq!(bad.asked(), 2);
    }
}

#[tokio::test]
async fn an_endless_429_without_retry_after_is_not_hammered() {
    let case = async |stream| {
        let bad = Upstream::always(Answer::json(429, NO)).await;
        let proxy = Proxy::start(&alone(&bad).set("failover", "max_attempts = 20\ndeadline = \"3s\"")).await;
        let asked = Instant::now();
        let heard = hear(&proxy, stream).await;
        assert!(asked.elapsed() < Duration::from_secs(4));
        assert_eq!((heard.status, heard.error.as_str()), (429, "upstream_rate_limited"));
        assert!((2..=4).contains(&bad.asked()), "{} tries", bad.asked());
    };
    tokio::join!(case(true), case(false));
}

#[tokio::test]
async fn a_500_is_tried_once_more_on_the_same_backend_where_no_peer_is_free() {
    for stream in WAYS {
        let once = |n, ask: &Received| if n == 0 { Answer::json(500, NO) } else { ask.saying("hi") };
        let bad = Upstream::start(once).await;
        let proxy = Proxy::start(&alone(&bad)).await;
        assert_eq!(hear(&proxy, stream).await, Heard::said("hi", "bad"));
        assert_eq!(bad.asked(), 2);
    }
}

#[tokio::test]
async fn an_endless_503_is_answered_by_a_peer() {
    for stream in WAYS {
        let (bad, peer) = (Upstream::always(Answer::json(503, NO)).await, Upstream::saying("hi").await);
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
        for _ in 0..10 {
            assert_eq!(hear(&proxy, stream).await, Heard::said("hi", "peer"));
        }
        // The gate shuts after three, on another thread: one or two more may have been on their way.
        assert!(bad.asked() <= 6, "{} tries", bad.asked());
    }
}

#[tokio::test]
async fn a_reset_before_any_byte_is_answered_by_a_peer_or_by_one_more_try() {
    for stream in WAYS {
        let once = |n, ask: &Received| if n == 0 { Answer::new().reset() } else { ask.saying("again") };
        let (bad, peer) = (Upstream::start(once).await, Upstream::saying("hi").await);
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
        assert_eq!(hear(&proxy, stream).await, Heard::said("hi", "peer"));
        let bad = Upstream::start(once).await;
        let proxy = Proxy::start(&alone(&bad)).await;
        assert_eq!(hear(&proxy, stream).await, Heard::said("again", "bad"));
        assert_eq!(bad.asked(), 2);
    }
}

#[tokio::test]
async fn a_backend_that_never_answers_is_asked_once_and_let_go_and_a_peer_answers() {
    for stream in WAYS {
        let (bad, peer) = (Upstream::always(Answer::new().hang()).await, Upstream::saying("hi").await);
        let limits = "first_token_soft = \"20s\"\nfirst_token_hard = \"300ms\"";
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer).set("backends.bad", limits)).await;
        let asked = Instant::now();
        assert_eq!(hear(&proxy, stream).await, Heard::said("hi", "peer"));
        assert!(asked.elapsed() < Duration::from_secs(3));
        bad.until("the request to be closed", |seen| seen.abandoned == 1).await;
        assert_eq!(bad.asked(), 1);
    }
}

#[tokio::test]
async fn a_head_is_not_a_first_token() {
    for stream in WAYS {
        let slow = |_: usize, ask: &Received| {
            if ask.wants_stream() {
                return Answer::stream().chunk(sse::role()).hang();
            }
            Answer::new().raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n").hang()
        };
        let (bad, peer) = (Upstream::start(slow).await, Upstream::saying("hi").await);
        let proxy =
            Proxy::start(&Settings::bad_and_peer(&bad, &peer).set("backends.bad", "first_token_soft = \"300ms\""))
                .await;
        let asked = Instant::now();
        assert_eq!(hear(&proxy, stream).await, Heard::said("hi", "peer"));
        assert!(asked.elapsed() < Duration::from_secs(3));
        bad.until("the request to be closed", |seen| seen.abandoned == 1).await;
    }
}

const TOO_LONG: &str = r#"{"error":{"message":"This model's maximum context length is 8 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;

#[tokio::test]
async fn a_prompt_too_long_goes_only_to_a_backend_with_a_larger_window() {
    for stream in WAYS {
        for (window, answered) in
            [("context_window = 32000", true), ("context_window = 8000", false), ("model = \"m\"", true)]
        {
            let (bad, peer) = (Upstream::always(Answer::json(400, TOO_LONG)).await, Upstream::saying("hi").await);
            let settings = Settings::new().target("bad", bad.addr, "context_window = 8000").target(
                "peer",
                peer.addr,
                &format!("priority = 2, {window}"),
            );
            let proxy = Proxy::start(&settings).await;
            let heard = hear(&proxy, stream).await;
            if answered {
                assert_eq!(heard, Heard::said("hi", "peer"));
            } else {
                assert_eq!((heard.status, heard.error.as_str()), (400, "context_length_exceeded"));
            }
            assert_eq!((bad.asked(), peer.asked()), (1, usize::from(answered)), "{window}");
            let report = proxy.report("bad").await;
            assert_eq!((&report["state"], &report["requests"]["caller_fault"]), (&json!("healthy"), &json!(1)));
        }
    }
}

#[tokio::test]
async fn a_window_that_was_too_small_stays_too_small_whoever_is_asked_next() {
    let too_long = || Upstream::always(Answer::json(400, TOO_LONG));
    let (large, unknown, small) = (too_long().await, too_long().await, Upstream::saying("hi").await);
    let settings = Settings::new()
        .target("large", large.addr, "context_window = 32000")
        .target("unknown", unknown.addr, "priority = 2")
        .target("small", small.addr, "priority = 3, context_window = 8000");
    let proxy = Proxy::start(&settings).await;
    let heard = hear(&proxy, false).await;
    assert_eq!((heard.status, heard.error.as_str()), (400, "context_length_exceeded"));
    assert_eq!((large.asked(), unknown.asked(), small.asked()), (1, 1, 0));
}

#[tokio::test]
async fn a_refused_content_is_asked_for_once_and_the_reason_is_passed_on() {
    const REFUSED: &str = r#"{"error":{"message":"Your request was rejected by our safety system.","type":"invalid_request_error","param":null,"code":"content_policy_violation"}}"#;
    for stream in WAYS {
        let (bad, peer) = (Upstream::always(Answer::json(400, REFUSED)).await, Upstream::saying("hi").await);
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!((reply.status(), reply.text().as_str()), (400, REFUSED));
        assert_eq!((bad.asked(), peer.asked()), (1, 0));
    }
}

#[tokio::test]
async fn through_a_long_503_every_request_is_answered_and_traffic_comes_back() {
    for stream in WAYS {
        let sick = Arc::new(watch::Sender::new(true));
        let cell = sick.clone();
        let script =
            move |_: usize, ask: &Received| if *cell.borrow() { Answer::json(503, NO) } else { ask.saying("bad") };
        let (bad, peer) = (Upstream::start(script).await, Upstream::saying("peer").await);
        let quick = "backoff_min = \"100ms\"\nbackoff_max = \"400ms\"";
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer).set("defaults.backend", quick)).await;
        // Part of what is simulated: clients that come one by one through an outage of two seconds.
        for _ in 0..50 {
            assert_eq!(hear(&proxy, stream).await, Heard::said("peer", "peer"));
            sleep(Duration::from_millis(40)).await;
        }
        // Three to shut it, then one probe for each backoff of 50 ms, 100 ms, 200 ms and so on at least.
        assert!((3..=15).contains(&bad.asked()), "{} tries", bad.asked());
        sick.send_replace(false);
        let back = Instant::now();
        eventually("traffic", async || (hear(&proxy, stream).await == Heard::said("bad", "bad")).then_some(())).await;
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
        proxy.until("bad", "an open gate", |r| r["state"] == "healthy").await;
    }
}

#[tokio::test]
async fn the_answer_and_its_headers_name_who_really_served() {
    for stream in WAYS {
        let bad = Upstream::always(Answer::json(500, NO)).await;
        let theirs = |text: String| text.replace("\"model\":\"m\"", "\"model\":\"big-2026\"");
        let peer = Upstream::start(move |_, ask| {
            if ask.wants_stream() {
                Answer::stream().chunk(theirs(sse::text("hi"))).chunk(theirs(sse::finish())).chunk(sse::DONE).end()
            } else {
                Answer::json(200, &theirs(completion("hi")))
            }
        })
        .await;
        let settings =
            Settings::new().backend("bad", bad.addr).target("peer", peer.addr, "priority = 2, model = \"big\"");
        let proxy = Proxy::start(&settings).await;
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!(Heard::of(&reply), Heard::said("hi", "peer"));
        assert_eq!(reply.header("x-greenroom-upstream-model"), "big");
        assert_eq!(reply.header("x-greenroom-route"), "failover");
        assert_eq!(reply.header("x-greenroom-attempts"), "2");
        assert!(reply.text().contains("\"model\":\"big-2026\""), "{reply:?}");
        assert!(peer.last().text().contains("\"model\":\"big\""), "{:?}", peer.last());
    }
}
