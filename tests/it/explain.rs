//! Why a request went where it went: headers on everything, the decision on request, the last thousand in the ledger.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Reply},
    eventually,
    heard::{WAYS, hello},
    proxy::{Proxy, hello_at},
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
};

const NO: &str = r#"{"error":{"message":"a secret of the account","type":"x","code":null}}"#;

/// `bad` fails, `peer` answers, `drained` is out; `plain` is a user who may do nothing special.
async fn stage() -> (Upstream, Upstream, Proxy) {
    let (bad, peer) = (Upstream::always(Answer::json(500, NO)).await, Upstream::saying("hi").await);
    let settings = Settings::new()
        .backend("bad", bad.addr)
        .target("peer", peer.addr, "priority = 2, model = \"big\"")
        .target("drained", peer.addr, "priority = 3")
        .set("users.plain", "token = \"token-of-plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.post("/admin/backends/drained/drain").await.status(), 200);
    proxy.until("drained", "the drain", |r| r["state"] == "draining").await;
    (bad, peer, proxy)
}

fn explained(stream: bool, token: &str) -> Ask {
    Ask::chat(hello(stream)).bearer(token).header("x-greenroom-explain", "1")
}

/// The explanation in an answer, wherever it has its place.
fn explanation(reply: &Reply) -> Value {
    let text = reply.text();
    if let Some(comment) = text.lines().find_map(|line| line.strip_prefix(": greenroom {")) {
        return serde_json::from_str(&format!("{{{comment}")).expect("an explanation is JSON");
    }
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    body.get("greenroom").or_else(|| body["error"].get("greenroom")).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_head_tells_where_the_time_went() {
    for stream in WAYS {
        let gate = Gate::new();
        let answer = if stream { Answer::streams("hi") } else { Answer::says("hi") };
        let one = Upstream::always(Answer::new().wait(&gate).then(answer)).await;
        let settings = Settings::new()
            .backend("one", one.addr)
            .set("defaults.backend", "max_in_flight = 1")
            .set("models.m", "queue = 1\nqueue_timeout = \"15s\"");
        let proxy = Proxy::start(&settings).await;
        let mut first = proxy.begin(hello(stream)).await;
        one.until("the first request", |seen| seen.busy == 1).await;
        let mut second = proxy.begin(hello(stream)).await;
        // Answered by the same thread, behind it.
        assert_eq!(proxy.get("/livez").await.status(), 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open_for_all();
        let (first, second) = (first.reply().await, second.reply().await);
        let parts = |reply: &Reply| -> Vec<(String, f64)> {
            let part = |part: &str| {
                let (name, time) = part.split_once(";dur=").expect("a duration");
                (name.to_owned(), time.parse().expect("milliseconds"))
            };
            reply.header("server-timing").split(", ").map(part).collect()
        };
        let names = |reply: &Reply| parts(reply).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&first), ["route", "upstream", "ttft", "gw"], "{first:?}");
        assert_eq!(names(&second), ["queue", "route", "upstream", "ttft", "gw"], "{second:?}");
        let parts: std::collections::HashMap<String, f64> = parts(&second).into_iter().collect();
        assert!(parts["queue"] >= 50.0 && parts["ttft"] >= parts["queue"] + parts["upstream"] - 1.0, "{parts:?}");
    }
}

#[tokio::test]
async fn a_success_explains_its_attempts_and_what_was_considered() {
    for stream in WAYS {
        let (_bad, _peer, proxy) = stage().await;
        let reply = proxy.ask(&explained(stream, TOKEN)).await;
        assert_eq!((reply.status(), reply.backend()), (200, "peer"), "{reply:?}");
        let why = explanation(&reply);
        assert_eq!(why["id"], reply.header("x-request-id"), "{why}");
        let attempts = why["attempts"].as_array().cloned().unwrap_or_default();
        let told: Vec<_> = attempts.iter().map(|a| (&a["backend"], &a["outcome"], &a["status"])).collect();
        assert_eq!(told[0], (&json!("bad"), &json!("provider_server"), &json!(500)), "{why}");
        assert_eq!((told.len(), told[1].0), (2, &json!("peer")), "{why}");
        assert_eq!((&attempts[1]["upstream_model"], &attempts[1]["route"]), (&json!("big"), &json!("failover")));
        assert!(attempts[0]["duration_ms"].as_f64() > Some(0.0), "{why}");
        let candidates = attempts[1]["decision"]["candidates"].as_array().cloned().unwrap_or_default();
        let of = |name: &str| candidates.iter().find(|c| c["backend"] == name).cloned().unwrap_or_default();
        assert_eq!(attempts[1]["decision"]["chosen"], "peer", "{why}");
        assert_eq!(of("peer")["excluded"], Value::Null, "{why}");
        assert!(of("bad")["excluded"].as_str().is_some_and(|why| why.contains("tried")), "{why}");
        assert!(of("drained")["excluded"].as_str().is_some_and(|why| why.contains("drained")), "{why}");
        for input in ["cost", "first_token_s", "waiting", "streaming", "weight", "priority"] {
            assert!(of("peer")[input].is_number(), "{input}: {why}");
        }
        if stream {
            assert_eq!(sse::text_of(&reply.body), "hi");
        } else {
            assert_eq!(reply.json()["choices"][0]["message"]["content"], "hi");
        }
    }
}

#[tokio::test]
async fn a_failure_explains_itself_too() {
    for stream in WAYS {
        let (_bad, peer, proxy) = stage().await;
        drop(peer);
        let reply = proxy.ask(&explained(stream, TOKEN)).await;
        assert_eq!(reply.status(), 502, "{reply:?}");
        let why = explanation(&reply);
        let outcomes: Vec<_> = why["attempts"].as_array().into_iter().flatten().map(|a| &a["outcome"]).collect();
        assert_eq!(outcomes[..2], [&json!("provider_server"), &json!("provider_transport")], "{why}");
        assert!(!reply.text().contains("secret"), "{reply:?}");
        for header in ["x-greenroom-backend", "x-greenroom-route", "x-greenroom-attempts"] {
            reply.header(header);
        }
    }
}

#[tokio::test]
async fn a_refusal_for_want_of_a_backend_shows_why_each_one_was_out() {
    let (_bad, _peer, proxy) = stage().await;
    for backend in ["bad", "peer"] {
        assert_eq!(proxy.post(&format!("/admin/backends/{backend}/drain")).await.status(), 200);
        proxy.until(backend, "the drain", |r| r["state"] == "draining").await;
    }
    let reply = proxy.ask(&explained(false, TOKEN)).await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (503, "no_healthy_backend"));
    let candidates = explanation(&reply)["decision"]["candidates"].clone();
    let reasons: Vec<_> = candidates.as_array().into_iter().flatten().map(|c| c["excluded"].is_string()).collect();
    assert_eq!(reasons, [true, true, true], "{candidates}");
}

