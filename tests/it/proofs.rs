//! What proves a model's thinking, and by which ways it comes back to the model through clients of other APIs.

use serde_json::{Value, json};

use crate::support::{client::Reply, proxy::Proxy, script::Answer, settings::Settings, sse, upstream::Upstream};

async fn responses(proxy: &Proxy, body: &Value) -> Reply {
    proxy.send("/v1/responses", body).await
}

fn sent(upstream: &Upstream) -> Value {
    serde_json::from_slice(&upstream.last().body).expect("JSON")
}

/// The output of a response, as clients give it back that know OpenAI's members only.
fn output(reply: &Reply, stream: bool) -> Vec<Value> {
    const KNOWN: [&str; 10] =
        ["type", "id", "status", "call_id", "name", "arguments", "role", "content", "summary", "encrypted_content"];
    let told = if stream {
        let text = reply.text();
        let mut events =
            text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        events.find(|event| event["type"] == "response.completed").expect("an end")["response"].take()
    } else {
        reply.json()
    };
    let mut output = told["output"].as_array().cloned().unwrap_or_default();
    for item in output.iter_mut().filter_map(Value::as_object_mut) {
        item.retain(|member, _| KNOWN.contains(&member.as_str()));
    }
    output
}

#[tokio::test]
async fn a_signature_of_geminis_comes_back_with_the_reasoning_of_a_response() {
    let call = json!({"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"});
    let thought = json!({"text": "hm", "thought": true});
    let second = json!({"functionCall": {"name": "g", "args": {}}});
    for (parts, kinds) in [
        (json!([call]), vec!["reasoning", "function_call"]),
        (json!([thought, call, second]), vec!["reasoning", "function_call", "function_call"]),
        (json!([thought, {"text": "a"}, call]), vec!["reasoning", "message", "reasoning", "function_call"]),
    ] {
        for stream in [false, true] {
            let answer = json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
                "modelVersion": "gemini-3-pro", "responseId": "r"});
            let answer = if stream {
                Answer::stream().chunk(sse::data(&answer)).end()
            } else {
                Answer::json(200, &answer.to_string())
            };
            let gemini = Upstream::always(answer).await;
            let settings = Settings::only(gemini.addr, "/v1beta", "gemini-3-pro", "protocol = \"gemini\"");
            let proxy = Proxy::start(&settings).await;
            let mut body = json!({"model": "m", "stream": stream, "input": [{"role": "user", "content": "q"}], "tools": [
                {"type": "function", "name": "f", "parameters": {"type": "object"}},
                {"type": "function", "name": "g", "parameters": {"type": "object"}}]});
            let output = output(&responses(&proxy, &body).await, stream);
            assert_eq!(output.iter().map(|item| item["type"].as_str().unwrap_or_default()).collect::<Vec<_>>(), kinds);
            let results: Vec<Value> = output
                .iter()
                .filter(|item| item["type"] == "function_call")
                .map(|call| json!({"type": "function_call_output", "call_id": call["call_id"], "output": "r"}))
                .collect();
            let input = body["input"].as_array_mut().expect("a list");
            input.extend(output);
            input.extend(results);
            assert_eq!(responses(&proxy, &body).await.status(), 200);
            let contents = sent(&gemini)["contents"].clone();
            let calls =
                contents[1]["parts"].as_array().into_iter().flatten().filter(|part| part["functionCall"].is_object());
            let proofs: Vec<Value> = calls.map(|call| call["thoughtSignature"].clone()).collect();
            let want = if kinds.len() == 3 { vec![json!("c2ln"), Value::Null] } else { vec![json!("c2ln")] };
            assert_eq!(proofs, want, "{contents}");
        }
    }
}

#[tokio::test]
async fn claude_drops_thoughts_that_no_longer_fit_where_a_client_of_another_api_brings_them() {
    const TRIAL: &str = "thinking-binding-controls-2026-08-01";
    let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [
        {"type": "text", "text": "ok"}], "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}});
    let thought =
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "anthropic:EqQBCgIYAhIM"});
    let call = json!({"type": "function_call", "call_id": "toolu_1", "name": "f", "arguments": "{}"});
    let result = json!({"type": "function_call_output", "call_id": "toolu_1", "output": "r"});
    let (free, forced) = (json!("auto"), json!("required"));
    for (model, headers, thoughtful, effort, choice, trial) in [
        ("claude-opus-5-5", "", true, Some("high"), &free, Some(TRIAL.to_owned())),
        ("claude-opus-5-5", "", true, None, &free, Some(TRIAL.to_owned())),
        (
            "claude-fable-5-1",
            "headers = { Anthropic-Beta = \"one-1\" }",
            true,
            None,
            &free,
            Some(format!("one-1,{TRIAL}")),
        ),
        ("claude-opus-5-5", "", false, Some("high"), &free, None),
        ("claude-opus-4-8", "", true, Some("high"), &free, None),
        // Where a call is forced nothing is said of thinking.
        ("claude-haiku-5-5", "", true, None, &forced, None),
        ("claude-haiku-5-5", "", true, None, &free, Some(TRIAL.to_owned())),
    ] {
        let claude = Upstream::always(Answer::json(200, &answer.to_string())).await;
        let lines = format!("protocol = \"anthropic\"\n{headers}");
        let proxy = Proxy::start(&Settings::only(claude.addr, "/v1", model, &lines)).await;
        let mut input = vec![json!({"role": "user", "content": "q"})];
        input.extend(thoughtful.then(|| thought.clone()));
        input.extend([call.clone(), result.clone()]);
        let body = json!({"model": "m", "input": input, "reasoning": {"effort": effort}, "tool_choice": choice,
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]});
        assert_eq!(responses(&proxy, &body).await.status(), 200);
        let (sent, head) = (sent(&claude), claude.last().head);
        let drops = sent.pointer("/thinking/block_binding/prefix_mismatch_behavior").and_then(Value::as_str);
        assert_eq!(drops, trial.as_ref().map(|_| "drop_block"), "{model}: {sent}");
        let told = head.get("anthropic-beta").map(ToOwned::to_owned);
        assert_eq!(told, trial, "{model}");
    }
}
