//! An SDK's own retry: told by a header, it avoids the backend that has just failed it.

use crate::rescue::{assert_broken, cut, words};
use crate::support::{
    client::{Ask, Reply},
    heard::{WAYS, hello},
    proxy::Proxy,
    script::Answer,
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

/// `bad` is asked first and once for each request; its gate never shuts.
fn asked_once(settings: Settings, bad: &Upstream) -> Settings {
    settings
        .backend("bad", bad.addr)
        .set("failover", "max_attempts = 1")
        .set("defaults.backend", "breaker_failures = 0\nbreaker_min_samples = 1000")
}

async fn stage(with_peer: bool) -> (Upstream, Upstream, Proxy) {
    let (bad, peer) = (Upstream::always(Answer::json(500, "{}")).await, Upstream::saying("hi").await);
    let settings = asked_once(Settings::new(), &bad);
    let settings = if with_peer { settings.peer(peer.addr) } else { settings };
    let proxy = Proxy::start(&settings).await;
    (bad, peer, proxy)
}

async fn ask(proxy: &Proxy, body: &str, count: Option<&str>) -> Reply {
    let ask = Ask::chat(body).bearer(TOKEN);
    proxy.ask(&count.iter().fold(ask, |ask, count| ask.header("x-stainless-retry-count", count))).await
}

#[tokio::test]
async fn a_retry_goes_to_another_backend_than_the_one_that_failed() {
    for stream in WAYS {
        let (bad, peer, proxy) = stage(true).await;
        assert_eq!(ask(&proxy, hello(stream), Some("0")).await.status(), 502);
        let reply = ask(&proxy, hello(stream), Some("1")).await;
        assert_eq!((reply.status(), reply.backend()), (200, "peer"), "{reply:?}");
        assert_eq!((bad.asked(), peer.asked()), (1, 1));
    }
}

#[tokio::test]
async fn a_retry_on_another_worker_avoids_the_backend_that_failed_too() {
    let (bad, peer) = (Upstream::always(Answer::json(500, "{}")).await, Upstream::saying("hi").await);
    let user = format!("token = \"{TOKEN}\"\nmodels = [\"*\"]\nbackends = [\"*\"]");
    let settings = Settings::default().set("server", "workers = 3").set("users.tester", &user);
    let proxy = Proxy::start(&asked_once(settings, &bad).peer(peer.addr)).await;
    for n in 0..6 {
        // Each on a connection of its own, which the workers take in turn.
        let body = hello(false).replace("Hello!", &format!("Hello, {n}!"));
        assert_eq!(ask(&proxy, &body, None).await.status(), 502);
        assert_eq!(ask(&proxy, &body, Some("1")).await.backend(), "peer", "{n}");
    }
}

#[tokio::test]
async fn a_retry_avoids_the_backend_whose_stream_broke_off() {
    let bad = Upstream::start(|_, ask| if ask.wants_stream() { cut(5) } else { Answer::says("hi") }).await;
    let peer = Upstream::saying("hi").await;
    let proxy = Proxy::start(&asked_once(Settings::new(), &bad).peer(peer.addr)).await;
    assert_broken(&ask(&proxy, hello(true), None).await, &words(5).concat());
    assert_eq!(ask(&proxy, hello(true), Some("1")).await.backend(), "peer");
}

#[tokio::test]
async fn the_same_request_without_the_header_or_another_request_is_no_retry() {
    let (bad, peer, proxy) = stage(true).await;
    for count in [None, Some("0"), Some("many"), Some("-1")] {
        assert_eq!(ask(&proxy, hello(false), count).await.status(), 502, "{count:?}");
    }
    let other = hello(false).replace("Hello!", "Something else");
    assert_eq!(ask(&proxy, &other, Some("1")).await.status(), 502);
    assert_eq!((bad.asked(), peer.asked()), (5, 0));
}

#[tokio::test]
async fn a_retry_with_nobody_else_to_ask_is_asked_of_the_same_backend() {
    for stream in WAYS {
        let (bad, _peer, proxy) = stage(false).await;
        for (asked, count) in [(1, None), (2, Some("1")), (3, Some("2"))] {
            assert_eq!(ask(&proxy, hello(stream), count).await.status(), 502);
            assert_eq!(bad.asked(), asked);
        }
    }
}

#[tokio::test]
async fn another_users_failure_is_nobody_elses() {
    let (bad, peer) = (Upstream::always(Answer::json(500, "{}")).await, Upstream::saying("hi").await);
    let settings = Settings::new()
        .backend("bad", bad.addr)
        .peer(peer.addr)
        .set("failover", "max_attempts = 1")
        .set("users.other", "token = \"token-of-other\"\nmodels = [\"*\"]\nbackends = [\"*\"]");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(ask(&proxy, hello(false), None).await.status(), 502);
    let retry = Ask::chat(hello(false)).bearer("token-of-other").header("x-stainless-retry-count", "1");
    assert_eq!(proxy.ask(&retry).await.status(), 502);
    assert_eq!((bad.asked(), peer.asked()), (2, 0));
}

#[tokio::test]
async fn hints_to_sdks_say_when_a_retry_cannot_help() {
    for (status, hopeless) in [(401, true), (402, true), (500, false), (503, false), (429, false)] {
        let bad = Upstream::always(Answer::json(status, "{}")).await;
        let settings = Settings::new().backend("bad", bad.addr).set("failover", "max_attempts = 1");
        let reply = Proxy::start(&settings).await.hello().await;
        assert_eq!(reply.head.get("x-should-retry"), hopeless.then_some("false"), "{reply:?}");
        // Both forms, or none.
        let both = ["retry-after", "retry-after-ms"].map(|name| reply.head.get(name).is_some());
        let wanted = matches!(status, 429 | 503);
        assert_eq!(both, [wanted, wanted], "{reply:?}");
    }
}
