//! Answers in shapes of their backends' own: nothing of them is lost on the way to a client, or the client is told.

use serde_json::{Value, json};

use crate::support::{
    client::Reply, proxy::Proxy, script::Answer, settings::Settings, sse, upstream::Upstream, wire::End,
};

const OPENAI: &str = "protocol = \"openai\"\nbreaker_failures = 0\nbreaker_min_samples = 100000";
const GEMINI: &str = "protocol = \"gemini\"";

/// An answer whole and one that is streamed.
async fn either(whole: &Value, frames: &[Value]) -> Upstream {
    let whole = Answer::json(200, &whole.to_string());
    let streamed = frames.iter().fold(Answer::stream(), |answer, frame| answer.chunk(sse::data(frame)));
    let streamed = streamed.chunk(sse::DONE).end();
    Upstream::start(move |_, ask| {
        let streams = ask.wants_stream() || ask.head.line.contains(":streamGenerateContent");
        if streams { streamed.clone() } else { whole.clone() }
    })
    .await
}

/// Asks at one of the endpoints for an answer of the model `m`, with a tool to call.
async fn post(proxy: &Proxy, path: &str, stream: bool) -> Reply {
    let parameters = json!({"type": "object"});
    let tool = match path {
        "/v1/messages" => json!({"name": "f", "input_schema": parameters}),
        "/v1/responses" => json!({"type": "function", "name": "f", "parameters": parameters}),
        _ => json!({"type": "function", "function": {"name": "f", "parameters": parameters}}),
    };
    let prompt = if path == "/v1/responses" { "input" } else { "messages" };
    let mut body =
        json!({"model": "m", "stream": stream, prompt: [{"role": "user", "content": "Hello!"}], "tools": [tool]});
    if path == "/v1/messages" {
        body["max_tokens"] = 9.into();
    }
    proxy.send(path, &body).await
}

fn chunk(delta: &Value, finish: Option<&str>) -> Value {
    json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

fn calling(call: &Value) -> [Value; 2] {
    [chunk(&json!({"tool_calls": [call]}), None), chunk(&json!({}), Some("tool_calls"))]
}

#[tokio::test]
async fn reasoning_goes_back_to_the_model_that_was_asked_whatever_its_answer_calls_it() {
    let call = json!({"index": 0, "id": "c0", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let said = json!({"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [call]});
    let whole = json!({"id": "c", "model": "DeepSeek-V3.2",
        "choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}]});
    let frames = calling(&call).map(|mut frame| {
        frame["model"] = "DeepSeek-V3.2".into();
        if let Some(delta) = frame.pointer_mut("/choices/0/delta").filter(|delta| delta["tool_calls"].is_array()) {
            delta["reasoning_content"] = "hm".into();
        }
        frame
    });
    let upstream = either(&whole, &frames).await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "my-deepseek", OPENAI)).await;
    for stream in [false, true] {
        let reply = post(&proxy, "/v1/messages", stream).await;
        let signature = if stream {
            reply.events().iter().find_map(|event| event["delta"]["signature"].as_str().map(ToOwned::to_owned))
        } else {
            reply.json()["content"][0]["signature"].as_str().map(ToOwned::to_owned)
        };
        let turn = json!([{"type": "thinking", "thinking": "hm", "signature": signature},
            {"type": "tool_use", "id": "c0", "name": "f", "input": {}}]);
        let body = json!({"model": "m", "max_tokens": 9, "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "messages": [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": turn},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c0", "content": "r"}]}]});
        proxy.send("/v1/messages", &body).await;
        let sent: Value = serde_json::from_str(&upstream.last().text()).expect("JSON");
        assert_eq!(sent["messages"][1]["reasoning_content"], "hm", "{stream}: {sent}");
    }
    let reply = post(&proxy, "/v1/responses", false).await.json();
    let input = json!([{"role": "user", "content": "Hello!"}, reply["output"][0], reply["output"][1],
        {"type": "function_call_output", "call_id": "c0", "output": "r"}]);
    let body = json!({"model": "m", "input": input});
    proxy.send("/v1/responses", &body).await;
    let sent: Value = serde_json::from_str(&upstream.last().text()).expect("JSON");
    assert_eq!(sent["messages"][1]["reasoning_content"], "hm", "{sent}");
}

#[tokio::test]
async fn an_image_that_gemini_makes_reaches_chat_clients_and_others_are_told() {
    let parts = json!([{"text": "Here:"}, {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}]);
    let whole = json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1290}});
    let upstream = either(&whole, std::slice::from_ref(&whole)).await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1beta", "gemini-2.5-flash-image", GEMINI)).await;
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}});
    let message = post(&proxy, "/v1/chat/completions", false).await.json()["choices"][0]["message"].take();
    assert_eq!((&message["content"], &message["images"]), (&json!("Here:"), &json!([image])));
    let reply = post(&proxy, "/v1/chat/completions", true).await;
    let images: Vec<Value> =
        reply.events().iter().filter_map(|e| e.pointer("/choices/0/delta/images/0").cloned()).collect();
    assert_eq!((images.len(), &images[0]["image_url"], reply.end), (1, &image["image_url"], End::Clean), "{reply:?}");
    assert!(sse::is_done(&reply.body), "{reply:?}");
    for (path, clean) in [("/v1/messages", "end_turn"), ("/v1/responses", "response.completed")] {
        let reply = post(&proxy, path, false).await;
        assert_eq!((reply.status(), &reply.json()["error"]["code"]), (400, &json!("unsupported_output")), "{reply:?}");
        let reply = post(&proxy, path, true).await;
        assert!(!reply.text().contains(clean) && reply.text().contains("unsupported_output"), "{reply:?}");
    }
}

