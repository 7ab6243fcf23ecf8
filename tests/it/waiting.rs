//! Waiting for a place while something changes: settings are read again, Greenroom stops; and who waits for none.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::{
    client::{Ask, Connection},
    eventually,
    proxy::{HELLO, Proxy},
    script::{Answer, Gate},
    settings::Settings,
    upstream::Upstream,
};

/// Waits until so many wait for a place.
async fn waits(proxy: &Proxy, count: u32) {
    let line = format!("greenroom_backend_queue_depth{{model=\"m\"}} {count}.");
    eventually("those who wait", async || proxy.get("/metrics").await.text().contains(&line).then_some(())).await;
}

async fn gated() -> (Gate, Upstream) {
    let gate = Gate::new();
    let one = Upstream::always(Answer::new().wait(&gate).then(Answer::says("hi"))).await;
    (gate, one)
}

fn one_at_a_time(one: &Upstream, queue: u32) -> Settings {
    let queue = format!("queue = {queue}\nqueue_timeout = \"15s\"");
    Settings::new().backend("one", one.addr).set("backends.one", "max_in_flight = 1").set("models.m", &queue)
}

#[tokio::test]
async fn those_who_wait_for_a_place_keep_theirs_over_a_reload() {
    let (gate, one) = gated().await;
    let proxy = Proxy::start(&one_at_a_time(&one, 1)).await;
    let mut first = proxy.begin(HELLO).await;
    one.until("a request", |seen| seen.busy == 1).await;
    let mut waiting = proxy.begin(HELLO).await;
    waits(&proxy, 1).await;
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    waits(&proxy, 1).await;
    assert_eq!(proxy.hello().await.status(), 503, "there is one place to wait in");
    gate.open_for_all();
    for client in [&mut first, &mut waiting] {
        assert_eq!(client.reply().await.status(), 200);
    }
}

#[tokio::test]
async fn those_who_wait_stay_ahead_though_their_backend_is_another_one_now() {
    let ((old_gate, old), (gate, new)) = (gated().await, gated().await);
    let proxy = Proxy::start(&one_at_a_time(&old, 8)).await;
    let numbered = |n: u32| HELLO.replace("Hello!", &format!("number {n}"));
    let mut clients = vec![proxy.begin(numbered(0)).await];
    old.until("a request", |seen| seen.busy == 1).await;
    for n in 1..=2 {
        clients.push(proxy.begin(numbered(n)).await);
        waits(&proxy, n).await;
    }
    proxy.rewrite(&one_at_a_time(&new, 8).toml());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    new.until("the first who waited", |seen| seen.busy == 1).await;
    old_gate.open();
    assert_eq!(clients[0].reply().await.status(), 200);
    waits(&proxy, 1).await;
    // Who is next looks every 5 ms. It sees that its old backend is idle now, and must not think that place no use to it.
    sleep(Duration::from_millis(50)).await;
    clients.push(proxy.begin(numbered(3)).await);
    waits(&proxy, 2).await;
    for (n, client) in clients.iter_mut().enumerate().skip(1) {
        new.until("the next one", |seen| seen.requests.len() == n).await;
        assert!(new.last().text().contains(&format!("number {n}")), "{n}: {}", new.last().text());
        gate.open();
        assert_eq!(client.reply().await.status(), 200);
    }
}

#[tokio::test]
async fn who_stands_in_a_queue_is_served_while_it_stops() {
    let (gate, one) = gated().await;
    let mut proxy = Proxy::start(&one_at_a_time(&one, 2)).await;
    let mut clients = vec![proxy.begin(HELLO).await];
    one.until("the first", |seen| seen.busy == 1).await;
    clients.push(proxy.begin(HELLO).await);
    waits(&proxy, 1).await;
    proxy.signal("TERM");
    proxy.logged(&["draining"]).await;
    gate.open_for_all();
    for client in &mut clients {
        assert_eq!(client.reply().await.status(), 200);
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn whose_only_backend_has_no_such_endpoint_is_told_so_and_waits_for_nobody_elses() {
    let ((gate, one), two) = (gated().await, Upstream::saying("hi").await);
    let backend = |protocol, upstream: &Upstream| {
        format!(
            "protocol = \"{protocol}\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\nmax_in_flight = 1",
            upstream.addr
        )
    };
    let user =
        |name: &str, backend| format!("token = \"token-of-{name}\"\nmodels = [\"*\"]\nbackends = [\"{backend}\"]");
    let settings = Settings::new()
        .set("backends.one", &backend("openai", &one))
        .set("backends.two", &backend("anthropic", &two))
        .set("models.m", "backends = [{ backend = \"one\" }, { backend = \"two\" }]\nqueue = 8\nqueue_timeout = \"9s\"")
        .set("users.eager", &user("eager", "one"))
        .set("users.picky", &user("picky", "two"));
    let proxy = Proxy::start(&settings).await;
    let eager = Ask::chat(HELLO).bearer("token-of-eager");
    let mut clients = [Connection::open(proxy.addr).await, Connection::open(proxy.addr).await];
    clients[0].send(&eager).await;
    one.until("a request", |seen| seen.busy == 1).await;
    clients[1].send(&eager).await;
    waits(&proxy, 1).await;
    let asked = Instant::now();
    let vectors = Ask::post("/v1/embeddings", r#"{"model":"m","input":"hi"}"#);
    let reply = proxy.ask(&vectors.bearer("token-of-picky")).await;
    assert_eq!((reply.status(), reply.error("param").as_str()), (400, "model"), "{reply:?}");
    assert!(reply.error("message").contains("serves this endpoint"), "{reply:?}");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    gate.open_for_all();
    for client in &mut clients {
        assert_eq!(client.reply().await.status(), 200);
    }
}
