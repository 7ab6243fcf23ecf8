//! Backends that take sound requests for wrong, and clients that send wrong ones: who gets the requests then.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::support::{
    client::{Ask, Connection},
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::Answer,
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

/// What is wrong with a request, in a way that nobody knows for a backend's own fault.
fn wrong() -> Answer {
    Answer::json(400, r#"{"error":{"message":"'temperature' must be a number","type":"invalid_request_error"}}"#)
}

/// A request that backends find wrong.
const WRONG: &str = r#"{"model":"m","messages":[],"temperature":"hot"}"#;

/// A sound backend, which takes this long for a whole answer.
async fn sound(time: Duration) -> Upstream {
    Upstream::start(move |_, ask| {
        if ask.body.windows(5).any(|word| word == b"\"hot\"") {
            wrong()
        } else {
            Answer::new().work(time).then(ask.saying("hi"))
        }
    })
    .await
}

/// Sends `count` times this, so many at a time; how many were asked of each, and answered with each status.
async fn send(proxy: &Proxy, clients: usize, count: usize, body: &'static str) -> BTreeMap<u16, usize> {
    let left = Arc::new(Semaphore::new(count));
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (left, addr) = (left.clone(), proxy.addr);
        running.spawn(async move {
            let (mut connection, mut seen) = (Connection::open(addr).await, Vec::new());
            while let Ok(turn) = left.try_acquire() {
                turn.forget();
                connection.send(&Ask::chat(body).bearer(TOKEN)).await;
                seen.push(connection.reply().await.status());
            }
            seen
        });
    }
    let mut all = BTreeMap::new();
    while let Some(seen) = running.join_next().await {
        seen.expect("clients do not panic").into_iter().for_each(|status| *all.entry(status).or_default() += 1);
    }
    all
}

