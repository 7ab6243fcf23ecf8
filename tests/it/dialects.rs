//! The Messages and Responses dialects through the whole proxy: the model's public name, token counts, ids, prompts kept elsewhere.

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Connection},
    proxy::Proxy,
    script::Answer,
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
};

/// One backend, with these lines, that serves `m` as `theirs`.
fn only(upstream: &Upstream, lines: &str) -> Settings {
    Settings::only(upstream.addr, "/v1", "theirs", lines).set("models.m", "rewrite_model = true")
}

fn hello(path: &str) -> Value {
    let hello = json!([{"role": "user", "content": "Hello!"}]);
    let prompt = if path == "/v1/messages" { "messages" } else { "input" };
    json!({"model": "m", "stream": true, prompt: hello})
}

/// The sent body of the latest request.
fn sent(upstream: &Upstream) -> Value {
    serde_json::from_str(&upstream.last().text()).expect("JSON")
}

/// Events with their names, as the provider itself sends them.
fn events(all: &[Value]) -> Answer {
    let event = |answer: Answer, e: &Value| {
        answer.chunk(format!("event: {}\ndata: {e}\n\n", e["type"].as_str().unwrap_or_default()))
    };
    all.iter().fold(Answer::stream(), event).end()
}

fn message() -> Answer {
    events(&message_events())
}

fn message_events() -> [Value; 6] {
    [
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "theirs",
            "content": [], "usage": {"input_tokens": 7, "cache_read_input_tokens": 5, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}),
        json!({"type": "message_stop"}),
    ]
}

fn response() -> Answer {
    let response = |status| {
        json!({"id": "resp_1", "object": "response", "status": status, "model": "theirs", "output": [],
        "usage": {"input_tokens": 7, "output_tokens": 3}})
    };
    events(&[
        json!({"type": "response.created", "sequence_number": 0, "response": response("in_progress")}),
        json!({"type": "response.output_text.delta", "sequence_number": 1, "delta": "hi"}),
        json!({"type": "response.completed", "sequence_number": 2, "response": response("completed")}),
    ])
}

#[tokio::test]
async fn a_streamed_answer_has_its_models_public_name_and_its_events_names_in_every_dialect() {
    let chat = Answer::stream().chunk(sse::text("hi").replace("\"m\"", "\"theirs\"")).finished();
    for (lines, answer, path) in [
        ("protocol = \"anthropic\"", message(), "/v1/messages"),
        ("protocol = \"openai\"\nnative_responses = true", response(), "/v1/responses"),
        ("protocol = \"openai\"\nnative_responses = false", chat.clone(), "/v1/responses"),
        ("protocol = \"openai\"", chat, "/v1/messages"),
    ] {
        let upstream = Upstream::always(answer).await;
        let proxy = Proxy::start(&only(&upstream, lines)).await;
        let text = proxy.send(path, &hello(path)).await.text();
        assert!(text.contains("\"model\":\"m\"") && !text.contains("\"model\":\"theirs\""), "{lines} {path}: {text}");
        let frames: Vec<&str> = text.split("\n\n").filter(|frame| frame.contains("data: ")).collect();
        assert!(frames.len() >= 3 && frames.iter().all(|frame| frame.starts_with("event: ")), "{lines} {path}: {text}");
    }
}

