//! The simulated providers asked over real sockets.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Failure, Protocol, Running, Simulated, demo, start};

struct Reply {
    status: u16,
    head: String,
    body: String,
    whole: bool,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    fn events(&self) -> Vec<Value> {
        self.body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect("the event is JSON"))
            .collect()
    }
}

/// Takes the chunks apart; the flag says whether the last one came.
fn dechunk(mut raw: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, rest)) = raw.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size is hexadecimal");
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = rest.get(..size) else { break };
        body.push_str(chunk);
        raw = rest.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}

async fn send(at: &Running, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    let mut socket = TcpStream::connect(at.addr).await.expect("the provider listens");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\nanthropic-version: 2023-06-01\r\n\
         {headers}content-length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut raw = Vec::new();
    // A broken connection is one of the answers, so the error is not one of the test's.
    let ended = timeout(Duration::from_secs(10), socket.read_to_end(&mut raw)).await.expect("the answer ends");
    let text = String::from_utf8(raw).expect("the answer is text");
    let (head, rest) = text.split_once("\r\n\r\n").expect("the answer has a head");
    let head = head.to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("the answer has a status");
    let (body, whole) =
        if head.contains("transfer-encoding: chunked") { dechunk(rest) } else { (rest.to_owned(), ended.is_ok()) };
    Reply { status, head, body, whole }
}

async fn post(at: &Running, path: &str, body: &Value) -> Reply {
    send(at, "POST", path, "", &body.to_string()).await
}

fn provider(protocol: Protocol) -> Running {
    start(Simulated { protocol, ..Simulated::default() }).expect("a local port is free")
}

fn chat(text: &str, more: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 4000, "messages": [{"role": "user", "content": text}]});
    for (key, value) in more.as_object().expect("more is an object") {
        body[key] = value.clone();
    }
    body
}

fn weather(key: &str) -> Value {
    json!({"name": "weather", key: {"type": "object", "properties": {"city": {"type": "string"}}}})
}

#[actix_web::test]
async fn every_provider_of_the_demo_answers_chat_completions_with_its_key() {
    for (name, path, settings) in demo() {
        let key = settings.api_key.clone().expect("the demo has keys");
        let model = settings.models[0].clone();
        let at = start(settings).expect("a local port is free");
        let body = chat("What is 2+2?", &json!({"model": model})).to_string();
        let path = format!("{path}/chat/completions");
        let reply = send(&at, "POST", &path, &format!("authorization: Bearer {key}\r\n"), &body).await;
        if name == "problematic_backend" {
            assert_eq!((reply.status, reply.json()["error"]["type"].as_str()), (500, Some("server_error")));
        } else {
            assert_eq!(reply.json()["choices"][0]["message"]["content"], "2 + 2 = 4.", "{name}");
        }
        assert_eq!(send(&at, "POST", &path, "x-api-key: wrong\r\n", &body).await.status, 401);
    }
}

#[actix_web::test]
async fn an_openai_stream_has_a_role_content_a_finish_usage_and_done() {
    let at = provider(Protocol::Openai);
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let reply = post(&at, "/v1/chat/completions", &chat("What is 2+2?", &more)).await;
    assert!(reply.whole && reply.head.contains("text/event-stream") && reply.body.ends_with("data: [DONE]\n\n"));
    let events = reply.events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let text: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "2 + 2 = 4.");
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[events.len() - 1]["usage"]["completion_tokens"], 5);
}

#[actix_web::test]
async fn openai_tools_are_called_and_json_fits_its_schema() {
    let at = provider(Protocol::Openai);
    let tools = json!({"tools": [{"type": "function", "function": weather("parameters")}], "stream": true});
    let events = post(&at, "/v1/chat/completions", &chat("Weather?", &tools)).await.events();
    let calls = || events.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0/function"));
    assert_eq!(calls().find_map(|call| call["name"].as_str()), Some("weather"));
    assert_eq!(
        calls().filter_map(|call| call["arguments"].as_str()).collect::<String>(),
        json!({"city": "example"}).to_string()
    );
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n",
        "schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}}});
    let reply = post(&at, "/v1/chat/completions", &chat("Go", &format)).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], json!({"ok": true}).to_string());
}

