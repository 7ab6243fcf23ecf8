//! Answers whose heads say too little or too much: streams without their type, bodies that come packed.

use crate::support::{
    client::Ask,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, Gate, completion},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
};

/// The head of a chunked answer with this line.
fn headed(line: &str) -> Answer {
    Answer::new().raw(format!("HTTP/1.1 200 OK\r\n{line}transfer-encoding: chunked\r\n\r\n"))
}

/// Types that say nothing of a body.
const UNTOLD: [&str; 4] = [
    "",
    "content-type: text/plain; charset=utf-8\r\n",
    "Content-Type: application/octet-stream\r\n",
    "content-type:\r\n",
];

async fn proxy(one: &Upstream) -> Proxy {
    Proxy::start(&Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1")).await
}

#[tokio::test]
async fn a_stream_whose_type_says_nothing_is_known_by_how_it_begins() {
    for line in UNTOLD {
        let gate = Gate::new();
        let role = sse::role();
        let (cut, rest) = role.split_at(3);
        let begun = headed(line).chunk("\n").chunk(cut).chunk(rest).chunk(sse::text("Once ")).wait(&gate);
        let one = Upstream::always(begun.chunk(sse::text("more")).finished()).await;
        let proxy = proxy(&one).await;
        let mut client = proxy.begin(HELLO_STREAM).await;
        let head = client.head().await;
        let (status, kind) = (head.status(), head.get("content-type"));
        assert_eq!((status, kind), (200, Some("text/event-stream; charset=utf-8")), "{line:?}");
        // Passed on as it comes, not when it is whole.
        while client.frame().await.expect("the stream goes on").contains("\"role\"") {}
        gate.open();
        let (body, end) = client.rest().await;
        assert_eq!((sse::text_of(&body).as_str(), sse::is_done(&body), end), ("more", true, End::Clean), "{line:?}");
    }
}

#[tokio::test]
async fn a_stream_whose_type_says_nothing_may_come_all_at_once_or_behind_comments() {
    let whole = [": thinking\n\n", &sse::role(), &sse::text("hi"), &sse::finish(), sse::DONE].concat();
    for answer in [headed("").chunk(&whole).end(), Answer::new().raw(format!("HTTP/1.0 200 OK\r\n\r\n{whole}")).close()]
    {
        let one = Upstream::always(answer).await;
        let reply = proxy(&one).await.chat(HELLO_STREAM).await;
        assert_eq!((reply.status(), sse::text_of(&reply.body).as_str(), sse::is_done(&reply.body)), (200, "hi", true));
    }
}

#[tokio::test]
async fn what_is_no_stream_is_not_taken_for_one_whatever_its_type() {
    let fault = r#"{"error":{"type":"rate_limit_error","code":"rate_limit_exceeded","message":"later"}}"#;
    for line in UNTOLD {
        for (body, status) in
            [(fault.to_owned(), 429), (completion("hi"), 502), ("dat".to_owned(), 502), (" ".to_owned(), 502)]
        {
            let one = Upstream::always(headed(line).chunk(&body).end()).await;
            let reply = proxy(&one).await.chat(HELLO_STREAM).await;
            assert_eq!(reply.status(), status, "{line:?} {body:?} {reply:?}");
        }
    }
}

#[tokio::test]
async fn answers_are_asked_for_unpacked_and_one_that_comes_packed_is_told_as_that() {
    let packed = |line: &str| Answer::json_with(200, line, "\u{1f}\u{8b}\u{8}");
    for (line, told) in [("Content-Encoding: gzip\r\n", "gzip"), ("content-encoding: gzip,<b>\r\n", "unknown")] {
        let one = Upstream::always(packed(line)).await;
        let proxy = proxy(&one).await;
        for body in [HELLO, HELLO_STREAM] {
            let reply = proxy.ask(&Ask::chat(body).bearer(TOKEN).header("x-greenroom-explain", "1")).await;
            let why = format!("packed (content-encoding: {told})");
            assert!(reply.status() == 502 && reply.text().contains(&why), "{reply:?}");
        }
        assert_eq!(one.last().head.all("accept-encoding"), ["identity"]);
    }
    // The second is what some servers write who mean that nothing is packed.
    for whole in ["content-encoding: identity\r\n", "content-encoding: none\r\n"] {
        let one = Upstream::always(Answer::json_with(200, whole, &completion("hi"))).await;
        assert_eq!(proxy(&one).await.hello().await.status(), 200);
    }
}