#[tokio::test]
async fn an_image_or_sound_of_another_server_is_not_left_out_of_a_translated_answer() {
    let image = json!({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]});
    let sound = json!({"audio": {"id": "a", "data": "QUJD", "transcript": "Hi"}});
    for said in [image, sound] {
        let whole = json!({"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]});
        let upstream = either(&whole, &[chunk(&said, None), chunk(&json!({}), Some("stop"))]).await;
        let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "m", OPENAI)).await;
        for path in ["/v1/messages", "/v1/responses"] {
            for stream in [false, true] {
                let reply = post(&proxy, path, stream).await;
                assert_eq!(reply.status(), 400, "{path} {stream} {said}: {reply:?}");
                assert_eq!(reply.json()["error"]["code"], "unsupported_output", "{path} {stream} {said}");
            }
        }
    }
}

#[tokio::test]
async fn a_call_whose_arguments_are_an_object_or_whose_number_is_odd_is_not_lost_from_a_stream() {
    for (index, arguments) in [
        (json!(0), json!({"a": "1"})),
        (json!("0"), json!("{\"a\":\"1\"}")),
        (json!(-1), json!("{\"a\":\"1\"}")),
        (Value::Null, json!("{\"a\":\"1\"}")),
    ] {
        let call =
            json!({"index": index, "id": "c0", "type": "function", "function": {"name": "f", "arguments": arguments}});
        let upstream = either(&Value::Null, &calling(&call)).await;
        let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "m", OPENAI)).await;
        let reply = post(&proxy, "/v1/messages", true).await;
        let told = reply.events();
        let call = told.iter().find(|event| event["content_block"]["type"] == "tool_use");
        assert_eq!(call.map(|call| &call["content_block"]["name"]), Some(&json!("f")), "{index}: {reply:?}");
        let input: String = told.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
        assert_eq!(serde_json::from_str::<Value>(&input).ok(), Some(json!({"a": "1"})), "{index}: {reply:?}");
        assert_eq!(reply.end, End::Clean);
    }
}