#[actix_web::test]
async fn openai_embeds_completes_and_lists_models() {
    let at = start(Simulated { models: vec!["m".to_owned()], ..Simulated::default() }).expect("a port is free");
    let reply = post(&at, "/v1/embeddings", &json!({"model": "m", "input": ["a", "b"]})).await.json();
    assert_eq!(reply["data"][1]["embedding"].as_array().map(Vec::len), Some(8));
    assert_ne!(reply["data"][0]["embedding"], reply["data"][1]["embedding"]);
    let reply = post(&at, "/v1/moderations", &json!({"model": "m", "input": ["calm", "violence"]})).await.json();
    assert_eq!((&reply["results"][0]["flagged"], &reply["results"][1]["flagged"]), (&json!(false), &json!(true)));
    let asked = json!({"model": "m", "query": "red wine", "documents": ["Tea.", "Red wine.", "Wine."], "top_n": 2});
    let reply = post(&at, "/v1/rerank", &asked).await.json();
    assert_eq!((&reply["results"][0]["index"], reply["results"].as_array().map(Vec::len)), (&json!(1), Some(2)));
    let reply = post(&at, "/v1/images/generations", &json!({"model": "m", "prompt": "A cat.", "n": 2})).await.json();
    assert_eq!((reply["data"].as_array().map(Vec::len), &reply["usage"]["output_tokens"]), (Some(2), &json!(544)));
    let asked = json!({"model": "m", "prompt": "A cat.", "stream": true, "partial_images": 2});
    assert_eq!(post(&at, "/v1/images/generations", &asked).await.events()[2]["type"], "image_generation.completed");
}

#[actix_web::test]
async fn an_anthropic_stream_has_its_events_in_order_and_signed_thinking_comes_back() {
    let at = provider(Protocol::Anthropic);
    let more = json!({"stream": true, "thinking": {"type": "enabled", "budget_tokens": 1024}});
    let events = post(&at, "/v1/messages", &chat("What is 2+2?", &more)).await.events();
    let mut kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    kinds.dedup();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    assert_eq!(kinds, [&["message_start", "ping"][..], &block, &block, &["message_delta", "message_stop"]].concat());
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(text, "2 + 2 = 4.");

    let whole = post(&at, "/v1/messages", &chat("Hi", &json!({"thinking": {"type": "enabled"}}))).await.json();
    let turn = |content: &Value| {
        json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": content},
            {"role": "user", "content": "Go on"}]})
    };
    let mut content = whole["content"].clone();
    assert_eq!(post(&at, "/v1/messages", &chat("", &turn(&content))).await.status, 200);
    content[0]["signature"] = json!("forged");
    assert_eq!(post(&at, "/v1/messages", &chat("", &turn(&content))).await.status, 400);
}

#[actix_web::test]
async fn anthropic_calls_a_tool_then_quotes_its_result() {
    let at = provider(Protocol::Anthropic);
    let tools = json!({"tools": [weather("input_schema")]});
    let call = post(&at, "/v1/messages", &chat("Weather?", &tools)).await.json();
    assert_eq!(
        (call["stop_reason"].as_str(), &call["content"][0]["input"]),
        (Some("tool_use"), &json!({"city": "example"}))
    );
    let mut second = chat("Weather?", &tools);
    second["messages"] = json!([{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": call["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["content"][0]["id"], "content": "12 C"}]}]);
    let reply = post(&at, "/v1/messages", &second).await.json();
    assert_eq!(reply["content"][0]["text"], "The tool answered: 12 C");
    assert!(post(&at, "/v1/messages/count_tokens", &second).await.json()["input_tokens"].is_u64());
}

#[actix_web::test]
async fn gemini_streams_calls_and_counts() {
    let at = provider(Protocol::Gemini);
    let ask = |text: &str| json!({"contents": [{"role": "user", "parts": [{"text": text}]}]});
    let reply = post(&at, "/v1beta/models/m:streamGenerateContent?alt=sse", &ask("What is 2+2?")).await;
    let events = reply.events();
    let text: String =
        events.iter().filter_map(|event| event.pointer("/candidates/0/content/parts/0/text")?.as_str()).collect();
    assert_eq!(text, "2 + 2 = 4.");
    assert_eq!(events[events.len() - 1]["candidates"][0]["finishReason"], "STOP");
    let array = post(&at, "/v1beta/models/m:streamGenerateContent", &ask("What is 2+2?")).await.json();
    assert_eq!(array.as_array().map(Vec::len), Some(5));
    let mut tools = ask("Weather?");
    tools["tools"] = json!([{"functionDeclarations": [weather("parameters")]}]);
    let reply = post(&at, "/v1beta/models/m:generateContent", &tools).await.json();
    let call = &reply["candidates"][0]["content"]["parts"][0]["functionCall"];
    assert_eq!(call, &json!({"name": "weather", "args": {"city": "example"}}));
    let count = reply["usageMetadata"]["promptTokenCount"].as_u64();
    for asked in [tools.clone(), json!({"generateContentRequest": tools})] {
        let told = post(&at, "/v1beta/models/m:countTokens", &asked).await.json();
        assert_eq!((told["totalTokens"].as_u64(), count.is_some()), (count, true), "{asked}");
    }
}

