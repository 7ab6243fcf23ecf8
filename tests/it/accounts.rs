//! `GET /admin/users`: what each user may use, has used and has left, for operators, and no secret.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Connection},
    proxy::{HELLO, Proxy},
    script::{Answer, Gate},
    settings::Settings,
    upstream::Upstream,
};

const LIMITED: &str = "token-of-limited";

async fn told(proxy: &Proxy) -> Value {
    let reply = proxy.get("/admin/users").await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let text = reply.text();
    assert!(!text.contains("token-of") && !text.contains("sha256"), "{text}");
    reply.json()["users"].clone()
}

#[tokio::test]
async fn operators_see_what_each_user_may_use_has_used_and_has_left() {
    let gate = Gate::new();
    let held = Answer::new().wait(&gate).then(Answer::says("hi"));
    let upstream = Upstream::start(move |n, _| if n == 0 { Answer::says("hi") } else { held.clone() }).await;
    let limits = "max_in_flight = 3, requests_per_minute = 60, tokens_per_day = 1000, usd_per_day = 0.5";
    // Who has two tokens is told of once.
    let user = format!(
        "token = [\"{LIMITED}\", \"token-of-yesterday\"]\nmodels = [\"*\"]\nbackends = [\"*\"]\nlimits = {{ {limits} }}"
    );
    let settings = Settings::new()
        .target("one", upstream.addr, "price = { input = 1000, output = 1000 }")
        .set("users.limited", &user);
    let proxy = Proxy::start(&settings).await;
    let fresh = told(&proxy).await;
    assert_eq!(fresh.as_array().map(Vec::len), Some(2), "{fresh}");
    assert_eq!(fresh[1], json!({"name": "tester", "in_flight": null, "limits": {}}), "{fresh}");
    assert_eq!((&fresh[0]["name"], &fresh[0]["in_flight"]), (&json!("limited"), &json!(0)), "{fresh}");
    let tokens = json!({"limit": 1000, "used": 0, "left": 1000, "whole_at": null});
    assert_eq!(fresh[0]["limits"]["tokens_per_day"], tokens);
    // Three and two tokens, a tenth of a cent each.
    assert_eq!(proxy.ask(&Ask::chat(HELLO).bearer(LIMITED)).await.status(), 200);
    let mut client = Connection::open(proxy.addr).await;
    client.send(&Ask::chat(HELLO).bearer(LIMITED)).await;
    upstream.until("the second", |seen| seen.busy == 1).await;
    let used = told(&proxy).await;
    assert_eq!(used[0]["in_flight"], 1, "{used}");
    let limits = &used[0]["limits"];
    assert_eq!(limits["max_in_flight"], json!({"limit": 3, "used": 1, "left": 2}), "{used}");
    let (tokens, aside) = (&limits["tokens_per_day"], HELLO.len() / 4);
    assert_eq!((&tokens["used"], &tokens["left"]), (&json!(5 + aside), &json!(995 - aside)), "{used}");
    // Of dollars a few billionths refill in no time.
    for (member, dollars) in [("limit", 0.5), ("used", 0.005), ("left", 0.495)] {
        let told = limits["usd_per_day"][member].as_f64().expect("dollars");
        assert!((told - dollars).abs() < 1e-4, "{member}: {used}");
    }
    for limit in ["requests_per_minute", "tokens_per_day", "usd_per_day"] {
        let whole_at = limits[limit]["whole_at"].as_str().expect("a time");
        assert!(humantime::parse_rfc3339(whole_at).is_ok_and(|at| at > SystemTime::now()), "{limit}: {used}");
    }
    gate.open();
    assert_eq!(client.reply().await.status(), 200);
}
