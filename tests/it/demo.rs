//! `serve --demo`: four simulated providers behind one address, and every first command works as it is printed.

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Reply},
    launch::Launch,
    proxy::Proxy,
    sse,
    wire::End,
};

const TOKEN: &str = "your-token";

fn body(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Hello!"}]})
}

async fn chat(proxy: &Proxy, body: &Value) -> Reply {
    proxy.ask(&Ask::chat(body.to_string()).bearer(TOKEN)).await
}

fn with(mut body: Value, key: &str, value: impl Into<Value>) -> Value {
    body[key] = value.into();
    body
}

#[tokio::test]
async fn the_demo_says_where_it_listens_and_what_to_try() {
    let proxy = Launch::demo().start().await;
    let said =
        crate::support::eventually("a curl to try", async || Some(proxy.said()).filter(|said| said.contains("curl ")))
            .await;
    let first = said.lines().next();
    assert_eq!(first, Some(format!("greenroom listening on http://{}", proxy.addr).as_str()));
    let curl = said.lines().find(|line| line.contains("curl ")).unwrap_or_default();
    for word in [&format!("http://{}/v1/chat/completions", proxy.addr), "your-token", "messages"] {
        assert!(curl.contains(word), "no {word}: {curl}");
    }
    let json = &curl[curl.find("'{").expect("a body") + 1..curl.rfind('\'').expect("its end")];
    assert_eq!(chat(&proxy, &serde_json::from_str(json).unwrap()).await.status(), 200);
}

#[tokio::test]
async fn every_model_is_listed_and_answers_streamed_and_whole() {
    let proxy = Launch::demo().start().await;
    let models = proxy.ask(&Ask::new("GET", "/v1/models").bearer(TOKEN)).await.json();
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(ids.contains(&"gpt-4o") && ids.len() >= 2, "{ids:?}");
    for id in ids {
        let reply = chat(&proxy, &body(id)).await;
        assert_eq!((reply.status(), reply.end), (200, End::Clean), "{id}: {reply:?}");
        let answer = reply.json();
        assert!(answer["choices"][0]["message"]["content"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
        assert!(answer["usage"]["total_tokens"].as_u64() > Some(0), "{answer}");
        let reply = chat(&proxy, &with(body(id), "stream", true)).await;
        assert!(sse::is_done(&reply.body) && !sse::text_of(&reply.body).is_empty(), "{id}: {reply:?}");
    }
}

#[tokio::test]
async fn each_backend_can_be_pinned_and_the_problematic_one_fails() {
    let proxy = Launch::demo().start().await;
    for backend in ["openai_official", "anthropic_claude", "google_gemini"] {
        for stream in [false, true] {
            let reply = chat(&proxy, &with(with(body("gpt-4o"), "backend", backend), "stream", stream)).await;
            assert_eq!((reply.status(), reply.backend()), (200, backend), "{reply:?}");
        }
        let reply = chat(&proxy, &with(with(body("gpt-4o"), "backend", backend), "max_tokens", 1)).await;
        assert_eq!(reply.status(), 200, "a check of health: {reply:?}");
    }
    let reply = chat(&proxy, &with(body("gpt-4o"), "backend", "problematic_backend")).await;
    assert!((500..600).contains(&reply.status()), "{reply:?}");
}

#[tokio::test]
async fn instructions_between_the_turns_are_taken_by_every_backend() {
    let proxy = Launch::demo().start().await;
    let turns = json!([{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello!"}]);
    let said = with(with(body("gpt-4o"), "messages", turns), "max_tokens", 20);
    for backend in ["openai_official", "anthropic_claude", "google_gemini"] {
        let pinned = with(said.clone(), "backend", backend).to_string();
        let reply = proxy.ask(&Ask::post("/v1/messages", pinned).bearer(TOKEN)).await;
        assert_eq!((reply.status(), reply.backend()), (200, backend), "{reply:?}");
    }
}

#[tokio::test]
async fn a_failing_backend_among_the_four_costs_no_client_an_answer() {
    let proxy = Launch::demo().start().await;
    for _ in 0..12 {
        let reply = chat(&proxy, &body("gpt-4o")).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        assert_ne!(reply.backend(), "problematic_backend");
    }
    let reports = proxy.ask(&Ask::new("GET", "/admin/backends").bearer(TOKEN)).await.json();
    let names: Vec<_> =
        reports["backends"].as_array().unwrap().iter().filter_map(|report| report["name"].as_str()).collect();
    assert_eq!(names, ["anthropic_claude", "google_gemini", "openai_official", "problematic_backend"]);
}

#[tokio::test]
async fn a_wrong_token_is_refused_in_the_demo_too() {
    let proxy = Launch::demo().start().await;
    assert_eq!(proxy.ask(&Ask::chat(body("gpt-4o").to_string()).bearer("not-your-token")).await.status(), 401);
}