#[tokio::test]
async fn a_pin_that_is_refused_shows_why_and_no_choice() {
    let (_bad, _peer, proxy) = stage().await;
    let ask = Ask::chat(hello_at("drained")).bearer(TOKEN).header("x-greenroom-explain", "1");
    let reply = proxy.ask(&ask).await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (503, "backend_unavailable"));
    let decision = explanation(&reply)["decision"].clone();
    let excluded = decision["candidates"][0]["excluded"].as_str().unwrap_or_default();
    assert!(decision["chosen"].is_null() && excluded.contains("its gate is shut"), "{decision}");
}

#[tokio::test]
async fn an_error_in_the_shape_of_messages_explains_itself_too() {
    let (_bad, _peer, proxy) = stage().await;
    let body = r#"{"model":"m","max_tokens":9,"backend":"bad","messages":[{"role":"user","content":"q"}]}"#;
    let ask = Ask::post("/v1/messages", body).bearer(TOKEN).header("x-greenroom-explain", "1");
    let reply = proxy.ask(&ask).await;
    assert_eq!((reply.status(), &reply.json()["type"]), (502, &json!("error")), "{reply:?}");
    assert_eq!(explanation(&reply)["attempts"][0]["backend"], "bad", "{reply:?}");
}

#[tokio::test]
async fn nobody_gets_an_explanation_who_may_not_or_did_not_ask() {
    let (_bad, _peer, proxy) = stage().await;
    for stream in WAYS {
        for ask in [explained(stream, "token-of-plain"), Ask::chat(hello(stream)).bearer(TOKEN)] {
            let reply = proxy.ask(&ask).await;
            assert_eq!((reply.status(), explanation(&reply)), (200, Value::Null), "{reply:?}");
        }
    }
}

