//! Tests of what a trace shows: spans made of stories, and the JSON that a collector reads.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Hop, Trace, feed::threshold, instance, otlp, span};
use crate::{
    error::Class,
    settings,
    telemetry::{
        counts::Counts,
        story::{AttemptNote, CANCELLED, LET_GO, RouteReason, SUCCESS, Story},
    },
    wire::{
        Usage,
        trace_context::{SpanId, TraceId},
    },
};

fn span_id(n: u64) -> SpanId {
    SpanId(NonZeroU64::new(n).expect("not 0"))
}

fn trace(parent: Option<u64>) -> Trace {
    let id = TraceId(1.try_into().expect("not 0"));
    let parent = parent.map(span_id);
    Trace { id, span: span_id(2), parent, sampled: true, operation: "chat", route: "/v1/chat/completions" }
}

fn small() -> settings::Settings {
    settings::parse("test", settings::SMALL).expect("good settings")
}

fn attempt(n: u64, outcome: &'static str, status: Option<u16>) -> AttemptNote {
    let backend = Arc::new(small().backends.remove("a").expect("its backend"));
    AttemptNote {
        backend: "a".into(),
        upstream_model: "theirs".into(),
        route: RouteReason::Failover,
        started: Duration::from_millis(10 * n),
        duration: Some(Duration::from_millis(5)),
        outcome: Some(outcome),
        status,
        message: Some("PROVIDER-WORDS".to_owned()),
        said: None,
        turned_away: false,
        cost: None,
        estimated: false,
        decision: None,
        hop: Some(Hop { span: span_id(100 + n), backend }),
    }
}

/// A stream that ended so.
fn story(status: u16, class: Option<Class>, attempts: Vec<AttemptNote>) -> Story {
    let user = Arc::new(small().users.remove("u").expect("its user"));
    let received = Duration::from_secs(1);
    let mut story = Story::begun("req_1".into(), user, "m".into(), "chat", None, true, received);
    story.trace = Some(trace(None));
    story.served_by = attempts.iter().position(|attempt| attempt.outcome == Some(SUCCESS));
    story.attempts = attempts.into();
    (story.status, story.class, story.message) = (status, class, Some("CLIENT-WORDS".to_owned()));
    story.ended = Some(Duration::from_millis(1040));
    story
}

/// The spans of a story as a collector reads them.
fn told(story: &Story) -> Vec<Value> {
    let (counts, mut spans) = (Counts::default(), Vec::new());
    let labels = counts.labels(story, |name| name == "m", |_| true);
    let wall = |at: Duration| 1_700_000_000_000_000_000 + at.as_nanos() as u64;
    let trace = story.trace.as_ref().expect("it has a trace");
    span::tell(story, trace, labels, &wall, |span| otlp::append(span, &mut spans));
    let body = otlp::Envelope::new("greenroom", "one").around([&*spans].into_iter());
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().expect("spans").clone()
}

fn attribute<'v>(span: &'v Value, key: &str) -> Option<&'v Value> {
    let all = span["attributes"].as_array().expect("attributes");
    all.iter().find(|attribute| attribute["key"] == key).map(|attribute| &attribute["value"])
}

