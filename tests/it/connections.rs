//! A client's connection: requests in turn on it, bodies that wait for leave, old clients, and what ends it.

use std::{io::ErrorKind::ConnectionReset, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    client::{Ask, Connection, Reply},
    proxy::{HELLO, HELLO_STREAM, Proxy, stage},
    script::Answer,
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
    within,
};

#[tokio::test]
async fn requests_sent_ahead_are_answered_in_turn() {
    let (upstream, proxy) = stage("").await;
    let mut connection = Connection::open(proxy.addr).await;
    let chat = Ask::chat(HELLO).bearer(TOKEN).bytes();
    let ahead = [&chat[..], &Ask::new("GET", "/livez").bytes(), &chat, &Ask::new("GET", "/nothing").bytes()].concat();
    // Cut within the second head, so that one read brings one and a half requests.
    let (first, rest) = ahead.split_at(chat.len() + 9);
    connection.send_bytes(first).await;
    connection.send_bytes(rest).await;
    let mut replies = Vec::new();
    for _ in 0..4 {
        replies.push(connection.reply().await);
    }
    assert_eq!(replies.iter().map(Reply::status).collect::<Vec<_>>(), [200, 200, 200, 404]);
    assert_eq!((replies[1].text().as_str(), replies[0].backend(), replies[2].backend()), ("ok\n", "one", "one"));
    assert_eq!(upstream.asked(), 2);
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_its_body_gets_it() {
    let (_upstream, proxy) = stage("").await;
    let mut connection = Connection::open(proxy.addr).await;
    let waiting = |token: &str| {
        let ask = Ask::new("POST", "/v1/chat/completions").bearer(token).header("expect", "100-continue");
        ask.header("content-length", &HELLO.len().to_string())
    };
    connection.send(&waiting(TOKEN)).await;
    assert_eq!(connection.head().await.status(), 100);
    connection.send_bytes(HELLO.as_bytes()).await;
    assert_eq!(connection.reply().await.status(), 200);
    // A stranger is told before sending anything, and that nothing more is read here.
    connection.send(&waiting("wrong")).await;
    let refused = connection.reply().await;
    assert_eq!((refused.status(), refused.header("connection")), (401, "close"));
    connection.closed().await;
}

#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_too_much_does_not_get_it() {
    let (_upstream, proxy) = stage("body_limit = 1000").await;
    let mut connection = Connection::open(proxy.addr).await;
    let ask = Ask::new("POST", "/v1/chat/completions").bearer(TOKEN).header("expect", "100-continue");
    connection.send(&ask.header("content-length", "1001")).await;
    let reply = connection.reply().await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (413, "request_too_large"), "{reply:?}");
    connection.closed().await;
}

