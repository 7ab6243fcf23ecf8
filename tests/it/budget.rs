//! The budgets of extra attempts: paid for when one is made, and only then.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::{
    heard::{Heard, hear},
    proxy::{HELLO, Proxy, hello_at},
    script::{Answer, Gate},
    settings::Settings,
    upstream::Upstream,
};

/// `m` is served by `slow` and by `peer`, `lone` by `slow` alone.
fn settings(slow: &Upstream, peer: &Upstream, limit: &str, budget: &str) -> Settings {
    Settings::new()
        .backend("slow", slow.addr)
        .peer(peer.addr)
        .set("models.lone", "backends = [{ backend = \"slow\" }]")
        .set("backends.slow", limit)
        .set("failover", budget)
}

fn lone() -> String {
    HELLO.replace("\"m\"", "\"lone\"")
}

#[tokio::test]
async fn a_slow_model_with_one_backend_leaves_the_hedges_to_others() {
    let slow =
        Upstream::start(move |_, ask| Answer::new().work(Duration::from_millis(300)).then(ask.saying("late"))).await;
    let peer = Upstream::saying("hi").await;
    // A share of so few requests is less than one: three hedges, and no more.
    let settings = settings(&slow, &peer, "first_token_soft = \"100ms\"", "hedge_budget = 0.01");
    let proxy = Proxy::start(&settings).await;
    for _ in 0..4 {
        assert_eq!(proxy.chat(lone()).await.status(), 200);
    }
    for n in 0..4 {
        let (text, backend) = if n < 3 { ("hi", "peer") } else { ("late", "slow") };
        assert_eq!(hear(&proxy, n % 2 == 0).await, Heard::said(text, backend), "{n}");
    }
}

#[tokio::test]
async fn a_failing_model_with_one_backend_leaves_the_retries_to_others() {
    let (slow, peer) = (Upstream::always(Answer::new().hang()).await, Upstream::saying("hi").await);
    let never = "first_token_hard = \"50ms\"\nbreaker_failures = 0\nbreaker_min_samples = 1000000";
    let proxy = Proxy::start(&settings(&slow, &peer, never, "retry_budget = 0.01")).await;
    // Who timed out is not asked again, and there is nobody else.
    for _ in 0..2 {
        let asks = join_all((0..60).map(|_| proxy.chat(lone()))).await;
        assert!(asks.iter().all(|reply| reply.status() == 504), "{asks:?}");
    }
    assert_eq!(slow.asked(), 120);
    // A hundred at once, and the few that come back or are earned meanwhile.
    let heard = join_all((0..150).map(|n| hear(&proxy, n % 2 == 0))).await;
    let helped = heard.iter().filter(|heard| heard.status == 200).count();
    assert!((100..140).contains(&helped), "{helped}");
    assert_eq!(peer.asked(), helped);
}

#[tokio::test]
async fn retries_are_earned_by_requests_that_end_well_and_by_no_others() {
    let (failing, peer) = (Upstream::always(Answer::json(500, "{}")).await, Upstream::saying("hi").await);
    let never = "breaker_failures = 0\nbreaker_min_samples = 1000000";
    let budget = "retry_budget = 1.0\nmax_attempts = 2";
    let proxy = Proxy::start(&settings(&failing, &peer, never, budget)).await;
    let began = Instant::now();
    // The reserve, and what comes back of it with time: no request has earned anything.
    let reserve = |since: Instant| 101 + 10 * (since.elapsed().as_secs() as usize + 1);
    join_all((0..200).map(|_| proxy.chat(lone()))).await;
    let extra = failing.asked() - 200;
    assert!((100..=reserve(began)).contains(&extra), "{extra}");
    for reply in join_all((0..50).map(|_| proxy.chat(hello_at("peer")))).await {
        assert_eq!(reply.status(), 200, "{reply:?}");
    }
    let before = failing.asked();
    join_all((0..50).map(|_| proxy.chat(lone()))).await;
    assert_eq!(failing.asked() - before, 100, "fifty answers have earned fifty retries");
}

#[tokio::test]
async fn a_backend_that_dies_under_many_requests_right_after_the_start_costs_none_of_them() {
    let gate = Gate::new();
    let held = gate.clone();
    let dying = Upstream::start(move |_, _| Answer::new().wait(&held).reset()).await;
    let peer = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::bad_and_peer(&dying, &peer)).await;
    let asks = join_all((0..100).map(|n| hear(&proxy, n % 2 == 0)));
    let dies = async {
        dying.until("all requests", |seen| seen.busy == 100).await;
        gate.open_for_all();
    };
    let (heard, ()) = tokio::join!(asks, dies);
    let lost: Vec<&Heard> = heard.iter().filter(|heard| **heard != Heard::said("hi", "peer")).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