#[test]
fn a_span_is_written_as_the_protocol_has_it() {
    let mut story = story(200, None, vec![attempt(0, SUCCESS, Some(200))]);
    story.first_token = Some(Duration::from_millis(4));
    story.usage = Some(Usage { input: 7, output: 3, cached: 2, ..Usage::default() });
    story.attempts[0].cost = Some(settings::Money(1_500));
    let spans = told(&story);
    let text = |text: &str| json!({"stringValue": text});
    assert_eq!(
        spans[1],
        json!({
            "traceId": "00000000000000000000000000000001",
            "spanId": "0000000000000064",
            "parentSpanId": "0000000000000002",
            "flags": 257,
            "name": "chat theirs",
            "kind": 3,
            "startTimeUnixNano": "1700000001000000000",
            "endTimeUnixNano": "1700000001005000000",
            "attributes": [
                {"key": "gen_ai.operation.name", "value": text("chat")},
                {"key": "gen_ai.provider.name", "value": text("openai")},
                {"key": "gen_ai.request.model", "value": text("theirs")},
                {"key": "gen_ai.request.stream", "value": {"boolValue": true}},
                {"key": "gen_ai.response.time_to_first_chunk", "value": {"doubleValue": 0.004}},
                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "7"}},
                {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "3"}},
                {"key": "gen_ai.usage.cache_read.input_tokens", "value": {"intValue": "2"}},
                {"key": "greenroom.cost_usd", "value": {"doubleValue": 0.000_001_5}},
                {"key": "server.address", "value": text("127.0.0.1")},
                {"key": "server.port", "value": {"intValue": "9"}},
                {"key": "http.response.status_code", "value": {"intValue": "200"}},
                {"key": "greenroom.attempt.outcome", "value": text("success")},
                {"key": "greenroom.attempt.number", "value": {"intValue": "1"}},
                {"key": "greenroom.backend.name", "value": text("a")},
                {"key": "greenroom.route.reason", "value": text("failover")},
                {"key": "greenroom.route.pinned", "value": {"boolValue": false}},
                {"key": "greenroom.request.model_alias", "value": text("m")},
            ],
        })
    );
    let own = &spans[0];
    assert_eq!((&own["name"], &own["kind"], &own["spanId"]), (&json!("chat m"), &json!(2), &json!("0000000000000002")));
    assert!(own.get("parentSpanId").is_none() && own.get("status").is_none(), "{own}");
    assert_eq!(own["endTimeUnixNano"], "1700000001040000000");
    let has = |key: &str, value: Value| assert_eq!(attribute(own, key), Some(&value), "{key}");
    has("greenroom.request.id", text("req_1"));
    has("greenroom.user.name", text("u"));
    has("http.route", text("/v1/chat/completions"));
    has("gen_ai.provider.name", text("openai"));
    has("gen_ai.response.time_to_first_chunk", json!({"doubleValue": 0.004}));
}

#[test]
fn the_envelope_tells_whose_spans_they_are() {
    let body = otlp::Envelope::new("my \"service\"", "one").around([&b"1,2"[..], b"3"].into_iter());
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let resource = &body["resourceSpans"][0]["resource"];
    let version = env!("CARGO_PKG_VERSION");
    for (key, value) in
        [("service.name", "my \"service\""), ("service.version", version), ("service.instance.id", "one")]
    {
        assert_eq!(attribute(resource, key), Some(&json!({"stringValue": value})), "{key}");
    }
    let scope = &body["resourceSpans"][0]["scopeSpans"][0];
    assert_eq!(*scope, json!({"scope": {"name": "greenroom", "version": version}, "spans": [1, 2, 3]}));
}

#[test]
fn only_what_a_server_is_to_be_blamed_for_is_an_error_of_the_request() {
    for (status, class, is_error) in [
        (200, None, false),
        (503, Some(Class::GatewayOverload), true),
        (502, Some(Class::ProviderServer), true),
        // The head was out when it broke off.
        (200, Some(Class::ProviderStreamCut), true),
        (200, Some(Class::CallerUnsupported), false),
        (400, Some(Class::CallerInvalid), false),
        (429, Some(Class::PolicyRatelimit), false),
        (499, Some(Class::CallerCancelled), false),
    ] {
        let own = told(&story(status, class, Vec::new())).remove(0);
        assert_eq!(own.get("status"), is_error.then_some(&json!({"code": 2})), "{status} {class:?}");
        let class = class.map(|class| json!({"stringValue": class.as_str()}));
        assert_eq!(attribute(&own, "error.type"), class.as_ref());
        assert_eq!(attribute(&own, "http.response.status_code").is_some(), status != 499, "{own}");
        assert!(attribute(&own, "greenroom.backend.name").is_none(), "{own}");
    }
}