#[actix_web::test]
async fn refusals_have_each_providers_shape() {
    let places = [
        (Protocol::Openai, "/v1/chat/completions", "/error/type", json!("invalid_request_error")),
        (Protocol::Anthropic, "/v1/messages", "/error/type", json!("invalid_request_error")),
        (Protocol::Gemini, "/v1beta/models/m:generateContent", "/error/status", json!("INVALID_ARGUMENT")),
    ];
    for (protocol, path, pointer, kind) in places {
        let at = provider(protocol);
        for body in ["{", "[]", r#"{"model": "m"}"#] {
            let reply = send(&at, "POST", path, "", body).await;
            assert_eq!((reply.status, reply.json().pointer(pointer)), (400, Some(&kind)), "{path} {body}");
        }
        assert_eq!(send(&at, "GET", "/nowhere", "", "").await.status, 404);
        let known = start(Simulated { protocol, models: vec!["k".to_owned()], ..Simulated::default() });
        let reply = post(&known.expect("a port is free"), path, &chat("Hi", &json!({}))).await;
        assert_eq!(reply.status, 404);
    }
}

#[actix_web::test]
async fn directives_and_settings_make_an_answer_fail() {
    let at = provider(Protocol::Openai);
    let path = "/v1/chat/completions";
    let reply = post(&at, path, &chat("Hi [[fail=503 retry_after=2]]", &json!({}))).await;
    assert!(reply.status == 503 && reply.head.contains("retry-after: 2"));
    let cut = "Hi [[tokens=9 cut=3]]";
    let reply = post(&at, path, &chat(cut, &json!({"stream": true}))).await;
    assert_eq!((reply.events().len(), reply.whole), (4, false));
    let reply = post(&at, path, &chat(cut, &json!({}))).await;
    assert!(!reply.whole && !reply.body.is_empty());

    let hang = start(Simulated { failure: Some(Failure::Hang), ..Simulated::default() }).expect("a port is free");
    let waited = timeout(Duration::from_millis(200), post(&hang, path, &chat("Hi", &json!({})))).await;
    assert!(waited.is_err());
}

#[actix_web::test]
async fn all_choices_of_an_answer_are_no_longer_than_one_answer_may_be() {
    let at = provider(Protocol::Openai);
    let body = chat("Hi [[tokens=10000]]", &json!({"n": 128}));
    let reply = post(&at, "/v1/chat/completions", &body).await.json();
    assert_eq!(reply["choices"].as_array().map(Vec::len), Some(128));
    assert_eq!(reply["choices"][127]["finish_reason"], "length");
    let tokens = reply["usage"]["completion_tokens"].as_u64().expect("a count");
    assert!((9000..=10_000).contains(&tokens), "{tokens}");
}

#[actix_web::test]
async fn a_dropped_provider_no_longer_listens() {
    let at = provider(Protocol::Openai);
    let addr = at.addr;
    drop(at);
    let gone = async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("the port is closed in the end");
}

#[actix_web::test]
async fn recordings_are_heard_in_each_format() {
    let at = provider(Protocol::Openai);
    let kind = "content-type: multipart/form-data; boundary=b\r\n";
    for (name, value, begins) in [
        ("language", "en", "{\"text\":\"This"),
        ("response_format", "text", "This"),
        ("response_format", "srt", "1\n00:"),
        ("response_format", "vtt", "WEBVTT"),
        ("stream", "true", "data: {"),
    ] {
        let field = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let body = [field("model", "m"), field("file", "RIFF"), field(name, value), "--b--\r\n".to_owned()].concat();
        let reply = send(&at, "POST", "/v1/audio/transcriptions", kind, &body).await;
        assert!(reply.status == 200 && reply.whole && reply.body.contains(begins), "{}", reply.body);
    }
}
