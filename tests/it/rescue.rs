//! Streams that break after content: taken over word for word by a peer, or ended with an error; never doubled, never altered.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    client::Reply,
    heard::{Heard, hear},
    proxy::{HELLO_STREAM, Proxy},
    script::Answer,
    settings::Settings,
    sse,
    upstream::Upstream,
    wire::End,
};

pub(crate) fn words(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("word{n} ")).collect()
}

pub(crate) fn story() -> String {
    words(60).concat()
}

/// The first `n` of sixty tokens.
fn begun(n: usize) -> Answer {
    words(n).iter().fold(Answer::stream().chunk(sse::role()), |answer, word| answer.chunk(sse::text(word)))
}

/// Long enough for the proxy to have passed on what was written before.
pub(crate) const PASSED_ON: Duration = Duration::from_millis(100);

pub(crate) fn cut(n: usize) -> Answer {
    begun(n).work(PASSED_ON).close()
}

/// A peer that says the same, in other pieces.
pub(crate) async fn peer() -> Upstream {
    let story = story();
    let pieces: Vec<String> = story.as_bytes().chunks(11).map(|piece| String::from_utf8_lossy(piece).into()).collect();
    let stream = pieces.iter().fold(Answer::stream().chunk(sse::role()), |a, piece| a.chunk(sse::text(piece)));
    let (stream, whole) = (stream.finished(), Answer::says(&story));
    Upstream::start(move |_, ask| if ask.wants_stream() { stream.clone() } else { whole.clone() }).await
}

async fn stage(bad: Answer) -> (Upstream, Upstream, Proxy) {
    let (bad, peer) = (Upstream::always(bad).await, peer().await);
    let settings = Settings::bad_and_peer(&bad, &peer).set("backends.bad", "idle_timeout = \"300ms\"");
    let proxy = Proxy::start(&settings).await;
    (bad, peer, proxy)
}

/// The one request in the ledger.
pub(crate) async fn entry(proxy: &Proxy) -> Value {
    let ledger = proxy.get("/admin/requests").await.json();
    assert_eq!(ledger["requests"].as_array().map(Vec::len), Some(1), "{ledger}");
    ledger["requests"][0].clone()
}

pub(crate) fn assert_broken(reply: &Reply, text: &str) {
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert_eq!(sse::text_of(&reply.body), text);
    assert!(!sse::is_done(&reply.body), "a broken answer must not claim to be complete: {reply:?}");
    assert!(sse::error_of(&reply.body).is_some(), "{reply:?}");
    assert_eq!(reply.end, End::Truncated, "{reply:?}");
}

#[tokio::test]
async fn words_that_came_last_and_unfinished_are_neither_lost_nor_doubled() {
    // Its body ends in order, but behind a frame that lacks its empty line, and without a finish reason.
    let last = sse::text("word2 ");
    let bad = begun(2).work(PASSED_ON).chunk(&last.as_bytes()[..last.len() - 1]).end();
    let (_bad, _peer, proxy) = stage(bad).await;
    assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
    assert_eq!(entry(&proxy).await["rescue"], "replayed");
}

#[tokio::test]
async fn a_stream_cut_after_40_of_60_tokens_is_completed_by_a_peer() {
    for bad in [cut(40), begun(40).work(PASSED_ON).reset()] {
        let (bad, peer, proxy) = stage(bad).await;
        assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
        assert_eq!((bad.asked(), peer.asked()), (1, 1));
        let entry = entry(&proxy).await;
        assert_eq!((&entry["rescue"], &entry["outcome"]), (&json!("replayed"), &json!("success")), "{entry}");
        assert_eq!(entry["attempts"][0]["outcome"], "provider_stream_cut", "{entry}");
        assert_eq!(entry["attempts"][1]["outcome"], "success", "{entry}");
        proxy.logged(&["greenroom::request", "rescue=replayed", "attempts=2"]).await;
        for backend in ["bad", "peer"] {
            proxy.until(backend, "the leases given back", |r| r["waiting"] == 0 && r["streaming"] == 0).await;
        }
    }
}

#[tokio::test]
async fn a_whole_answer_cut_short_is_replaced_by_a_peers() {
    let short = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"choices\":[";
    let (bad, peer, proxy) = stage(Answer::new().raw(short).close()).await;
    assert_eq!(hear(&proxy, false).await, Heard::said(&story(), "peer"));
    assert_eq!((bad.asked(), peer.asked()), (1, 1));
}