#[test]
fn an_attempt_is_an_error_where_its_backend_failed() {
    let outcomes = [("provider_server", true), (LET_GO, false), (CANCELLED, false), (SUCCESS, false)];
    let attempts = outcomes.iter().zip(0..).map(|((outcome, _), n)| attempt(n, outcome, None)).collect();
    let mut story = story(200, None, attempts);
    story.usage = Some(Usage::default());
    let spans = told(&story);
    for (n, (span, (outcome, failed))) in spans[1..].iter().zip(outcomes).enumerate() {
        assert_eq!(span.get("status"), failed.then_some(&json!({"code": 2})), "{outcome}");
        let class = failed.then(|| json!({"stringValue": outcome}));
        for key in ["error.type", "greenroom.attempt.error_class"] {
            assert_eq!(attribute(span, key), class.as_ref(), "{outcome}");
        }
        assert_eq!(attribute(span, "greenroom.attempt.number"), Some(&json!({"intValue": (n + 1).to_string()})));
        assert_eq!(attribute(span, "gen_ai.usage.input_tokens").is_some(), outcome == SUCCESS, "{outcome}");
        assert_eq!(span["parentSpanId"], spans[0]["spanId"]);
    }
}

#[test]
fn no_words_of_clients_or_providers_are_in_a_span() {
    let mut story = story(502, Some(Class::ProviderServer), vec![attempt(0, "provider_server", Some(500))]);
    story.pin = Some("CLIENT-WORDS".into());
    story.attempts.clear();
    story.model = "CLIENT-WORDS".into();
    let mut spans = told(&story);
    story.model = "m".into();
    story.attempts = vec![attempt(0, "provider_server", Some(500))].into();
    spans.extend(told(&story));
    let text = serde_json::to_string(&spans).expect("JSON");
    assert!(!text.contains("-WORDS") && text.contains("\"chat other\""), "{text}");
}

#[test]
fn a_share_of_nothing_tells_none_and_a_share_of_all_tells_each() {
    let random = |n: u64| n & ((1 << 56) - 1);
    for n in [0, 1, u64::MAX, 1 << 55] {
        assert!(random(n) >= threshold(1.0) && random(n) < threshold(0.0), "{n}");
    }
    assert!(threshold(0.25) > threshold(0.5) && threshold(0.5) == 1 << 55);
}

#[test]
fn a_process_is_told_by_a_uuid() {
    let (one, other) = (instance(), instance());
    let shape: Vec<usize> = one.split('-').map(str::len).collect();
    assert!(shape == [8, 4, 4, 4, 12] && &one[14..15] == "4" && "89ab".contains(&one[19..20]), "{one}");
    assert_ne!(one, other);
}

proptest! {
    #[test]
    fn any_story_makes_spans_within_its_own_time(
        status in 100_u16..600, class in proptest::option::of(0..Class::ALL.len()), attempts in 0_u64..4, model in "\\PC{0,9}",
    ) {
        let class = class.map(|n| Class::ALL[n]);
        let attempts: Vec<_> = (0..attempts).map(|n| attempt(n, SUCCESS, None)).collect();
        let mut story = story(status, class, attempts);
        story.model = model.into();
        let spans = told(&story);
        prop_assert_eq!(spans.len(), 1 + story.attempts.len());
        let time = |span: &Value, key: &str| span[key].as_str().and_then(|text| text.parse::<u64>().ok());
        let [start, end] = ["startTimeUnixNano", "endTimeUnixNano"].map(|key| time(&spans[0], key));
        prop_assert!(start.is_some());
        for span in &spans {
            let [from, to] = ["startTimeUnixNano", "endTimeUnixNano"].map(|key| time(span, key));
            prop_assert!(start <= from && from <= to && to <= end, "{}", span);
        }
    }
}
