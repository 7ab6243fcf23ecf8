//! The point of no return: the head is held to the first content or a keepalive, and what follows is never passed off as more than it is.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::support::{
    heard::{Heard, WAYS, hear, hello},
    proxy::{HELLO_STREAM, Proxy},
    script::{Answer, Gate, completion},
    settings::Settings,
    sse,
    upstream::Upstream,
    wire::{End, Head},
};

/// A request for a stream that wants to know the token counts.
const WITH_USAGE: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Hi"}]}"#;

#[tokio::test]
async fn the_head_is_held_until_there_is_content() {
    let (role, content) = (Gate::new(), Gate::new());
    let answer = Answer::stream().chunk(sse::role()).chunk(": too early\n\n").wait(&role).chunk(sse::text("hi"));
    let one = Upstream::always(answer.wait(&content).chunk(": a comment\n\n").finished()).await;
    let proxy = Proxy::before(&one).await;
    let mut client = proxy.begin(HELLO_STREAM).await;
    one.until("the request", |seen| seen.busy == 1).await;
    let early = timeout(Duration::from_millis(200), client.maybe_head()).await;
    assert!(early.is_err(), "a head before any content: {early:?}");
    role.open();
    let head = client.head().await;
    assert_eq!((head.status(), head.get("x-greenroom-backend")), (200, Some("one")));
    content.open();
    let (body, end) = client.rest().await;
    let whole = sse::role() + &sse::text("hi") + ": a comment\n\n" + &sse::finish() + sse::DONE;
    assert_eq!((String::from_utf8(body).unwrap(), end), (whole, End::Clean));
}

#[tokio::test]
async fn frames_of_a_backend_that_fails_before_content_are_never_seen() {
    let odd = sse::role().replace("chatcmpl-7", "chatcmpl-odd");
    let bad = Upstream::always(Answer::stream().chunk(odd).work(Duration::from_millis(50)).close()).await;
    let peer = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    assert_eq!(Heard::of(&reply), Heard::said("hi", "peer"));
    assert!(!reply.text().contains("odd"), "{reply:?}");
}

const SOON: &str = "keepalive_after = \"150ms\"\nkeepalive_every = \"100ms\"";

#[tokio::test]
async fn a_client_that_waits_gets_a_head_and_comments_then_the_name_of_who_serves() {
    let gate = Gate::new();
    let one = Upstream::always(Answer::new().wait(&gate).then(Answer::streams("hi"))).await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", SOON)).await;
    let mut client = proxy.begin(HELLO_STREAM).await;
    let head = client.head().await;
    assert_eq!(head.status(), 200);
    assert!(head.get("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")), "{head:?}");
    assert!(head.get("x-request-id").is_some(), "{head:?}");
    assert_eq!(named_in(&head), [None; 4], "nobody has served yet");
    for _ in 0..3 {
        assert_eq!(client.frame().await.as_deref(), Some(": keepalive"));
    }
    gate.open();
    let (body, end) = client.rest().await;
    let body_text = String::from_utf8_lossy(&body);
    assert!(body_text.contains(": greenroom backend=one\n\n"), "{body_text}");
    assert_eq!((sse::text_of(&body).as_str(), sse::is_done(&body), end), ("hi", true, End::Clean));
}

/// What a head says of who served.
fn named_in(head: &Head) -> [Option<&str>; 4] {
    ["backend", "upstream-model", "route", "attempts"].map(|name| head.get(&format!("x-greenroom-{name}")))
}

#[tokio::test]
async fn a_comment_goes_out_with_an_early_head_however_long_the_pause_between_comments() {
    let one = Upstream::always(Answer::new().hang()).await;
    let lines = "keepalive_after = \"150ms\"\nkeepalive_every = \"60s\"";
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", lines)).await;
    let mut client = proxy.begin(HELLO_STREAM).await;
    assert_eq!(client.head().await.status(), 200);
    let frame = timeout(Duration::from_secs(5), client.frame()).await.expect("a comment at once");
    assert_eq!(frame.as_deref(), Some(": keepalive"));
}

