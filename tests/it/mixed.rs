//! Requests that fail in more than one way: the client is told what helps it most, and when coming back is of use.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    client::{Ask, Reply},
    heard::{WAYS, hello},
    proxy::{Proxy, hello_at},
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
};

const TOO_LONG: &str = r#"{"error":{"message":"Too long by 7 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;

/// `first` is asked first, then `second`.
async fn both(first: Answer, second: Answer) -> (Upstream, Upstream, Proxy) {
    let (first, second) = (Upstream::always(first).await, Upstream::always(second).await);
    let settings = Settings::new()
        .target("first", first.addr, "context_window = 8000")
        .target("second", second.addr, "priority = 2")
        .set("failover", "max_attempts = 2");
    let proxy = Proxy::start(&settings).await;
    (first, second, proxy)
}

fn told(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_told_though_a_larger_backend_failed_after_it() {
    for stream in WAYS {
        let (_first, second, proxy) = both(Answer::json(400, TOO_LONG), Answer::json(500, "{}")).await;
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!(reply.face(), told(400, "context_length_exceeded"));
        assert_eq!((reply.header("x-greenroom-upstream-status"), second.asked()), ("500", 1), "the last one's");
    }
}

#[tokio::test]
async fn backends_that_keep_no_answers_keep_no_request_from_the_one_that_does() {
    let answer = json!({"id": "resp_2", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [
        {"type": "message", "id": "msg_2", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "hi", "annotations": []}]}]});
    let (able, other) = (Upstream::always(Answer::json(200, &answer.to_string())).await, Upstream::saying("no").await);
    let able_last = Settings::new().target("a", able.addr, "priority = 2").set("backends.a", "native_responses = true");
    let settings = ["b", "c", "d", "e"].iter().fold(able_last, |all, name| all.backend(name, other.addr));
    let proxy = Proxy::start(&settings.set("failover", "max_attempts = 2\nretry_budget = 0.0")).await;
    let ask = |more: &str| {
        let body = format!(r#"{{"model":"m","input":"And now?","previous_response_id":"resp_1"{more}}}"#);
        Ask::post("/v1/responses", body).bearer(TOKEN)
    };
    let reply = proxy.ask(&ask("")).await;
    assert_eq!((reply.status(), reply.header("x-greenroom-attempts"), other.asked()), (200, "5", 0), "{reply:?}");
    // Whom nobody serves is told what cannot be served.
    assert_eq!(proxy.ask(&ask(r#","backend":"b""#)).await.face(), told(400, "unsupported_parameter"));
}

#[tokio::test]
async fn not_every_backend_is_limited_where_one_failed_otherwise() {
    let limited = Answer::json_with(429, "retry-after: 70\r\n", "{}");
    let (_first, _second, proxy) = both(limited, Answer::json(500, "{}")).await;
    let reply = proxy.hello().await;
    assert_eq!(
        (reply.face(), reply.header("x-greenroom-upstream-status")),
        (told(429, "upstream_rate_limited"), "500")
    );
    assert!(!reply.error("message").contains("very"), "{reply:?}");
}

/// Backends that are asked in this order, three of them for one request.
async fn in_order(answers: &[Answer]) -> (Vec<Upstream>, Proxy) {
    let (mut all, mut settings) = (Vec::new(), Settings::new().set("failover", "max_attempts = 3"));
    for (n, answer) in answers.iter().enumerate() {
        let upstream = Upstream::always(answer.clone()).await;
        settings = settings.target(&format!("b{n}"), upstream.addr, &format!("priority = {}", n + 1));
        all.push(upstream);
    }
    (all, Proxy::start(&settings).await)
}

#[tokio::test]
async fn a_backend_that_is_free_or_merely_full_is_a_reason_to_come_back_soon() {
    let limited = Answer::json_with(429, "retry-after: 70\r\n", "{}");
    for stream in WAYS {
        // Nobody has asked the fourth: the attempts are used up.
        let (_all, proxy) = in_order(&[limited.clone(), limited.clone(), limited.clone(), Answer::says("hi")]).await;
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!((reply.face(), reply.header("retry-after")), (told(429, "upstream_rate_limited"), "1"), "{reply:?}");
        for (first, code) in [(limited.clone(), 429), (Answer::json(401, "{}"), 502)] {
            let (gate, free) = (Gate::new(), Upstream::always(first).await);
            let full = Upstream::always(Answer::new().wait(&gate)).await;
            let settings =
                Settings::new().backend("first", free.addr).peer(full.addr).set("backends.peer", "max_in_flight = 1");
            let proxy = Proxy::start(&settings).await;
            let _held = proxy.begin(hello_at("peer")).await;
            full.until("a request", |seen| seen.busy == 1).await;
            let failed = proxy.chat(hello(stream)).await;
            assert_eq!((failed.status(), failed.head.get("x-should-retry")), (code, None), "{failed:?}");
            if code == 429 {
                assert_eq!(failed.header("retry-after"), "1", "{failed:?}");
            }
            proxy.until("first", "a shut gate", |report| report["reopens_in_ms"].as_u64() > Some(50_000)).await;
            let reply = proxy.chat(hello(stream)).await;
            let said = (reply.face(), reply.header("retry-after"));
            assert_eq!(said, (told(503, "gateway_overloaded"), "1"), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn trying_again_is_given_up_only_where_every_backend_is_out_for_long() {
    let refused = || Answer::json(401, "{}");
    let hint = |reply: &Reply| (reply.face(), reply.head.get("x-should-retry").map(ToOwned::to_owned));
    for stream in WAYS {
        // What may be over the next time is told, whichever came last.
        let (_all, proxy) = in_order(&[Answer::json(500, "{}"), refused()]).await;
        assert_eq!(hint(&proxy.chat(hello(stream)).await), (told(502, "upstream_error"), None));
        let (_all, proxy) = in_order(&[refused(), refused(), refused(), refused()]).await;
        let refused = told(502, "upstream_auth_failed");
        assert_eq!(hint(&proxy.chat(hello(stream)).await), (refused.clone(), None), "the fourth was not asked");
        assert_eq!(hint(&proxy.chat(hello(stream)).await), (refused, Some("false".to_owned())));
    }
}

const NO_FILE: &str = r#"{"error":{"message":"No such File object: file-1","type":"invalid_request_error","param":"file_id","code":null}}"#;

#[tokio::test]
async fn what_one_backend_does_not_have_is_looked_for_at_another_and_shuts_neither() {
    let (first, second, proxy) = both(Answer::json(404, NO_FILE), Answer::says("found")).await;
    assert_eq!(proxy.hello().await.status(), 200);
    assert_eq!((first.asked(), second.asked()), (1, 1));
    for stream in WAYS {
        let (_first, second, proxy) = both(Answer::json(404, NO_FILE), Answer::json(404, NO_FILE)).await;
        for asked in 1..=3 {
            let reply = proxy.chat(hello(stream)).await;
            assert_eq!((reply.status(), reply.error("message").as_str()), (404, "No such File object: file-1"));
            assert_eq!((reply.header("x-should-retry"), second.asked()), ("false", asked), "{reply:?}");
        }
        for name in ["first", "second"] {
            let report = proxy.report(name).await;
            assert_eq!((&report["state"], &report["requests"]["caller_fault"]), (&json!("healthy"), &json!(3)));
        }
    }
}

/// One backend that is always overloaded, whose gate shuts for 15 s at least after so many failures.
async fn overloaded(failures: u32) -> (Upstream, Proxy) {
    let one = Upstream::always(Answer::json(503, "{}")).await;
    let lines = format!("breaker_failures = {failures}\nbackoff_min = \"30s\"");
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr).set("backends.one", &lines)).await;
    (one, proxy)
}

#[tokio::test]
async fn a_client_is_told_when_the_gate_that_its_own_request_has_shut_opens_again() {
    for stream in WAYS {
        let (one, proxy) = overloaded(3).await;
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!((reply.face(), one.asked()), (told(503, "upstream_overloaded"), 3));
        assert!(reply.header("retry-after-ms").parse::<u64>().is_ok_and(|ms| ms > 10_000), "{reply:?}");
    }
}

#[tokio::test]
async fn a_request_does_not_wait_for_a_gate_that_stays_shut_for_long() {
    for stream in WAYS {
        let (one, proxy) = overloaded(1).await;
        let asked = Instant::now();
        let reply = proxy.chat(hello(stream)).await;
        assert_eq!((reply.face(), one.asked()), (told(503, "upstream_overloaded"), 1));
        assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
        assert!(reply.header("retry-after-ms").parse::<u64>().is_ok_and(|ms| ms > 8_000), "{reply:?}");
    }
}

const REFUSED: &str =
    r#"{"error":{"message":"No such tool.","type":"invalid_request_error","param":"tools","code":"bad_tool"}}"#;

fn in_200(stream: bool, error: &str) -> Answer {
    if stream { Answer::stream().chunk(format!("data: {error}\n\n")).end() } else { Answer::json(200, error) }
}

#[tokio::test]
async fn a_callers_fault_inside_of_a_200_is_told_as_if_it_had_come_with_its_status() {
    let filtered = REFUSED.replace("invalid_request_error", "").replace("bad_tool", "content_filter");
    let numbered = REFUSED.replace("invalid_request_error", "BadRequestError").replace("\"bad_tool\"", "400");
    for stream in WAYS {
        for (error, code) in [(REFUSED, "bad_tool"), (&filtered, "content_filter"), (&numbered, "-")] {
            let (first, second, proxy) = both(in_200(stream, error), Answer::says("hi")).await;
            let reply = proxy.chat(hello(stream)).await;
            assert_eq!(reply.face(), told(400, code), "{reply:?}");
            assert_eq!((reply.error("message"), reply.error("param")), ("No such tool.".into(), "tools".into()));
            assert_eq!(reply.error("request_id"), reply.header("x-request-id"));
            assert_eq!((first.asked(), second.asked()), (1, 0), "{error}");
            let report = proxy.report("first").await;
            assert_eq!((&report["state"], &report["requests"]["caller_fault"]), (&json!("healthy"), &json!(1)));
        }
    }
}

#[tokio::test]
async fn a_callers_fault_within_a_stream_is_told_in_its_error_frame() {
    let begun = Answer::stream().chunk(sse::text("a ")).chunk(format!("data: {REFUSED}\n\n")).end();
    let (_first, second, proxy) = both(begun, Answer::streams("a b")).await;
    let reply = proxy.chat(hello(true)).await;
    let error = sse::error_of(&reply.body).unwrap_or_default();
    assert_eq!((&error["code"], &error["message"]), (&json!("bad_tool"), &json!("No such tool.")), "{reply:?}");
    assert_eq!((sse::is_done(&reply.body), second.asked()), (false, 0));
}

#[tokio::test]
async fn the_providers_name_for_the_request_comes_with_its_error() {
    const ID: &str = "x-request-id: theirs-1\r\n";
    let streamed = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: theirs-1\r\ntransfer-encoding: chunked\r\n\r\n";
    for answer in [
        Answer::json_with(400, ID, REFUSED),
        Answer::json_with(500, "request-id: theirs-1\r\n", "{}"),
        Answer::json_with(200, ID, REFUSED),
        Answer::new().raw(streamed).chunk(format!("data: {REFUSED}\n\n")).end(),
    ] {
        let one = Upstream::always(answer).await;
        let proxy = Proxy::before(&one).await;
        let reply = proxy.chat(hello(true)).await;
        assert_ne!(reply.status(), 200);
        assert_eq!(reply.header("x-greenroom-upstream-request-id"), "theirs-1");
    }
}

#[tokio::test]
async fn a_refusal_that_gives_no_reason_has_no_code() {
    let one = Upstream::always(Answer::new().raw("HTTP/1.1 400 Bad\r\ncontent-length: 4\r\n\r\nnope")).await;
    let proxy = Proxy::before(&one).await;
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), &reply.json()["error"]["code"]), (400, &json!(null)), "{reply:?}");
}

#[tokio::test]
async fn the_same_backend_asked_again_is_no_failover() {
    let one = Upstream::start(|n, _| if n == 0 { Answer::json(500, "{}") } else { Answer::says("hi") }).await;
    let proxy = Proxy::before(&one).await;
    let reply = proxy.hello().await;
    assert_eq!((reply.header("x-greenroom-route"), reply.header("x-greenroom-attempts")), ("only_candidate", "2"));
}

#[tokio::test]
async fn time_spent_waiting_for_another_backend_is_not_told_as_greenrooms_own() {
    let slow = Answer::new().work(Duration::from_millis(400)).then(Answer::json(500, "{}"));
    let (_first, _second, proxy) = both(slow, Answer::says("hi")).await;
    let reply = proxy.hello().await;
    let timing = reply.header("server-timing");
    let own = timing.split("gw;dur=").nth(1).and_then(|text| text.parse::<f64>().ok());
    assert!(own.is_some_and(|ms| ms < 200.0), "{timing}");
}

#[tokio::test]
async fn a_key_that_is_refused_with_a_400_is_a_bad_key_to_requests_and_to_diagnose() {
    // Google's endpoint for OpenAI's clients puts its errors into a list.
    const GOOGLES: &str = r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]"#;
    let plain = GOOGLES.trim_matches(['[', ']']);
    let other = r#"{"error":{"message":"Invalid API key","type":"invalid_request_error","code":null}}"#;
    for body in [GOOGLES, plain, other] {
        let (first, second, proxy) = both(Answer::json(400, body), Answer::says("hi")).await;
        assert_eq!((proxy.hello().await.status(), first.asked(), second.asked()), (200, 1, 1), "{body}");
        let report = proxy.until("first", "a shut gate", |report| report["state"] == "open").await;
        assert!(report["reason"].as_str().is_some_and(|why| why.contains("credentials")), "{report}");
        let steps = proxy.post("/admin/backends/first/diagnose").await.text();
        assert!(steps.contains("invalid_api_key"), "{steps}");
    }
    let quoted = r#"{"error":{"message":"No tool 'API key not valid'","type":"invalid_request_error","code":null}}"#;
    let (_first, second, proxy) = both(Answer::json(400, quoted), Answer::says("hi")).await;
    assert_eq!((proxy.hello().await.status(), second.asked()), (400, 0));
    assert_eq!(proxy.report("first").await["state"], "healthy");
}
