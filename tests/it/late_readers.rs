//! Clients that read late: what they hold up is not laid to the backend's account.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::support::{
    client::Ask,
    eventually,
    proxy::{HELLO_STREAM, Proxy},
    script::Answer,
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
};

/// A stream that needs more room than all buffers on its way have.
fn long() -> Answer {
    let frame = sse::text(&"x".repeat(1000));
    let chunk = format!("{:x}\r\n{frame}\r\n", frame.len());
    Answer::stream().chunk(sse::text("begun ")).flood(chunk, 16_000)
}

/// Asks for a stream and does not read it for this time, which is what is simulated; then all of it.
async fn read_late(proxy: &Proxy, time: Duration) -> (Vec<u8>, End) {
    let mut client = proxy.begin(HELLO_STREAM).await;
    assert_eq!(client.head().await.status(), 200);
    sleep(time).await;
    client.rest().await
}

#[tokio::test]
async fn a_client_that_does_not_read_is_no_fault_of_the_backend() {
    let upstream = Upstream::always(long().hang()).await;
    let settings = Settings::new().backend("one", upstream.addr).set("backends.one", "total_timeout = \"1s\"");
    let proxy = Proxy::start(&settings.set("failover", "max_attempts = 1")).await;
    let (body, end) = read_late(&proxy, Duration::from_millis(1500)).await;
    assert_eq!((sse::is_done(&body), end), (false, End::Truncated));
    let report = proxy.until("one", "the lease given back", |r| r["streaming"] == 0).await;
    let requests = &report["requests"];
    assert_eq!((&requests["failure"], &requests["let_go"]), (&0.into(), &1.into()), "{report}");
}

#[tokio::test]
async fn of_a_client_that_does_not_read_nobody_learns_how_fast_the_backend_is() {
    let answer = long().chunk(sse::finish()).chunk(sse::usage(7, 21)).chunk(sse::DONE).end();
    let upstream = Upstream::always(answer).await;
    let proxy = Proxy::before(&upstream).await;
    let known = |report: &serde_json::Value| report["models"][0]["token_estimate_s"].clone();
    let before = known(&proxy.report("one").await);
    let (body, end) = read_late(&proxy, Duration::from_millis(500)).await;
    assert_eq!((sse::is_done(&body), end), (true, End::Clean));
    let report = proxy.until("one", "its end", |r| r["requests"]["success"] == 1).await;
    assert_eq!(known(&report), before, "{report}");
}

#[tokio::test]
async fn a_client_that_leaves_without_having_read_gives_its_backend_and_its_own_place_back_at_once() {
    for version in ["1.0", "1.1"] {
        let upstream = Upstream::always(long().hang()).await;
        let settings = Settings::new().backend("one", upstream.addr);
        let proxy = Proxy::start(&settings.set("users.tester", "limits = { max_in_flight = 1 }")).await;
        let ask = String::from_utf8(Ask::chat(HELLO_STREAM).bearer(TOKEN).bytes()).expect("text");
        let mut client = TcpStream::connect(proxy.addr).await.expect("it listens");
        client.write_all(ask.replacen("HTTP/1.1", &format!("HTTP/{version}"), 1).as_bytes()).await.expect("it reads");
        // Until nothing more is taken from the backend, since its words have nowhere to go.
        let mut flooded = 0;
        eventually("a stream that stands still", async || {
            sleep(Duration::from_millis(100)).await;
            let before = std::mem::replace(&mut flooded, upstream.seen(|seen| seen.flooded));
            (flooded > 0 && flooded == before).then_some(())
        })
        .await;
        let left = Instant::now();
        // It still could read, and is given its time for that; the backend is nothing to it any more.
        client.shutdown().await.expect("open");
        upstream.until("the connection given up", |seen| seen.abandoned > 0).await;
        assert!(left.elapsed() < Duration::from_millis(700), "{version}: {:?}", left.elapsed());
        assert_eq!(proxy.begin(HELLO_STREAM).await.head().await.status(), 200, "{version}");
        drop(client);
    }
}
