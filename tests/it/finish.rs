//! When an answer is at its end: as each choice has its finish, whatever else is said of it, in front of it or behind it.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    rescue::assert_broken,
    support::{
        client::{Ask, Reply},
        heard::{Heard, hear},
        proxy::{HELLO_STREAM, Proxy},
        script::Answer,
        settings::{Settings, TOKEN},
        sse,
        upstream::Upstream,
        wire::End,
    },
};

/// Long enough for the proxy to have passed on what was written before.
const PASSED_ON: Duration = Duration::from_millis(100);

/// Longer than a stream is waited for behind its finish.
const PAUSE: Duration = Duration::from_millis(5400);

/// A chunk of the choice `index`.
fn of(index: u32, text: &str, finish: Option<&str>) -> String {
    sse::data(&json!({"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}))
}

/// A chunk of Gemini's.
fn gemini(text: &str, finish: Option<&str>) -> String {
    let parts = if text.is_empty() { json!([]) } else { json!([{"text": text}]) };
    sse::data(
        &json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": finish}]}),
    )
}

fn all(chunks: &[String]) -> Answer {
    chunks.iter().fold(Answer::stream(), Answer::chunk)
}

/// `bad`, which answers so in this protocol, and `peer`.
fn stage(protocol: &str, bad: &Upstream, peer: &Upstream) -> Settings {
    let backend = |protocol: &str, at: &Upstream| {
        format!("protocol = \"{protocol}\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"", at.addr)
    };
    Settings::new()
        .set("backends.bad", &backend(protocol, bad))
        .set("backends.peer", &backend("openai", peer))
        .set("models.m", "backends = [{ backend = \"bad\" }, { backend = \"peer\", priority = 2 }]")
}

/// What comes of an answer in this protocol, with a peer that says "Hello world".
async fn with_peer(protocol: &str, answer: Answer) -> (Reply, usize) {
    let (bad, peer) = (Upstream::always(answer).await, Upstream::saying("Hello world").await);
    let proxy = Proxy::start(&stage(protocol, &bad, &peer)).await;
    (proxy.chat(HELLO_STREAM).await, peer.asked())
}

#[tokio::test]
async fn an_answer_is_not_whole_while_one_of_its_choices_is() {
    let chunks = [of(0, "A", None), of(1, "B", None), of(0, "", Some("stop")), of(1, " and", None)];
    let alone = [of(0, "A", None), of(0, "", Some("stop"))];
    let prompt = |index: u32, text: &str, finish: Option<&str>| {
        let choice = json!({"index": index, "text": text, "finish_reason": finish});
        sse::data(&json!({"id": "cmpl-7", "object": "text_completion", "model": "m", "choices": [choice]}))
    };
    let prompts = [prompt(0, "one", None), prompt(0, "", Some("stop"))];
    let hello = HELLO_STREAM.replacen('{', "{\"n\":2,", 1);
    let two = r#"{"model":"m","stream":true,"prompt":["a","b"]}"#.to_owned();
    for (path, body, chunks) in [
        ("/v1/chat/completions", &hello, &chunks[..]),
        // The second has not even begun.
        ("/v1/chat/completions", &hello, &alone),
        ("/v1/completions", &two, &prompts[..]),
    ] {
        let one = Upstream::always(all(chunks).work(PASSED_ON).reset()).await;
        let proxy = Proxy::before(&one).await;
        let reply = proxy.ask(&Ask::post(path, body.as_str()).bearer(TOKEN)).await;
        assert!(!sse::is_done(&reply.body) && reply.end == End::Truncated, "{path}: {reply:?}");
        assert!(sse::error_of(&reply.body).is_some(), "{path}: {reply:?}");
    }
}

#[tokio::test]
async fn of_a_backend_that_knows_one_choice_only_its_orderly_end_is_believed() {
    let one = Upstream::always(all(&[of(0, "A", None), of(0, "", Some("stop"))]).end()).await;
    let proxy = Proxy::before(&one).await;
    let reply = proxy.chat(HELLO_STREAM.replacen('{', "{\"n\":2,", 1)).await;
    assert!(sse::is_done(&reply.body) && reply.end == End::Clean, "{reply:?}");
}

#[tokio::test]
async fn what_goes_on_behind_a_finish_may_take_its_time() {
    let n = HELLO_STREAM.replacen('{', "{\"n\":2,", 1);
    let second = all(&[of(0, "Hello world", None), of(1, "B", None), of(0, "", Some("stop"))]).work(PAUSE);
    let cases = [
        ("openai", n.as_str(), second.chunk(of(1, "", Some("stop"))).chunk(sse::DONE).end()),
        (
            "openai",
            HELLO_STREAM,
            all(&[of(0, "Hello ", Some("stop"))]).work(PAUSE).chunk(of(0, "world", None)).finished(),
        ),
        (
            "gemini",
            HELLO_STREAM,
            all(&[gemini("", Some("STOP"))]).work(PAUSE).chunk(gemini("Hello world", Some("STOP"))).end(),
        ),
    ];
    let asked = cases.map(|(protocol, body, answer)| async move {
        let (bad, peer) = (Upstream::always(answer).await, Upstream::saying("no").await);
        let proxy = Proxy::start(&stage(protocol, &bad, &peer)).await;
        Heard::of(&proxy.chat(body).await)
    });
    for heard in join_all(asked).await {
        assert_eq!((heard.text.replace('B', ""), heard.complete), ("Hello world".to_owned(), true));
    }
}

#[tokio::test]
async fn a_finish_reason_that_is_empty_is_none() {
    let begun = all(&[of(0, "Hel", Some("")), of(0, "lo", Some(""))]);
    let (reply, _) = with_peer("openai", begun.clone().work(PASSED_ON).reset()).await;
    assert_eq!(Heard::of(&reply), Heard::said("Hello world", "bad"));
    let (reply, _) = with_peer("openai", all(&[of(0, "", Some(""))]).work(PASSED_ON).reset()).await;
    assert_eq!(Heard::of(&reply), Heard::said("Hello world", "peer"));
    // Some servers know no other reason: their end marker is believed, in whatever words it is told.
    let one = Upstream::always(begun.chunk(of(0, "", Some(""))).chunk(sse::DONE).end()).await;
    let proxy = Proxy::before(&one).await;
    assert_eq!(hear(&proxy, true).await, Heard::said("Hello", "one"));
    let ask = r#"{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"Hello!"}]}"#;
    let reply = proxy.send("/v1/messages", ask).await;
    assert!(reply.text().contains("message_stop") && reply.end == End::Clean, "{reply:?}");
}

#[tokio::test]
async fn a_finish_with_each_word_means_nothing_once_the_next_word_is_there() {
    let chunks = [gemini("Hello", Some("STOP")), gemini(" wor", Some("STOP"))];
    let (reply, _) = with_peer("gemini", all(&chunks).work(PASSED_ON).reset()).await;
    assert_eq!(Heard::of(&reply), Heard::said("Hello world", "bad"));
    // The client of a native stream has read the finish: there is nothing to go on with.
    let chunks = [of(0, "Hello", Some("stop")), of(0, " wor", Some("stop"))];
    let (reply, asked) = with_peer("openai", all(&chunks).work(PASSED_ON).reset()).await;
    assert_broken(&reply, "Hello wor");
    assert_eq!(asked, 0);
}

#[tokio::test]
async fn what_fails_behind_the_finish_takes_nothing_from_the_answer() {
    let error = sse::data(&json!({"error": {"message": "late", "type": "server_error"}}));
    let begun = all(&[of(0, "Hello", None), of(0, "", Some("length"))]);
    for bad in [
        begun.clone().chunk(&error),
        begun.clone().work(PASSED_ON).chunk(&error),
        begun.chunk("data: {\n\ndata: {\n\n").hang(),
        all(&[[of(0, "Hello", None), of(0, "", Some("length")), error.clone()].concat()]),
    ] {
        let (reply, asked) = with_peer("openai", bad.hang()).await;
        assert_eq!((Heard::of(&reply), asked), (Heard::said("Hello", "bad"), 0));
        assert_eq!(reply.text().matches("\"length\"").count(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn comments_hold_up_a_stalled_answer_and_not_a_finished_one() {
    let pings = |answer: Answer, n: usize| {
        (0..n).fold(answer, |answer, _| answer.work(Duration::from_millis(100)).chunk(": ping\n\n"))
    };
    let thinks = pings(all(&[of(0, "Hello", None)]), 12).chunk(of(0, " world", None));
    let one = Upstream::always(pings(thinks.chunk(sse::finish()), 200).hang()).await;
    let settings = Settings::new().backend("one", one.addr).set("backends.one", "idle_timeout = \"400ms\"");
    let proxy = Proxy::start(&settings).await;
    let asked = Instant::now();
    let heard = timeout(Duration::from_secs(10), hear(&proxy, true)).await.expect("an end in time");
    assert_eq!(heard, Heard::said("Hello world", "one"));
    assert!(asked.elapsed() > Duration::from_millis(1200), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn nothing_behind_the_end_marker_is_passed_on() {
    let end = [of(0, "Hello", None), sse::finish(), sse::DONE.to_owned()].concat();
    let late = of(0, "more", None) + &sse::data(&json!({"error": {"message": "late"}}));
    let one = Upstream::always(all(&[end.clone() + &late]).end()).await;
    let proxy = Proxy::before(&one).await;
    assert_eq!(proxy.chat(HELLO_STREAM).await.text(), end);
}

#[tokio::test]
async fn a_backend_that_gives_up_before_a_word_is_left_for_another() {
    for reason in ["abort", "error", "insufficient_system_resource"] {
        let answer = all(&[sse::role(), of(0, "", Some(reason)), sse::DONE.to_owned()]).end();
        let (reply, _) = with_peer("openai", answer).await;
        assert_eq!(Heard::of(&reply), Heard::said("Hello world", "peer"), "{reason}");
        // Behind words it is the client's to read.
        let answer = all(&[of(0, "Hello", None), of(0, "", Some(reason)), sse::DONE.to_owned()]).end();
        let (reply, _) = with_peer("openai", answer).await;
        assert_eq!(Heard::of(&reply), Heard::said("Hello", "bad"), "{reason}");
        assert!(reply.text().contains(reason), "{reply:?}");
    }
}

#[tokio::test]
async fn a_finish_whose_delta_is_written_as_a_list_is_not_lost() {
    let last = sse::finish().replace("\"delta\":{}", "\"delta\":[]");
    assert!(last.contains("[]"), "{last}");
    let one = Upstream::always(all(&[of(0, "Hello", None), last, sse::DONE.to_owned()]).end()).await;
    let proxy = Proxy::before(&one).await;
    for (path, finish) in [("/v1/chat/completions", "\"finish_reason\":\"stop\""), ("/v1/messages", "\"end_turn\"")] {
        let body: Value = json!({"model": "m", "stream": true, "max_tokens": 9,
            "messages": [{"role": "user", "content": "Hello!"}]});
        let reply = proxy.send(path, &body).await;
        assert!(reply.text().contains(finish) && reply.end == End::Clean, "{path}: {reply:?}");
    }
}

#[tokio::test]
async fn an_error_in_front_of_the_end_marker_is_an_error_to_every_client() {
    for error in [
        "error: {\"code\":500,\"message\":\"boom\",\"type\":\"server_error\"}\n\n",
        "event: error\ndata: {\"code\":500,\"message\":\"boom\"}\n\n",
        "data: {\"object\":\"error\",\"message\":\"boom\",\"type\":\"InternalServerError\",\"code\":500}\n\n",
        "data: {\"text\":\"boom\",\"error_code\":50001}\n\n",
    ] {
        let one = Upstream::always(all(&[of(0, "Hello", None), error.to_owned(), sse::DONE.to_owned()]).end()).await;
        for (path, failed) in [
            ("/v1/chat/completions", "\"error\""),
            ("/v1/messages", "event: error"),
            ("/v1/responses", "event: response.failed"),
        ] {
            let proxy = Proxy::before(&one).await;
            let body: Value = json!({"model": "m", "stream": true, "max_tokens": 9, "input": "Hello!",
                "messages": [{"role": "user", "content": "Hello!"}]});
            let reply = proxy.send(path, &body).await;
            let text = reply.text();
            assert!(text.contains(failed) && !sse::is_done(&reply.body), "{path} {error}: {text}");
            assert!(!text.contains("end_turn") && !text.contains("response.completed"), "{path} {error}: {text}");
        }
    }
}

#[tokio::test]
async fn a_whole_answer_that_gave_up_before_a_word_is_left_for_another() {
    let choice = |reason: &str, said: &str| {
        let mut choice =
            json!({"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": reason});
        if reason == "error" {
            choice["error"] = json!({"code": 502, "message": "boom"});
        }
        choice
    };
    for reason in ["abort", "error", "insufficient_system_resource"] {
        for (choices, text, backend) in [
            (json!([choice(reason, "")]), "hi", "peer"),
            (json!([choice(reason, "Hello")]), "Hello", "bad"),
            (json!([choice(reason, ""), choice("stop", "B")]), "", "bad"),
        ] {
            let answer = Answer::json(200, &json!({"id": "c", "choices": choices}).to_string());
            let (bad, peer) = (Upstream::always(answer).await, Upstream::saying("hi").await);
            let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
            assert_eq!(hear(&proxy, false).await, Heard::said(text, backend), "{choices}");
        }
    }
    let prompt = json!({"choices": [{"index": 0, "text": "", "finish_reason": "error"}]});
    let (bad, peer) = (Upstream::always(Answer::json(200, &prompt.to_string())).await, Upstream::saying("hi").await);
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
    let reply = proxy.send("/v1/completions", r#"{"model":"m","prompt":"a"}"#).await;
    assert_eq!((reply.status(), reply.header("x-greenroom-backend")), (200, "peer"), "{reply:?}");
}
