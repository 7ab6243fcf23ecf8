//! What operators ask for of the past: a question that nothing can match is refused, not answered with nothing.

use crate::support::{
    eventually,
    proxy::{Proxy, hello_at},
    settings::Settings,
    upstream::Upstream,
};

/// Where one may ask, and what is found there.
const PLACES: [(&str, &str); 2] = [("/admin/requests", "requests"), ("/admin/history", "points")];

async fn found(proxy: &Proxy, (path, list): (&str, &str), backend: &str) -> usize {
    let reply = proxy.get(&format!("{path}?backend={backend}")).await;
    assert_eq!(reply.status(), 200, "{path} {backend}: {reply:?}");
    reply.json()[list].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_backend_that_never_was_is_not_found_and_one_that_was_taken_away_is() {
    let upstream = Upstream::saying("hi").await;
    let history = Settings::new().set("history", "path = \":memory:\"\nflush_every = \"10ms\"");
    let rest = history.clone().backend("idle", upstream.addr);
    let proxy = Proxy::start(&rest.clone().backend("gone", upstream.addr)).await;
    assert_eq!(proxy.chat(hello_at("gone")).await.status(), 200);
    // Workers hand in what history knows some time after the answer.
    eventually("a row", async || (found(&proxy, PLACES[1], "gone").await == 1).then_some(())).await;
    proxy.rewrite(&rest.toml());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    for place in PLACES {
        assert_eq!((found(&proxy, place, "idle").await, found(&proxy, place, "gone").await), (0, 1), "{place:?}");
        let refused = proxy.get(&format!("{}?backend=typo", place.0)).await;
        assert_eq!((refused.status(), refused.error("code").as_str()), (404, "not_found"), "{refused:?}");
        assert!(refused.error("message").contains("typo"), "{refused:?}");
        assert_eq!(refused.head.get("x-greenroom-route"), None, "nothing was pinned: {refused:?}");
    }
    // Known, though not of this time or with this filter.
    assert_eq!(proxy.get("/admin/history?backend=gone&from=3h&to=2h").await.status(), 200);
    assert_eq!(proxy.get("/admin/history?backend=gone&model=another").await.status(), 200);
    assert_eq!(proxy.get("/admin/requests?backend=gone&outcome=failure").await.status(), 200);
    for place in PLACES {
        assert_eq!(found(&proxy, place, "none").await, 0, "{place:?}");
    }
}

#[tokio::test]
async fn an_outcome_that_no_request_in_the_ledger_can_have_is_refused() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::before(&upstream).await;
    let reply = proxy.get("/admin/requests?outcome=policy_auth").await;
    assert_eq!((reply.status(), reply.error("param").as_str()), (400, "outcome"), "{reply:?}");
    let known = reply.error("message");
    assert!(!known.contains("policy_auth,") && known.contains("policy_ratelimit, "), "{known}");
}

#[tokio::test]
async fn a_limit_that_is_no_number_is_named() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::before(&upstream).await;
    for limit in ["abc", "-1", "", "99999999999999999999"] {
        let reply = proxy.get(&format!("/admin/requests?limit={limit}")).await;
        assert_eq!((reply.status(), reply.error("param").as_str()), (400, "limit"), "{reply:?}");
        assert!(reply.error("message").contains("'limit'"), "{reply:?}");
    }
    assert_eq!(proxy.get("/admin/requests?limit=1").await.status(), 200);
    let reply = proxy.get("/admin/requests?limits=1").await;
    assert!(reply.status() == 400 && reply.error("message").contains("limits"), "{reply:?}");
}