async fn listed(proxy: &Proxy, query: &str) -> Vec<Value> {
    let reply = proxy.get(&format!("/admin/requests{query}")).await;
    assert_eq!(reply.status(), 200, "{query}: {reply:?}");
    reply.json()["requests"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn the_ledger_is_searched_by_backend_outcome_and_model() {
    let (_bad, _peer, proxy) = stage().await;
    let pinned = |name: &str| hello(false).replacen('{', &format!("{{\"backend\":\"{name}\","), 1);
    for (body, status) in [(hello(false).to_owned(), 200), (pinned("peer"), 200), (pinned("bad"), 502)] {
        assert_eq!(proxy.chat(body).await.status(), status);
    }
    for (query, found) in [
        ("", 3),
        ("?limit=2", 2),
        ("?backend=bad", 2),
        ("?backend=peer", 2),
        ("?backend=none", 0),
        ("?outcome=success", 2),
        ("?outcome=failure", 1),
        ("?outcome=provider_server", 1),
        ("?outcome=success&backend=bad", 1),
        ("?model=m", 3),
        ("?model=other", 0),
    ] {
        assert_eq!(listed(&proxy, query).await.len(), found, "{query}");
    }
    let newest = &listed(&proxy, "?limit=1").await[0];
    assert_eq!((&newest["pin"], &newest["status"], &newest["user"]), (&json!("bad"), &json!(502), &json!("tester")));
    for query in ["?colour=red", "?limit=many"] {
        assert_eq!(proxy.get(&format!("/admin/requests{query}")).await.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn a_request_is_found_by_its_id_and_by_operators_only() {
    let (_bad, _peer, proxy) = stage().await;
    let ask = Ask::chat(hello(true)).bearer(TOKEN).header("x-request-id", "mine-1");
    assert_eq!(proxy.ask(&ask).await.header("x-request-id"), "mine-1");
    // The story is told when the last byte has gone.
    let entry = eventually("the entry", async || {
        let reply = proxy.get("/admin/requests/mine-1").await;
        (reply.status() == 200).then(|| reply.json())
    })
    .await;
    assert_eq!(
        (&entry["id"], &entry["backend"], &entry["outcome"]),
        (&json!("mine-1"), &json!("peer"), &json!("success"))
    );
    assert!(entry["total_ms"].as_f64() >= entry["first_token_ms"].as_f64(), "{entry}");
    assert_eq!(proxy.get("/admin/requests/other").await.status(), 404);
    for path in ["/admin/requests", "/admin/requests/mine-1"] {
        assert_eq!(proxy.ask(&Ask::new("GET", path).bearer("token-of-plain")).await.status(), 403);
        assert_eq!(proxy.ask(&Ask::new("GET", path)).await.status(), 401);
    }
}

#[tokio::test]
async fn the_ledger_is_bounded() {
    const KEPT: usize = 1024;
    let (_bad, _peer, proxy) = stage().await;
    for n in 0..KEPT + 3 {
        let ask = Ask::chat(hello(false)).bearer(TOKEN).header("x-request-id", &format!("r{n}"));
        assert_eq!(proxy.ask(&ask).await.status(), 200);
    }
    assert_eq!(listed(&proxy, "?limit=9999").await.len(), KEPT);
    assert_eq!(proxy.get("/admin/requests/r2").await.status(), 404);
    assert_eq!(proxy.get("/admin/requests/r3").await.status(), 200);
}

#[tokio::test]
async fn names_and_messages_of_any_length_are_remembered_short() {
    let (_bad, _peer, proxy) = stage().await;
    let long = "é".repeat(100_000);
    for body in [json!({"model": long, "messages": []}), json!({"model": "m", "messages": [], "backend": long})] {
        let reply = proxy.chat(body.to_string()).await;
        assert!((400..500).contains(&reply.status()) && reply.body.len() < 1000, "{}", reply.status());
    }
    let page = proxy.get("/admin/requests").await;
    assert_eq!((page.json()["requests"].as_array().map(Vec::len), page.body.len() < 5000), (Some(2), true));
}

#[tokio::test]
async fn an_explanation_names_no_backend_that_is_not_on_the_users_list() {
    let (one, hidden) = (Upstream::saying("hi").await, Upstream::saying("hi").await);
    let user = "token = \"token-of-some\"\nmodels = [\"*\"]\nbackends = [\"one\"]\nmay_explain = true";
    let settings = Settings::new().backend("one", one.addr).backend("hidden", hidden.addr).set("users.some", user);
    let proxy = Proxy::start(&settings).await;
    let told = async |token| explanation(&proxy.ask(&explained(false, token)).await).to_string();
    assert!(told(TOKEN).await.contains("hidden"));
    let told = told("token-of-some").await;
    assert!(told.contains("\"one\"") && !told.contains("hidden"), "{told}");
}

#[tokio::test]
async fn an_explanation_shows_the_chosen_backend_without_the_request_itself() {
    for stream in WAYS {
        let peer = Upstream::saying("hi").await;
        let proxy = Proxy::start(&Settings::new().backend("one", peer.addr).backend("two", peer.addr)).await;
        let why = explanation(&proxy.ask(&explained(stream, TOKEN)).await);
        let decision = &why["attempts"][0]["decision"];
        let candidates = decision["candidates"].as_array().cloned().unwrap_or_default();
        let chosen = candidates.iter().find(|c| c["backend"] == decision["chosen"]).cloned().unwrap_or_default();
        assert_eq!((&chosen["waiting"], &chosen["waiting_tokens"]), (&json!(0), &json!(0)), "{why}");
        let cost = |of: &Value| of["cost"].as_f64().unwrap_or(f64::NAN);
        assert!(candidates.len() == 2 && candidates.iter().all(|other| cost(&chosen) <= cost(other)), "{why}");
    }
}