#[tokio::test]
async fn a_backend_that_finds_all_requests_wrong_gets_next_to_none_of_them() {
    for stream in [false, true] {
        let (bad, good) = (Upstream::always(wrong()).await, sound(Duration::from_millis(5)).await);
        let proxy = Proxy::start(&Settings::new().backend("bad", bad.addr).backend("good", good.addr)).await;
        let body = if stream { HELLO_STREAM } else { HELLO };
        // One after the other, then many at once.
        for (clients, most) in [(1, 4), (8, 30)] {
            let answered = send(&proxy, clients, 200, body).await;
            let refused = answered.get(&400).copied().unwrap_or_default();
            assert!(refused <= most, "{clients} at a time, stream {stream}: {answered:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_asks_wrongly_leaves_all_backends_alike() {
    let (a, b) = (sound(Duration::from_millis(5)).await, sound(Duration::from_millis(5)).await);
    let proxy = Proxy::start(&Settings::new().backend("a", a.addr).backend("b", b.addr)).await;
    assert_eq!(send(&proxy, 1, 100, WRONG).await, BTreeMap::from([(400, 100)]));
    assert!(a.asked().abs_diff(b.asked()) <= 2, "{} and {}", a.asked(), b.asked());
    // As many sound ones at a time as there were wrong ones.
    assert_eq!(send(&proxy, 16, 400, HELLO).await, BTreeMap::from([(200, 400)]));
    let [a, b] = [&a, &b].map(Upstream::asked);
    assert!(a.abs_diff(b) <= 120, "{a} and {b}");
}

#[tokio::test]
async fn a_client_that_asks_one_backend_wrongly_for_want_of_another_takes_it_from_nobody() {
    let pinned = r#"{"model":"m","messages":[],"temperature":"hot","backend":"b"}"#;
    // By its pin; by what its user may use, also where `c` would do if `b` could not.
    for (token, body, may) in
        [(TOKEN, pinned, "[\"*\"]"), ("confined", WRONG, "[\"b\"]"), ("confined", WRONG, "[\"b\", \"c\"]")]
    {
        let [a, b, c] =
            [sound(Duration::from_millis(5)).await, sound(Duration::from_millis(5)).await, sound(Duration::ZERO).await];
        let settings = Settings::new()
            .backend("a", a.addr)
            .backend("b", b.addr)
            .target("c", c.addr, "priority = 2")
            .set("users.confined", &format!("token = \"confined\"\nmodels = [\"*\"]\nbackends = {may}"));
        let proxy = Proxy::start(&settings).await;
        // Until each is let in without reluctance.
        assert_eq!(send(&proxy, 8, 100, HELLO).await, BTreeMap::from([(200, 100)]));
        for _ in 0..60 {
            let reply = proxy.ask(&Ask::chat(body).bearer(token)).await;
            assert_eq!((reply.status(), reply.backend()), (400, "b"), "{reply:?}");
        }
        let before = [&a, &b].map(Upstream::asked);
        assert_eq!(send(&proxy, 8, 200, HELLO).await, BTreeMap::from([(200, 200)]));
        let [a, b] = [a.asked() - before[0], b.asked() - before[1]];
        assert!(a.min(b) >= 60, "{a} and {b}, {may}");
    }
}

#[tokio::test]
async fn one_wrong_request_moves_no_other() {
    let (a, b) = (sound(Duration::ZERO).await, sound(Duration::ZERO).await);
    let proxy = Proxy::start(&Settings::new().backend("a", a.addr).target("b", b.addr, "weight = 0.9")).await;
    for _ in 0..20 {
        for (body, status) in [(HELLO, 200), (WRONG, 400)] {
            let reply = proxy.chat(body).await;
            assert_eq!((reply.status(), reply.backend()), (status, "a"));
        }
    }
}

/// Answers with which a backend is at fault itself though they read as a client's: status and body.
const OWN: [(u16, &str); 8] = [
    (498, r#"{"error":{"message":"Flex capacity exceeded","code":"capacity_exceeded"}}"#),
    (412, r#"{"error":{"message":"The account is suspended","type":"error"}}"#),
    (424, r#"{"message":"The model failed while it processed the request"}"#),
    (400, r#"{"error":"Failed to load model \"m\". Error: Failed to load model."}"#),
    (400, r#"{"message":"The provided model identifier is invalid."}"#),
    (400, r#"{"error":{"type":"invalid_request_error","message":"This organization has been disabled."}}"#),
    (
        400,
        r#"{"error":{"code":"OperationNotSupported","message":"The chatCompletion operation does not work with it"}}"#,
    ),
    (424, r#"{"error":{"type":"external_connector_error","message":"Error retrieving tool list from MCP server"}}"#),
];

#[tokio::test]
async fn a_backend_at_fault_that_says_so_with_a_clients_status_is_passed_over() {
    for (n, (status, body)) in OWN.into_iter().enumerate() {
        let (bad, good) = (Upstream::always(Answer::json(status, body)).await, Upstream::saying("hi").await);
        let settings =
            Settings::new().backend("bad", bad.addr).peer(good.addr).set("backends.bad", "backoff_min = \"30s\"");
        let proxy = Proxy::start(&settings).await;
        for _ in 0..20 {
            assert_eq!(proxy.hello().await.status(), 200, "{body}");
        }
        // The last two may be the client's, or what it names: they shut nothing for others.
        let is_clients = n >= OWN.len() - 2;
        assert_eq!(bad.asked() == 20, is_clients, "{body}: asked {} times", bad.asked());
    }
}

#[tokio::test]
async fn every_other_4xx_is_the_clients_own() {
    for status in [400, 406, 409, 413, 415, 418, 422, 423, 425] {
        let body = r#"{"error":{"message":"'temperature' must be a number","type":"invalid_request_error"}}"#;
        let (one, other) = (Upstream::always(Answer::json(status, body)).await, Upstream::saying("hi").await);
        let proxy = Proxy::start(&Settings::new().backend("one", one.addr).peer(other.addr)).await;
        let reply = proxy.hello().await;
        assert_eq!((reply.status(), reply.text().as_str(), other.asked()), (status, body, 0));
    }
}
