//! What an answer told a chat client and the client gives back: it reaches the model that made it, and no server that would refuse it.

use serde_json::{Value, json};

use crate::support::{
    client::Ask,
    proxy::Proxy,
    script::Answer,
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

/// The message of a chat client's answer, whose model is Gemini and says these parts.
async fn said(parts: &Value) -> Value {
    let whole = json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 9}});
    let upstream = Upstream::always(Answer::json(200, &whole.to_string())).await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1beta", "gemini-3-pro", "protocol = \"gemini\"")).await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}], "tools": tools()});
    let reply = proxy.send("/v1/chat/completions", &body).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()["choices"][0]["message"].take()
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])
}

/// What such a backend gets where a client of an endpoint goes on with these messages or blocks.
async fn sent(protocol: &str, model: &str, path: &str, history: &[Value]) -> Value {
    let answer = match protocol {
        "anthropic" => r#"{"type":"message","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn"}"#,
        "gemini" => r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#,
        _ => r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}"#,
    };
    let upstream = Upstream::always(Answer::json(200, answer)).await;
    let base = if protocol == "gemini" { "/v1beta" } else { "/v1" };
    let backend = |protocol: &str, base: &str| {
        format!("protocol = \"{protocol}\"\nbase_url = \"http://{}{base}\"\napi_key = \"k\"", upstream.addr)
    };
    // Gemini's answers may be in the history of a model that has it as another backend.
    let targets =
        format!("backends = [{{ backend = \"one\", model = \"{model}\" }}, {{ backend = \"gemini\", priority = 2 }}]");
    let settings = Settings::new()
        .set("backends.one", &backend(protocol, base))
        .set("backends.gemini", &backend("gemini", "/v1beta"))
        .set("models.m", &targets);
    let proxy = Proxy::start(&settings).await;
    let mut messages = vec![json!({"role": "user", "content": "q"})];
    messages.extend_from_slice(history);
    let mut body = json!({"model": "m", "messages": messages, "max_tokens": 9, "tools": tools()});
    if path == "/v1/messages" {
        body["tools"] = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    }
    let reply = proxy.send(path, &body).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    serde_json::from_slice(&upstream.last().body).expect("JSON")
}

#[tokio::test]
async fn a_signature_of_geminis_goes_to_googles_models_only() {
    let call = json!({"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "U0lH"});
    let message = said(&json!([call])).await;
    let id = &message["tool_calls"][0]["id"];
    assert_eq!(message["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "U0lH", "{message}");
    let chat = [message.clone(), json!({"role": "tool", "tool_call_id": id, "content": "42"})];
    let blocks = json!([{"type": "thinking", "thinking": "", "signature": "gemini:U0lH"},
        {"type": "tool_use", "id": id, "name": "f", "input": {"a": 1}}]);
    let messages = [
        json!({"role": "assistant", "content": blocks}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "42"}]}),
    ];
    for (path, history) in [("/v1/chat/completions", &chat), ("/v1/messages", &messages)] {
        for (model, kept) in [("mistral-large-latest", false), ("google/gemini-3-pro", true), ("gpt-4o", false)] {
            let sent = sent("openai", model, path, history).await;
            let call = &sent["messages"][1]["tool_calls"][0];
            assert_eq!(call["function"]["name"], "f", "{path} {model}: {sent}");
            assert_eq!(
                call.pointer("/extra_content/google/thought_signature").is_some(),
                kept,
                "{path} {model}: {sent}"
            );
            assert_eq!(sent.to_string().contains("extra_content"), kept, "{path} {model}: {sent}");
        }
    }
}

#[tokio::test]
async fn what_proves_thinking_goes_to_no_server_of_openais_protocol_and_the_thinking_itself_does() {
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "EqQB"});
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let history = [
        json!({"role": "assistant", "content": null, "reasoning_content": "hm", "thinking_blocks": [thought], "tool_calls": [call]}),
        json!({"role": "tool", "tool_call_id": "c", "content": "42"}),
    ];
    for model in ["deepseek-reasoner", "google/gemini-3-pro", "openai/gpt-5-image"] {
        let sent = sent("openai", model, "/v1/chat/completions", &history).await;
        let want = json!({"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [call]});
        assert_eq!(sent["messages"][1], want, "{model}");
    }
}

#[tokio::test]
async fn a_model_whose_backends_add_nothing_gets_what_its_clients_bring_back_as_it_is() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "m", "protocol = \"openai\"")).await;
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {}}});
    let messages = json!([{"role": "assistant", "images": [1], "tool_calls": [call]}]);
    let body = json!({"model": "m", "messages": messages}).to_string();
    let reply = proxy.ask(&Ask::post("/v1/chat/completions", body.clone()).bearer(TOKEN)).await;
    assert_eq!((reply.status(), upstream.last().text()), (200, body), "{reply:?}");
}

#[tokio::test]
async fn an_image_that_gemini_made_comes_back_to_it_and_stays_out_of_where_it_would_be_refused() {
    let drawn = json!({"inlineData": {"mimeType": "image/png", "data": "QUJD"}});
    let history = async |parts: Value| [said(&parts).await, json!({"role": "user", "content": "Bluer."})];
    let (alone, worded) = (history(json!([drawn])).await, history(json!([{"text": "Here:"}, drawn])).await);
    assert!(alone[0]["images"][0].is_object(), "{alone:?}");
    for (history, parts) in [(&alone, json!([drawn])), (&worded, json!([{"text": "Here:"}, drawn]))] {
        let path = "/v1/chat/completions";
        let got = sent("gemini", "gemini-2.5-flash-image", path, history).await;
        assert_eq!(got["contents"][1], json!({"role": "model", "parts": parts}), "{got}");
        let got = sent("anthropic", "claude-sonnet-5-5", path, history).await;
        let roles: Vec<&Value> = got["messages"].as_array().into_iter().flatten().map(|m| &m["role"]).collect();
        assert_eq!(roles, ["user", "assistant", "user"], "{got}");
        assert!(!got.to_string().contains("\"image"), "{got}");
        for (model, kept) in [("mistral-large-latest", false), ("google/gemini-2.5-flash-image", true)] {
            let got = sent("openai", model, path, history).await;
            assert_eq!(got["messages"][1]["images"].is_array(), kept, "{model}: {got}");
            let emptied = !kept && history[0]["content"].is_null();
            let content = if emptied { json!("[image]") } else { history[0]["content"].clone() };
            assert_eq!(got["messages"][1]["content"], content, "{model}: {got}");
        }
    }
}
