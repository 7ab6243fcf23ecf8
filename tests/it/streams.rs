//! Streams: frame by frame as they come, held back by a slow client, many at a time, freed when a client leaves.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    client::Connection,
    eventually, median,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, Gate},
    settings::Settings,
    sse,
    upstream::Upstream,
    wire::End,
};

async fn stage(answer: Answer) -> (Upstream, Proxy) {
    let upstream = Upstream::always(answer).await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("defaults.backend", "max_in_flight = 2000\nask_usage = false")
        .set("failover", "max_attempts = 1")
        .set("models.m", "rescue = \"off\"");
    let proxy = Proxy::start(&settings).await;
    (upstream, proxy)
}

#[tokio::test]
async fn each_frame_reaches_the_client_before_the_next_one_is_sent() {
    let gate = Gate::new();
    let words = ["one ", "two ", "three ", "four "];
    let answer = words
        .iter()
        .fold(Answer::stream().chunk(sse::role()), |answer, word| answer.chunk(sse::text(word)).wait(&gate));
    let (_upstream, proxy) = stage(answer.finished()).await;
    let mut client = proxy.begin(HELLO_STREAM).await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.frame().await.unwrap() + "\n\n", sse::role());
    for word in words {
        assert_eq!(client.frame().await.unwrap() + "\n\n", sse::text(word));
        gate.open();
    }
    let (rest, end) = client.rest().await;
    assert_eq!((String::from_utf8(rest).unwrap(), end), (sse::finish() + sse::DONE, End::Clean));
}

#[tokio::test]
async fn frames_that_are_torn_apart_on_the_way_arrive_whole() {
    let gate = Gate::new();
    let (frame, half) = (sse::text("tórn"), sse::text("tórn").find('ó').unwrap() + 1);
    let (head, tail) = frame.as_bytes().split_at(half);
    let answer = Answer::stream().chunk(sse::text("a")).chunk(head).wait(&gate).chunk(tail).finished();
    let (_upstream, proxy) = stage(answer).await;
    let mut client = proxy.begin(HELLO_STREAM).await;
    client.head().await;
    client.frame().await.unwrap();
    gate.open();
    assert_eq!(client.frame().await.unwrap() + "\n\n", frame);
    assert_eq!(client.rest().await.1, End::Clean);
}

/// How long it takes until the backend's connection is closed after its client has left, the middle one of several.
async fn time_to_let_go(
    upstream: &Upstream,
    proxy: &Proxy,
    body: &str,
    first: impl AsyncFn(&mut Connection),
) -> Duration {
    const ROUNDS: usize = 5;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let mut client = proxy.begin(body).await;
        upstream.until("the request", |seen| seen.busy == 1).await;
        first(&mut client).await;
        let left = Instant::now();
        drop(client);
        upstream.until("the backend being let go", |seen| seen.abandoned == round + 1).await;
        times.push(left.elapsed());
    }
    let report = proxy.until("one", "the leases given back", |r| r["waiting"] == 0 && r["streaming"] == 0).await;
    assert_eq!(report["requests"]["cancelled"], ROUNDS, "{report}");
    assert_eq!((&report["requests"]["failure"], &report["state"]), (&0.into(), &"healthy".into()), "{report}");
    proxy.logged(&["greenroom::request", "status=499"]).await;
    median(times)
}

const AT_ONCE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_client_that_leaves_during_a_silent_prefill_frees_the_backend_at_once() {
    let (upstream, proxy) = stage(Answer::new().hang()).await;
    let time = time_to_let_go(&upstream, &proxy, HELLO_STREAM, async |_| {}).await;
    assert!(time < AT_ONCE, "{time:?}");
}

#[tokio::test]
async fn a_client_that_leaves_while_a_whole_answer_is_made_frees_the_backend_at_once() {
    let (upstream, proxy) = stage(Answer::new().hang()).await;
    let time = time_to_let_go(&upstream, &proxy, HELLO, async |_| {}).await;
    assert!(time < AT_ONCE, "{time:?}");
}

