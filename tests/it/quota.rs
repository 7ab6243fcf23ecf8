//! A model whose accounts are not to stand in for each other: one that has no money left takes its model out, and is not made up for by
//! the others without anybody noticing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::support::{
    eventually,
    heard::{Heard, hear},
    proxy::{HELLO, HELLO_STREAM, Proxy, hello_at},
    script::{Answer, Gate},
    settings::Settings,
    sse,
    upstream::Upstream,
};

const SPENT: &str = r#"{"error":{"message":"You exceeded your current quota.","type":"insufficient_quota","code":"insufficient_quota"}}"#;

fn off() -> Settings {
    Settings::new()
        .set("models.m", "quota_failover = false")
        .set("failover", "retry_budget = 1.0\nhedge_budget = 1.0\nmax_attempts = 4")
}

async fn without_money() -> Upstream {
    Upstream::always(Answer::json(429, SPENT)).await
}

async fn is_out(proxy: &Proxy) {
    proxy.until("spent", "a shut gate", |r| r["state"] == "open").await;
    let report = proxy.report("spent").await;
    assert!(report["reason"].as_str().is_some_and(|reason| reason.contains("no money or quota")), "{report}");
}

#[tokio::test]
async fn no_other_account_is_used_for_one_that_has_nothing_left() {
    let (spent, second) = (without_money().await, Upstream::saying("hi").await);
    let settings = off().backend("spent", spent.addr).target("second", second.addr, "priority = 2");
    let proxy = Proxy::start(&settings).await;
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (502, "upstream_auth_failed"), "{reply:?}");
    assert_eq!((reply.header("x-should-retry"), reply.backend()), ("false", "spent"), "{reply:?}");
    proxy.logged(&["WARN", "spent", "model=m", "quota_failover=false"]).await;
    is_out(&proxy).await;
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (503, "no_healthy_backend"), "{reply:?}");
    assert!(reply.error("message").contains("quota_failover = false"), "{reply:?}");
    assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 60), "{reply:?}");
    assert_eq!((spent.asked(), second.asked()), (1, 0));
    // Who names the other means it.
    assert_eq!((proxy.chat(hello_at("second")).await.status(), second.asked()), (200, 1));
}

#[tokio::test]
async fn by_default_the_others_stand_in() {
    let (spent, second) = (without_money().await, Upstream::saying("hi").await);
    let settings = Settings::new().backend("spent", spent.addr).target("second", second.addr, "priority = 2");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(hear(&proxy, false).await, Heard::said("hi", "second"));
    is_out(&proxy).await;
    assert_eq!(hear(&proxy, true).await, Heard::said("hi", "second"));
}

#[tokio::test]
async fn peers_do_not_take_its_share_and_who_goes_before_it_serves_on() {
    let (spent, peer) = (without_money().await, Upstream::saying("hi").await);
    let (first, now_sick) = (AtomicBool::new(false), Answer::json(500, "{}"));
    let first = Upstream::start(move |_, ask| {
        if ask.text().contains("be sick") {
            first.store(true, SeqCst);
        }
        if first.load(SeqCst) { now_sick.clone() } else { Answer::says("first") }
    })
    .await;
    let settings = off().backend("first", first.addr).target("spent", spent.addr, "priority = 2").target(
        "peer",
        peer.addr,
        "priority = 2",
    );
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.chat(hello_at("spent")).await.status(), 502);
    is_out(&proxy).await;
    assert_eq!(hear(&proxy, false).await, Heard::said("first", "first"));
    let reply = proxy.chat(hello_at("first").replace("Hello!", "be sick")).await;
    assert_eq!(reply.status(), 502, "{reply:?}");
    // What the first fails at goes to the next tier, and there stands one without money.
    for _ in 0..4 {
        assert!(proxy.hello().await.status() >= 502);
    }
    assert_eq!(peer.asked(), 0);
    assert_eq!(proxy.post("/admin/backends/spent/drain").await.status(), 200);
    proxy.until("spent", "the drain", |r| r["state"] == "draining").await;
    // Taken out by an operator, it stands in nobody's way.
    assert_eq!(hear(&proxy, false).await, Heard::said("hi", "peer"));
}

#[tokio::test]
async fn other_failures_are_failed_over_as_ever_and_it_comes_back_by_its_own_probe() {
    let state = Arc::new(AtomicUsize::new(0));
    let at = state.clone();
    let first = Upstream::start(move |_, _| match at.load(SeqCst) {
        0 => Answer::json(500, "{}"),
        1 => Answer::json(429, SPENT),
        _ => Answer::says("back"),
    })
    .await;
    let second = Upstream::saying("hi").await;
    let settings = off().backend("spent", first.addr).target("second", second.addr, "priority = 2");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(hear(&proxy, false).await, Heard::said("hi", "second"));
    state.store(1, SeqCst);
    assert_eq!(proxy.hello().await.status(), 502);
    is_out(&proxy).await;
    state.store(2, SeqCst);
    assert_eq!(proxy.hello().await.status(), 503);
    // A pin may look early, and opens the gate for all.
    assert_eq!(proxy.chat(hello_at("spent")).await.status(), 200);
    proxy.until("spent", "an open gate", |r| r["state"] != "open").await;
    assert_eq!(hear(&proxy, false).await, Heard::said("back", "spent"));
    assert_eq!(second.asked(), 1);
}

