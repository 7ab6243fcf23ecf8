//! Streams that pass as they come: an error is one in whatever shape, what an event is may stand in its name alone, and a letter cut
//! in two costs nothing. What comes whole only is never asked for as one, and may not be of any length.

use serde_json::{Value, json};

use crate::support::{
    client::Reply,
    proxy::Proxy,
    script::{Answer, completion},
    settings::Settings,
    sse,
    upstream::Upstream,
    wire::End,
};

const CHAT: (&str, &str) = ("protocol = \"openai\"", "/v1/chat/completions");
const MESSAGES: (&str, &str) = ("protocol = \"anthropic\"", "/v1/messages");
const RESPONSES: (&str, &str) = ("protocol = \"openai\"\nnative_responses = true", "/v1/responses");

/// What comes of a stream of these frames at a backend of this kind.
async fn streamed((lines, path): (&str, &str), frames: &[String]) -> Reply {
    let answer = frames.iter().fold(Answer::stream(), Answer::chunk).end();
    let upstream = Upstream::always(answer).await;
    let settings = Settings::only(upstream.addr, "/v1", "m", lines).set("failover", "max_attempts = 1");
    let proxy = Proxy::start(&settings).await;
    let said = json!([{"role": "user", "content": "Hello!"}]);
    let prompt = if path == "/v1/responses" { "input" } else { "messages" };
    let body = json!({"model": "m", "stream": true, "max_tokens": 9, prompt: said});
    proxy.send(path, &body).await
}

fn named(event: &str, data: &Value) -> String {
    format!("event: {event}\ndata: {data}\n\n")
}

/// A Responses stream that has said "hi".
fn response() -> Vec<String> {
    let begun = json!({"id": "resp_1", "object": "response", "status": "in_progress", "output": []});
    vec![
        sse::data(&json!({"type": "response.created", "response": begun})),
        sse::data(&json!({"type": "response.output_text.delta", "delta": "hi"})),
    ]
}

#[tokio::test]
async fn an_error_of_whatever_shape_ends_a_responses_stream_as_one() {
    for error in [
        sse::data(&json!({"type": "error", "code": 500, "message": "boom"})),
        sse::data(&json!({"type": "error", "error": "boom"})),
        sse::data(&json!({"error": {"code": 500, "message": "boom"}})),
        sse::data(&json!({"error": "boom"})),
        named("error", &json!({"code": 500, "message": "boom"})),
        "event: error\ndata: boom\n\n".to_owned(),
        sse::data(&json!({"type": "response.failed", "response": {"error": {"code": 500, "message": "boom"}}})),
        sse::data(&json!({"type": "response.failed", "response": {"error": "boom"}})),
    ] {
        for end in [Some(sse::DONE.to_owned()), None] {
            let mut frames = response();
            frames.push(error.clone());
            frames.extend(end);
            let reply = streamed(RESPONSES, &frames).await;
            let code = sse::error_of(&reply.body).map(|error| error["code"].clone());
            assert_eq!((code, reply.end), (Some(json!("upstream_error")), End::Clean), "{error}: {reply:?}");
            assert!(reply.text().contains("response.failed") && !sse::is_done(&reply.body), "{error}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn the_end_marker_by_itself_ends_no_responses_stream() {
    let cut = [response(), vec![sse::DONE.to_owned()]].concat();
    let reply = streamed(RESPONSES, &cut).await;
    assert!(reply.text().contains("response.failed") && reply.end == End::Clean, "{reply:?}");
    assert!(!sse::is_done(&reply.body), "{reply:?}");
    let done = json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed"}});
    let whole = [response(), vec![sse::data(&done), sse::DONE.to_owned()]].concat();
    let reply = streamed(RESPONSES, &whole).await;
    assert!(reply.text().contains("response.completed") && reply.end == End::Clean, "{reply:?}");
}

#[tokio::test]
async fn an_event_is_known_by_its_name_where_its_data_do_not_repeat_it() {
    let said = |text: &str| named("content_block_delta", &json!({"index": 0, "delta": {"text": text}}));
    let message = vec![
        named("message_start", &json!({"message": {"id": "msg_1", "content": []}})),
        said("a"),
        said("b"),
        named("message_delta", &json!({"delta": {"stop_reason": "end_turn"}})),
        named("message_stop", &json!({})),
    ];
    let response = vec![
        named("response.output_text.delta", &json!({"delta": "a"})),
        named("response.completed", &json!({"response": {"status": "completed"}})),
    ];
    for (kind, frames) in [(MESSAGES, &message), (RESPONSES, &response)] {
        let reply = streamed(kind, frames).await;
        assert_eq!((reply.status(), reply.end), (200, End::Clean), "{reply:?}");
        assert_eq!(reply.text(), frames.concat());
    }
    for data in [r#"{"error":{"type":"api_error","message":"boom"}}"#, r#"{"type":null,"message":"boom"}"#, "boom"] {
        let error = format!("event: error\ndata: {data}\n\n");
        let reply = streamed(MESSAGES, &[message[0].clone(), said("a"), error]).await;
        let code = sse::error_of(&reply.body).map(|error| error["code"].clone());
        assert_eq!((code, reply.end), (Some(json!("upstream_error")), End::Truncated), "{data}: {reply:?}");
    }
}

#[tokio::test]
async fn half_a_letter_costs_no_frame_and_no_stream() {
    let messages = |text: &str| {
        let delta = format!("{{\"type\":\"text_delta\",\"text\":\"{text}\"}}");
        format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{delta}}}\n\n"
        )
    };
    let chat = |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let texts = ["a", "cut\\ud83d", "\\ude00", "b"];
    let end = [
        named("message_delta", &json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})),
        named("message_stop", &json!({"type": "message_stop"})),
    ];
    for (kind, frames) in [
        (MESSAGES, [&texts.map(messages)[..], &end].concat()),
        (CHAT, [&texts.map(chat)[..], &[sse::finish(), sse::DONE.to_owned()]].concat()),
    ] {
        let reply = streamed(kind, &frames).await;
        assert_eq!((reply.text(), reply.end), (frames.concat(), End::Clean));
    }
}