#[tokio::test]
async fn behind_the_first_content_only_the_pause_between_comments_counts() {
    let slow = Answer::stream().chunk(sse::text("a")).work(Duration::from_millis(600)).chunk(sse::text("b")).finished();
    let one = Upstream::always(slow).await;
    let lines = "keepalive_after = \"200ms\"\nkeepalive_every = \"60s\"";
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", lines)).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    assert_eq!(sse::text_of(&reply.body), "ab");
    assert!(!reply.text().contains("keepalive"), "{reply:?}");
}

#[tokio::test]
async fn failing_over_is_still_possible_after_a_keepalive() {
    for bad in [Answer::new().hang(), Answer::new().work(Duration::from_millis(500)).then(Answer::json(500, "{}"))] {
        let (bad, peer) = (Upstream::always(bad).await, Upstream::saying("hi").await);
        let limits = "first_token_soft = \"20s\"\nfirst_token_hard = \"700ms\"";
        let proxy =
            Proxy::start(&Settings::bad_and_peer(&bad, &peer).set("failover", SOON).set("backends.bad", limits)).await;
        let mut client = proxy.begin(HELLO_STREAM).await;
        let head = client.head().await;
        assert_eq!((head.status(), named_in(&head)), (200, [None; 4]), "the one that is asked first fails");
        let (body, end) = client.rest().await;
        let text = String::from_utf8_lossy(&body);
        assert!(text.starts_with(": keepalive\n\n") && text.contains(": greenroom backend=peer\n\n"), "{text}");
        assert_eq!((sse::text_of(&body).as_str(), sse::is_done(&body), end), ("hi", true, End::Clean));
        assert_eq!((bad.asked(), peer.asked()), (1, 1));
    }
}

#[tokio::test]
async fn a_failure_after_a_keepalive_is_an_error_frame_and_no_done() {
    let one = Upstream::always(Answer::new().hang()).await;
    let limits = "first_token_soft = \"20s\"\nfirst_token_hard = \"500ms\"";
    let settings = Settings::new().backend("one", one.addr).set("failover", SOON).set("backends.one", limits);
    let proxy = Proxy::start(&settings).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    let error = sse::error_of(&reply.body).unwrap_or_default();
    assert_eq!((reply.status(), error["code"].as_str()), (200, Some("upstream_timeout")), "{reply:?}");
    assert_eq!((sse::is_done(&reply.body), reply.end), (false, End::Truncated), "{reply:?}");
    assert!(error["request_id"] == reply.header("x-request-id"), "{reply:?}");
}

#[tokio::test]
async fn one_malformed_frame_among_good_ones_is_dropped_and_the_answer_is_whole() {
    let begun = Answer::stream().chunk(sse::text("a ")).chunk("data: {\"choices\":[{\n\n").chunk(sse::text("b"));
    let one = Upstream::always(begun.finished()).await;
    let proxy = Proxy::before(&one).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    assert_eq!(reply.text(), sse::text("a ") + &sse::text("b") + &sse::finish() + sse::DONE);
    assert_eq!(one.asked(), 1);
}

#[tokio::test]
async fn a_second_malformed_frame_fails_the_stream() {
    let gate = Gate::new();
    let begun = Answer::stream().chunk(sse::text("a ")).wait(&gate).chunk("data: {\n\n").chunk("data: {\n\n");
    let one = Upstream::always(begun.chunk(sse::text("b")).finished()).await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("models.m", "rescue = \"off\"")).await;
    let mut client = proxy.begin(HELLO_STREAM).await;
    assert_eq!(client.head().await.status(), 200);
    gate.open();
    let (body, end) = client.rest().await;
    let code = sse::error_of(&body).map(|error| error["code"].clone());
    assert_eq!(code, Some("upstream_invalid_response".into()));
    assert_eq!((sse::text_of(&body).as_str(), sse::is_done(&body), end), ("a ", false, End::Truncated));
}

#[tokio::test]
async fn a_malformed_whole_answer_is_found_out_before_its_head_goes_out() {
    let (bad, peer) = (Upstream::always(Answer::json(200, "{\"choices\":[{]}")).await, Upstream::saying("hi").await);
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
    assert_eq!(hear(&proxy, false).await, Heard::said("hi", "peer"));
}

