//! What an error tells beside its words: the status that was seen last, a code that programs know, the attempts behind it.

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Reply},
    heard::{WAYS, hello},
    proxy::{HELLO, Proxy},
    script::Answer,
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
};

/// A 404 that speaks of the model.
const MISSING: &str = r#"{"error":{"message":"The model `m` does not exist","code":"model_not_found"}}"#;

const NO: &str = r#"{"error":{"message":"words of the provider","type":"server_error","code":null}}"#;

/// One backend that answers so.
async fn one(answer: Answer) -> (Upstream, Proxy) {
    let one = Upstream::always(answer).await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1")).await;
    (one, proxy)
}

/// A request of each surface that a backend of OpenAI's protocol serves.
async fn post(proxy: &Proxy, path: &str, stream: bool) -> Reply {
    let said = json!([{"role": "user", "content": "Hello!"}]);
    let prompt = if path == "/v1/responses" { "input" } else { "messages" };
    let body = json!({"model": "m", "stream": stream, "max_tokens": 9, prompt: said});
    proxy.send(path, &body).await
}

#[tokio::test]
async fn the_status_of_an_answer_that_was_judged_a_failure_is_told() {
    for stream in WAYS {
        let failed =
            if stream { Answer::stream().chunk(format!("data: {NO}\n\n")).end() } else { Answer::json(200, NO) };
        let (_one, proxy) = one(failed).await;
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!((reply.status(), reply.header("x-greenroom-upstream-status")), (502, "200"), "{reply:?}");
    }
}

#[tokio::test]
async fn no_status_is_told_where_the_backend_asked_last_sent_none() {
    let (first, last) = (Upstream::always(Answer::json(500, NO)).await, Upstream::always(Answer::new().reset()).await);
    let settings = Settings::new().backend("first", first.addr).peer(last.addr).set("failover", "max_attempts = 2");
    let proxy = Proxy::start(&settings).await;
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), reply.header("x-greenroom-attempts")), (502, "2"), "{reply:?}");
    assert_eq!(reply.head.get("x-greenroom-upstream-status"), None, "{reply:?}");
}

#[tokio::test]
async fn a_stream_without_content_is_the_same_failure_on_every_surface() {
    let empty = Answer::stream().chunk(sse::DONE).end();
    for nothing in [empty, Answer::stream().chunk(sse::role()).chunk(sse::DONE).end()] {
        let (_one, proxy) = one(nothing).await;
        for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
            let reply = post(&proxy, path, true).await;
            assert_eq!((reply.status(), reply.error("code").as_str()), (502, "upstream_invalid_response"), "{path}");
            assert_eq!(proxy.post("/admin/backends/one/reset").await.status(), 200);
        }
    }
}

#[tokio::test]
async fn what_a_provider_calls_in_its_own_way_has_one_code_where_it_is_translated() {
    let error = |code: Value, said: &str| {
        json!({"error": {"message": said, "type": "BadRequestError", "param": null, "code": code}}).to_string()
    };
    let long = "This model's maximum context length is 10 tokens.";
    for (error, code, own) in [
        (error(json!("content_policy_violation"), "No."), "content_filter", "content_policy_violation"),
        (error(json!(400), long), "context_length_exceeded", "400"),
    ] {
        let (_one, proxy) = one(Answer::json(400, &error)).await;
        for path in ["/v1/messages", "/v1/responses"] {
            let reply = post(&proxy, path, false).await;
            assert_eq!((reply.status(), reply.error("code").as_str()), (400, code), "{path}");
        }
        let native = post(&proxy, "/v1/chat/completions", false).await;
        assert_eq!(native.json()["error"]["code"].to_string().trim_matches('"'), own, "{native:?}");
    }
}