#[tokio::test]
async fn images_and_searches_reach_the_client_before_there_is_text() {
    let image = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "theirs", "choices": [
        {"index": 0, "delta": {"content": "", "images": [{"type": "image_url"}]}, "finish_reason": null}]});
    let search = json!({"type": "response.web_search_call.searching", "sequence_number": 1, "item_id": "ws_1"});
    for (lines, path, first) in
        [("", "/v1/chat/completions", image), ("native_responses = true", "/v1/responses", search)]
    {
        let upstream = Upstream::always(Answer::stream().chunk(sse::data(&first)).hang()).await;
        let proxy = Proxy::start(&only(&upstream, &format!("protocol = \"openai\"\n{lines}"))).await;
        let mut body = hello(path);
        body["messages"] = json!([]);
        let mut client = Connection::open(proxy.addr).await;
        client.send(&Ask::post(path, body.to_string()).bearer(TOKEN)).await;
        assert_eq!(client.head().await.status(), 200, "{path}");
        assert!(
            client.frame().await.is_some_and(|frame| frame.contains("image_url") || frame.contains("ws_1")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_a_stream_is_owed_at_its_end_has_its_models_public_name_too() {
    let gemini = Answer::stream()
        .chunk(sse::data(&json!({"modelVersion": "theirs",
        "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3}})))
        .end();
    // None of them says that it is over: its body just ends.
    let claude = events(&message_events()[..5]);
    let chat = Answer::stream()
        .chunk(sse::text("hi").replace("\"m\"", "\"theirs\""))
        .chunk(sse::finish().replace("\"m\"", "\"theirs\""))
        .end();
    for (protocol, answer, paths) in [
        ("gemini", gemini, &["/v1/chat/completions", "/v1/responses", "/v1/messages"][..]),
        ("anthropic", claude, &["/v1/chat/completions", "/v1/responses"]),
        ("openai", chat, &["/v1/responses", "/v1/messages"]),
    ] {
        let upstream = Upstream::always(answer).await;
        let proxy = Proxy::start(&only(&upstream, &format!("protocol = \"{protocol}\""))).await;
        for path in paths {
            let mut body = hello(path);
            if *path == "/v1/chat/completions" {
                body = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true},
                    "messages": [{"role": "user", "content": "Hello!"}]});
            }
            let reply = proxy.send(path, &body).await;
            let (text, end) = (reply.text(), reply.end);
            assert_eq!(end, End::Clean, "{protocol} {path}: {text}");
            assert!(text.contains("\"model\":\"m\"") && !text.contains("theirs"), "{protocol} {path}: {text}");
        }
    }
}

#[tokio::test]
async fn the_prompt_of_a_messages_stream_is_counted_though_only_its_beginning_tells() {
    let upstream = Upstream::always(message()).await;
    let proxy = Proxy::start(&only(&upstream, "protocol = \"anthropic\"")).await;
    assert_eq!(proxy.send("/v1/messages", &hello("/v1/messages")).await.status(), 200);
    proxy.logged(&["greenroom::request", "tokens_in=12", "tokens_out=3"]).await;
}

#[tokio::test]
async fn token_counts_are_asked_for_in_translated_streams_unless_the_settings_forbid_it() {
    for (lines, asked) in [("", Some(&json!({"include_usage": true}))), ("ask_usage = false", None)] {
        let upstream = Upstream::always(Answer::streams("hi")).await;
        let proxy = Proxy::start(&only(&upstream, &format!("protocol = \"openai\"\n{lines}"))).await;
        assert_eq!(proxy.send("/v1/messages", &hello("/v1/messages")).await.status(), 200);
        assert_eq!(sent(&upstream).get("stream_options"), asked, "{lines}");
    }
}

#[tokio::test]
async fn a_history_with_calls_of_kimis_goes_on_at_anthropic() {
    let upstream =
        Upstream::always(Answer::json(200, r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#)).await;
    let proxy = Proxy::start(&only(&upstream, "protocol = \"anthropic\"")).await;
    let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "functions.f:0", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions.f:0", "content": "r"}]}]});
    assert_eq!(proxy.send("/v1/messages", &body).await.status(), 200);
    let sent = sent(&upstream);
    assert_eq!(sent["messages"][1]["content"][0]["id"], "functions_f_0");
    assert_eq!(sent["messages"][2]["content"][0]["tool_use_id"], "functions_f_0");
}

#[tokio::test]
async fn a_response_may_be_asked_for_without_an_input_where_the_provider_keeps_it() {
    let body = json!({"model": "m", "prompt": {"id": "pmpt_1"}});
    let answer =
        Answer::json(200, r#"{"id":"resp_1","object":"response","status":"completed","model":"theirs","output":[]}"#);
    let upstream = Upstream::always(answer).await;
    let proxy = Proxy::start(&only(&upstream, "protocol = \"openai\"\nnative_responses = true")).await;
    let reply = proxy.send("/v1/responses", &body).await;
    assert_eq!((reply.status(), &reply.json()["model"]), (200, &json!("m")), "{reply:?}");
    assert_eq!(sent(&upstream)["prompt"], json!({"id": "pmpt_1"}));
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&only(&upstream, "protocol = \"openai\"\nnative_responses = false")).await;
    assert_eq!((proxy.send("/v1/responses", &body).await.status(), upstream.asked()), (400, 0));
}

/// `m` at a backend of each protocol, of which one is asked first.
fn claude_and_vllm(claude: &Upstream, vllm: &Upstream, first: &str) -> Settings {
    let backend = |protocol, upstream: &Upstream| {
        format!("protocol = \"{protocol}\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"", upstream.addr)
    };
    let places = ["claude", "vllm"]
        .map(|name| format!("{{ backend = \"{name}\", model = \"theirs\", priority = {} }}", u8::from(name != first)));
    Settings::new()
        .set("backends.claude", &backend("anthropic", claude))
        .set("backends.vllm", &backend("openai", vllm))
        .set("models.m", &format!("backends = [{}]", places.join(", ")))
}

#[tokio::test]
async fn a_part_that_one_protocol_does_not_know_is_served_by_a_backend_of_another() {
    let (claude, vllm) = (Upstream::saying("no").await, Upstream::saying("hi").await);
    let proxy = Proxy::start(&claude_and_vllm(&claude, &vllm, "claude")).await;
    let part = json!({"type": "video_url", "video_url": {"url": "https://x.test/a.mp4"}});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": [part]}]});
    let reply = proxy.chat(body.to_string()).await;
    assert_eq!((reply.status(), reply.backend(), claude.asked()), (200, "vllm", 0), "{reply:?}");
}

#[tokio::test]
async fn a_response_that_fails_behind_comments_of_ours_fails_by_the_id_that_it_began_with() {
    let slow = Answer::new().work(std::time::Duration::from_millis(400));
    let begun = slow.then(Answer::stream().chunk(sse::text("hi")).work(std::time::Duration::from_millis(100)).reset());
    let upstream = Upstream::always(begun).await;
    let settings = only(&upstream, "protocol = \"openai\"").set("failover", "keepalive_after = \"150ms\"");
    let proxy = Proxy::start(&settings).await;
    let text = proxy.send("/v1/responses", &hello("/v1/responses")).await.text();
    assert!(text.contains(": greenroom backend="), "{text}");
    let data = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let ids = data.filter_map(|event| Some(event["response"]["id"].as_str()?.to_owned()));
    let ids: std::collections::HashSet<String> = ids.collect();
    assert!(text.contains("response.failed") && ids.len() == 1, "{ids:?} {text}");
}

/// The next turn of a conversation that Anthropic keeps: the history and the tools are there.
fn next_turn(stream: bool) -> Value {
    json!({"model": "m", "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "And now?"}],
        "thread": {"type": "continue", "previous_message_id": "msg_1"}})
}

#[tokio::test]
async fn a_conversation_that_anthropic_keeps_goes_on_there_and_nowhere_else() {
    let (claude, vllm) = (Upstream::always(message()).await, Upstream::saying("no").await);
    let proxy = Proxy::start(&claude_and_vllm(&claude, &vllm, "vllm")).await;
    let reply = proxy.send("/v1/messages", &next_turn(true)).await;
    assert_eq!((reply.status(), reply.backend(), vllm.asked()), (200, "claude", 0), "{reply:?}");
    assert_eq!(sent(&claude)["thread"], next_turn(true)["thread"]);
    let proxy = Proxy::start(&only(&vllm, "protocol = \"openai\"")).await;
    for stream in [false, true] {
        let reply = proxy.send("/v1/messages", &next_turn(stream)).await;
        assert_eq!((reply.status(), vllm.asked()), (400, 0), "{reply:?}");
        let (body, code) = (reply.json(), "thread_unsupported_request");
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
        assert_eq!(body["error"]["details"], json!({"error_code": code}), "SDKs send all of it again at this");
    }
    let other = proxy.send("/v1/messages", &json!({"model": "m", "messages": []})).await;
    assert_eq!((other.status(), other.json()["error"].get("details")), (400, None));
}

#[tokio::test]
async fn a_conversation_that_is_lost_at_anthropic_is_told_so_and_costs_the_backend_nothing() {
    let lost = r#"{"type":"error","error":{"type":"not_found_error","message":"No such thread.","details":{"error_code":"thread_not_found"}}}"#;
    let script = |body: &str| if body.contains("\"continue\"") { Answer::json(404, lost) } else { message() };
    let claude = Upstream::start(move |_, asked| script(&asked.text())).await;
    let proxy = Proxy::start(&only(&claude, "protocol = \"anthropic\"")).await;
    for _ in 0..3 {
        let reply = proxy.send("/v1/messages", &next_turn(true)).await;
        assert_eq!((reply.status(), reply.text().as_str()), (404, lost));
    }
    let mut whole = next_turn(true);
    whole["thread"] = json!({"type": "create"});
    let reply = proxy.send("/v1/messages", &whole).await;
    assert_eq!((reply.status(), claude.asked()), (200, 4), "{reply:?}");
}