#[tokio::test]
async fn a_stream_without_done_is_finished_in_time_and_its_usage_kept() {
    let said = Answer::stream().chunk(sse::text("hi")).chunk(sse::finish()).chunk(sse::usage(7, 9));
    for answer in [said.clone().hang(), said.clone().end(), said.close()] {
        let one = Upstream::always(answer).await;
        let proxy = Proxy::before(&one).await;
        let asked = Instant::now();
        let reply = proxy.chat(WITH_USAGE).await;
        assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
        assert_eq!(reply.text(), sse::text("hi") + &sse::finish() + &sse::usage(7, 9) + sse::DONE);
        assert_eq!(reply.end, End::Clean);
        proxy.logged(&["greenroom::request", "tokens_in=7", "tokens_out=9"]).await;
        assert_eq!(proxy.report("one").await["requests"]["success"], 1);
    }
}

#[tokio::test]
async fn an_answer_of_nothing_but_a_finish_is_an_answer() {
    let one = Upstream::always(Answer::stream().chunk(sse::role()).finished()).await;
    let proxy = Proxy::before(&one).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    assert_eq!(reply.text(), sse::role() + &sse::finish() + sse::DONE);
    assert_eq!(one.asked(), 1);
}

#[tokio::test]
async fn an_end_marker_behind_nothing_is_no_answer() {
    for nothing in [Answer::stream(), Answer::stream().chunk(sse::role()), Answer::stream().chunk(sse::usage(7, 0))] {
        let (bad, peer) = (Upstream::always(nothing.chunk(sse::DONE).end()).await, Upstream::saying("hi").await);
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
        assert_eq!(hear(&proxy, true).await, Heard::said("hi", "peer"));
        let alone = Proxy::start(&Settings::new().backend("bad", bad.addr)).await;
        let reply = alone.chat(HELLO_STREAM).await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (502, "upstream_invalid_response"), "{reply:?}");
    }
}

#[tokio::test]
async fn an_answer_that_fails_in_the_breath_of_its_first_word_is_none() {
    let error = sse::data(&serde_json::json!({"error": {"message": "x", "type": "server_error"}}));
    let bad = Upstream::always(Answer::stream().chunk(sse::text("lost ") + &error).end()).await;
    let peer = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
    assert_eq!(hear(&proxy, true).await, Heard::said("hi", "peer"));
    let alone = Proxy::start(&Settings::new().backend("bad", bad.addr)).await;
    let reply = alone.chat(HELLO_STREAM).await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (502, "upstream_error"), "{reply:?}");
}

#[tokio::test]
async fn frames_without_data_and_counts_of_another_shape_break_nothing() {
    let counted = |frame: String| frame.replacen('{', "{\"usage\":[],", 1);
    let begun = Answer::stream().chunk("data:\n\n").chunk(counted(sse::text("a "))).chunk("data: \n\n");
    let one = Upstream::always(begun.chunk("event: ping\ndata:\n\n").chunk(counted(sse::text("b"))).finished()).await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("models.m", "rescue = \"off\"")).await;
    let reply = proxy.chat(hello(true)).await;
    assert_eq!(Heard::of(&reply), Heard::said("a b", "one"));
    // The OpenAI SDKs read nothing as a piece of JSON.
    assert!(!reply.text().contains("data:\n") && !reply.text().contains("data: \n"), "{reply:?}");
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_an_answer() {
    const MARK: &str = "\u{feff}";
    let stream = Answer::stream().chunk(MARK.to_owned() + &sse::text("hi")).finished();
    let whole = Answer::json(200, &(MARK.to_owned() + &completion("hi")));
    let one = Upstream::start(move |_, ask| if ask.wants_stream() { stream.clone() } else { whole.clone() }).await;
    let proxy = Proxy::before(&one).await;
    for stream in WAYS {
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!(Heard::of(&reply), Heard::said("hi", "one"));
        assert!(!reply.text().contains(MARK), "{reply:?}");
    }
}
