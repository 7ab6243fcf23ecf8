//! Cases of embedding at Gemini's protocol, and what holds for every vector.

use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{context, target};
use crate::wire::{
    Protocol, Usage,
    embed::{reply, request, wants_packed},
    translate::{Dialect, Refused, ReplyContext, Target},
};

fn to() -> Target<'static> {
    target(Protocol::Gemini, "gemini-embedding-2")
}

/// What is sent, and what was left out.
fn sent(body: &Value) -> (Value, Vec<String>) {
    let made = request(body.to_string().as_bytes(), &to()).expect("a request");
    (serde_json::from_slice(&made.body).expect("JSON"), made.dropped)
}

/// The member at fault, the code, and whether another backend may do better.
fn refused(body: &Value, target: &Target<'_>) -> (String, String, bool) {
    let why = request(body.to_string().as_bytes(), target).expect_err("refused");
    let code = why.code(Dialect::Chat).to_owned();
    let (param, elsewhere) = match why {
        Refused::Invalid { param, .. } => (param, false),
        Refused::Unsupported { param, .. } => (param, true),
    };
    (param.unwrap_or_default(), code, elsewhere)
}

#[test]
fn each_text_is_asked_for_as_google_documents_it() {
    let asked = json!({"model": "m", "backend": "b", "stream": false, "input": ["Some text", "é"], "dimensions": 256,
        "encoding_format": "base64", "task_type": "RETRIEVAL_QUERY", "user": null});
    let one = |text: &str| {
        json!({"model": "models/gemini-embedding-2", "content": {"parts": [{"text": text}]},
            "outputDimensionality": 256, "taskType": "RETRIEVAL_QUERY"})
    };
    assert_eq!(sent(&asked), (json!({"requests": [one("Some text"), one("é")]}), Vec::new()));
    // As it was recorded.
    let plain = json!({"requests": [
        {"model": "models/gemini-embedding-2", "content": {"parts": [{"text": "Some text goes here"}]}}]});
    assert_eq!(sent(&json!({"model": "m", "input": "Some text goes here"})).0, plain);
}

#[test]
fn what_has_no_place_there_is_left_out_or_refused_as_the_settings_want_and_tokens_are_for_others() {
    let asked = json!({"model": "m", "input": "a", "user": "u", "truncate": true});
    assert_eq!(sent(&asked).1, ["truncate", "user"]);
    let strict = Target { refuse_unsupported: true, ..to() };
    assert_eq!(refused(&asked, &strict), ("truncate".into(), "unsupported_parameter".into(), true));
    for tokens in [json!([1, 2]), json!([[1, 2], [3]])] {
        let face = refused(&json!({"model": "m", "input": tokens}), &to());
        assert_eq!(face, ("input".into(), "unsupported_parameter".into(), true));
    }
    for (member, value) in [
        ("input", json!({})),
        ("input", json!(["a", null])),
        ("dimensions", json!("many")),
        ("encoding_format", json!("hex")),
        ("encoding_format", json!(7)),
        ("task_type", json!([])),
    ] {
        let mut body = json!({"model": "m", "input": "a"});
        body[member] = value;
        assert_eq!(refused(&body, &to()), (member.into(), "invalid_value".into(), false), "{body}");
    }
}

#[test]
fn what_is_counted_is_told_and_what_cannot_be_an_answer_is_none() {
    let told = |answer: &str| reply(answer.as_bytes(), &context());
    let (written, seen) = told(
        r#"{"embeddings":[{"values":[-0.0060224268,1]},{"values":[]}],"usageMetadata":{"promptTokenCount":4,"promptTokenDetails":[]}}"#,
    )
    .expect("an answer");
    let want = json!({"object": "list", "model": "m", "usage": {"prompt_tokens": 4, "total_tokens": 4}, "data": [
        {"object": "embedding", "index": 0, "embedding": [-0.006_022_426_8, 1.0]},
        {"object": "embedding", "index": 1, "embedding": []}]});
    assert_eq!(serde_json::from_slice::<Value>(&written).expect("JSON"), want);
    assert_eq!(seen.usage, Some(Usage { input: 4, ..Usage::default() }));
    for counts in ["", r#","usageMetadata":null"#, r#","usageMetadata":{}"#, r#","error":null"#] {
        let (written, seen) = told(&format!(r#"{{"embeddings":[]{counts}}}"#)).expect("an answer");
        let written: Value = serde_json::from_slice(&written).expect("JSON");
        assert_eq!((written.get("usage"), seen.usage, seen.fault), (None, None, None), "{counts}");
    }
    let error = told(r#"{"error":{"code":429,"message":"Slow.","status":"RESOURCE_EXHAUSTED"}}"#).expect("an error");
    assert_eq!((error.0, error.1.fault.and_then(|fault| fault.status)), (Vec::new(), Some(429)));
    for stray in ["", "{}", "[]", r#"{"stray":1}"#, r#"{"embeddings":[1]}"#, r#"{"embeddings":[{"values":["a"]}]}"#] {
        assert!(told(stray).is_err(), "{stray}");
    }
}

#[test]
fn vectors_are_packed_where_the_request_says_so_and_nowhere_else() {
    for (body, want) in [
        (r#"{"encoding_format":"base64"}"#, true),
        (r#"{"encoding_format":"base\u00364","input":["a"]}"#, true),
        (r#"{"encoding_format":"float"}"#, false),
        (r#"{"encoding_format":null,"input":"base64"}"#, false),
        (r#"{"input":["encoding_format","base64"]}"#, false),
    ] {
        assert_eq!(wants_packed(body.as_bytes()), want, "{body}");
    }
}

proptest! {
    #[test]
    fn every_vector_comes_back_bit_by_bit_packed_or_not(
        vectors in proptest::collection::vec(proptest::collection::vec(-1e30_f32..1e30, 0..40), 0..5),
    ) {
        let values: Vec<Value> = vectors.iter().map(|values| json!({"values": values})).collect();
        let body = json!({"embeddings": values}).to_string();
        for packed in [false, true] {
            let (written, _) = reply(body.as_bytes(), &ReplyContext { packed, ..context() }).expect("an answer");
            let written: Value = serde_json::from_slice(&written).expect("JSON");
            let data = written["data"].as_array().expect("a list");
            prop_assert_eq!(data.len(), vectors.len());
            for (one, want) in data.iter().zip(&vectors) {
                let bits: Vec<u32> = if let Some(text) = one["embedding"].as_str() {
                    let bytes = BASE64_STANDARD.decode(text).expect("base64");
                    bytes.chunks(4).map(|four| u32::from_le_bytes(four.try_into().expect("four bytes"))).collect()
                } else {
                    let list = one["embedding"].as_array().expect("numbers");
                    list.iter().map(|n| (n.as_f64().expect("a number") as f32).to_bits()).collect()
                };
                prop_assert_eq!(one["embedding"].is_string(), packed);
                prop_assert_eq!(bits, want.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
            }
        }
    }
}
