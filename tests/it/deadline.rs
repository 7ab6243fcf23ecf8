//! The whole request's deadline: over all attempts, lowered by the client, never raised.

use std::{ops::Range, time::Duration};

use tokio::time::Instant;

use crate::support::{
    client::{Ask, Reply},
    heard::{WAYS, hello},
    proxy::Proxy,
    script::Answer,
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
};

const NAME: &str = "x-greenroom-timeout-ms";

async fn ask(proxy: &Proxy, stream: bool, millis: &str) -> (Reply, Duration) {
    let asked = Instant::now();
    let reply = proxy.ask(&Ask::chat(hello(stream)).bearer(TOKEN).header(NAME, millis)).await;
    (reply, asked.elapsed())
}

fn assert_late(reply: &Reply) {
    let face = (reply.status(), reply.error("type"), reply.error("code"));
    assert_eq!(face, (504, "timeout_error".to_owned(), "upstream_timeout".to_owned()), "{reply:?}");
}

fn about(millis: u64) -> Range<Duration> {
    Duration::from_millis(millis)..Duration::from_millis(millis + 2500)
}

#[tokio::test]
async fn a_client_may_lower_its_deadline() {
    for stream in WAYS {
        let one = Upstream::always(Answer::new().hang()).await;
        let proxy = Proxy::before(&one).await;
        let (reply, waited) = ask(&proxy, stream, "300").await;
        assert_late(&reply);
        assert!(about(300).contains(&waited), "{waited:?}");
        assert!(reply.error("message").contains(NAME), "whose limit it was: {reply:?}");
        one.until("the request to be closed", |seen| seen.abandoned == 1).await;
        assert_eq!(one.asked(), 1);
    }
}

#[tokio::test]
async fn the_message_names_the_limit_that_was_reached() {
    let one = Upstream::always(Answer::stream().chunk(sse::text("a")).hang()).await;
    let settings = Settings::new().backend("one", one.addr).set("backends.one", "total_timeout = \"300ms\"");
    let proxy = Proxy::start(&settings).await;
    let (reply, _) = ask(&proxy, true, "5000").await;
    let error = sse::error_of(&reply.body).unwrap_or_default();
    assert!(error["message"].as_str().is_some_and(|text| text.contains("total_timeout")), "{reply:?}");
}

#[tokio::test]
async fn a_head_without_a_body_and_a_body_that_stands_still_are_silence_streamed_or_not() {
    let begun = |kind: &str, piece: &str| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
        let head = Answer::new().raw(head);
        if piece.is_empty() { head.hang() } else { head.chunk(piece).hang() }
    };
    for (kind, piece, limit) in [
        ("application/json", "", "first_token_hard"),
        ("application/json", "{\"choices\":[", "idle_timeout"),
        ("text/event-stream", "", "first_token_hard"),
    ] {
        let (one, peer) = (Upstream::always(begun(kind, piece)).await, Upstream::saying("hi").await);
        let limits = "first_token_soft = \"2s\"\nfirst_token_hard = \"300ms\"\nidle_timeout = \"200ms\"";
        let settings = Settings::bad_and_peer(&one, &peer).set("backends.bad", limits);
        let proxy = Proxy::start(&settings).await;
        let stream = kind == "text/event-stream";
        let (reply, waited) = ask(&proxy, stream, "20000").await;
        assert_eq!((reply.status(), reply.backend()), (200, "peer"), "{kind} {piece}: {reply:?}");
        assert!(about(if piece.is_empty() { 300 } else { 200 }).contains(&waited), "{kind} {piece}: {waited:?}");
        let ledger = proxy.get("/admin/requests").await.json();
        let said = ledger["requests"][0]["attempts"][0]["message"].as_str().unwrap_or_default();
        assert!(said.contains(limit), "{kind} {piece}: {said}");
    }
}

#[tokio::test]
async fn a_whole_answer_that_comes_slowly_but_steadily_is_not_silent() {
    let whole = crate::support::script::completion("hi");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    // Blanks in front, as some providers keep a connection alive.
    let slow = (0..8).fold(Answer::new().raw(head), |answer, _| answer.chunk("\n").work(Duration::from_millis(100)));
    let one = Upstream::always(slow.chunk(whole).end()).await;
    let limits = "first_token_soft = \"2s\"\nfirst_token_hard = \"400ms\"\nidle_timeout = \"400ms\"";
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("backends.one", limits)).await;
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), one.asked()), (200, 1), "{reply:?}");
}

#[tokio::test]
async fn nobody_may_raise_it() {
    for stream in WAYS {
        let one = Upstream::always(Answer::new().hang()).await;
        let proxy =
            Proxy::start(&Settings::new().backend("one", one.addr).set("failover", "deadline = \"300ms\"")).await;
        let (reply, waited) = ask(&proxy, stream, "60000").await;
        assert_late(&reply);
        assert!(about(300).contains(&waited), "{waited:?}");
    }
}