#[tokio::test]
async fn an_error_lists_the_attempts_behind_it_for_those_who_may_see_backends() {
    let (first, last) = (Upstream::always(Answer::json(500, NO)).await, Upstream::always(Answer::new().reset()).await);
    let unseeing = "token = \"token-of-plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_see_backends = false";
    let settings = Settings::new()
        .backend("first", first.addr)
        .peer(last.addr)
        .set("users.plain", unseeing)
        .set("defaults.backend", "breaker_failures = 0")
        .set("failover", "max_attempts = 2");
    let proxy = Proxy::start(&settings).await;
    for stream in WAYS {
        let reply = proxy.chat(hello(stream)).await;
        let attempts = reply.json()["error"]["attempts"].clone();
        let told = |n: usize| (&attempts[n]["backend"], &attempts[n]["class"], &attempts[n]["status"]);
        assert_eq!(told(0), (&json!("first"), &json!("provider_server"), &json!(500)), "{reply:?}");
        assert_eq!(told(1), (&json!("peer"), &json!("provider_transport"), &Value::Null), "{reply:?}");
        assert!(attempts[0]["ms"].as_f64() > Some(0.0) && attempts[2].is_null(), "{attempts}");
        assert!(!reply.text().contains("words of the provider"), "{reply:?}");
        let reply = proxy.ask(&Ask::chat(hello(stream)).bearer("token-of-plain")).await;
        assert_eq!((reply.status(), reply.json()["error"].get("attempts").cloned()), (502, None), "{reply:?}");
    }
    // Where no backend was asked there is nothing to list.
    let reply = proxy.chat(hello(false).replace("\"m\"", "\"absent\"")).await;
    assert_eq!((reply.status(), reply.json()["error"].get("attempts").cloned()), (404, None), "{reply:?}");
}

#[tokio::test]
async fn where_no_backend_takes_requests_the_error_names_each_and_why_for_those_who_may_see_backends() {
    let (first, last) =
        (Upstream::always(Answer::json(404, MISSING)).await, Upstream::always(Answer::json(401, "{}")).await);
    let unseeing = "token = \"token-of-plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_see_backends = false";
    let partial = "token = \"token-of-partial\"\nmodels = [\"*\"]\nbackends = [\"peer\"]";
    let settings = Settings::new()
        .backend("first", first.addr)
        .peer(last.addr)
        .set("users.plain", unseeing)
        .set("users.partial", partial);
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.hello().await.status(), 502);
    let none = "No backend of the model 'm' takes requests now.";
    let model = "first: it does not know this model, or its base_url is wrong.";
    let key = "peer: it does not accept our credentials or account.";
    for (token, want) in [
        (TOKEN, format!("{none} {model} {key}")),
        ("token-of-partial", format!("{none} {key}")),
        ("token-of-plain", none.to_owned()),
    ] {
        let reply = proxy.ask(&Ask::chat(HELLO).bearer(token)).await;
        assert_eq!((reply.status(), reply.error("message")), (503, want), "{reply:?}");
    }
}

#[tokio::test]
async fn of_many_backends_that_are_out_five_are_named_and_the_others_counted() {
    let one = Upstream::always(Answer::json(404, MISSING)).await;
    let named = |settings: Settings, n: u8| settings.backend(&format!("b{n}"), one.addr);
    let proxy = Proxy::start(&(0..7).fold(Settings::new(), named).set("failover", "max_attempts = 7")).await;
    assert_eq!(proxy.hello().await.status(), 502);
    let told = proxy.hello().await.error("message");
    assert!(told.matches(": it does not know this model").count() == 5 && told.ends_with(". And 2 more."), "{told}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_lists_its_attempts_in_its_last_frame() {
    let (_one, proxy) = one(Answer::stream().chunk(sse::text("a ")).reset()).await;
    let reply = proxy.chat(hello(true)).await;
    let error = sse::error_of(&reply.body).unwrap_or_default();
    let told = (&error["attempts"][0]["backend"], &error["attempts"][0]["class"], &error["attempts"][0]["status"]);
    assert_eq!(told, (&json!("one"), &json!("provider_stream_cut"), &json!(200)), "{error}");
}

#[tokio::test]
async fn a_bad_value_has_the_same_code_whatever_the_backend_speaks() {
    let backend = Upstream::always(Answer::json(500, "{}")).await;
    let proxy = Proxy::start(&Settings::only(backend.addr, "", "claude", "protocol = \"anthropic\"")).await;
    for (member, value, code) in [
        ("temperature", json!("0.5"), "invalid_value"),
        ("user", json!(7), "invalid_value"),
        ("messages", json!([{"role": "user", "content": 7}]), "invalid_value"),
        ("n", json!(2), "unsupported_parameter"),
    ] {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "q"}]});
        body[member] = value;
        let reply = proxy.chat(body.to_string()).await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (400, code), "{reply:?}");
        assert!(reply.error("param").starts_with(member), "{reply:?}");
    }
    assert_eq!(backend.asked(), 0);
}