#[tokio::test]
async fn a_stream_that_stalls_after_20_tokens_is_completed_by_a_peer() {
    let (bad, _peer, proxy) = stage(begun(20).hang()).await;
    let asked = Instant::now();
    assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    bad.until("the request to be closed", |seen| seen.abandoned == 1).await;
}

#[tokio::test]
async fn a_stream_that_stalls_with_nobody_to_rescue_it_ends_with_an_error_in_time() {
    let bad = Upstream::always(begun(20).hang()).await;
    let settings = Settings::new().backend("bad", bad.addr).set("backends.bad", "idle_timeout = \"300ms\"");
    let proxy = Proxy::start(&settings).await;
    let asked = Instant::now();
    let reply = proxy.chat(HELLO_STREAM).await;
    assert_broken(&reply, &words(20).concat());
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(sse::error_of(&reply.body).map(|e| e["code"].clone()), Some(json!("upstream_timeout")));
    assert_eq!(bad.asked(), 1, "a backend that fell silent is not asked again");
}

#[tokio::test]
async fn a_peer_that_says_something_else_ends_the_stream_with_an_error_and_is_not_blamed() {
    let bad = Upstream::always(cut(40)).await;
    let other = Upstream::saying("word0 word1 and then something else").await;
    let settings = Settings::bad_and_peer(&bad, &other).set("failover", "max_attempts = 2");
    let proxy = Proxy::start(&settings).await;
    for asked in 1..=4 {
        // A new request each time; the gate of `bad` may have shut by then.
        let reply = proxy.chat(HELLO_STREAM).await;
        if reply.backend() == "bad" {
            assert_broken(&reply, &words(40).concat());
            assert_eq!(other.asked(), asked);
        }
    }
    let report = proxy.report("peer").await;
    assert_eq!((&report["state"], &report["requests"]["failure"]), (&json!("healthy"), &json!(0)), "{report}");
    let failed = proxy.get("/admin/requests?backend=bad").await.json();
    assert_eq!(failed["requests"][0]["rescue"], "failed", "{failed}");
    let told = &failed["requests"][0]["attempts"][1]["outcome"];
    assert_eq!(
        (told, &report["requests"]["caller_fault"]),
        (&json!("let_go"), &json!(0)),
        "as it is counted: {failed}"
    );
}

#[tokio::test]
async fn where_nobody_can_take_over_the_client_is_told_why_its_own_stream_broke() {
    let (bad, full) = (Upstream::always(cut(40)).await, Upstream::always(Answer::json(503, "{}")).await);
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &full)).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    assert_broken(&reply, &words(40).concat());
    assert!(full.asked() > 0);
    let error = sse::error_of(&reply.body).expect("an error frame");
    let told = error["message"].as_str().unwrap_or_default();
    assert!(told.contains("broke off") || told.contains("ended before"), "{error}");
}

#[tokio::test]
async fn a_peer_that_stops_before_the_seam_or_at_it_is_judged_by_its_finish() {
    for (text, fits) in [(words(20).concat(), false), (words(40).concat(), true)] {
        let bad = Upstream::always(cut(40)).await;
        let stream = Answer::streams(&text);
        let peer = Upstream::start(move |_, _| stream.clone()).await;
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer).set("failover", "max_attempts = 2")).await;
        let reply = proxy.chat(HELLO_STREAM).await;
        if fits {
            assert_eq!(Heard::of(&reply), Heard::said(&text, "bad"));
        } else {
            assert_broken(&reply, &words(40).concat());
        }
    }
}

#[tokio::test]
async fn a_stream_of_the_completions_endpoint_is_completed_by_a_peer() {
    let chunk = |text: &str, finish: Option<&str>| {
        let choice = json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish});
        sse::data(
            &json!({"id": "cmpl-7", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}),
        )
    };
    let all = |words: &[String]| words.iter().fold(Answer::stream(), |answer, word| answer.chunk(chunk(word, None)));
    let bad = Upstream::always(all(&words(40)).work(PASSED_ON).close()).await;
    let pieces: Vec<String> =
        story().as_bytes().chunks(11).map(|piece| String::from_utf8_lossy(piece).into()).collect();
    let peer = Upstream::always(all(&pieces).chunk(chunk("", Some("stop"))).chunk(sse::DONE).end()).await;
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
    let ask = r#"{"model":"m","stream":true,"prompt":"Once"}"#;
    let reply = proxy.send("/v1/completions", ask).await;
    let text = reply.text();
    let frames = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let said: String = frames.filter_map(|frame| Some(frame["choices"][0]["text"].as_str()?.to_owned())).collect();
    assert_eq!((said, sse::is_done(&reply.body), reply.end), (story(), true, End::Clean), "{text}");
    assert_eq!(entry(&proxy).await["rescue"], "replayed");
}