#[tokio::test]
async fn what_cannot_be_an_answer_is_none_at_any_endpoint_and_another_is_asked() {
    for ((lines, path), answer) in [
        (CHAT, completion("hi")),
        (MESSAGES, r#"{"type":"message","content":[]}"#.to_owned()),
        ((MESSAGES.0, "/v1/messages/count_tokens"), r#"{"input_tokens":3}"#.to_owned()),
        (RESPONSES, r#"{"object":"response","output":[]}"#.to_owned()),
        ((CHAT.0, "/v1/embeddings"), r#"{"object":"list","data":[]}"#.to_owned()),
        ((CHAT.0, "/v1/completions"), r#"{"choices":[{"text":"hi"}]}"#.to_owned()),
        ((CHAT.0, "/v1/moderations"), r#"{"id":"modr-1","results":[{"flagged":false}]}"#.to_owned()),
        ((CHAT.0, "/v1/rerank"), r#"{"results":[{"index":0,"relevance_score":0.9}]}"#.to_owned()),
        ((CHAT.0, "/v1/images/generations"), r#"{"created":1,"data":[{"b64_json":"aGk="}]}"#.to_owned()),
        ((CHAT.0, "/v1/images/edits"), r#"{"created":1,"data":[{"b64_json":"aGk="}]}"#.to_owned()),
    ] {
        let strays = ["{}", r#"{"stray":1}"#];
        let bad = Upstream::start(move |n, _| Answer::json(200, strays[n % 2])).await;
        let peer = Upstream::always(Answer::json(200, &answer)).await;
        let at = |upstream: &Upstream| format!("base_url = \"http://{}/v1\"\napi_key = \"k\"\n{lines}", upstream.addr);
        let both = "backends = [{ backend = \"bad\" }, { backend = \"peer\", priority = 2 }]";
        let settings = Settings::new().set("backends.bad", &at(&bad)).set("backends.peer", &at(&peer));
        let proxy = Proxy::start(&settings.set("models.m", both)).await;
        let body = json!({"model": "m", "max_tokens": 9, "input": "a", "prompt": "a", "query": "a", "messages": []});
        for _ in strays {
            let reply = proxy.send(path, &body).await;
            assert_eq!((reply.status(), reply.backend(), reply.text()), (200, "peer", answer.clone()), "{path}");
        }
        let failures = &proxy.report("bad").await["requests"]["failure"];
        assert_eq!((failures, bad.asked()), (&2.into(), 2), "{path}");
    }
}

#[tokio::test]
async fn a_stream_of_what_comes_whole_only_is_refused_before_anybody_is_asked() {
    let upstream = Upstream::always(Answer::json(200, r#"{"data":[]}"#)).await;
    let proxy = Proxy::before(&upstream).await;
    let ask = async |path: &str, stream: bool| {
        let body = json!({"model": "m", "input": "a", "prompt": "a", "query": "a", "messages": [], "stream": stream});
        proxy.send(path, &body).await
    };
    for path in ["/v1/embeddings", "/v1/moderations", "/v1/rerank", "/v1/messages/count_tokens"] {
        let reply = ask(path, true).await;
        assert_eq!((reply.status(), reply.error("type").as_str()), (400, "invalid_request_error"), "{reply:?}");
        assert!(reply.error("message").contains("'stream'"), "{reply:?}");
    }
    let reply = ask("/v1/embeddings", true).await;
    assert_eq!((reply.error("code"), reply.error("param")), ("invalid_value".to_owned(), "stream".to_owned()));
    assert_eq!((upstream.asked(), ask("/v1/embeddings", false).await.status()), (0, 200));
}

#[tokio::test]
async fn a_whole_answer_too_long_to_be_held_is_no_fault_of_its_backend_and_embeddings_may_be_longer() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let begun = Answer::new().raw(head).chunk(r#"{"data":[{"embedding":""#);
    let piece = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let long = begun.flood(piece, 65).chunk(r#""}]}"#).end();
    let (long, peer) = (Upstream::always(long).await, Upstream::saying("hi").await);
    let settings = Settings::bad_and_peer(&long, &peer).set("backends.bad", "breaker_failures = 1");
    let proxy = Proxy::start(&settings).await;
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (400, "answer_too_long"), "{reply:?}");
    assert!(reply.error("message").contains("64 MiB"), "{reply:?}");
    assert_eq!((long.asked(), peer.asked()), (1, 0));
    let report = proxy.report("bad").await;
    assert_eq!((&report["requests"]["failure"], &report["state"]), (&0.into(), &"healthy".into()), "{report}");
    let reply = proxy.send("/v1/embeddings", r#"{"model":"m","input":"Hello!"}"#).await;
    assert_eq!((reply.status(), reply.backend(), reply.body.len() > 65 << 20), (200, "bad", true));
}
