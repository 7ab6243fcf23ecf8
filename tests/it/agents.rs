//! What coding agents send that is not for every server, and must not cost one its caches.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use crate::support::{proxy::Proxy, script::Answer, settings::Settings, sse, upstream::Upstream, wire::End};

/// A proxy with one backend of this protocol, which serves `m` as `theirs`.
async fn alone(protocol: &str, theirs: &str, answer: Answer) -> (Upstream, Proxy) {
    let one = Upstream::always(answer).await;
    let proxy = Proxy::start(&Settings::only(one.addr, "/v1", theirs, &format!("protocol = \"{protocol}\""))).await;
    (one, proxy)
}

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
        let reply = proxy.send("/v1/messages", &body).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        homes.insert(reply.backend().to_owned());
    }
    assert_eq!(homes.len(), 1, "{homes:?}");
    let sent = [&a, &b, &c].map(Upstream::asked);
    assert_eq!(sent.iter().sum::<usize>(), 12);
    let home = [a, b, c].into_iter().find(|one| one.asked() > 0).expect("a home");
    assert!(!home.last().text().contains("cch="), "{}", home.last().text());
}

#[tokio::test]
async fn claude_code_is_told_that_a_request_is_too_long_in_the_words_at_which_it_shortens_it() {
    let openai =
        |said: &str| json!({"error": {"message": said, "type": "BadRequestError", "param": null, "code": 400}});
    let google = |said: &str| json!({"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}});
    let both = "This model's maximum context length is 40960 tokens. However, you requested 62768 tokens (30768 in the messages, 32000 in the completion).";
    for (protocol, status, error, want) in [
        (
            "openai",
            400,
            openai(
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 140000 tokens.",
            ),
            "prompt is too long: 140000 tokens > 128000 maximum. This model's",
        ),
        (
            "gemini",
            400,
            google("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
            "prompt is too long: 1200000 tokens > 1048576 maximum. The input",
        ),
        ("openai", 422, openai(both), "input length and `max_tokens` exceed context limit: 30768 + 32000 > 40960, "),
        (
            "openai",
            400,
            openai("max_tokens=32000 cannot be greater than max_model_len=8192"),
            "input length and `max_tokens` exceed context limit: 0 + 32000 > 8192, ",
        ),
        (
            "openai",
            422,
            json!({"error": "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000", "error_type": "validation"}),
            "prompt is too long: 5000 tokens > 4095 maximum. Input",
        ),
    ] {
        let (_one, proxy) = alone(protocol, "theirs", Answer::json(status, &error.to_string())).await;
        let ask = json!({"model": "m", "max_tokens": 32000, "messages": [{"role": "user", "content": "q"}]});
        let reply = proxy.send("/v1/messages", &ask).await;
        let told = (reply.status(), reply.error("type"), reply.error("code"));
        assert_eq!(told, (400, "invalid_request_error".into(), "context_length_exceeded".into()), "{reply:?}");
        assert!(reply.error("message").starts_with(want), "{reply:?}");
        // Others know OpenAI's words.
        let reply = proxy.send("/v1/responses", &json!({"model": "m", "input": "q"})).await;
        let said = error["error"]["message"].as_str().or(error["error"].as_str()).expect("a message");
        assert_eq!(reply.error("code"), "context_length_exceeded");
        let told = reply.error("message");
        assert!(told.ends_with(said), "{told}");
        assert!(
            ["context window", "context length", "configured limit"].iter().any(|words| told.contains(words)),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_turn_that_another_backend_began_goes_on_at_anthropic_without_thinking() {
    let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "theirs", "content": [
        {"type": "text", "text": "ok"}], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let (claude, proxy) = alone("anthropic", "theirs", Answer::json(200, &answer.to_string())).await;
    let foreign = json!({"type": "thinking", "thinking": "hm", "signature": "gemini:abc"});
    let call = json!({"type": "tool_use", "id": "call_1", "name": "f", "input": {}});
    for content in [json!([foreign, call]), json!([call])] {
        let body = json!({"model": "m", "max_tokens": 32000, "thinking": {"type": "enabled", "budget_tokens": 2000},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": content},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "r"}]},
                {"role": "system", "content": "<total_tokens>90 tokens left</total_tokens>"}]});
        assert_eq!(proxy.send("/v1/messages", &body).await.status(), 200);
        let sent: Value = serde_json::from_slice(&claude.last().body).expect("JSON");
        assert_eq!((sent.get("thinking"), sent.get("context_management")), (None, None), "{sent}");
        assert_eq!(sent["messages"][1]["content"], json!([call]), "{sent}");
    }
}

#[tokio::test]
async fn a_response_that_failed_ends_with_the_event_that_says_so_and_nothing_is_broken_off() {
    let begun = || Answer::stream().chunk(sse::text("a ")).reset();
    for (path, end) in [("/v1/responses", End::Clean), ("/v1/chat/completions", End::Truncated)] {
        let (_one, proxy) = alone("openai", "theirs", begun()).await;
        let body = json!({"model": "m", "stream": true, "input": "q", "messages": [{"role": "user", "content": "q"}]});
        let reply = proxy.send(path, &body).await;
        assert_eq!((reply.end, reply.text().contains("response.failed")), (end, end == End::Clean), "{reply:?}");
        assert!(!reply.text().contains("response.completed"), "{reply:?}");
    }
    let limited =
        Answer::new().work(Duration::from_millis(400)).then(Answer::json_with(429, "retry-after: 70\r\n", "{}"));
    let one = Upstream::always(limited).await;
    let settings = Settings::new().backend("one", one.addr).set("failover", "keepalive_after = \"100ms\"");
    let proxy = Proxy::start(&settings).await;
    let reply = proxy.send("/v1/responses", &json!({"model": "m", "stream": true, "input": "q"})).await;
    let events = reply.events();
    let error = &events[0]["response"]["error"];
    assert_eq!((&events[0]["type"], &error["code"]), (&json!("response.failed"), &json!("rate_limit_exceeded")));
    let waits = error["message"].as_str().and_then(|said| said.split("try again in ").nth(1));
    let waits = waits.and_then(|rest| rest.strip_suffix("s.")?.parse::<u64>().ok());
    assert!(waits.is_some_and(|seconds| (60..=70).contains(&seconds)), "{reply:?}");
    assert_eq!((&events[1]["code"], reply.end), (&json!("upstream_rate_limited"), End::Clean), "{reply:?}");
}

#[tokio::test]
async fn translated_messages_bear_the_name_that_was_asked_for() {
    let gemini = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
        "modelVersion": "theirs", "responseId": "r"});
    let claude = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "theirs", "content": [
        {"type": "text", "text": "hi"}], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let chat = sse::text("hi").replace("\"model\":\"m\"", "\"model\":\"theirs\"");
    let whole = |body: &Value| Answer::json(200, &body.to_string());
    for (protocol, stream, answer, name) in [
        ("openai", false, Answer::says("hi"), "m"),
        ("openai", true, Answer::stream().chunk(chat).chunk(sse::finish()).chunk(sse::DONE).end(), "m"),
        ("gemini", false, whole(&gemini), "m"),
        ("gemini", true, Answer::stream().chunk(sse::data(&gemini)).end(), "m"),
        // Anthropic's own are passed on.
        ("anthropic", false, whole(&claude), "theirs"),
    ] {
        let (_one, proxy) = alone(protocol, "theirs", answer).await;
        let ask =
            json!({"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "q"}]});
        let reply = proxy.send("/v1/messages", &ask).await;
        let model = if stream { reply.events()[0]["message"]["model"].clone() } else { reply.json()["model"].clone() };
        assert_eq!(model, name, "{protocol} {stream}: {reply:?}");
        assert_eq!(reply.header("x-greenroom-upstream-model"), "theirs");
        if protocol == "gemini" {
            let body = json!({"model": "m", "stream": stream, "messages": ask["messages"]});
            let reply = proxy.send("/v1/chat/completions", &body).await;
            let model = if stream { reply.events()[0]["model"].clone() } else { reply.json()["model"].clone() };
            assert_eq!(model, "theirs", "others learn who answered: {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_in_the_models_own_words_is_a_whole_response() {
    let message = |reason: &str| {
        json!({"id": "c", "model": "theirs", "choices": [{"index": 0, "finish_reason": reason,
            "message": {"role": "assistant", "content": null, "refusal": "No."}}]})
    };
    let frames = |reason: &str| {
        let chunk = |delta: Value, finish: Option<&str>| {
            sse::data(
                &json!({"id": "c", "model": "theirs", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}),
            )
        };
        Answer::stream()
            .chunk(chunk(json!({"refusal": "No."}), None))
            .chunk(chunk(json!({}), Some(reason)))
            .chunk(sse::DONE)
            .end()
    };
    for (reason, status, why) in
        [("stop", "completed", Value::Null), ("content_filter", "incomplete", json!({"reason": "content_filter"}))]
    {
        for stream in [false, true] {
            let answer = if stream { frames(reason) } else { Answer::json(200, &message(reason).to_string()) };
            let (_one, proxy) = alone("openai", "theirs", answer).await;
            let reply = proxy.send("/v1/responses", &json!({"model": "m", "stream": stream, "input": "q"})).await;
            let told = if stream { reply.events().pop().expect("events")["response"].take() } else { reply.json() };
            assert_eq!((&told["status"], &told["incomplete_details"]), (&json!(status), &why), "{reply:?}");
            assert_eq!(told["output"][0]["content"], json!([{"type": "refusal", "refusal": "No."}]), "{reply:?}");
            let ask = json!({"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "q"}]});
            let reply = proxy.send("/v1/messages", &ask).await;
            assert!(reply.text().contains("\"stop_reason\":\"refusal\""), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn a_status_in_the_place_of_a_code_is_none() {
    for (code, told) in [(json!(400), Value::Null), (json!("400"), Value::Null), (json!("bad_tool"), json!("bad_tool"))]
    {
        let error =
            json!({"error": {"message": "No such tool.", "type": "BadRequestError", "param": "tools", "code": code}});
        let (_one, proxy) = alone("openai", "theirs", Answer::json(400, &error.to_string())).await;
        for path in ["/v1/messages", "/v1/responses"] {
            let body =
                json!({"model": "m", "max_tokens": 9, "input": "q", "messages": [{"role": "user", "content": "q"}]});
            let reply = proxy.send(path, &body).await;
            assert_eq!((reply.status(), &reply.json()["error"]["code"]), (400, &told), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn models_are_listed_as_the_sdks_of_openai_and_of_anthropic_know_them() {
    let one = Upstream::saying("hi").await;
    let settings = Settings::new().backend("one", one.addr).set("models.\"a/b\"", "backends = [{ backend = \"one\" }]");
    let proxy = Proxy::start(&settings).await;
    let list = proxy.get("/v1/models").await.json();
    let page = (&list["object"], &list["has_more"], &list["first_id"], &list["last_id"]);
    assert_eq!(page, (&json!("list"), &json!(false), &json!("a/b"), &json!("m")));
    let model = &list["data"][1];
    assert_eq!((&model["type"], &model["object"]), (&json!("model"), &json!("model")));
    assert_eq!(
        (&model["display_name"], &model["id"], &model["owned_by"]),
        (&json!("m"), &json!("m"), &json!("greenroom"))
    );
    let created = model["created_at"].as_str().and_then(|at| humantime::parse_rfc3339(at).ok()).expect("a moment");
    let seconds = created.duration_since(std::time::UNIX_EPOCH).map(|since| since.as_secs()).ok();
    assert_eq!(seconds, model["created"].as_u64());
    assert_eq!(proxy.get("/v1/models/m").await.json(), *model);
}

#[tokio::test]
async fn tools_that_a_model_takes_nowhere_but_over_responses_are_refused_with_the_way_out() {
    let (one, proxy) = alone("openai", "gpt-6-astra", Answer::json(500, "{}")).await;
    let tool = json!({"type": "function", "name": "f", "parameters": {"type": "object"}});
    let reply = proxy.send("/v1/responses", &json!({"model": "m", "input": "q", "tools": [tool]})).await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (400, "unsupported_parameter"), "{reply:?}");
    assert!(reply.error("message").contains("native_responses = true"), "{reply:?}");
    assert_eq!(one.asked(), 0);
}