#[tokio::test]
async fn a_call_whose_name_comes_behind_its_id_keeps_both() {
    let frames = [
        chunk(&json!({"tool_calls": [{"index": 0, "id": "c0", "function": {"arguments": ""}}]}), None),
        chunk(&json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}), None),
        chunk(&json!({}), Some("tool_calls")),
    ];
    let upstream = either(&Value::Null, &frames).await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "m", OPENAI)).await;
    let reply = post(&proxy, "/v1/messages", true).await;
    let told = reply.events();
    let call = told.iter().map(|event| &event["content_block"]).find(|block| block["type"] == "tool_use");
    assert_eq!(call.map(|call| (&call["id"], &call["name"])), Some((&json!("c0"), &json!("f"))), "{reply:?}");
    assert_eq!(reply.end, End::Clean);
}

#[tokio::test]
async fn an_answer_that_ends_for_calls_that_did_not_come_is_no_answer() {
    let function = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
    let lost =
        json!({"tool_calls": [{"index": 1, "id": "c1", "type": "function", "function": function("g", json!(7))}]});
    let good =
        json!({"tool_calls": [{"index": 0, "id": "c0", "type": "function", "function": function("f", json!("{}"))}]});
    let end = chunk(&json!({}), Some("tool_calls"));
    for (frames, before) in [
        (vec![chunk(&lost, None), end.clone()], ""),
        (vec![chunk(&json!({"role": "assistant", "content": ""}), None), end.clone()], ""),
        (vec![chunk(&good, None), chunk(&lost, None), end.clone()], "c0"),
    ] {
        let whole = json!({"choices": [{"index": 0, "message": {"content": null}, "finish_reason": "tool_calls"}]});
        let upstream = either(&whole, &frames).await;
        let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "m", OPENAI)).await;
        for (path, clean) in [("/v1/messages", "message_stop"), ("/v1/responses", "response.completed")] {
            let reply = post(&proxy, path, true).await;
            assert!(reply.text().contains("upstream_invalid_response"), "{path} {frames:?}: {reply:?}");
            assert!(!reply.text().contains(clean) && reply.text().contains(before), "{path} {frames:?}: {reply:?}");
            let reply = post(&proxy, path, false).await;
            assert_eq!(reply.json()["error"]["code"], "upstream_invalid_response", "{path}: {reply:?}");
        }
    }
    // One frame of words may be lost, even where it says that there are no calls in it.
    for none in [Value::Null, json!([])] {
        let frames =
            [json!({"content": 7, "tool_calls": none}), json!({"content": "Hi"})].map(|delta| chunk(&delta, None));
        let upstream = either(&Value::Null, &[&frames[..], &[chunk(&json!({}), Some("stop"))]].concat()).await;
        let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "m", OPENAI)).await;
        let reply = post(&proxy, "/v1/messages", true).await;
        assert!(reply.text().contains("\"stop_reason\":\"end_turn\""), "{reply:?}");
    }
    // Words alone under this reason are an answer.
    let said =
        |member: &str| json!({"choices": [{"index": 0, member: {"content": "Hi"}, "finish_reason": "tool_calls"}]});
    let upstream = either(&said("message"), &[said("delta")]).await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "m", OPENAI)).await;
    for stream in [false, true] {
        let reply = post(&proxy, "/v1/messages", stream).await;
        assert!(reply.text().contains("\"stop_reason\":\"end_turn\""), "{reply:?}");
    }
}

