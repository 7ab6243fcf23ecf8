//! Messages requests have to name a limit of the answer, and mostly name Claude's: a model that gives less is asked for what it gives.

use serde_json::{Value, json};

use crate::support::{
    client::Reply,
    proxy::Proxy,
    script::Answer,
    settings::Settings,
    upstream::{Received, Upstream},
};

/// What was asked for, tokens.
fn limit(ask: &Received) -> u64 {
    let body: Value = serde_json::from_slice(&ask.body).expect("JSON");
    body["max_tokens"].as_u64().expect("a limit")
}

async fn ask(proxy: &Proxy, path: &str, stream: bool) -> Reply {
    let body =
        json!({"model": "m", "max_tokens": 64_000, "stream": stream, "messages": [{"role": "user", "content": "q"}]});
    proxy.send(path, &body).await
}

/// A backend that refuses more than `most` tokens in these words.
async fn strict(most: u64, refusal: &'static str) -> (Upstream, Proxy) {
    let refused = json!({"error": {"message": refusal, "type": "invalid_request_error"}}).to_string();
    let script = move |_, asked: &Received| {
        if limit(asked) > most { Answer::json(400, &refused) } else { asked.saying("hi") }
    };
    let upstream = Upstream::start(script).await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "theirs", "protocol = \"openai\"")).await;
    (upstream, proxy)
}

#[tokio::test]
async fn a_model_that_gives_less_than_claude_answers_programs_that_ask_for_as_much() {
    let (one, proxy) = strict(
        16_384,
        "max_tokens is too large: 64000. This model supports at most 16384 completion tokens, whereas you provided 64000.",
    )
    .await;
    for (stream, asked) in [(false, 2), (true, 3), (false, 4)] {
        let reply = ask(&proxy, "/v1/messages", stream).await;
        assert_eq!((reply.status(), reply.header("x-greenroom-attempts")), (200, "1"), "{reply:?}");
        assert_eq!((one.asked(), limit(&one.last())), (asked, 16_384), "known from the second request on");
    }
    // A client of chat need not name a limit: who does is told.
    assert_eq!(ask(&proxy, "/v1/chat/completions", false).await.status(), 400);
    let page = proxy.get("/metrics").await.text();
    let counted = "greenroom_upstream_attempts_total{backend=\"only\",model=\"m\",error_class=\"none\"} 3\n";
    assert!(page.contains(counted), "{page}");
}

#[tokio::test]
async fn what_is_left_of_a_window_beside_a_prompt_is_asked_for_anew_each_time() {
    let (one, proxy) = strict(
        39_766,
        "'max_tokens' or 'max_completion_tokens' is too large: 64000. This model's maximum context length is 64001 tokens and your \
         request has 24235 input tokens (64000 > 64001 - 24235).",
    )
    .await;
    for asked in [2, 4] {
        assert_eq!(ask(&proxy, "/v1/messages", false).await.status(), 200);
        assert_eq!((one.asked(), limit(&one.last())), (asked, 39_766));
    }
}

#[tokio::test]
async fn a_backend_that_refuses_what_it_named_is_asked_no_third_time_and_is_not_believed() {
    let (one, proxy) =
        strict(10, "max_tokens is too large. This model supports at most 16384 completion tokens.").await;
    for _ in 0..2 {
        assert_eq!(ask(&proxy, "/v1/messages", false).await.status(), 400);
    }
    let asked: Vec<u64> = one.seen(|seen| seen.requests.iter().map(limit).collect());
    assert_eq!(asked, [64_000, 16_384, 64_000, 16_384]);
}

#[tokio::test]
async fn who_names_no_limit_gets_what_is_left_of_claudes_window() {
    let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "theirs", "content": [
        {"type": "text", "text": "hi"}], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let refusal = json!({"type": "error", "error": {"type": "invalid_request_error",
        "message": "input length and `max_tokens` exceed context limit: 140000 + 64000 > 200000, decrease input length"}});
    let claude = Upstream::start(move |_, asked| match limit(asked) {
        ..=60_000 => Answer::json(200, &answer.to_string()),
        _ => Answer::json(400, &refusal.to_string()),
    });
    let claude = claude.await;
    let proxy = Proxy::start(&Settings::only(claude.addr, "/v1", "claude-sonnet-4", "protocol = \"anthropic\"")).await;
    for (named, status, asked) in [("", 200, 2), (r#""max_tokens":64000,"#, 400, 3)] {
        let body = format!(r#"{{"model":"m",{named}"messages":[{{"role":"user","content":"q"}}]}}"#);
        let reply = proxy.send("/v1/chat/completions", &body).await;
        assert_eq!((reply.status(), claude.asked()), (status, asked), "{reply:?}");
    }
}

#[tokio::test]
async fn a_refusal_of_a_limit_is_heeded_by_whichever_status_it_comes() {
    let refusal = json!({"error": {"message": "Range of max_tokens should be [1, 8192]"}}).to_string();
    let upstream = Upstream::start(move |_, asked| match limit(asked) {
        ..=8_192 => Answer::says("hi"),
        _ => Answer::json(422, &refusal),
    });
    let one = upstream.await;
    let proxy = Proxy::start(&Settings::only(one.addr, "/v1", "theirs", "protocol = \"openai\"")).await;
    let reply = ask(&proxy, "/v1/messages", false).await;
    assert_eq!((reply.status(), one.asked(), limit(&one.last())), (200, 2, 8_192), "{reply:?}");
}
