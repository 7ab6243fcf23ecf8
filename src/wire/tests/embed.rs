//! Cases of embedding at Gemini's protocol, and what holds for every vector.

use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::{context, target};
use crate::wire::{
    Malformed, Observed, Protocol, Usage,
    embed::{asked, reply, request},
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

/// What an answer to such a request tells.
fn told(asks: &Value, answer: &str) -> Result<(Vec<u8>, Observed<'static>), Malformed> {
    reply(answer.as_bytes(), &ReplyContext { asked: asked(asks.to_string().as_bytes()), ..context() })
}

/// Its bytes as text.
fn text(asks: &Value, answer: &str) -> String {
    String::from_utf8(told(asks, answer).expect("an answer").0).expect("UTF-8")
}

#[test]
fn what_is_counted_is_told_where_nothing_is_clients_hear_of_none_and_what_cannot_be_an_answer_is_none() {
    let (one, two) = (json!({"input": "a"}), json!({"input": ["a", "b"]}));
    let answer = r#"{"embeddings":[{"values":[-0.0060224268,1]},{"values":[0]}],"usageMetadata":{"promptTokenCount":4,"promptTokenDetails":[]}}"#;
    let (written, seen) = told(&two, answer).expect("an answer");
    let want = json!({"object": "list", "model": "m", "usage": {"prompt_tokens": 4, "total_tokens": 4}, "data": [
        {"object": "embedding", "index": 0, "embedding": [-0.006_022_426_8, 1]},
        {"object": "embedding", "index": 1, "embedding": [0]}]});
    assert_eq!(serde_json::from_slice::<Value>(&written).expect("JSON"), want);
    assert_eq!(seen.usage, Some(Usage { input: 4, ..Usage::default() }));
    for counts in ["", r#","usageMetadata":null"#, r#","usageMetadata":{}"#, r#","error":null"#] {
        let (written, seen) =
            told(&one, &format!(r#"{{"embeddings":[{{"values":[1]}}]{counts}}}"#)).expect("an answer");
        let written: Value = serde_json::from_slice(&written).expect("JSON");
        let none = json!({"prompt_tokens": 0, "total_tokens": 0});
        assert_eq!((&written["usage"], seen.usage, seen.fault), (&none, None, None), "{counts}");
    }
    let error = r#"{"error":{"code":429,"message":"Slow.","status":"RESOURCE_EXHAUSTED"}}"#;
    let error = told(&one, error).expect("an error");
    assert_eq!((error.0, error.1.fault.and_then(|fault| fault.status)), (Vec::new(), Some(429)));
    for stray in ["", "{}", "[]", r#"{"stray":1}"#, r#"{"embeddings":[1]}"#, r#"{"embeddings":[{}]}"#] {
        assert!(told(&one, stray).is_err(), "{stray}");
    }
}

#[test]
fn an_answer_with_fewer_or_more_vectors_than_texts_or_with_one_of_nothing_is_none() {
    let list = |vectors: &[&str]| {
        let each: Vec<String> = vectors.iter().map(|vector| format!(r#"{{"values":{vector}}}"#)).collect();
        format!(r#"{{"embeddings":[{}]}}"#, each.join(","))
    };
    for (input, texts) in [(json!("a"), 1), (json!(["a"]), 1), (json!(["a", "b", "c"]), 3)] {
        for n in 0..5 {
            let answer = list(&vec!["[1]"; n]);
            assert_eq!(told(&json!({"input": input}), &answer).is_ok(), n == texts, "{input}: {answer}");
        }
    }
    for format in ["float", "base64"] {
        let asks = json!({"input": ["a", "b"], "encoding_format": format});
        for none in ["[]", "[ ]", "[\n]", "null", "{}", "1", r#""1""#, r#"["a"]"#, "[[1]]", "[1,null]", "[true]"] {
            assert!(told(&asks, &list(&["[1]", none])).is_err(), "{format}: {none}");
        }
    }
}

#[test]
fn numbers_reach_the_client_in_the_digits_that_they_came_in() {
    let vector = "[0.30000000000000004441, -1.7976931348623157e+308,\n 5E-324, 0.010000000000000000208]";
    let answer = format!(r#"{{"embeddings":[{{"values": {vector} }}]}}"#);
    let written = text(&json!({"input": "a"}), &answer);
    assert!(written.contains(&format!(r#""embedding":{vector}"#)), "{written}");
}

#[test]
fn vectors_are_packed_where_the_request_says_so_and_nowhere_else() {
    for (body, want) in [
        (r#"{"encoding_format":"base64","input":"a"}"#, true),
        (r#"{"encoding_format":"base\u00364","input":["a"]}"#, true),
        (r#"{"encoding_format":"float","input":"a"}"#, false),
        (r#"{"encoding_format":null,"input":"base64"}"#, false),
        (r#"{"input":["encoding_format \ud800"],"user":"base64"}"#, false),
    ] {
        let context = ReplyContext { asked: asked(body.as_bytes()), ..context() };
        let (written, _) = reply(br#"{"embeddings":[{"values":[ 1 ,-5e-1]}]}"#, &context).expect("an answer");
        let written: Value = serde_json::from_slice(&written).expect("JSON");
        let want = if want { json!("AACAPwAAAL8=") } else { json!([1, -0.5]) };
        assert_eq!(written["data"][0]["embedding"], want, "{body}");
    }
}

proptest! {
    #[test]
    fn every_vector_comes_back_bit_by_bit_packed_or_not(
        vectors in proptest::collection::vec(proptest::collection::vec(-1e30_f32..1e30, 1..40), 0..5),
    ) {
        let values: Vec<Value> = vectors.iter().map(|values| json!({"values": values})).collect();
        let body = json!({"embeddings": values}).to_string();
        let texts = vec!["a"; vectors.len()];
        for (packed, format) in [(false, "float"), (true, "base64")] {
            let written = text(&json!({"input": texts, "encoding_format": format}), &body);
            let written: Value = serde_json::from_str(&written).expect("JSON");
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
