//! Requests that are not sent to their end: a backend has answered before, the client has no time left, or nobody reads on.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use crate::support::{
    client::{Ask, Connection},
    heard::{WAYS, hello},
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, completion},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    within,
};

/// More than sockets hold.
const LARGE: usize = 12 << 20;

fn large() -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "x".repeat(LARGE))
}

/// A backend that answers each head at once and reads nothing behind it.
async fn impatient(answer: &'static str) -> (std::net::SocketAddr, AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let serving = tokio::spawn(async move {
        let mut kept: Vec<TcpStream> = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap_or_default());
            }
            stream.write_all(answer.as_bytes()).await.expect("it reads");
            kept.push(stream);
        }
    });
    (addr, serving.abort_handle())
}

#[tokio::test]
async fn a_backend_that_answers_before_it_has_read_a_request_is_heard_at_once() {
    const LIMITED: &str = "HTTP/1.1 429 Scripted\r\nretry-after: 30\r\ncontent-length: 2\r\n\r\n{}";
    const REFUSED: &str = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Scripted\r\ncontent-length: 2\r\n\r\n{}";
    let free = Upstream::saying("hi").await;
    for (answer, status, asked) in [(LIMITED, 200, 1), (REFUSED, 413, 1)] {
        let (addr, serving) = impatient(answer).await;
        let settings = Settings::new().backend("one", addr).target("two", free.addr, "priority = 2");
        let proxy = Proxy::start(&settings.set("server", "body_limit = 20000000")).await;
        let began = Instant::now();
        let reply = proxy.chat(large()).await;
        assert_eq!((reply.status(), free.asked()), (status, asked), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        serving.abort();
    }
}

#[tokio::test]
async fn an_answer_that_is_whole_before_its_request_is_needs_no_more_of_it() {
    const BODY: &str =
        r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let long = " ".repeat(1000);
    for answer in [
        format!("{head}content-length: {}\r\n\r\n{BODY}", BODY.len()),
        format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{BODY}\r\n3e8\r\n{long}\r\n0\r\n\r\n", BODY.len()),
    ] {
        let (addr, serving) = impatient(answer.leak()).await;
        let settings = Settings::new().backend("one", addr).set("server", "body_limit = 20000000");
        let proxy = Proxy::start(&settings).await;
        for _ in 0..2 {
            let reply = proxy.chat(large()).await;
            assert!(reply.status() == 200 && reply.text().contains("hi"), "{reply:?}");
        }
        serving.abort();
    }
}

#[tokio::test]
async fn a_request_that_took_all_of_its_time_to_be_sent_asks_no_backend() {
    let one = Upstream::saying("hi").await;
    let proxy = Proxy::before(&one).await;
    let mut connection = Connection::open(proxy.addr).await;
    let whole = Ask::chat(HELLO).bearer(TOKEN).header("x-greenroom-timeout-ms", "20").bytes();
    let (first, rest) = whole.split_at(whole.len() - 5);
    connection.send_bytes(first).await;
    sleep(Duration::from_millis(100)).await;
    connection.send_bytes(rest).await;
    let reply = connection.reply().await;
    assert_eq!((reply.status(), reply.error("code").as_str(), one.asked()), (408, "request_timeout", 0));
}

#[tokio::test]
async fn a_body_that_does_not_come_to_its_end_has_the_time_of_its_request_and_no_more() {
    let one = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", "deadline = \"300ms\"")).await;
    let mut connection = Connection::open(proxy.addr).await;
    let whole = Ask::chat(HELLO).bearer(TOKEN).bytes();
    connection.send_bytes(&whole[..whole.len() - 5]).await;
    let reply = connection.reply().await;
    assert_eq!((reply.status(), reply.error("code").as_str(), one.asked()), (408, "request_timeout", 0));
}