#[tokio::test]
async fn a_client_that_leaves_after_the_backends_head_frees_the_backend_at_once() {
    let (upstream, proxy) = stage(Answer::stream().chunk(sse::role()).hang()).await;
    let time = time_to_let_go(&upstream, &proxy, HELLO_STREAM, async |_| {}).await;
    assert!(time < AT_ONCE, "{time:?}");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream_frees_the_backend_at_once() {
    let (upstream, proxy) = stage(Answer::stream().chunk(sse::text("a")).hang()).await;
    let first = async |client: &mut Connection| {
        client.head().await;
        client.frame().await.unwrap();
    };
    let time = time_to_let_go(&upstream, &proxy, HELLO_STREAM, first).await;
    assert!(time < AT_ONCE, "{time:?}");
}

#[tokio::test]
async fn a_client_that_leaves_with_the_end_marker_was_served() {
    // The end of the body never comes, as with a provider that is slow to close.
    let answer = Answer::stream().chunk(sse::text("all")).chunk(sse::finish()).chunk(sse::DONE).hang();
    let (_upstream, proxy) = stage(answer).await;
    for served in 1..=5 {
        let mut client = proxy.begin(HELLO_STREAM).await;
        client.head().await;
        while client.frame().await.unwrap() != sse::DONE.trim_end() {}
        drop(client);
        let wanted = |r: &serde_json::Value| r["waiting"] == 0 && r["streaming"] == 0;
        let report = proxy.until("one", "the freed backend", wanted).await;
        let (success, cancelled) = (&report["requests"]["success"], &report["requests"]["cancelled"]);
        assert_eq!((success.as_u64(), cancelled.as_u64()), (Some(served), Some(0)), "{report}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_an_error_and_never_cleanly() {
    let gate = Gate::new();
    let begun = || Answer::stream().chunk(sse::role()).chunk(sse::text("half an ans")).wait(&gate);
    for (how, answer) in [
        ("closed between chunks", begun().close()),
        ("closed within a chunk", begun().raw("40\r\ndata: {\"id\":").close()),
        ("reset", begun().reset()),
        ("ended without saying so", begun().end()),
        ("ended within a frame", begun().chunk("data: {\"id\":").end()),
    ] {
        let (_upstream, proxy) = stage(answer).await;
        let mut client = proxy.begin(HELLO_STREAM).await;
        let head = client.head().await;
        client.frame().await.unwrap();
        assert_eq!(client.frame().await.unwrap() + "\n\n", sse::text("half an ans"), "{how}");
        gate.open();
        let (rest, end) = client.rest().await;
        let shown = String::from_utf8_lossy(&rest);
        let error = sse::error_of(&rest).unwrap_or_else(|| panic!("{how}: no error frame in {shown}"));
        assert_eq!(
            (error["type"].as_str(), error["request_id"].as_str()),
            (Some("upstream_error"), head.get("x-request-id"))
        );
        assert!(!sse::is_done(&rest) && end == End::Truncated, "{how}: {end:?} {shown}");
        let report = proxy.until("one", "the failure", |r| r["requests"]["failure"] == 1).await;
        assert_eq!((&report["requests"]["success"], &report["streaming"]), (&0.into(), &0.into()), "{how}: {report}");
        assert_eq!(report["last_error"]["class"], "provider_stream_cut", "{how}: {report}");
        proxy.logged(&["greenroom::request", "class=provider_stream_cut"]).await;
    }
}

#[tokio::test]
async fn a_whole_answer_that_is_cut_is_an_error_and_not_half_an_answer() {
    let body = crate::support::script::completion("half an answer");
    let half = &body[..body.len() / 2];
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    for (how, answer) in [
        ("short of its length", Answer::new().raw(head.clone() + half).close()),
        ("between chunks", Answer::new().raw(chunked).chunk(half).close()),
        (
            "until close",
            Answer::new().raw(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{half}")).close(),
        ),
    ] {
        let (_upstream, proxy) = stage(answer).await;
        let reply = proxy.chat(HELLO).await;
        assert_eq!((reply.status(), reply.error("type").as_str()), (502, "upstream_error"), "{how}: {reply:?}");
        assert!(!reply.text().contains("half an"), "{how}: {reply:?}");
        proxy.until("one", "the failure", |r| r["requests"]["failure"] == 1).await;
    }
}

/// Starts `count` streams through one worker and returns them when each has had its first frame and none its second.
async fn many(proxy: &Proxy, count: usize) -> Vec<Connection> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(proxy.begin(HELLO_STREAM).await);
    }
    for client in &mut clients {
        assert_eq!(client.head().await.status(), 200);
        assert_eq!(client.frame().await.map(|frame| frame + "\n\n"), Some(sse::text("first")));
    }
    clients
}

async fn finish(clients: Vec<Connection>) {
    for mut client in clients {
        assert_eq!(client.frame().await.map(|frame| frame + "\n\n"), Some(sse::text("second")));
        let (rest, end) = client.rest().await;
        assert!(sse::is_done(&rest) && end == End::Clean);
    }
}

fn in_two_parts(gate: &Gate) -> Answer {
    Answer::stream().chunk(sse::text("first")).wait(gate).chunk(sse::text("second")).finished()
}

#[tokio::test]
async fn a_hundred_and_fifty_streams_through_one_worker_all_progress() {
    let gate = Gate::new();
    let (upstream, proxy) = stage(in_two_parts(&gate)).await;
    let clients = many(&proxy, 150).await;
    assert_eq!(upstream.seen(|seen| seen.busy), 150);
    let report = proxy.report("one").await;
    assert_eq!((&report["waiting"], &report["streaming"]), (&0.into(), &150.into()), "{report}");
    gate.open_for_all();
    finish(clients).await;
    let report = proxy.until("one", "all leases given back", |r| r["streaming"] == 0).await;
    assert_eq!(report["requests"]["success"], 150, "{report}");
}

#[tokio::test]
async fn a_thousand_streams_stay_within_bounded_memory() {
    /// Four sockets' worth of buffers, a parser on each side and the story of the request.
    const PER_STREAM_KIB: u64 = 128;
    let gate = Gate::new();
    let (_upstream, proxy) = stage(in_two_parts(&gate)).await;
    let before = proxy.resident_kib();
    let clients = many(&proxy, 1000).await;
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < 1000 * PER_STREAM_KIB, "{grown} KiB for a thousand streams");
    gate.open_for_all();
    finish(clients).await;
    let report = proxy.until("one", "all leases given back", |r| r["streaming"] == 0).await;
    assert_eq!(report["requests"]["success"], 1000, "{report}");
}

#[tokio::test]
async fn a_slow_client_slows_its_backend_and_memory_stays_bounded() {
    const FRAMES: usize = 4000;
    const MOST_KIB: u64 = 24 * 1024;
    let frame = sse::text(&"x".repeat(16 * 1024));
    let chunk = format!("{:x}\r\n{frame}\r\n", frame.len());
    let total = FRAMES * chunk.len();
    let (upstream, proxy) = stage(Answer::stream().flood(chunk, FRAMES).finished()).await;
    let before = proxy.resident_kib();
    let mut client = proxy.begin(HELLO_STREAM).await;
    client.head().await;
    client.frame().await.unwrap();
    // Stalled is what has not moved for this many looks in a row.
    let (mut last, mut same) = (0, 0);
    eventually("a stalled backend", async || {
        let now = upstream.seen(|seen| seen.flooded);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (now > 0 && same == 100).then_some(())
    })
    .await;
    assert!(last < total / 2, "{last} of {total} bytes were taken from a client that reads nothing");
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < MOST_KIB, "{grown} KiB held for a client that reads nothing");
    let (rest, end) = client.rest().await;
    assert!(sse::is_done(&rest) && end == End::Clean);
    assert!(proxy.resident_kib().saturating_sub(before) < MOST_KIB);
}