#[tokio::test]
async fn it_holds_over_all_attempts_and_their_waits() {
    for stream in WAYS {
        // Each attempt takes 200 ms: the third would end after the deadline.
        let slow = || Answer::new().work(Duration::from_millis(200)).then(Answer::json(500, "{}"));
        let (one, two) = (Upstream::always(slow()).await, Upstream::always(slow()).await);
        let three = Upstream::always(Answer::new().hang()).await;
        let settings = Settings::new().backend("one", one.addr).target("two", two.addr, "priority = 2").target(
            "three",
            three.addr,
            "priority = 3",
        );
        let proxy = Proxy::start(&settings).await;
        let (reply, waited) = ask(&proxy, stream, "800").await;
        assert!(about(800).contains(&waited), "{waited:?}");
        assert_late(&reply);
        assert_eq!((one.asked(), two.asked(), three.asked()), (1, 1, 1));
    }
}

#[tokio::test]
async fn a_stream_under_way_ends_with_an_error_frame_at_the_deadline() {
    let one = Upstream::always(Answer::stream().chunk(sse::text("begun ")).hang()).await;
    let peer = Upstream::saying("begun and done").await;
    let settings = Settings::new().backend("one", one.addr).peer(peer.addr);
    let proxy = Proxy::start(&settings).await;
    let (reply, waited) = ask(&proxy, true, "500").await;
    assert!(about(500).contains(&waited), "{waited:?}");
    let code = sse::error_of(&reply.body).map(|error| error["code"].clone());
    assert_eq!((sse::text_of(&reply.body).as_str(), code), ("begun ", Some("upstream_timeout".into())), "{reply:?}");
    assert_eq!((sse::is_done(&reply.body), reply.end), (false, End::Truncated));
}

#[tokio::test]
async fn a_client_that_runs_out_of_time_does_not_hurt_the_backend() {
    let one = Upstream::always(Answer::new().hang()).await;
    let proxy = Proxy::before(&one).await;
    for _ in 0..5 {
        let (reply, _) = ask(&proxy, true, "50").await;
        assert_late(&reply);
    }
    let report = proxy.report("one").await;
    assert_ne!(report["state"], "open", "a client's haste is no failure of the backend: {report}");
    assert_eq!(one.asked(), 5);
}

#[tokio::test]
async fn a_client_in_a_hurry_does_not_hurt_a_backend_that_is_slow_to_begin() {
    // Slower than this a backend may be, up to first_token_hard; and of a whole answer nothing is seen before its end.
    for (stream, state) in [(true, "healthy"), (false, "degraded")] {
        let one = Upstream::always(Answer::new().hang()).await;
        let settings = Settings::new().backend("one", one.addr).set("backends.one", "first_token_soft = \"20ms\"");
        let proxy = Proxy::start(&settings).await;
        for _ in 0..5 {
            assert_late(&ask(&proxy, stream, "100").await.0);
        }
        let report = proxy.report("one").await;
        assert_eq!((&report["requests"]["failure"], &report["state"]), (&0.into(), &state.into()), "{report}");
        // Others who want a whole answer are to wait elsewhere, where they can.
        let in_vain = report["reason"].as_str().is_some_and(|why| why.contains("waited for in vain"));
        assert_eq!((in_vain, one.asked()), (!stream, 5), "{report}");
    }
}

#[tokio::test]
async fn a_silent_probe_whose_client_is_in_a_hurry_has_failed_all_the_same() {
    let one = Upstream::start(|n, _| if n == 0 { Answer::json(500, "{}") } else { Answer::new().hang() }).await;
    let lines = "breaker_failures = 1\nbackoff_min = \"200ms\"\nfirst_token_soft = \"50ms\"";
    let settings = Settings::new().backend("one", one.addr).set("backends.one", lines);
    let proxy = Proxy::start(&settings.set("failover", "max_attempts = 1")).await;
    assert_eq!(ask(&proxy, true, "5000").await.0.status(), 502);
    proxy.until("one", "the end of the backoff", |r| r["state"] == "half_open").await;
    assert_late(&ask(&proxy, true, "200").await.0);
    let report = proxy.until("one", "a shut gate", |r| r["state"] == "open").await;
    let said = report["last_error"]["message"].as_str();
    assert!(said.is_some_and(|said| said.contains("first_token_soft")), "{report}");
}

#[tokio::test]
async fn a_deadline_that_is_none_is_refused() {
    let one = Upstream::saying("hi").await;
    let proxy = Proxy::before(&one).await;
    for bad in ["0", "-5", "soon", "1.5", ""] {
        let (reply, _) = ask(&proxy, false, bad).await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (400, "invalid_header"), "{bad}: {reply:?}");
        assert!(reply.error("message").contains(NAME), "{reply:?}");
    }
    assert_eq!(ask(&proxy, false, "5000").await.0.status(), 200);
    assert_eq!(one.asked(), 1);
}