#[tokio::test]
async fn those_who_wait_in_front_of_an_account_without_money_keep_their_order() {
    let (gate, spent, peer) = (Gate::new(), without_money().await, Upstream::saying("hi").await);
    let first = Upstream::always(Answer::new().wait(&gate).then(Answer::says("first"))).await;
    let settings = off()
        .set("models.m", "queue = 8\nqueue_timeout = \"15s\"")
        .backend("first", first.addr)
        .target("spent", spent.addr, "priority = 2")
        .target("peer", peer.addr, "priority = 2")
        .set("backends.first", "max_in_flight = 1\nfirst_token_soft = \"20s\"");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.chat(hello_at("spent")).await.status(), 502);
    is_out(&proxy).await;
    let mut clients = Vec::new();
    for n in 0..8 {
        clients.push(proxy.begin(HELLO.replace("Hello!", &format!("number {n}"))).await);
        first.until("the first", |seen| seen.busy == 1).await;
        assert_eq!(proxy.get("/livez").await.status(), 200);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        first.until("the next one", |seen| seen.requests.len() == n + 1).await;
        assert!(first.last().text().contains(&format!("number {n}\"")), "{n}: {}", first.last().text());
        gate.open();
        assert_eq!(client.reply().await.status(), 200);
    }
    assert_eq!(peer.asked(), 0);
}

#[tokio::test]
async fn a_stream_that_runs_out_of_money_is_not_rescued() {
    let out = format!("data: {SPENT}\n\n");
    let spent = Upstream::always(Answer::stream().chunk(sse::text("Once ")).chunk(out).end()).await;
    let second = Upstream::always(Answer::streams("Once upon a time")).await;
    for (settings, rescued) in [(off(), false), (Settings::new(), true)] {
        let settings = settings.backend("spent", spent.addr).target("second", second.addr, "priority = 2");
        let proxy = Proxy::start(&settings).await;
        let mut client = proxy.begin(HELLO_STREAM).await;
        assert_eq!(client.head().await.status(), 200);
        let (body, _) = client.rest().await;
        assert_eq!((sse::is_done(&body), sse::error_of(&body).is_none()), (rescued, rescued));
        assert_eq!(second.asked(), usize::from(rescued));
    }
}

#[tokio::test]
async fn nobody_stands_in_before_its_gate_is_shut_either() {
    let (says_no, answers) = (Gate::new(), Gate::new());
    let no = says_no.clone();
    let spent = Upstream::start(move |_, ask| match () {
        () if ask.wants_stream() => {
            Answer::stream().chunk(sse::text("Once ")).chunk(format!("data: {SPENT}\n\n")).end()
        }
        () if ask.text().contains("slowly") => Answer::new().wait(&no).then(Answer::json(429, SPENT)),
        () => Answer::json(429, SPENT),
    })
    .await;
    // Long enough for a third to be asked, were it to be.
    let work = Answer::new().wait(&answers).work(Duration::from_millis(100));
    let second = Upstream::always(work.then(Answer::says("hi"))).await;
    let third = Upstream::saying("no").await;
    let settings = off()
        .set("server", "chaos = true")
        .backend("spent", spent.addr)
        .target("second", second.addr, "priority = 2")
        .target("third", third.addr, "priority = 3")
        .set("backends.spent", "first_token_soft = \"30ms\"")
        .set("backends.second", "first_token_soft = \"5ms\"");
    let proxy = Proxy::start(&settings).await;
    // Its actor, which alone shuts its gate, is not there for half a second at least behind the eighth of these.
    for _ in 0..8 {
        assert_eq!(proxy.post("/admin/chaos/backends/spent").await.status(), 200);
    }
    let count = |words: &str| proxy.log().matches(words).count();
    eventually("the last crash", async || (count("actor panicked: ") == 8).then_some(())).await;
    assert_eq!(proxy.hello().await.status(), 502);
    let mut client = proxy.begin(HELLO_STREAM).await;
    assert_eq!(client.head().await.status(), 200);
    assert!(sse::error_of(&client.rest().await.0).is_some());
    assert_eq!((second.asked(), third.asked()), (0, 0));
    let mut client = proxy.begin(HELLO.replace("Hello!", "slowly")).await;
    second.until("the second request", |seen| seen.busy == 1).await;
    says_no.open();
    eventually("the third refusal", async || (count("no other backend stands in for spent") == 3).then_some(())).await;
    answers.open();
    let reply = client.reply().await;
    assert_eq!((reply.status(), reply.backend(), third.asked()), (200, "second", 0), "{reply:?}");
}
