//! A translated answer is told in the words in which its request asked: calls of `functions`, what a response repeats.

use serde_json::{Value, json};

use crate::support::{proxy::Proxy, script::Answer, settings::Settings, upstream::Upstream};

/// A proxy before one backend of Anthropic's.
async fn before(claude: &Upstream) -> Proxy {
    Proxy::start(&Settings::only(claude.addr, "/v1", "c", "protocol = \"anthropic\"")).await
}

/// A Messages answer, whole or as its events.
fn message(block: &Value, streamed: bool) -> Answer {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [block],
        "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}});
    if !streamed {
        return Answer::json(200, &message.to_string());
    }
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ];
    events.iter().fold(Answer::stream(), |answer, event| answer.chunk(format!("data: {event}\n\n"))).end()
}

/// The data of a stream's frames.
fn data(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

#[tokio::test]
async fn a_client_that_offers_functions_gets_a_function_call_from_any_backend() {
    let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}});
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}], "functions": [{"name": "f"}]});
    let claude = Upstream::always(message(&call, false)).await;
    let choice = before(&claude).await.chat(body.to_string()).await.json()["choices"][0].clone();
    assert_eq!(choice["message"]["function_call"], json!({"name": "f", "arguments": "{\"x\":1}"}), "{choice}");
    assert_eq!((&choice["finish_reason"], choice["message"].get("tool_calls")), (&json!("function_call"), None));

    body["stream"] = true.into();
    let claude = Upstream::always(message(&call, true)).await;
    let text = before(&claude).await.chat(body.to_string()).await.text();
    let choices: Vec<Value> = data(&text).iter().map(|chunk| chunk["choices"][0].clone()).collect();
    let said = |key: &str| choices.iter().filter_map(|c| c["delta"]["function_call"][key].as_str()).collect::<String>();
    assert_eq!((said("name").as_str(), said("arguments").as_str()), ("f", "{\"x\":1}"), "{text}");
    assert!(choices.iter().any(|choice| choice["finish_reason"] == "function_call"), "{text}");
    assert!(!text.contains("tool_calls") && text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[tokio::test]
async fn a_response_repeats_what_its_request_said() {
    let text = json!({"type": "text", "text": "hi"});
    let request = json!({"model": "m", "input": "q", "metadata": {"team": "blue"}, "instructions": "Be brief.",
        "temperature": 0.5, "max_output_tokens": 9, "tools": [{"type": "function", "name": "f"}]});
    for stream in [false, true] {
        let mut body = request.clone();
        body["stream"] = stream.into();
        let claude = Upstream::always(message(&text, stream)).await;
        let proxy = before(&claude).await;
        let reply = proxy.send("/v1/responses", &body).await;
        let told: Vec<Value> = if stream {
            data(&reply.text()).iter().filter_map(|event| event.get("response").cloned()).collect()
        } else {
            vec![reply.json()]
        };
        assert_eq!(told.len(), if stream { 3 } else { 1 }, "{reply:?}");
        for response in told {
            for key in ["metadata", "instructions", "temperature", "max_output_tokens", "tools"] {
                assert_eq!(response[key], request[key], "{key}: {response}");
            }
        }
    }
}

#[tokio::test]
async fn a_tool_in_a_namespace_is_offered_and_called_by_any_backend() {
    let tool = json!({"type": "function", "name": "read", "parameters": {"type": "object", "properties": {}}});
    let long = "t".repeat(80);
    let tools = json!([{"type": "namespace", "name": "mcp__fs", "tools": [tool]}, {"type": "function", "name": long}]);
    for stream in [false, true] {
        let body = json!({"model": "m", "input": "q", "tools": tools, "stream": stream});
        let call = json!({"type": "tool_use", "id": "t", "name": "mcp__fs__read", "input": {}});
        let claude = Upstream::always(message(&call, stream)).await;
        let reply = before(&claude).await.send("/v1/responses", &body).await;
        let told = if stream { data(&reply.text()).pop().expect("an end")["response"].clone() } else { reply.json() };
        let item = &told["output"][0];
        assert_eq!(
            (&item["type"], &item["namespace"], &item["name"]),
            (&json!("function_call"), &json!("mcp__fs"), &json!("read")),
            "{told}"
        );
        assert_eq!(told["tools"], tools);
        let offered = serde_json::from_str::<Value>(&claude.last().text()).expect("JSON")["tools"].clone();
        assert_eq!(
            (offered[0]["name"].as_str(), offered[1]["name"].as_str().map(str::len)),
            (Some("mcp__fs__read"), Some(64))
        );
    }
}
