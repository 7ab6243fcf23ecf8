//! Waiting for a place: off unless wanted, first come first served, bounded in number and time, never a hang.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{
    client::{Ask, Connection, Reply},
    eventually,
    heard::{Heard, WAYS, hello},
    proxy::{HELLO, Proxy, hello_at},
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

/// One backend that takes one request at a time and answers each when the gate lets it.
async fn stage(queue: &str) -> (Upstream, Gate, Proxy) {
    let gate = Gate::new();
    let wait = gate.clone();
    let one = Upstream::start(move |_, ask| Answer::new().wait(&wait).then(ask.saying("hi"))).await;
    let settings = Settings::new()
        .backend("one", one.addr)
        .set("backends.one", "max_in_flight = 1\nfirst_token_soft = \"20s\"")
        .set("models.m", queue);
    let proxy = Proxy::start(&settings).await;
    (one, gate, proxy)
}

/// Two backends that take one request at a time, and a user who may ask the first one only.
async fn with_picky(one: &Upstream, two: &Upstream, queue: u32) -> Proxy {
    let settings = Settings::new()
        .backend("one", one.addr)
        .backend("two", two.addr)
        .set("defaults.backend", "max_in_flight = 1\nfirst_token_soft = \"20s\"")
        .set("models.m", &format!("queue = {queue}\nqueue_timeout = \"15s\""))
        .set("users.picky", "token = \"token-of-picky\"\nmodels = [\"*\"]\nbackends = [\"one\"]");
    Proxy::start(&settings).await
}

fn assert_full(reply: &Reply) {
    let face = (reply.status(), reply.error("type"), reply.error("code"));
    assert_eq!(face, (503, "service_unavailable_error".to_owned(), "gateway_overloaded".to_owned()), "{reply:?}");
    assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{reply:?}");
}

fn numbered(n: usize) -> String {
    hello(n.is_multiple_of(2)).replace("Hello!", &format!("number {n}"))
}

#[tokio::test]
async fn without_a_queue_a_full_backend_is_refused_at_once() {
    for stream in WAYS {
        let (one, gate, proxy) = stage("").await;
        let mut first = proxy.begin(HELLO).await;
        one.until("the first", |seen| seen.busy == 1).await;
        let asked = Instant::now();
        assert_full(&proxy.chat(hello(stream)).await);
        assert!(asked.elapsed() < Duration::from_secs(2));
        gate.open();
        assert_eq!(first.reply().await.status(), 200);
        assert_eq!(one.asked(), 1);
    }
}

#[tokio::test]
async fn those_who_wait_are_served_in_the_order_they_came_one_at_a_time() {
    let (one, gate, proxy) = stage("queue = 8\nqueue_timeout = \"15s\"").await;
    let mut clients = vec![proxy.begin(numbered(0)).await];
    one.until("the first", |seen| seen.busy == 1).await;
    for n in 1..=5 {
        clients.push(proxy.begin(numbered(n)).await);
        // The one worker takes connections in turn: once it has answered this, the one before is in the queue.
        assert_eq!(proxy.get("/livez").await.status(), 200);
    }
    assert_eq!(one.asked(), 1);
    for (n, client) in clients.iter_mut().enumerate() {
        one.until("the next one", |seen| seen.requests.len() == n + 1).await;
        assert!(one.last().text().contains(&format!("number {n}")), "{n}: {}", one.last().text());
        gate.open();
        assert_eq!(Heard::of(&client.reply().await), Heard::said("hi", "one"));
    }
    assert_eq!(one.seen(|seen| seen.busiest), 1);
}

#[tokio::test]
async fn beyond_its_length_the_queue_refuses_at_once() {
    let (one, gate, proxy) = stage("queue = 2\nqueue_timeout = \"15s\"").await;
    let mut clients = vec![proxy.begin(HELLO).await];
    one.until("the first", |seen| seen.busy == 1).await;
    let mut refused = 0;
    for n in 0..5 {
        let mut client = proxy.begin(hello(n % 2 == 0)).await;
        if let Ok(reply) = tokio::time::timeout(Duration::from_millis(300), client.reply()).await {
            assert_full(&reply);
            refused += 1;
        } else {
            clients.push(client);
        }
    }
    assert_eq!((clients.len(), refused), (3, 3), "one under way, two wait");
    gate.open_for_all();
    one.until("both who waited", |seen| seen.requests.len() == 3).await;
}

