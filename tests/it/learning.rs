//! What is learned of backends: by what was seen of them, and by nothing else.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::support::{
    heard::hear,
    proxy::{HELLO, Proxy},
    script::Answer,
    settings::Settings,
    sse,
    upstream::Upstream,
};

#[tokio::test]
async fn a_whole_answer_that_nobody_waited_for_teaches_nothing_of_first_tokens() {
    let quick = Answer::streams("hi");
    let one =
        Upstream::start(move |_, ask| if ask.wants_stream() { quick.clone() } else { Answer::new().hang() }).await;
    let proxy = Proxy::before(&one).await;
    for _ in 0..3 {
        assert_eq!(hear(&proxy, true).await.status, 200);
    }
    for left in 1..=2 {
        let client = proxy.begin(HELLO).await;
        one.until("the request", |seen| seen.busy == 1).await;
        // As long as this client has patience.
        sleep(Duration::from_millis(800)).await;
        drop(client);
        one.until("its end", |seen| seen.abandoned == left).await;
    }
    let report = proxy.until("one", "the leases given back", |r| r["requests"]["cancelled"] == 2).await;
    assert!(report["first_token_estimate_s"].as_f64() < Some(0.1), "{report}");
}

/// A stream of 20 tokens after its first content, in 200 ms, and 2,000 of reasoning.
fn reasons(first: &str) -> Answer {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2021, "total_tokens": 2028,
        "completion_tokens_details": {"reasoning_tokens": 2000}}});
    let answer = Answer::stream().chunk(sse::role()).chunk(first).work(Duration::from_millis(200));
    answer.chunk(sse::text("hi")).chunk(sse::finish()).chunk(sse::data(&usage)).chunk(sse::DONE).end()
}

#[tokio::test]
async fn reasoning_before_the_first_content_that_nobody_saw_does_not_make_a_backend_look_fast() {
    let shown = sse::data(&json!({"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]}));
    let called =
        sse::data(&json!({"choices": [{"index": 0, "delta": {"reasoning_content": null, "tool_calls": [{"index": 0,
        "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]}));
    for (first, seconds) in [(sse::text("Well"), 0.005..0.1), (called, 0.005..0.1), (shown, 0.000_05..0.001)] {
        let one = Upstream::always(reasons(&first)).await;
        let proxy = Proxy::before(&one).await;
        assert_eq!(hear(&proxy, true).await.status, 200);
        let report = proxy.until("one", "the answer's end", |r| r["requests"]["success"] == 1).await;
        let pace = report["models"][0]["token_estimate_s"].as_f64().expect("a pace");
        assert!(seconds.contains(&pace), "{pace} s a token behind {first}");
    }
}

#[tokio::test]
async fn a_stream_is_not_taken_for_its_own_rival() {
    let one = Upstream::always(reasons(&sse::text("Well"))).await;
    let settings = Settings::new().backend("one", one.addr).set("backends.one", "slots = 1");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(hear(&proxy, true).await.status, 200);
    let report = proxy.until("one", "the answer's end", |r| r["requests"]["success"] == 1).await;
    let pace = report["models"][0]["token_estimate_s"].as_f64().expect("a pace");
    assert!(pace > 0.009, "{pace} s a token, of which 20 took 200 ms at least, with nobody beside");
}

#[tokio::test]
async fn a_report_and_the_score_know_of_a_targets_own_weight() {
    let (light, heavy) = (Upstream::saying("hi").await, Upstream::saying("hi").await);
    let settings = Settings::new().backend("light", light.addr).target("heavy", heavy.addr, "weight = 4.0");
    let proxy = Proxy::start(&settings).await;
    let cost = async |backend| proxy.report(backend).await["cost"].as_f64().expect("a cost");
    let (light, heavy) = (cost("light").await, cost("heavy").await);
    assert!(heavy < light / 2.0, "nothing is known of either: {heavy} {light}");
    let page = proxy.get("/metrics").await.text();
    let score = |backend: &str| {
        let name = format!("greenroom_backend_score{{backend=\"{backend}\",model=\"m\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok()).expect("a score")
    };
    assert!(score("heavy") < score("light") / 2.0, "{page}");
}