#[tokio::test]
async fn a_tool_call_is_not_rescued_half_way() {
    let call = json!({"choices": [{"index": 0, "delta": {"tool_calls": [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}},
    ]}, "finish_reason": null}]});
    let (bad, peer, proxy) = stage(Answer::stream().chunk(sse::data(&call)).work(PASSED_ON).close()).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    assert_broken(&reply, "");
    assert_eq!((bad.asked(), peer.asked()), (1, 0));
}

#[tokio::test]
async fn a_pinned_stream_and_one_whose_rescue_is_off_end_where_they_broke() {
    let (_bad, peer, proxy) = stage(cut(40)).await;
    let pinned = HELLO_STREAM.replacen('{', "{\"backend\":\"bad\",", 1);
    assert_broken(&proxy.chat(pinned).await, &words(40).concat());
    assert_eq!(peer.asked(), 0);
    let (bad, peer) = (Upstream::always(cut(40)).await, self::peer().await);
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer).set("models.m", "rescue = \"off\"")).await;
    assert_broken(&proxy.chat(HELLO_STREAM).await, &words(40).concat());
    assert_eq!(peer.asked(), 0);
}

#[tokio::test]
async fn where_one_attempt_is_all_a_broken_stream_is_not_taken_over() {
    let (bad, peer) = (Upstream::always(cut(40)).await, peer().await);
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer).set("failover", "max_attempts = 1")).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    assert_eq!((sse::is_done(&reply.body), reply.end), (false, End::Truncated), "{reply:?}");
    assert_eq!((bad.asked(), peer.asked()), (1, 0));
}

#[tokio::test]
async fn a_rescuer_that_ends_before_it_adds_anything_is_followed_by_another() {
    let other = sse::text("and then something else");
    let differs = begun(20).work(PASSED_ON).chunk(&other).finished();
    // All of it in one read: the end marker is there before the difference is told.
    let at_once = begun(20).work(PASSED_ON).chunk([&other, &sse::finish(), sse::DONE].concat()).end();
    for second in [cut(20), differs, at_once] {
        let (bad, second, third) = (Upstream::always(cut(40)).await, Upstream::always(second).await, peer().await);
        let settings = Settings::new().backend("bad", bad.addr).target("second", second.addr, "priority = 2").target(
            "third",
            third.addr,
            "priority = 3",
        );
        let proxy = Proxy::start(&settings).await;
        assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
        assert_eq!((bad.asked(), second.asked(), third.asked()), (1, 1, 1));
        assert_eq!(entry(&proxy).await["rescue"], "replayed");
    }
}

#[tokio::test]
async fn an_answer_with_log_probabilities_is_not_sewn_together() {
    let scored = sse::text("word0 ").replace("\"finish_reason\"", "\"logprobs\":{\"content\":[{}]},\"finish_reason\"");
    let (bad, peer, proxy) = stage(Answer::stream().chunk(scored).work(PASSED_ON).close()).await;
    assert_broken(&proxy.chat(HELLO_STREAM).await, "word0 ");
    assert_eq!((bad.asked(), peer.asked()), (1, 0));
}

#[tokio::test]
async fn who_lost_to_the_broken_stream_is_asked_to_rescue_it_only_where_nobody_else_is_left() {
    let silent_once = async || {
        let story = begun(60).finished();
        Upstream::start(move |n, _| if n == 0 { Answer::new().hang() } else { story.clone() }).await
    };
    let (slow, bad, peer) = (silent_once().await, Upstream::always(cut(40)).await, peer().await);
    let settings = Settings::new()
        .backend("slow", slow.addr)
        .target("bad", bad.addr, "priority = 2")
        .target("peer", peer.addr, "priority = 3")
        .set("backends.slow", "first_token_soft = \"100ms\"")
        .set("failover", "hedge_budget = 1.0");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
    assert_eq!((slow.asked(), bad.asked(), peer.asked()), (1, 1, 1));
    let slow = silent_once().await;
    let settings = Settings::new()
        .backend("slow", slow.addr)
        .target("bad", bad.addr, "priority = 2")
        .set("backends.slow", "first_token_soft = \"100ms\"")
        .set("failover", "hedge_budget = 1.0");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
    assert_eq!((slow.asked(), bad.asked()), (2, 2));
}