#[tokio::test]
async fn a_wait_ends_with_the_queues_time_or_the_clients_whichever_is_shorter() {
    for (queue_timeout, header) in [("300ms", "9000"), ("15s", "300")] {
        let (one, _gate, proxy) = stage(&format!("queue = 4\nqueue_timeout = \"{queue_timeout}\"")).await;
        let first = proxy.begin(HELLO).await;
        one.until("the first", |seen| seen.busy == 1).await;
        let ask = Ask::chat(HELLO).bearer(TOKEN).header("x-greenroom-timeout-ms", header);
        let asked = Instant::now();
        let reply = proxy.ask(&ask).await;
        let waited = asked.elapsed();
        assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
        assert_full(&reply);
        drop(first);
    }
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_in_the_queue_to_another() {
    let (one, gate, proxy) = stage("queue = 1\nqueue_timeout = \"15s\"").await;
    let mut first = proxy.begin(numbered(0)).await;
    one.until("the first", |seen| seen.busy == 1).await;
    let waiting = proxy.begin(numbered(1)).await;
    eventually("a full queue", async || (proxy.hello().await.status() == 503).then_some(())).await;
    drop(waiting);
    let mut next = proxy.begin(numbered(2)).await;
    // Sent again until the place of the one who left is free: a refusal comes at once, a place does not answer.
    let mut reply = tokio::time::timeout(Duration::from_millis(300), next.reply()).await;
    while reply.is_ok() {
        next = proxy.begin(numbered(2)).await;
        reply = tokio::time::timeout(Duration::from_millis(300), next.reply()).await;
    }
    gate.open_for_all();
    assert_eq!(first.reply().await.status(), 200);
    one.until("the one who took the place", |seen| seen.requests.len() == 2).await;
    assert!(one.last().text().contains("number 2"), "{}", one.last().text());
}

#[tokio::test]
async fn a_backend_that_fails_while_others_wait_does_not_leave_them_waiting() {
    let gate = Gate::new();
    let wait = gate.clone();
    let one = Upstream::start(move |_, _| Answer::new().wait(&wait).then(Answer::json(401, "{}"))).await;
    let settings = Settings::new()
        .backend("one", one.addr)
        .set("backends.one", "max_in_flight = 1")
        .set("models.m", "queue = 4\nqueue_timeout = \"15s\"");
    let proxy = Proxy::start(&settings).await;
    let mut first = proxy.begin(HELLO).await;
    one.until("the first", |seen| seen.busy == 1).await;
    let mut second = proxy.begin(HELLO).await;
    gate.open_for_all();
    assert_eq!(first.reply().await.status(), 502);
    let asked = Instant::now();
    let reply = second.reply().await;
    // It may have been given the place before the gate shut; either way it is answered at once.
    assert!(matches!(reply.status(), 502 | 503), "{reply:?}");
    assert!(asked.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn who_comes_while_another_waits_is_served_after_it() {
    let (one, gate, proxy) = stage("queue = 8\nqueue_timeout = \"15s\"").await;
    let ask = |n: usize| Ask::chat(numbered(n)).bearer(TOKEN);
    let mut clients = [Connection::open(proxy.addr).await, Connection::open(proxy.addr).await];
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&ask(n)).await;
        one.until("the first", |seen| seen.busy == 1).await;
        assert_eq!(proxy.get("/livez").await.status(), 200);
    }
    for n in 0..10 {
        one.until("the next one", |seen| seen.requests.len() == n + 1).await;
        assert!(one.last().text().contains(&format!("number {n}\"")), "{n}: {}", one.last().text());
        gate.open();
        // The place is free now, and this client the first to ask for it.
        let client = &mut clients[n % 2];
        assert_eq!(client.reply().await.status(), 200);
        client.send(&ask(n + 2)).await;
    }
}

#[tokio::test]
async fn a_place_that_the_first_one_may_not_have_goes_to_those_behind_it() {
    let (first, second) = (Gate::new(), Gate::new());
    let (one, two) = (
        Upstream::always(Answer::new().wait(&first).then(Answer::says("one"))).await,
        Upstream::always(Answer::new().wait(&second).then(Answer::says("two"))).await,
    );
    let proxy = with_picky(&one, &two, 8).await;
    let mut under_way = [proxy.begin(HELLO).await, proxy.begin(HELLO).await];
    one.until("a request", |seen| seen.busy == 1).await;
    two.until("a request", |seen| seen.busy == 1).await;
    let mut picky = Connection::open(proxy.addr).await;
    picky.send(&Ask::chat(HELLO).bearer("token-of-picky")).await;
    assert_eq!(proxy.get("/livez").await.status(), 200);
    let mut behind = [proxy.begin(HELLO).await, proxy.begin(HELLO).await];
    second.open_for_all();
    for client in &mut behind {
        assert_eq!(Heard::of(&client.reply().await), Heard::said("two", "two"));
    }
    first.open_for_all();
    assert_eq!(Heard::of(&picky.reply().await), Heard::said("one", "one"));
    for client in &mut under_way {
        assert_eq!(client.reply().await.status(), 200);
    }
}

#[tokio::test]
async fn a_full_queue_refuses_nobody_for_whom_there_is_a_place() {
    let gate = Gate::new();
    let one = Upstream::always(Answer::new().wait(&gate).then(Answer::says("one"))).await;
    let two = Upstream::saying("two").await;
    let proxy = with_picky(&one, &two, 1).await;
    let picky = Ask::chat(HELLO).bearer("token-of-picky");
    let mut waiting = [Connection::open(proxy.addr).await, Connection::open(proxy.addr).await];
    for client in &mut waiting {
        client.send(&picky).await;
        one.until("the first", |seen| seen.busy == 1).await;
        assert_eq!(proxy.get("/livez").await.status(), 200);
    }
    for stream in WAYS {
        assert_eq!(Heard::of(&proxy.chat(hello(stream)).await), Heard::said("two", "two"));
    }
    assert_full(&proxy.ask(&picky).await);
    gate.open_for_all();
    for client in &mut waiting {
        assert_eq!(client.reply().await.status(), 200);
    }
}

#[tokio::test]
async fn the_time_in_the_queue_is_not_taken_for_the_backends_or_for_our_own() {
    let gate = Gate::new();
    let wait = gate.clone();
    let one = Upstream::start(move |n, _| match n {
        0 | 1 => Answer::new().wait(&wait).then(Answer::says("hi")),
        _ => Answer::says("hi"),
    })
    .await;
    let settings = Settings::new()
        .backend("one", one.addr)
        .set("backends.one", "max_in_flight = 2\nfirst_token_soft = \"20s\"")
        .set("models.m", "queue = 8\nqueue_timeout = \"15s\"");
    let proxy = Proxy::start(&settings).await;
    let mut clients = Vec::new();
    for n in 0..4 {
        clients.push(proxy.begin(HELLO).await);
        one.until("those for whom there is a place", |seen| seen.busy == 2.min(n + 1)).await;
        assert_eq!(proxy.get("/livez").await.status(), 200);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Both places come free at once, so that the last one is granted the first time it asks.
    gate.open_for_all();
    for client in &mut clients {
        let reply = client.reply().await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        let timing = reply.header("server-timing").to_owned();
        let own: f64 = timing.rsplit("gw;dur=").next().and_then(|ms| ms.parse().ok()).expect("a time");
        assert!(own < 100.0, "{timing}");
    }
    let page = proxy.get("/metrics").await.text();
    assert!(page.contains("greenroom_queue_wait_seconds_count"), "{page}");
}

#[tokio::test]
async fn who_can_be_saved_by_asking_again_does_not_queue_for_another_backend() {
    for stream in WAYS {
        let gate = Gate::new();
        let busy = Upstream::always(Answer::new().wait(&gate).then(Answer::says("late"))).await;
        let flaky = Upstream::start(move |n, _| match n {
            0 => Answer::json(500, "{}"),
            _ if stream => Answer::streams("hi"),
            _ => Answer::says("hi"),
        })
        .await;
        let settings = Settings::new()
            .backend("busy", busy.addr)
            .backend("flaky", flaky.addr)
            .set("defaults.backend", "max_in_flight = 1\nfirst_token_soft = \"20s\"")
            .set("models.m", "queue = 4\nqueue_timeout = \"15s\"");
        let proxy = Proxy::start(&settings).await;
        let mut first = proxy.begin(hello_at("busy")).await;
        busy.until("the first", |seen| seen.busy == 1).await;
        assert_eq!(Heard::of(&proxy.chat(hello(stream)).await), Heard::said("hi", "flaky"));
        assert_eq!(flaky.asked(), 2);
        gate.open_for_all();
        assert_eq!(first.reply().await.status(), 200);
    }
}
