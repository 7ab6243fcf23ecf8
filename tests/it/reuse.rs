//! Connections to backends that are used again: one that has died is made up for silently, an answer that has begun is not.

use std::time::Duration;

use crate::support::{
    heard::{Heard, WAYS, hear},
    proxy::Proxy,
    script::{Answer, completion},
    settings::Settings,
    upstream::Upstream,
};

/// A backend that answers the first request, then `second`, then all others, and what the second one of two clients got.
async fn second(second: Answer) -> (Upstream, u16) {
    let one = Upstream::start(move |n, _| if n == 1 { second.clone() } else { Answer::says("hi") }).await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1")).await;
    assert_eq!(proxy.hello().await.status(), 200);
    let status = proxy.hello().await.status();
    (one, status)
}

#[tokio::test]
async fn a_request_on_a_connection_that_turns_out_dead_is_sent_again_and_nobody_notices() {
    for dead in [Answer::new().close(), Answer::new().reset()] {
        let (one, status) = second(dead).await;
        assert_eq!((status, one.asked()), (200, 3));
    }
}

#[tokio::test]
async fn a_request_whose_answer_has_begun_is_not_sent_again_in_secret() {
    for begun in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-ty", "H"] {
        let (one, status) = second(Answer::new().raw(begun).close()).await;
        assert_eq!((status, one.asked()), (502, 2), "{begun:?}");
    }
}

#[tokio::test]
async fn a_request_on_which_a_backend_has_worked_is_not_sent_again_in_secret() {
    // Longer than the news of a dead connection takes.
    let (one, status) = second(Answer::new().work(Duration::from_millis(1200)).close()).await;
    assert_eq!((status, one.asked()), (502, 2));
}

#[tokio::test]
async fn an_answer_in_a_protocol_that_nobody_asked_for_is_none_nor_is_one_that_is_chunked_twice_over() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let body = completion("hi");
    let switched =
        format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{answer}content-length: {}\r\n\r\n{body}", body.len());
    let chunks = format!("\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let twice = format!("{answer}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n{chunks}");
    let listed = format!("{answer}transfer-encoding: chunked, chunked\r\n{chunks}");
    for strange in [switched, twice, listed] {
        let (one, status) = second(Answer::new().raw(strange.clone())).await;
        assert_eq!((status, one.asked()), (502, 2), "{strange}");
        one.until("the connection being closed", |seen| seen.open == 0).await;
    }
}

#[tokio::test]
async fn behind_an_answer_that_cannot_be_one_the_connection_is_closed_whatever_may_still_come() {
    let strange = Answer::json(200, r#"{"stray":1}"#);
    let redirected = "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n";
    for (stream, strange) in [
        (true, strange.clone()),
        (false, strange),
        (true, Answer::says("stray")),
        (true, Answer::stream().chunk("data: {\"stray\":1}\n\n").end()),
        (false, Answer::new().raw(redirected)),
    ] {
        let one = Upstream::start(move |n, ask| match n {
            // The true answer may come any time: whoever asks here waits for that.
            0 => strange.clone().hang(),
            _ => ask.saying("hi"),
        })
        .await;
        let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1")).await;
        assert_eq!(hear(&proxy, stream).await.error, "upstream_invalid_response");
        assert_eq!(hear(&proxy, stream).await, Heard::said("hi", "one"));
        one.until("the connection to be closed", |seen| seen.abandoned == 1).await;
    }
}

#[tokio::test]
async fn what_comes_behind_an_answer_is_nobodys() {
    let surplus = Answer::says("another's");
    for (status, first) in [(200, Answer::says("hi")), (400, Answer::json(400, "{}")), (502, Answer::json(500, "no"))] {
        let first = first.then(surplus.clone()).hang();
        let one = Upstream::start(move |n, _| if n == 0 { first.clone() } else { Answer::says("hi") }).await;
        let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1")).await;
        assert_eq!(hear(&proxy, false).await.status, status);
        assert_eq!(hear(&proxy, false).await, Heard::said("hi", "one"));
        one.until("the connection to be closed", |seen| seen.abandoned == 1).await;
    }
}

#[tokio::test]
async fn a_good_answer_and_a_refusal_leave_their_connection_to_the_next_request() {
    for stream in WAYS {
        let one = Upstream::start(move |n, _| match n {
            // Only on a connection that was used before this is made up for.
            1 | 4 => Answer::new().close(),
            3 => Answer::json(400, "{}"),
            _ if stream => Answer::streams("hi"),
            _ => Answer::says("hi"),
        })
        .await;
        let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1")).await;
        for status in [200, 200, 400, 200] {
            assert_eq!(hear(&proxy, stream).await.status, status);
        }
        assert_eq!(one.asked(), 6);
    }
}