#[tokio::test]
async fn what_is_nested_too_deep_to_be_translated_is_told_so() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    // Only what is read of an answer can be too deep.
    let answer = |member: &str| {
        let message = format!("{{\"role\":\"assistant\",\"content\":\"hi\",\"{member}\":{}}}", deep(200));
        let choice = format!("{{\"index\":0,\"message\":{message},\"finish_reason\":\"stop\"}}");
        Answer::json(200, &format!("{{\"id\":\"c\",\"choices\":[{choice}]}}"))
    };
    let body = |levels| {
        format!(
            "{{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{{\"role\":\"user\",\"content\":\"q\"}}],\"x\":{}}}",
            deep(levels)
        )
    };
    let ask = async |proxy: &Proxy, path: &str, levels| proxy.ask(&Ask::post(path, body(levels)).bearer(TOKEN)).await;
    let (_one, proxy) = one(answer("images")).await;
    let reply = ask(&proxy, "/v1/chat/completions", 200).await;
    assert_eq!(reply.status(), 200, "what is passed on may be as deep as it likes");
    for (levels, status) in [(200, 400), (9, 502)] {
        let reply = ask(&proxy, "/v1/messages", levels).await;
        let said = reply.error("message");
        assert_eq!(reply.status(), status, "{reply:?}");
        assert!(said.contains("more than 127 levels") && !said.contains("not JSON"), "{said}");
    }
    let (_one, proxy) = one(answer("more")).await;
    assert_eq!(ask(&proxy, "/v1/messages", 9).await.status(), 200);
}

#[tokio::test]
async fn an_error_too_long_to_be_read_whole_is_not_passed_on_in_part() {
    for behind in ["", "x"] {
        let fill = "x".repeat((2 << 20) + behind.len());
        let long =
            format!(r#"{{"error":{{"message":"No such value.","type":"t","param":"n","code":"c","fill":"{fill}"}}}}"#);
        let (_one, proxy) = one(Answer::json(400, &long)).await;
        let reply = proxy.chat(hello(false)).await;
        assert_eq!((reply.status(), reply.error("message").as_str()), (400, "No such value."), "{} bytes", long.len());
        assert!(reply.body.len() < 1 << 10);
    }
}

#[tokio::test]
async fn what_a_provider_says_of_a_failure_of_its_own_is_for_operators_with_keys_masked() {
    let envoy = "upstream connect error or disconnect/reset before headers (key-of-one). reset reason: overflow";
    let long = format!("{} tail", "words ".repeat(60));
    // Of the first two KiB the key is the last, and in part beyond them.
    let indented = format!("<p>{}words of key-of-one</p>", " ".repeat((2 << 10) - "<p>words of key-of".len()));
    for (answer, seen) in [
        (Answer::json(503, envoy), Some("upstream connect error or disconnect/reset before headers (…)")),
        (
            Answer::json(500, r#"{"error":{"message":"words of the provider: key-of-one","type":"x"}}"#),
            Some("provider: …"),
        ),
        (Answer::json(500, r#"{"oops":"words of \u006bey-of-one"}"#), Some("words of …")),
        (Answer::json(500, &long), Some("words words")),
        (Answer::json(500, &indented), Some("<p> words of …</p>")),
        (Answer::json(502, "<html>\r\n <title>words of a page</title></html>"), Some("<html> <title>words of a page")),
        (Answer::json(200, r#"{"error":{"message":"words in a 200","type":"server_error"}}"#), Some("words in a 200")),
        (Answer::json(401, r#"{"error":{"message":"words about the key sk-a***z","code":"invalid_api_key"}}"#), None),
        (Answer::json(400, r#"{"error":{"message":"words to the caller","type":"invalid_request_error"}}"#), None),
        (Answer::json(500, ""), None),
    ] {
        let (_one, proxy) = one(answer.clone()).await;
        let reply = proxy.ask(&Ask::chat(HELLO).bearer(TOKEN).header("x-greenroom-explain", "1")).await;
        let id = reply.header("x-request-id").to_owned();
        let story = proxy.get(&format!("/admin/requests/{id}")).await.json();
        let said = story["attempts"][0]["said"].as_str();
        assert_eq!(said.is_some(), seen.is_some(), "{story}");
        assert!(said.unwrap_or_default().contains(seen.unwrap_or_default()), "{story}");
        assert!(said.unwrap_or_default().len() < 210 && !story.to_string().contains("key-of-one"), "{story}");
        if seen.is_some() {
            let others = [reply.text(), proxy.log(), proxy.get("/admin/requests").await.text()].concat();
            assert!(!others.contains("words") && !others.contains("connect error"), "{others}");
        }
    }
}
