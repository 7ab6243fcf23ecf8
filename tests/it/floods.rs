//! Backends that send without end before any content: neither held without bound, nor given the thread for themselves.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    proxy::{HELLO_STREAM, Proxy},
    script::Answer,
    settings::Settings,
    sse,
    upstream::Upstream,
};

/// One chunk of `times` the same frame.
fn flood_of(frame: &str, times: usize) -> Vec<u8> {
    let data = frame.repeat(times);
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

#[tokio::test]
async fn a_client_that_leaves_a_flood_without_content_frees_the_backend_and_others_are_served_meanwhile() {
    let flood = flood_of(": processing\n\n", 1000);
    let upstream = Upstream::start(move |n, _| match n {
        0 => Answer::stream().flood(flood.clone(), usize::MAX),
        _ => Answer::says("hi"),
    })
    .await;
    let proxy = Proxy::before(&upstream).await;
    let before = proxy.resident_kib();
    let client = proxy.begin(HELLO_STREAM).await;
    upstream.until("the flood", |seen| seen.flooded > 64 << 20).await;
    let asked = Instant::now();
    assert_eq!(proxy.hello().await.status(), 200);
    // On a machine that does other things as well; with the thread kept for the flood it took seconds.
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(proxy.resident_kib() < before + (16 << 10), "comments are not kept");
    let left = Instant::now();
    drop(client);
    upstream.until("the backend being let go", |seen| seen.abandoned == 1).await;
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
}

#[tokio::test]
async fn frames_without_content_are_not_held_without_end() {
    let flood = Answer::stream().flood(flood_of(&sse::role(), 1000), 1 << 10);
    let bad = Upstream::always(flood.hang()).await;
    let peer = Upstream::saying("hi").await;
    let settings = Settings::bad_and_peer(&bad, &peer).set("defaults.backend", "first_token_soft = \"60s\"");
    let proxy = Proxy::start(&settings).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    assert_eq!((reply.backend(), sse::text_of(&reply.body)), ("peer", "hi".to_owned()), "{reply:?}");
    assert!(bad.seen(|seen| seen.flooded) < 64 << 20);
    let ledger = proxy.get("/admin/requests").await.json();
    assert_eq!(ledger["requests"][0]["attempts"][0]["outcome"], "provider_invalid", "{ledger}");
}

#[tokio::test]
async fn a_text_too_long_to_be_rescued_is_not_kept_for_it() {
    // As it stands it would be said again by the peer, word for word.
    let flood = || Answer::stream().flood(flood_of(&sse::text(&"word ".repeat(800)), 8), 1 << 10);
    let (bad, peer) = (Upstream::always(flood().close()).await, Upstream::always(flood().finished()).await);
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
    assert_eq!(proxy.get("/livez").await.status(), 200);
    let before = proxy.peak_kib();
    let reply = proxy.chat(HELLO_STREAM).await;
    assert!(sse::text_of(&reply.body).len() > 30 << 20 && sse::error_of(&reply.body).is_some());
    assert_eq!(peer.asked(), 0);
    let grown = proxy.peak_kib() - before;
    assert!(grown < 10 << 10, "{grown} KiB");
}
