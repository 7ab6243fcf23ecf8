//! A second backend beside a slow one: whoever has content first wins, the other is let go, and all of it is budgeted.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::{
    heard::{Heard, WAYS, hear, hello},
    proxy::{Proxy, hello_at},
    script::{Answer, Gate, completion},
    settings::Settings,
    upstream::Upstream,
};

/// `slow` is asked first; after 150 ms without content `peer` is asked beside it.
fn settings(slow: &Upstream, peer: &Upstream) -> Settings {
    Settings::new()
        .backend("slow", slow.addr)
        .peer(peer.addr)
        .set("backends.slow", "first_token_soft = \"150ms\"")
        .set("failover", "hedge_budget = 1.0")
}

async fn entry(proxy: &Proxy) -> Value {
    proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone()
}

#[tokio::test]
async fn the_second_one_wins_and_the_slow_ones_connection_is_closed() {
    for stream in WAYS {
        let (slow, peer) = (Upstream::always(Answer::new().hang()).await, Upstream::saying("hi").await);
        let proxy = Proxy::start(&settings(&slow, &peer)).await;
        let asked = Instant::now();
        let reply = proxy.chat(hello(stream)).await;
        let waited = asked.elapsed();
        assert_eq!(Heard::of(&reply), Heard::said("hi", "peer"));
        assert!((Duration::from_millis(150)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
        assert_eq!((reply.header("x-greenroom-route"), reply.header("x-greenroom-attempts")), ("hedged", "2"));
        slow.until("the loser to be let go", |seen| seen.abandoned == 1).await;
        let report = proxy.until("slow", "the lease given back", |r| r["waiting"] == 0).await;
        let counts = &report["requests"];
        let of = ["let_go", "failure", "cancelled"].map(|name| &counts[name]);
        assert_eq!(of, [&json!(1), &json!(0), &json!(0)], "a loser has not failed, and nobody has left");
        let entry = entry(&proxy).await;
        let outcomes = [&entry["attempts"][0]["outcome"], &entry["attempts"][1]["outcome"]];
        assert_eq!(outcomes, [&json!("let_go"), &json!("success")], "both legs are shown: {entry}");
        let page = proxy.get("/metrics").await.text();
        assert!(!page.contains("caller_cancelled"), "{page}");
    }
}

#[tokio::test]
async fn the_slow_one_may_still_win_and_then_the_second_is_let_go() {
    for stream in WAYS {
        let gate = Gate::new();
        let wait = gate.clone();
        let slow = Upstream::start(move |_, ask| Answer::new().wait(&wait).then(ask.saying("late"))).await;
        let peer = Upstream::always(Answer::new().hang()).await;
        let proxy = Proxy::start(&settings(&slow, &peer)).await;
        let mut client = proxy.begin(hello(stream)).await;
        peer.until("the second request", |seen| seen.busy == 1).await;
        gate.open();
        let reply = client.reply().await;
        assert_eq!(Heard::of(&reply), Heard::said("late", "slow"));
        peer.until("the loser to be let go", |seen| seen.abandoned == 1).await;
        assert_eq!(proxy.until("peer", "its lease", |r| r["waiting"] == 0).await["requests"]["failure"], 0);
    }
}

#[tokio::test]
async fn a_second_that_fails_leaves_the_first_its_time() {
    for stream in WAYS {
        let gate = Gate::new();
        let wait = gate.clone();
        let slow = Upstream::start(move |_, ask| Answer::new().wait(&wait).then(ask.saying("late"))).await;
        let peer = Upstream::always(Answer::json(500, "{}")).await;
        let proxy = Proxy::start(&settings(&slow, &peer)).await;
        let mut client = proxy.begin(hello(stream)).await;
        proxy.until("peer", "its failure", |r| r["requests"]["failure"] == 1).await;
        gate.open();
        assert_eq!(Heard::of(&client.reply().await), Heard::said("late", "slow"));
        assert_eq!((slow.asked(), peer.asked()), (1, 1));
    }
}

#[tokio::test]
async fn a_second_that_finds_the_request_itself_at_fault_ends_the_wait() {
    const REFUSED: &str =
        r#"{"error":{"message":"no such value","type":"invalid_request_error","param":"n","code":"bad_value"}}"#;
    for stream in WAYS {
        let slow = Upstream::always(Answer::new().hang()).await;
        let peer = Upstream::always(Answer::json(400, REFUSED)).await;
        let proxy = Proxy::start(&settings(&slow, &peer)).await;
        let asked = Instant::now();
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (400, "bad_value"), "{reply:?}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        slow.until("the first one to be let go", |seen| seen.abandoned == 1).await;
        let report = proxy.until("slow", "the lease given back", |r| r["waiting"] == 0).await;
        let counts = ["let_go", "cancelled"].map(|name| &report["requests"][name]);
        assert_eq!(counts, [&json!(1), &json!(0)], "nobody has left: {report}");
        let why = &entry(&proxy).await["attempts"][0]["message"];
        assert_eq!(why, "another attempt ended the request", "nobody was quicker");
    }
}

#[tokio::test]
async fn a_first_that_fails_late_leaves_the_second_its_time() {
    for stream in WAYS {
        let (fail, answer) = (Gate::new(), Gate::new());
        let slow = Upstream::always(Answer::new().wait(&fail).then(Answer::json(500, "{}"))).await;
        let wait = answer.clone();
        let peer = Upstream::start(move |_, ask| Answer::new().wait(&wait).then(ask.saying("hi"))).await;
        let proxy = Proxy::start(&settings(&slow, &peer)).await;
        let mut client = proxy.begin(hello(stream)).await;
        peer.until("the second request", |seen| seen.busy == 1).await;
        fail.open();
        proxy.until("slow", "its failure", |r| r["requests"]["failure"] == 1).await;
        answer.open();
        assert_eq!(Heard::of(&client.reply().await), Heard::said("hi", "peer"));
        assert_eq!((slow.asked(), peer.asked()), (1, 1));
    }
}

#[tokio::test]
async fn a_pinned_request_is_never_hedged() {
    for stream in WAYS {
        let slow =
            Upstream::start(|_, ask| Answer::new().work(Duration::from_millis(600)).then(ask.saying("late"))).await;
        let peer = Upstream::saying("hi").await;
        let proxy = Proxy::start(&settings(&slow, &peer)).await;
        let pinned = hello(stream).replacen('{', "{\"backend\":\"slow\",", 1);
        assert_eq!(Heard::of(&proxy.chat(pinned).await), Heard::said("late", "slow"));
        assert_eq!(peer.asked(), 0);
    }
}

#[tokio::test]
async fn hedging_is_budgeted_and_can_be_switched_off() {
    // Without a share nothing at all; with one, three to begin with and no share of so few requests.
    for (budget, hedged) in [("0.0", 0), ("0.01", 3)] {
        // Those that are hedged are beaten, however busy the machine is.
        let slow = Upstream::start(move |n, ask| {
            let millis = if n < hedged { 60_000 } else { 300 };
            Answer::new().work(Duration::from_millis(millis)).then(ask.saying("late"))
        })
        .await;
        let peer = Upstream::saying("hi").await;
        let lines = format!("hedge_budget = {budget}");
        let settings = Settings::new()
            .backend("slow", slow.addr)
            .peer(peer.addr)
            .set("backends.slow", "first_token_soft = \"100ms\"")
            .set("failover", &lines);
        let proxy = Proxy::start(&settings).await;
        for n in 0..6 {
            let (text, backend) = if n < hedged { ("hi", "peer") } else { ("late", "slow") };
            assert_eq!(hear(&proxy, n % 2 == 0).await, Heard::said(text, backend), "{n}");
        }
        assert_eq!((slow.asked(), peer.asked()), (6, hedged));
    }
}

#[tokio::test]
async fn a_probe_that_says_nothing_and_is_beaten_has_failed_and_the_next_one_waits_longer() {
    let slow = Upstream::start(|n, _| if n == 0 { Answer::json(500, "{}") } else { Answer::new().hang() }).await;
    let peer = Upstream::saying("hi").await;
    let lines = "breaker_failures = 1\nbackoff_min = \"200ms\"\nexpected_first_token = \"10ms\"";
    let proxy = Proxy::start(&settings(&slow, &peer).set("backends.slow", lines)).await;
    assert_eq!(hear(&proxy, true).await, Heard::said("hi", "peer"));
    let mut waits = Vec::new();
    for probes in 1..=3 {
        proxy.until("slow", "the end of the backoff", |r| r["state"] == "half_open").await;
        assert_eq!(hear(&proxy, true).await, Heard::said("hi", "peer"));
        assert_eq!(slow.asked(), 1 + probes);
        let report = proxy.until("slow", "a shut gate", |r| r["state"] == "open").await;
        let said = report["last_error"]["message"].as_str();
        assert!(said.is_some_and(|said| said.contains("first_token_soft")), "{report}");
        waits.push(report["reopens_in_ms"].as_u64().unwrap());
    }
    // Jitter may halve each; doubling three times still shows.
    assert!(waits[2] > 400, "{waits:?}");
}

#[tokio::test]
async fn who_is_only_slower_is_expected_to_be_and_not_shut_for_being_beaten() {
    let (slow, peer) = (Upstream::always(Answer::new().hang()).await, Upstream::saying("hi").await);
    let lines = "breaker_failures = 1\nexpected_first_token = \"10ms\"";
    let proxy = Proxy::start(&settings(&slow, &peer).set("backends.slow", lines)).await;
    assert_eq!(hear(&proxy, true).await, Heard::said("hi", "peer"));
    let report = proxy.until("slow", "its lease given back", |r| r["requests"]["let_go"] == 1).await;
    assert!(report["first_token_estimate_s"].as_f64() > Some(0.1), "it is expected to be as slow as it was: {report}");
    assert_eq!((&report["state"], &report["consecutive_failures"]), (&json!("healthy"), &json!(0)), "{report}");
}

#[tokio::test]
async fn clients_that_leave_a_silent_backend_do_not_shut_it() {
    let silent = Upstream::always(Answer::new().hang()).await;
    let lines = "first_token_soft = \"50ms\"\nbreaker_failures = 2";
    let proxy = Proxy::start(&Settings::new().backend("one", silent.addr).set("backends.one", lines)).await;
    for left in 1..=4 {
        let client = proxy.begin(hello(true)).await;
        silent.until("the request", |seen| seen.busy == 1).await;
        // As long as this client has patience.
        sleep(Duration::from_millis(120)).await;
        drop(client);
        silent.until("its end", |seen| seen.abandoned == left).await;
    }
    let report = proxy.until("one", "the leases given back", |r| r["requests"]["cancelled"] == 4).await;
    assert_eq!((&report["state"], &report["consecutive_failures"]), (&json!("healthy"), &json!(0)), "{report}");
}

#[tokio::test]
async fn where_the_second_fails_at_once_a_third_is_asked() {
    for stream in WAYS {
        let (slow, good) = (Upstream::always(Answer::new().hang()).await, Upstream::saying("hi").await);
        let bad = Upstream::always(Answer::json(500, "{}")).await;
        let settings = Settings::new()
            .backend("slow", slow.addr)
            .target("bad", bad.addr, "priority = 2")
            .target("good", good.addr, "priority = 3")
            .set("backends.slow", "first_token_soft = \"150ms\"")
            .set("failover", "hedge_budget = 1.0");
        let proxy = Proxy::start(&settings).await;
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!(Heard::of(&reply), Heard::said("hi", "good"));
        assert_eq!((reply.header("x-greenroom-route"), reply.header("x-greenroom-attempts")), ("hedged", "3"));
        assert_eq!((slow.asked(), bad.asked(), good.asked()), (1, 1, 1));
        slow.until("the loser to be let go", |seen| seen.abandoned == 1).await;
    }
}

#[tokio::test]
async fn a_whole_answer_that_is_arriving_is_not_slow_but_blanks_are_no_answer() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let json = completion("late");
    let begun = Answer::new().raw(CHUNKED).chunk(&json[..20]).work(Duration::from_millis(500));
    let (slow, peer) = (Upstream::always(begun.chunk(&json[20..]).end()).await, Upstream::saying("hi").await);
    let proxy = Proxy::start(&settings(&slow, &peer)).await;
    assert_eq!((hear(&proxy, false).await, peer.asked()), (Heard::said("late", "slow"), 0));
    let slow = Upstream::always(Answer::new().raw(CHUNKED).chunk("\r\n").hang()).await;
    let proxy = Proxy::start(&settings(&slow, &peer)).await;
    assert_eq!(hear(&proxy, false).await, Heard::said("hi", "peer"));
}

#[tokio::test]
async fn who_lets_whole_answers_be_waited_for_in_vain_is_left_to_others_until_it_says_something() {
    let hangs =
        Upstream::start(|_, ask| if ask.wants_stream() { ask.saying("hi") } else { Answer::new().hang() }).await;
    let well = Upstream::saying("hi").await;
    let proxy = Proxy::start(
        &Settings::new()
            .backend("hangs", hangs.addr)
            .backend("well", well.addr)
            .set("backends.hangs", "first_token_soft = \"100ms\"")
            .set("failover", "hedge_budget = 1.0"),
    )
    .await;
    let whole = async || assert_eq!(proxy.hello().await.status(), 200);
    for in_vain in 1..=2 {
        // Nothing speaks against it, until it is asked.
        let before = hangs.asked();
        while hangs.asked() == before {
            whole().await;
        }
        hangs.until("the loser to be let go", |seen| seen.abandoned == in_vain).await;
        proxy.until("hangs", "the lease given back", |r| r["requests"]["let_go"] == in_vain).await;
        for _ in 0..20 {
            whole().await;
        }
        assert_eq!(hangs.asked(), before + 1);
        if in_vain == 1 {
            // A word of it, and it is asked again.
            let word = json!({"model": "m", "stream": true, "backend": "hangs", "messages": []}).to_string();
            assert_eq!(proxy.chat(word).await.status(), 200);
        }
    }
    let client = proxy.begin(hello_at("hangs")).await;
    hangs.until("the request", |seen| seen.busy == 1).await;
    // Longer than it has for a sign of life.
    sleep(Duration::from_millis(150)).await;
    drop(client);
    let report = proxy.until("hangs", "a second vain wait", |r| r["state"] == "degraded").await;
    assert_eq!(report["reason"], "m: 2 answers waited for in vain since its last");
}
