//! Traces: one span of each request, one below it of each attempt, in the client's own trace where it has one.

use serde_json::json;

use crate::support::{
    client::Ask,
    collector::{Span, spans, spans_of, traced, traced_to, willing},
    eventually,
    launch::Launch,
    proxy::{HELLO, HELLO_STREAM, Proxy, hello_at},
    script::Answer,
    settings::{Settings, TOKEN},
    sse,
    upstream::{Received, Upstream},
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The request's own span, which comes first, and those of its attempts.
fn split(spans: &[Span]) -> (&Span, &[Span]) {
    let (own, attempts) = spans.split_first().expect("a span");
    assert_eq!(own.kind(), "server", "{own:?}");
    for attempt in attempts {
        assert_eq!(attempt.kind(), "client", "{attempt:?}");
        assert_eq!(attempt.member("traceId"), own.member("traceId"));
        assert_eq!(attempt.member("parentSpanId"), own.member("spanId"));
        let time = |span: &Span, key: &str| span.member(key).parse::<u64>().expect("nanoseconds");
        assert!(time(attempt, "startTimeUnixNano") >= time(own, "startTimeUnixNano"), "{attempt:?}");
        assert!(time(attempt, "endTimeUnixNano") <= time(own, "endTimeUnixNano"), "{attempt:?}");
    }
    (own, attempts)
}

fn traced_ask(body: impl Into<Vec<u8>>, parent: &str) -> Ask {
    Ask::chat(body).bearer(TOKEN).header("traceparent", parent).header("tracestate", "a=1")
}

#[tokio::test]
async fn a_request_and_its_failed_first_attempt_are_seen_in_the_clients_trace() {
    let (bad, peer) = (Upstream::always(Answer::json(500, "{}")).await, Upstream::saying("hi").await);
    let collector = willing().await;
    let settings = traced(Settings::bad_and_peer(&bad, &peer), &collector).set("backends.peer", "trace_context = true");
    let proxy = Proxy::start(&settings).await;
    let reply = proxy.ask(&traced_ask(HELLO, PARENT).header("x-request-id", "mine")).await;
    assert_eq!((reply.status(), reply.backend()), (200, "peer"));
    let spans = spans(&collector, 3).await;
    let (own, [failed, served]) = split(&spans) else { panic!("{spans:?}") };
    assert_eq!(own.member("traceId"), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((own.member("parentSpanId"), own.member("name")), ("b7ad6b7169203331".into(), "chat m".into()));
    let told = ["greenroom.request.id", "greenroom.user.name", "greenroom.backend.name", "greenroom.route.reason"];
    assert_eq!(own.attributes(told), ["mine", "tester", "peer", "failover"]);
    let told = ["http.response.status_code", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "error.type"];
    assert_eq!(own.attributes(told), ["200", "3", "2", "-"]);
    let told = ["greenroom.attempt.number", "greenroom.backend.name", "error.type", "http.response.status_code"];
    assert_eq!(failed.attributes(told), ["1", "bad", "provider_server", "500"]);
    assert_eq!(served.attributes(told), ["2", "peer", "-", "200"]);
    assert_eq!([own, failed, served].map(Span::is_error), [false, true, false]);
    let port = peer.addr.port().to_string();
    assert_eq!(served.attributes(["server.address", "server.port"]), ["127.0.0.1".to_owned(), port]);
    // Who is to know stands below the attempt, and not beside it.
    let head = peer.last().head;
    let upstream = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", served.member("spanId"));
    assert_eq!((head.get("traceparent"), head.get("tracestate")), (Some(&*upstream), Some("a=1")));
    assert_eq!(bad.last().head.get("traceparent"), None);
    let entry = proxy.get("/admin/requests/mine").await.json();
    assert_eq!(entry["trace_id"], "0af7651916cd43dd8448eb211c80319c");
}

#[tokio::test]
async fn both_of_two_that_race_are_seen() {
    let (slow, peer) = (Upstream::always(Answer::new().hang()).await, Upstream::saying("hi").await);
    let collector = willing().await;
    let settings = Settings::new()
        .backend("slow", slow.addr)
        .peer(peer.addr)
        .set("backends.slow", "first_token_soft = \"50ms\"")
        .set("failover", "hedge_budget = 1.0");
    let proxy = Proxy::start(&traced(settings, &collector)).await;
    assert_eq!(proxy.chat(HELLO_STREAM).await.backend(), "peer");
    let spans = spans(&collector, 3).await;
    let (own, [loser, winner]) = split(&spans) else { panic!("{spans:?}") };
    let told = ["greenroom.backend.name", "greenroom.route.reason", "greenroom.attempt.outcome"];
    assert_eq!(loser.attributes(told), ["slow", "least_loaded", "let_go"]);
    assert_eq!(winner.attributes(told), ["peer", "hedged", "success"]);
    assert!(![own, loser, winner].into_iter().any(Span::is_error), "{spans:?}");
    let first = |span: &Span| span.attribute("gen_ai.response.time_to_first_chunk").parse::<f64>().ok();
    assert!(first(own) >= Some(0.05) && first(winner) < first(own) && first(loser).is_none(), "{spans:?}");
    assert_eq!(own.attribute("gen_ai.request.stream"), "true");
}

#[tokio::test]
async fn a_stream_that_breaks_and_one_that_is_rescued_are_told_apart() {
    let broken = || Answer::stream().chunk(sse::role()).chunk(sse::text("h")).reset();
    let (bad, peer) = (Upstream::always(broken()).await, Upstream::saying("hi").await);
    let collector = willing().await;
    let settings = Settings::bad_and_peer(&bad, &peer).set("failover", "retry_budget = 1.0");
    let proxy = Proxy::start(&traced(settings, &collector)).await;
    assert_eq!(sse::text_of(&proxy.chat(HELLO_STREAM).await.body), "hi");
    let rescued = spans(&collector, 3).await;
    let (own, [cut, other]) = split(&rescued) else { panic!("{rescued:?}") };
    assert_eq!(own.attributes(["greenroom.request.rescue", "error.type"]), ["replayed", "-"]);
    assert_eq!((cut.attribute("error.type"), cut.is_error()), ("provider_stream_cut".into(), true));
    assert_eq!(other.attributes(["greenroom.attempt.outcome", "greenroom.backend.name"]), ["success", "peer"]);
    assert!(!own.is_error(), "{own:?}");

    let pinned = json!({"model": "m", "stream": true, "messages": [], "backend": "bad"}).to_string();
    assert_eq!(proxy.chat(pinned).await.status(), 200);
    let all = spans(&collector, 5).await;
    let (own, [cut]) = split(&all[3..]) else { panic!("{all:?}") };
    let told = ["http.response.status_code", "error.type", "greenroom.route.pinned"];
    assert_eq!(own.attributes(told), ["200", "provider_stream_cut", "true"]);
    assert!(own.is_error() && cut.is_error(), "the head was out, the answer was not whole: {all:?}");
}

#[tokio::test]
async fn a_request_that_nobody_was_asked_for_is_a_span_without_attempts() {
    let (upstream, collector) = (Upstream::saying("hi").await, willing().await);
    let proxy = Proxy::start(&traced(Settings::new().backend("one", upstream.addr), &collector)).await;
    // A pin to nobody, a model that is none, no JSON; of a stranger nothing is told.
    assert_eq!(proxy.ask(&Ask::chat(HELLO).bearer("nobodys").header("traceparent", PARENT)).await.status(), 401);
    for (body, status) in [(hello_at("SECRET-PIN"), 400), (HELLO.replace("\"m\"", "\"SECRET-MODEL\""), 404)] {
        assert_eq!(proxy.chat(body).await.status(), status);
    }
    assert_eq!(proxy.ask(&traced_ask("{\"SECRET", PARENT)).await.status(), 400);
    let spans = spans(&collector, 3).await;
    let told = ["gen_ai.request.model", "http.response.status_code", "error.type", "greenroom.route.pinned"];
    assert_eq!(spans[0].attributes(told), ["m", "400", "caller_invalid", "true"]);
    assert_eq!(spans[1].attributes(told), ["other", "404", "caller_invalid", "false"]);
    assert_eq!(spans[2].attributes(told), ["-", "400", "caller_invalid", "-"]);
    assert_eq!((spans[2].member("name"), spans[2].member("parentSpanId")), ("chat".into(), "b7ad6b7169203331".into()));
    assert!(!spans.iter().any(Span::is_error), "{spans:?}");
    let sent = collector.seen(|seen| seen.requests.iter().map(Received::text).collect::<String>());
    assert!(!sent.contains("SECRET"), "{sent}");
}

#[tokio::test]
async fn who_is_traced_is_for_the_sender_to_say_and_else_for_the_share() {
    let (upstream, collector) = (Upstream::saying("hi").await, willing().await);
    let settings = Settings::new().backend("one", upstream.addr).set("backends.one", "trace_context = true");
    let proxy = Proxy::start(&traced(settings, &collector).set("traces", "sample = 0.0")).await;
    let unsampled = PARENT.replace("-01", "-00");
    let told = async |ask: Ask| {
        assert_eq!(proxy.ask(&ask).await.status(), 200);
        let head = upstream.last().head;
        (head.get("traceparent").map(str::to_owned), head.get("tracestate").map(str::to_owned))
    };
    let (parent, state) = told(traced_ask(HELLO, &unsampled)).await;
    let parent = parent.expect("it goes on");
    assert!(parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && parent.ends_with("-00"), "{parent}");
    assert!(!parent.contains("b7ad6b7169203331") && state.as_deref() == Some("a=1"), "{parent}");
    // Nobody's trace: a new one, with nobody's state.
    let (parent, state) = told(traced_ask(HELLO, "00-0-0-01")).await;
    assert!(parent.is_some_and(|parent| parent.ends_with("-00") && !parent.contains("0af7")) && state.is_none());
    assert!(told(Ask::chat(HELLO).bearer(TOKEN)).await.0.is_some_and(|parent| parent.ends_with("-00")));
    assert!(told(traced_ask(HELLO, PARENT)).await.0.is_some_and(|parent| parent.ends_with("-01")));
    let spans = spans(&collector, 2).await;
    assert_eq!(split(&spans).0.member("parentSpanId"), "b7ad6b7169203331", "only whose sender wants it");
    let ledger = proxy.get("/admin/requests").await.json();
    let ids: Vec<bool> =
        ledger["requests"].as_array().expect("a list").iter().map(|r| r["trace_id"].is_string()).collect();
    assert_eq!(ids, [true, false, false, false], "newest first: {ledger}");
}

#[tokio::test]
async fn words_and_keys_stay_out_and_the_log_names_the_trace() {
    let refused = r#"{"error":{"message":"text-of-refusal key-of-one","type":"invalid_request_error","code":"x"}}"#;
    let script =
        move |n: usize, _: &_| if n == 0 { Answer::says("text-of-answer") } else { Answer::json(400, refused) };
    let (upstream, collector) = (Upstream::start(script).await, willing().await);
    let headers =
        "headers = { authorization = \"Bearer key-of-collector\", \"x-org\" = \"key-of-org\" }\nservice = \"my-llm\"";
    let settings = traced(Settings::new().backend("one", upstream.addr), &collector).set("traces", headers);
    let launch = Launch::new(&settings).env("RUST_LOG", "trace").env("GREENROOM_LOG_FORMAT", "json");
    let proxy = launch.start().await;
    let body =
        json!({"model": "m", "user": "text-of-user", "messages": [{"role": "user", "content": "text-of-prompt"}]});
    for status in [200, 400] {
        assert_eq!(proxy.chat(body.to_string()).await.status(), status);
    }
    let spans = spans(&collector, 4).await;
    let request = collector.last();
    let head =
        ["authorization", "x-org", "content-type", "user-agent"].map(|name| request.head.get(name).unwrap_or("-"));
    let agent = concat!("greenroom/", env!("CARGO_PKG_VERSION"));
    assert_eq!(head, ["Bearer key-of-collector", "key-of-org", "application/json", agent]);
    assert!(request.head.line.starts_with("POST /v1/traces "), "{:?}", request.head);
    assert!(
        request.text().contains(r#"{"key":"service.name","value":{"stringValue":"my-llm"}}"#),
        "{}",
        request.text()
    );
    let sent = collector.seen(|seen| seen.requests.iter().map(Received::text).collect::<String>());
    let page = proxy.get("/metrics").await.text();
    let line = proxy.logged(&["\"trace_id\":\"", &spans[0].member("traceId")]).await;
    assert!(line.contains("greenroom::request"), "{line}");
    for secret in ["key-of", "text-of", TOKEN] {
        for (what, text) in [("spans", &sent), ("log", &proxy.log()), ("metrics", &page)] {
            assert!(!text.contains(secret), "{secret} in the {what}");
        }
    }
}

#[tokio::test]
async fn the_log_names_the_trace_of_a_request_that_is_refused_at_once_too() {
    let (upstream, collector) = (Upstream::saying("hi").await, willing().await);
    let settings = traced(Settings::new().backend("one", upstream.addr), &collector);
    let proxy = Launch::new(&settings).env("GREENROOM_LOG_FORMAT", "json").start().await;
    assert_eq!(proxy.ask(&Ask::chat("{").bearer("nobodys").header("traceparent", PARENT)).await.status(), 401);
    assert_eq!(proxy.ask(&traced_ask("{", PARENT)).await.status(), 400);
    let trace = "\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"";
    proxy.logged(&["greenroom::request", "\"status\":400", trace]).await;
    assert_eq!(proxy.log().matches(trace).count(), 1, "nothing is told of a stranger's: {}", proxy.log());
}

#[tokio::test]
async fn spans_of_many_requests_go_out_together() {
    let (upstream, collector) = (Upstream::saying("hi").await, willing().await);
    let settings = Settings::new().backend("one", upstream.addr);
    let proxy = Proxy::start(&traced_to(settings, collector.addr, "flush_every = \"1h\"\nbatch = 10")).await;
    for n in 0..9 {
        assert_eq!(proxy.hello().await.status(), 200);
        if n == 4 {
            eventually("one batch", async || (collector.asked() == 1).then_some(())).await;
        }
    }
    assert_eq!(collector.seen(|seen| spans_of(&seen.requests[0]).len()), 10, "and no whole batch is left");
    assert_eq!(collector.asked(), 1);
}
