//! The budgets of extra attempts: paid for when one is made, and only then.

use std::time::Duration;

use crate::support::{
    heard::{Heard, hear},
    proxy::{HELLO, Proxy},
    script::Answer,
    settings::Settings,
    upstream::{Received, Upstream},
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
    let late = |ask: &Received| if ask.wants_stream() { Answer::streams("late") } else { Answer::says("late") };
    let slow = Upstream::start(move |_, ask| Answer::new().work(Duration::from_millis(300)).then(late(ask))).await;
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
    // Ten to begin with. Who timed out is not asked again, and there is nobody else.
    for _ in 0..12 {
        assert_eq!(proxy.chat(lone()).await.status(), 504);
    }
    assert_eq!(slow.asked(), 12);
    for n in 0..12 {
        let heard = hear(&proxy, n % 2 == 0).await;
        assert_eq!(heard.status == 200, n < 10, "{n}: {heard:?}");
    }
    assert_eq!(peer.asked(), 10);
}