#[tokio::test]
async fn a_line_end_behind_a_request_is_not_the_next_one() {
    let (_upstream, proxy) = stage("").await;
    let mut connection = Connection::open(proxy.addr).await;
    for _ in 0..3 {
        connection.send_bytes(&[&Ask::chat(HELLO).bearer(TOKEN).bytes()[..], b"\r\n"].concat()).await;
        assert_eq!(connection.reply().await.status(), 200);
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_its_answer_without_chunks() {
    let (_upstream, proxy) = stage("").await;
    let old = |body: &str| {
        let ask = Ask::chat(body).bearer(TOKEN).header("connection", "keep-alive").bytes();
        String::from_utf8(ask).expect("text").replace("HTTP/1.1", "HTTP/1.0")
    };
    let mut connection = Connection::open(proxy.addr).await;
    connection.send_bytes(old(HELLO_STREAM).as_bytes()).await;
    let head = connection.head().await;
    // The end of its stream is the connection's, whatever it asked for.
    assert_eq!((head.get("transfer-encoding"), head.get("connection")), (None, Some("close")));
    let (body, _) = connection.rest().await;
    assert_eq!((sse::text_of(&body).as_str(), sse::is_done(&body)), ("hi", true));
    let mut connection = Connection::open(proxy.addr).await;
    connection.send_bytes(old(HELLO).as_bytes()).await;
    assert_eq!(connection.reply().await.header("connection"), "keep-alive");
    connection.send(&Ask::new("GET", "/livez")).await;
    assert_eq!(connection.reply().await.status(), 200);
}

#[tokio::test]
async fn a_request_may_name_the_host_in_its_target() {
    let (upstream, proxy) = stage("").await;
    let chat = String::from_utf8(Ask::chat(HELLO).bearer(TOKEN).bytes()).expect("text");
    let mut connection = Connection::open(proxy.addr).await;
    for (at, status) in [("http://greenroom", 200), ("http://greenroom:3000/x/..", 404)] {
        connection.send_bytes(chat.replacen("/v1/", &format!("{at}/v1/"), 1).as_bytes()).await;
        assert_eq!(connection.reply().await.status(), status, "{at}");
    }
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn a_stranger_cannot_make_the_proxy_hold_a_large_body_where_none_is_wanted() {
    let (_upstream, proxy) = stage("").await;
    for path in ["/v1/nothing", "/admin/reload"] {
        let mut connection = Connection::open(proxy.addr).await;
        // Answered before any of it has come: a proxy that reads it first would wait here.
        connection.send(&Ask::new("POST", path).header("content-length", "30000000")).await;
        let reply = connection.reply().await;
        assert!(matches!(reply.status(), 401 | 404) && reply.header("connection") == "close", "{reply:?}");
        let mut connection = Connection::open(proxy.addr).await;
        for _ in 0..2 {
            connection.send(&Ask::post(path, "{}")).await;
            assert!(matches!(connection.reply().await.status(), 401 | 404));
        }
    }
}

#[tokio::test]
async fn a_head_alone_tells_the_length_and_brings_no_body() {
    let (_upstream, proxy) = stage("").await;
    let mut connection = Connection::open(proxy.addr).await;
    connection.send(&Ask::new("HEAD", "/v1/nothing")).await;
    let head = connection.head().await;
    assert!(head.get("content-length").is_some_and(|length| length.parse::<usize>().is_ok_and(|n| n > 10)), "{head:?}");
    connection.send(&Ask::new("GET", "/livez")).await;
    // Nothing of a body stands between the two heads.
    assert_eq!(connection.reply().await.status(), 200);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time_and_a_used_one_is_not() {
    let (_upstream, proxy) = stage("keep_alive = \"300ms\"").await;
    let mut connection = Connection::open(proxy.addr).await;
    for _ in 0..3 {
        connection.send(&Ask::chat(HELLO).bearer(TOKEN)).await;
        assert_eq!(connection.reply().await.status(), 200);
    }
    connection.closed().await;
}

#[tokio::test]
async fn a_connection_that_is_kept_for_no_time_says_so_with_its_answer() {
    let (_upstream, proxy) = stage("keep_alive = \"0s\"").await;
    for ask in [Ask::chat(HELLO).bearer(TOKEN), Ask::chat(HELLO_STREAM).bearer(TOKEN), Ask::new("GET", "/livez")] {
        let mut connection = Connection::open(proxy.addr).await;
        connection.send(&ask).await;
        let reply = connection.reply().await;
        assert_eq!((reply.status(), reply.header("connection")), (200, "close"), "{reply:?}");
        connection.closed().await;
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_its_whole_time_after_an_answer_that_took_longer() {
    let slow = Answer::stream().chunk(sse::text("a")).work(Duration::from_millis(900)).chunk(sse::text("b")).finished();
    let upstream = Upstream::always(slow).await;
    let settings = Settings::new().set("server", "keep_alive = \"700ms\"").backend("one", upstream.addr);
    let proxy = Proxy::start(&settings).await;
    let mut connection = Connection::open(proxy.addr).await;
    for _ in 0..2 {
        connection.send(&Ask::chat(HELLO_STREAM).bearer(TOKEN)).await;
        assert!(connection.reply().await.text().ends_with("data: [DONE]\n\n"));
    }
    connection.closed().await;
}

#[tokio::test]
async fn what_is_no_request_is_told_so_in_the_shape_of_all_errors() {
    let (upstream, proxy) = stage("").await;
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    let chunks = Ask::new("POST", "/v1/chat/completions").bearer(TOKEN).header("transfer-encoding", "chunked").bytes();
    let chunks = String::from_utf8(chunks).expect("text") + "zz\r\n";
    for (bytes, status, code) in [
        ("\x16\x03\x01\x02\x00\x01\x00".to_owned(), 400, "bad_request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400, "bad_request"),
        (long, 431, "request_headers_too_large"),
        (many, 431, "request_headers_too_large"),
        (chunks, 400, "bad_request"),
    ] {
        let mut connection = Connection::open(proxy.addr).await;
        connection.send_bytes(bytes.as_bytes()).await;
        let reply = connection.reply().await;
        assert_eq!((reply.status(), reply.error("code").as_str(), reply.end), (status, code, End::Clean));
        assert_eq!((reply.header("connection"), reply.header("content-type")), ("close", "application/json"));
        connection.closed().await;
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_wanted_does_not_lose_the_answer() {
    let (upstream, proxy) = stage("body_limit = 1000").await;
    let big = "x".repeat(3 << 20);
    for ask in [Ask::chat(big.clone()).bearer(TOKEN), Ask::chat(big.clone()).bearer("wrong")] {
        let mut connection = Connection::open(proxy.addr).await;
        connection.send(&ask).await;
        let reply = connection.reply().await;
        assert!(matches!(reply.status(), 401 | 413), "{reply:?}");
        connection.closed().await;
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn a_large_answer_arrives_whole_in_one_piece_or_as_a_stream() {
    let said: &str = "é".repeat(2 << 20).leak();
    let upstream = Upstream::saying(said).await;
    let proxy = Proxy::before(&upstream).await;
    for body in [HELLO, HELLO_STREAM] {
        let mut connection = proxy.begin(body).await;
        assert_eq!(connection.head().await.status(), 200);
        let (body, end) = connection.rest().await;
        assert!(end == End::Clean && String::from_utf8_lossy(&body).contains(said));
    }
}

#[tokio::test]
async fn an_answer_without_chunks_that_breaks_off_ends_in_a_reset_behind_its_last_words() {
    let half = Answer::stream().chunk(sse::text("Once"));
    for (end, is_whole) in [(half.clone().close(), false), (half.chunk(sse::finish()).chunk(sse::DONE).end(), true)] {
        let upstream = Upstream::always(end).await;
        let proxy = Proxy::before(&upstream).await;
        let mut client = TcpStream::connect(proxy.addr).await.expect("it listens");
        let ask = String::from_utf8(Ask::chat(HELLO_STREAM).bearer(TOKEN).bytes()).expect("ASCII");
        client.write_all(ask.replace("HTTP/1.1", "HTTP/1.0").as_bytes()).await.expect("it reads");
        let mut heard = Vec::new();
        let ended = within("the end", client.read_to_end(&mut heard)).await;
        let text = String::from_utf8_lossy(&heard);
        assert_eq!(
            ended.map(|_| ()).map_err(|error| error.kind()),
            if is_whole { Ok(()) } else { Err(ConnectionReset) }
        );
        assert_eq!(text.contains("\"error\""), !is_whole, "{text}");
        assert!(text.contains("Once"), "{text}");
    }
}

#[tokio::test]
async fn a_websocket_is_refused_with_the_status_at_which_codex_asks_without_one() {
    let (upstream, proxy) = stage("").await;
    let ask = |path: &str, upgrade: &str| {
        let ask = Ask::new("GET", path).header("connection", "Upgrade").header("upgrade", upgrade);
        ask.header("sec-websocket-version", "13").header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
    };
    let mut connection = Connection::open(proxy.addr).await;
    for upgrade in ["websocket", "WebSocket", "h2c, websocket"] {
        connection.send(&ask("/v1/responses", upgrade).bearer(TOKEN)).await;
        let reply = connection.reply().await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (426, "upgrade_required"), "{upgrade}");
        assert_eq!((reply.header("upgrade"), reply.header("connection")), ("HTTP/1.1", "upgrade"), "{upgrade}");
        assert!(reply.error("message").contains("POST") && reply.error("param") == "-", "{reply:?}");
    }
    // The connection goes on, by the protocol that was named.
    connection.send(&Ask::chat(HELLO).bearer(TOKEN).header("upgrade", "websocket")).await;
    assert_eq!(connection.reply().await.status(), 200);
    assert_eq!(proxy.ask(&ask("/v1/responses", "h2c")).await.status(), 405);
    assert_eq!(proxy.ask(&ask("/v1/nothing", "websocket")).await.status(), 404);
    let old = "GET /v1/responses HTTP/1.0\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let mut connection = Connection::open(proxy.addr).await;
    connection.send_bytes(old.as_bytes()).await;
    assert_eq!(connection.reply().await.status(), 405);
    assert_eq!(upstream.asked(), 1);
}
