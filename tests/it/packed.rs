//! Requests whose bodies are packed, as Codex sends them: served as the plain ones would be, and no larger than those may be.

use std::io::Write;

use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};

use crate::support::{
    client::{Ask, Connection},
    eventually,
    proxy::{HELLO, stage},
    settings::TOKEN,
    within,
};

const CODINGS: [&str; 3] = ["gzip", "deflate", "zstd"];

fn packed(plain: &[u8], coding: &str) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory is there")
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory is there")
        }
        _ => {
            let mut packed = vec![0; zstd_safe::compress_bound(plain.len())];
            let length = zstd_safe::compress(&mut packed[..], plain, 3).expect("room for it");
            packed.truncate(length);
            packed
        }
    }
}

fn chat(coding: &str, body: Vec<u8>) -> Ask {
    Ask::chat(body).bearer(TOKEN).header("content-encoding", coding)
}

/// The same request, its body in chunks of this size.
fn chunked(coding: &str, body: &[u8], size: usize) -> Vec<u8> {
    let head = Ask::new("POST", "/v1/chat/completions").bearer(TOKEN).header("content-encoding", coding);
    let mut bytes = head.header("transfer-encoding", "chunked").bytes();
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[tokio::test]
async fn a_request_that_is_packed_is_served_as_the_plain_one_would_be() {
    let (upstream, proxy) = stage("").await;
    let plain = HELLO.replace("Hello!", &"Hello! ".repeat(20_000));
    let mut connection = Connection::open(proxy.addr).await;
    for coding in CODINGS {
        let body = packed(plain.as_bytes(), coding);
        assert!(body.len() < plain.len() / 50);
        let whole = chat(coding, body.clone()).bytes();
        for bytes in [whole, chunked(coding, &body, 7)] {
            // In two parts, so that it does not come along with its head.
            let (first, rest) = bytes.split_at(bytes.len() - 9);
            connection.send_bytes(first).await;
            assert_eq!(proxy.get("/livez").await.status(), 200);
            connection.send_bytes(rest).await;
            let reply = connection.reply().await;
            assert_eq!((reply.status(), reply.backend()), (200, "one"), "{coding}");
            let sent = upstream.last();
            assert!(sent.text() == plain && sent.head.get("content-encoding").is_none(), "{coding}: {:?}", sent.head);
        }
    }
    for plain in ["identity", "none", "", "utf-8"] {
        assert_eq!(proxy.ask(&chat(plain, HELLO.into())).await.status(), 200, "{plain}");
    }
    let none = Ask::new("POST", "/v1/chat/completions").bearer(TOKEN).header("content-encoding", "gzip");
    assert_eq!(proxy.ask(&none.header("content-length", "0")).await.error("code"), "invalid_json");
}

#[tokio::test]
async fn what_unpacks_to_more_than_the_limit_is_refused_before_it_takes_memory() {
    let (upstream, proxy) = stage("body_limit = 100000").await;
    let exactly = |size: usize| HELLO.replace("Hello!", &"x".repeat(size - HELLO.len() + "Hello!".len()));
    let before = proxy.peak_kib();
    for coding in CODINGS {
        assert_eq!(proxy.ask(&chat(coding, packed(exactly(100_000).as_bytes(), coding))).await.status(), 200);
        let bomb = packed(&vec![b' '; 64 << 20], coding);
        for body in [packed(exactly(100_001).as_bytes(), coding), bomb[..bomb.len().min(90_000)].to_vec()] {
            for bytes in [chat(coding, body.clone()).bytes(), chunked(coding, &body, 1000)] {
                let mut connection = Connection::open(proxy.addr).await;
                connection.send_bytes(&bytes).await;
                let reply = connection.reply().await;
                assert_eq!((reply.status(), reply.error("code").as_str()), (413, "request_too_large"), "{coding}");
            }
        }
    }
    // What is larger than the limit as it is sent is not read at all.
    let mut connection = Connection::open(proxy.addr).await;
    let head = Ask::new("POST", "/v1/chat/completions").bearer(TOKEN).header("content-encoding", "zstd");
    connection.send(&head.header("content-length", "100001").header("expect", "100-continue")).await;
    assert_eq!(connection.head().await.status(), 413);
    assert_eq!(upstream.asked(), 3);
    let grown = proxy.peak_kib() - before;
    assert!(grown < 24 << 10, "{grown} KiB");
}

#[tokio::test]
async fn packed_bodies_that_stop_halfway_take_no_more_together_than_a_few_of_the_largest() {
    for coding in CODINGS {
        let (_upstream, proxy) = stage("body_limit = 1000000").await;
        let large = HELLO.replace("Hello!", &"x".repeat(990_000));
        let ask = chat(coding, packed(large.as_bytes(), coding));
        let bytes = ask.bytes();
        let mut halfway = Vec::new();
        for _ in 0..8 {
            let mut connection = Connection::open(proxy.addr).await;
            connection.send_bytes(&bytes[..bytes.len() - 1]).await;
            halfway.push(connection);
        }
        eventually("room for four", async || (proxy.log().matches("status=503").count() == 4).then_some(())).await;
        let refused = proxy.ask(&ask).await;
        assert_eq!((refused.status(), refused.error("code").as_str()), (503, "gateway_overloaded"), "{refused:?}");
        assert_eq!(refused.header("retry-after"), "1");
        assert_eq!(proxy.ask(&Ask::chat(large).bearer(TOKEN)).await.status(), 200, "plain ones are not concerned");
        drop(halfway);
        eventually("room again", async || (proxy.ask(&ask).await.status() == 200).then_some(())).await;
    }
}

#[tokio::test]
async fn a_coding_that_is_not_taken_is_refused_with_those_that_are() {
    let (upstream, proxy) = stage("").await;
    for coding in ["br", "gzip, gzip", "zstd, gzip", "compress", "x"] {
        for path in ["/v1/chat/completions", "/v1/responses", "/v1/messages"] {
            let reply = proxy.ask(&Ask::post(path, HELLO).bearer(TOKEN).header("content-encoding", coding)).await;
            assert_eq!((reply.status(), reply.header("accept-encoding")), (415, "gzip, deflate, zstd"), "{coding}");
            let told = ["type", "code", "param"].map(|member| reply.error(member));
            assert_eq!(told, ["invalid_request_error", "unsupported_content_encoding", "-"], "{coding} {path}");
            let message = reply.error("message");
            assert!(message.contains("'content-encoding'") && message.contains("gzip, deflate, zstd"), "{message}");
            assert_eq!(reply.json()["type"].as_str(), (path == "/v1/messages").then_some("error"));
        }
    }
    let both = chat("gzip", HELLO.into()).header("content-encoding", "zstd");
    assert_eq!(proxy.ask(&both).await.status(), 415);
    // Nobody is given leave to send what is not read, and a stranger is told nothing else.
    let mut connection = Connection::open(proxy.addr).await;
    let head = Ask::new("POST", "/v1/chat/completions").header("content-encoding", "br").header("content-length", "9");
    connection.send(&head.clone().bearer(TOKEN).header("expect", "100-continue")).await;
    assert_eq!(connection.head().await.status(), 415);
    assert_eq!(proxy.ask(&head.bearer("wrong")).await.status(), 401);
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_what_its_coding_says_is_told_so() {
    let (upstream, proxy) = stage("").await;
    for coding in CODINGS {
        let whole = packed(HELLO.as_bytes(), coding);
        let mut wrong = whole.clone();
        // The sum of zstd may be left out, and mostly is.
        let at = if coding == "zstd" { 0 } else { whole.len() / 2 };
        wrong[at] ^= 0x55;
        let behind = [&whole[..], b"x"].concat();
        for body in [HELLO.as_bytes(), &whole[..whole.len() - 1], &wrong, &behind] {
            let reply = proxy.ask(&chat(coding, body.to_vec())).await;
            assert_eq!((reply.status(), reply.error("code").as_str()), (400, "bad_request"), "{coding} {body:?}");
            assert!(reply.error("message").contains("'content-encoding'"), "{}", reply.error("message"));
        }
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn unpacking_a_large_body_holds_up_nobody_else() {
    let (_upstream, proxy) = stage("").await;
    // All of it comes at once: who unpacks it in one go serves nobody meanwhile.
    let bomb = packed(&vec![b' '; 48 << 20], "gzip");
    let mut large = Connection::open(proxy.addr).await;
    let mut other = Connection::open(proxy.addr).await;
    large.send(&chat("gzip", bomb)).await;
    let refused = async { large.reply().await.status() };
    let mut refused = std::pin::pin!(refused);
    let mut served = 0;
    let status = loop {
        let ping = async {
            other.send(&Ask::new("GET", "/livez")).await;
            other.reply().await.status()
        };
        tokio::select! {
            status = &mut refused => break status,
            ping = within("an answer", ping) => {
                assert_eq!(ping, 200);
                served += 1;
            }
        }
    };
    assert_eq!(status, 413);
    assert!(served >= 10, "{served}");
}