#[tokio::test]
async fn arguments_that_are_null_are_none() {
    for pieces in [&["null"][..], &["", "null"], &["null", "{}"]] {
        let mut frames: Vec<Value> = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let mut call = json!({"index": 0, "function": {"arguments": piece}});
            if at == 0 {
                call["id"] = "c0".into();
                call["function"]["name"] = "f".into();
            }
            frames.push(chunk(&json!({"tool_calls": [call]}), None));
        }
        frames.push(chunk(&json!({}), Some("tool_calls")));
        let upstream = either(&Value::Null, &frames).await;
        let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "m", OPENAI)).await;
        let reply = post(&proxy, "/v1/messages", true).await;
        let input: String =
            reply.events().iter().filter_map(|e| e["delta"]["partial_json"].as_str().map(ToOwned::to_owned)).collect();
        assert!(input.is_empty() || input == "{}", "{pieces:?}: {input}");
        assert!(reply.text().contains("\"stop_reason\":\"tool_use\""), "{reply:?}");
    }
}

#[tokio::test]
async fn half_a_letter_is_told_as_what_it_is_where_it_has_to_be_read() {
    let say = |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let frames = ["Hello ", "cut\\ud83d", "\\ude00", " world"].map(say);
    let streamed = frames.iter().fold(Answer::stream(), Answer::chunk).finished();
    let whole = r#"{"choices":[{"index":0,"message":{"content":"a\ud83d"},"finish_reason":"stop"}]}"#;
    let whole = Answer::json(200, whole);
    let upstream =
        Upstream::start(move |_, ask| if ask.wants_stream() { streamed.clone() } else { whole.clone() }).await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "m", OPENAI)).await;
    let reply = post(&proxy, "/v1/messages", true).await;
    let said: String =
        reply.events().iter().filter_map(|e| e["delta"]["text"].as_str().map(ToOwned::to_owned)).collect();
    assert_eq!((said.as_str(), reply.end), ("Hello cut\u{fffd}\u{fffd} world", End::Clean), "{reply:?}");
    assert_eq!(post(&proxy, "/v1/messages", false).await.json()["content"][0]["text"], "a\u{fffd}");
}

#[tokio::test]
async fn a_messages_stream_begins_with_the_prompts_tokens_where_gemini_tells_them_at_once() {
    let frame = |text: &str, finish: Option<&str>, output: u64| {
        json!({"candidates": [{"index": 0, "content": {"parts": [{"text": text}]}, "finishReason": finish}],
            "usageMetadata": {"promptTokenCount": 777, "cachedContentTokenCount": 70, "candidatesTokenCount": output}})
    };
    let upstream = either(&Value::Null, &[frame("x", None, 1), frame("y", Some("STOP"), 2)]).await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1beta", "gemini-2.5-flash", GEMINI)).await;
    let told = post(&proxy, "/v1/messages", true).await.events();
    let begun = &told[0]["message"]["usage"];
    assert_eq!((&begun["input_tokens"], &begun["cache_read_input_tokens"]), (&json!(707), &json!(70)), "{begun}");
}

#[tokio::test]
async fn what_a_provider_wrote_where_a_number_belongs_is_told_to_nobody() {
    let secret = "sk-of-another-account";
    for (lines, path, body) in [
        ("protocol = \"anthropic\"", "/v1/messages", json!({"type": "message", "content": [], "usage": secret})),
        (
            "protocol = \"anthropic\"",
            "/v1/chat/completions",
            json!({"type": "message", "content": [], "usage": secret}),
        ),
        ("protocol = \"openai\"\nnative_responses = true", "/v1/responses", json!({"output": [], "usage": secret})),
        (GEMINI, "/v1/chat/completions", json!({"candidates": secret})),
        (OPENAI, "/v1/chat/completions", json!(secret)),
    ] {
        let upstream = either(&body, &[]).await;
        let base = if lines == GEMINI { "/v1beta" } else { "/v1" };
        let proxy = Proxy::start(&Settings::only(upstream.addr, base, "theirs", lines)).await;
        let reply = post(&proxy, path, false).await;
        assert_eq!(reply.json()["error"]["code"], "upstream_invalid_response", "{body}: {reply:?}");
        assert!(!reply.text().contains(secret) && !proxy.log().contains(secret), "{body}: {reply:?}");
    }
}
