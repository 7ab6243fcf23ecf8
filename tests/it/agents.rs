//! What coding agents send that is not for every server, and must not cost one its caches.

use std::collections::BTreeSet;

use crate::support::{
    client::Ask,
    proxy::Proxy,
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

#[tokio::test]
async fn what_claude_code_draws_anew_for_each_request_moves_no_conversation() {
    let (a, b, c) = (Upstream::saying("a").await, Upstream::saying("b").await, Upstream::saying("c").await);
    let settings = Settings::new().set("models.m", "prefix_affinity = true");
    let settings =
        [("a", &a), ("b", &b), ("c", &c)].iter().fold(settings, |all, (name, one)| all.backend(name, one.addr));
    let proxy = Proxy::start(&settings).await;
    let mut homes = BTreeSet::new();
    for drawn in 0..12 {
        let block = |text: &str| format!(r#"{{"type":"text","text":"{text}"}}"#);
        let line = block(&format!("x-anthropic-billing-header: cc_version=2.1.177; cch={drawn:05x};"));
        let body = format!(
            r#"{{"model":"m","max_tokens":9,"system":[{line},{}],"messages":[{{"role":"user","content":"hi"}}]}}"#,
            block("You are Claude Code.")
        );
        let reply = proxy.ask(&Ask::post("/v1/messages", body).bearer(TOKEN)).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        homes.insert(reply.backend().to_owned());
    }
    assert_eq!(homes.len(), 1, "{homes:?}");
    let sent = [&a, &b, &c].map(Upstream::asked);
    assert_eq!(sent.iter().sum::<usize>(), 12);
    let home = [a, b, c].into_iter().find(|one| one.asked() > 0).expect("a home");
    assert!(!home.last().text().contains("cch="), "{}", home.last().text());
}