#[tokio::test]
async fn a_strangers_body_that_nobody_wants_is_not_waited_for_as_long_as_one_that_somebody_does() {
    let one = Upstream::saying("hi").await;
    let proxy = Proxy::before(&one).await;
    let mut connection = Connection::open(proxy.addr).await;
    connection.send_bytes(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx").await;
    // The next piece of a body that is wanted may take 30 s.
    let reply = timeout(Duration::from_secs(20), connection.reply()).await.expect("its time is over");
    assert_eq!((reply.status(), reply.error("code").as_str()), (408, "request_timeout"));
}

#[tokio::test]
async fn a_client_that_still_sends_can_finish_and_read_that_it_was_refused() {
    let one = Upstream::saying("hi").await;
    let proxy = Proxy::before(&one).await;
    let mut stream = TcpStream::connect(proxy.addr).await.expect("it listens");
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong\r\n";
    stream.write_all(format!("{head}content-length: {}\r\n\r\n", 8 << 20).as_bytes()).await.expect("a head");
    let (mut reader, mut writer) = stream.into_split();
    // Slower than the second after which others are given up.
    for _ in 0..8 {
        writer.write_all(&vec![b'x'; 1 << 20]).await.expect("it still reads");
        sleep(Duration::from_millis(200)).await;
    }
    writer.shutdown().await.expect("open");
    let mut answer = String::new();
    reader.read_to_string(&mut answer).await.expect("no reset");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_a_request_is_told_as_one_who_left() {
    let one = Upstream::saying("hi").await;
    let proxy = Proxy::before(&one).await;
    let whole = Ask::chat(HELLO).bearer(TOKEN).bytes();
    let mut stream = TcpStream::connect(proxy.addr).await.expect("it listens");
    stream.write_all(&whole[..whole.len() - 5]).await.expect("it reads");
    stream.shutdown().await.expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 499 ") && answer.contains("client_closed_request"), "{answer}");
    proxy.logged(&["greenroom::request", "status=499", "class=caller_cancelled"]).await;
    let counted =
        "greenroom_requests_total{backend=\"none\",model=\"other\",status_class=\"4xx\",outcome=\"cancelled\"";
    let page = proxy.get("/metrics").await.text();
    assert!(page.contains(counted), "{page}");
    let left = "greenroom_client_cancelled_total{backend=\"none\",model=\"other\",phase=\"waiting\"} 1\n";
    assert!(page.contains(left), "{page}");
}

#[tokio::test]
async fn a_request_that_is_still_being_sent_when_the_time_to_stop_is_over_is_told_so() {
    let one = Upstream::saying("hi").await;
    let mut proxy = Proxy::before(&one).await;
    let mut connection = Connection::open(proxy.addr).await;
    let whole = Ask::chat(HELLO).bearer(TOKEN).bytes();
    connection.send_bytes(&whole[..whole.len() - 5]).await;
    // Once it answers this, it has read the other.
    assert_eq!(proxy.get("/livez").await.status(), 200);
    proxy.signal("TERM");
    let head = connection.head().await;
    assert_eq!(head.status(), 503);
    proxy.logged(&["greenroom::request", "status=503"]).await;
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_answer_without_chunks_does_not_end_in_order_because_too_much_is_sent_ahead() {
    let one = Upstream::always(Answer::stream().chunk(sse::text("Once")).hang()).await;
    let proxy = Proxy::before(&one).await;
    let mut client = TcpStream::connect(proxy.addr).await.expect("it listens");
    let ask = String::from_utf8(Ask::chat(HELLO_STREAM).bearer(TOKEN).bytes()).expect("ASCII");
    client.write_all(ask.replace("HTTP/1.1", "HTTP/1.0").as_bytes()).await.expect("it reads");
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("Once") {
        assert!(within("its beginning", client.read_buf(&mut heard)).await.expect("a piece") > 0);
    }
    let (mut read, mut write) = client.into_split();
    // It may be told by a reset that nobody reads on.
    let sending = tokio::spawn(async move { write.write_all(large().as_bytes()).await.map(|()| write) });
    let ended = within("the end", read.read_to_end(&mut heard)).await;
    assert_eq!(ended.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    sending.abort();
}

#[tokio::test]
async fn who_sends_too_much_ahead_has_its_answers_so_far_and_an_orderly_end() {
    for stream in WAYS {
        let begun = if stream { Answer::stream().chunk(sse::text("a")) } else { Answer::new() };
        let one = Upstream::start(move |n, _| if n == 0 { Answer::says("hi") } else { begun.clone().hang() }).await;
        let proxy = Proxy::before(&one).await;
        let ask = |body: &str| Ask::chat(body).bearer(TOKEN).bytes();
        let (mut read, mut write) = TcpStream::connect(proxy.addr).await.expect("it listens").into_split();
        write.write_all(&[ask(HELLO), ask(hello(stream))].concat()).await.expect("it reads");
        one.until("the second", |seen| seen.requests.len() == 2).await;
        let ahead = ask(&large());
        let sending = tokio::spawn(async move {
            // It may be told by a reset that nobody reads on.
            let _ = write.write_all(&ahead).await;
            write
        });
        let mut heard = Vec::new();
        within("the end", read.read_to_end(&mut heard)).await.expect("in order");
        assert!(String::from_utf8_lossy(&heard).contains(&completion("hi")), "{stream}");
        one.until("the second to be let go", |seen| seen.abandoned == 1).await;
        sending.abort();
    }
}
