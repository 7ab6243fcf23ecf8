//! Owns the cases of schemas that Anthropic is asked to enforce: on tools, on the answer, and where it cannot.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::support;
use crate::wire::{Protocol, schema, translate::Dialect};

fn sent(from: Dialect, model: &str, body: &Value) -> (Value, Vec<String>) {
    support::sent(from, (Protocol::Anthropic, model), body)
}

/// A chat request with tools of these parameters, all strict.
fn tools(parameters: &[Value]) -> Value {
    let tools = parameters.iter().enumerate().map(|(n, parameters)| {
        let function = json!({"name": format!("f{n}"), "parameters": parameters, "strict": true});
        json!({"type": "function", "function": function})
    });
    json!({"messages": [{"role": "user", "content": "q"}], "tools": tools.collect::<Vec<_>>()})
}

/// Parameters of which some may be left out and some may be null.
fn parameters(optional: usize, nullable: usize) -> Value {
    let optional = (0..optional).map(|n| (format!("o{n}"), json!({"type": "string"})));
    let nullable: Vec<_> = (0..nullable).map(|n| (format!("n{n}"), json!({"type": ["string", "null"]}))).collect();
    let required: Vec<&String> = nullable.iter().map(|(name, _)| name).collect();
    let required = json!(required);
    let members: serde_json::Map<_, _> = optional.chain(nullable).collect();
    json!({"type": "object", "properties": members, "required": required})
}

fn strict(body: &Value) -> Vec<bool> {
    body["tools"].as_array().expect("tools").iter().map(|tool| tool["strict"] == true).collect()
}

#[test]
fn a_strict_tool_is_strict_for_claudes_that_hold_to_schemas() {
    let given = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"],
        "additionalProperties": false});
    let responses =
        json!({"input": "q", "tools": [{"type": "function", "name": "f0", "parameters": given, "strict": true}]});
    for (dialect, body) in [(Dialect::Chat, tools(std::slice::from_ref(&given))), (Dialect::Responses, responses)] {
        let (out, dropped) = sent(dialect, "claude-sonnet-4-5", &body);
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "description": "(minimum: 1)"}},
            "required": ["a"], "additionalProperties": false});
        assert_eq!(out["tools"][0], json!({"name": "f0", "input_schema": schema, "strict": true}));
        assert_eq!(dropped, Vec::<String>::new());
        for model in ["claude-sonnet-4-20250514", "house-model"] {
            let (out, dropped) = sent(dialect, model, &body);
            assert_eq!(out["tools"][0], json!({"name": "f0", "input_schema": given}));
            assert_eq!(dropped, ["tools[].strict"]);
        }
    }
}

#[test]
fn what_anthropic_would_refuse_to_enforce_is_left_to_the_model() {
    let map =
        json!({"type": "object", "properties": {"m": {"type": "object", "additionalProperties": {"type": "string"}}}});
    let plain = parameters(0, 0);
    let many = vec![parameters(1, 0); 21];
    for (given, want) in [
        (vec![map.clone(), parameters(1, 1)], vec![false, true]),
        (vec![parameters(20, 0), parameters(5, 0), parameters(4, 0)], vec![true, false, true]),
        (vec![parameters(0, 17), parameters(0, 16)], vec![false, true]),
        (many, [vec![true; 20], vec![false]].concat()),
        // Without members it may be anything.
        (vec![plain], vec![false]),
    ] {
        let (out, dropped) = sent(Dialect::Chat, "claude-sonnet-4-5", &tools(&given));
        assert_eq!(strict(&out), want);
        assert_eq!(dropped, ["tools[].strict"]);
    }
    let (out, _) = sent(Dialect::Chat, "claude-sonnet-4-5", &tools(std::slice::from_ref(&map)));
    assert_eq!(out["tools"][0]["input_schema"], map, "what is not enforced stays as it was");
}

#[test]
fn an_answers_schema_that_cannot_be_enforced_is_told_in_words() {
    let format = |schema: &Value| {
        json!({"messages": [{"role": "user", "content": "q"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}})
    };
    let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    for schema in [map, parameters(25, 0)] {
        let (out, _) = sent(Dialect::Chat, "claude-sonnet-4-5", &format(&schema));
        assert_eq!(out.get("output_config"), None);
        assert!(out["system"][0]["text"].as_str().is_some_and(|text| text.ends_with(&schema.to_string())), "{out}");
    }
    let (out, _) = sent(Dialect::Chat, "claude-sonnet-4-5", &format(&parameters(24, 0)));
    assert_eq!(out["output_config"]["format"]["schema"]["additionalProperties"], false);
    assert_eq!(out.get("system"), None);
}

#[test]
fn a_format_told_in_words_leaves_room_for_calls_where_tools_are_offered() {
    let json = json!({"type": "json_object"});
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": parameters(25, 0)}});
    for (model, format) in [("claude-sonnet-4-5", &json), ("claude-sonnet-4-5", &schema), ("gemini-2.5-pro", &json)] {
        let protocol = if model.starts_with("claude") { Protocol::Anthropic } else { Protocol::Gemini };
        let told = |more: Value| {
            let mut body = json!({"messages": [{"role": "user", "content": "q"}], "response_format": format});
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            support::sent(Dialect::Chat, (protocol, model), &body).0.to_string()
        };
        let tools = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
        let beside = told(tools);
        assert!(beside.contains("When you answer without calling a function, answer with one JSON"), "{beside}");
        if protocol == Protocol::Anthropic {
            let alone = told(json!({}));
            assert!(alone.contains("\"Answer with one JSON") && !alone.contains("calling"), "{alone}");
        }
    }
}

#[test]
fn a_strict_tool_is_an_object_at_its_root_or_is_not_strict() {
    let object = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
        "additionalProperties": false});
    let by_name = |beside: &str| json!({"type": "object", "$ref": "#/$defs/N", "$defs": {"N": object}, beside: "d"});
    let either = json!({"type": "object", "anyOf": [object, object]});
    let itself = json!({"type": "object", "$ref": "#/$defs/N", "$defs": {"N": {"type": "object",
        "properties": {"next": {"$ref": "#/$defs/N"}}, "additionalProperties": false}}});
    let given = [either.clone(), by_name("description"), by_name("minProperties"), itself, object.clone()];
    let (out, dropped) = sent(Dialect::Chat, "claude-sonnet-4-5", &tools(&given));
    assert_eq!(strict(&out), [false, true, false, false, true]);
    assert_eq!(dropped, ["tools[].strict"]);
    let schema = |at: usize| &out["tools"][at]["input_schema"];
    assert_eq!(schema(0), &either, "what is not enforced stays as it was");
    assert_eq!((&schema(1)["type"], &schema(1)["properties"]), (&json!("object"), &object["properties"]));
    assert_eq!((&schema(1)["description"], schema(1).get("$ref")), (&json!("d"), None));
    let unions = vec![json!({"type": "object", "anyOf": [object]}); 17];
    let (out, _) = sent(Dialect::Chat, "claude-sonnet-4-5", &tools(&[&unions[..], &[parameters(0, 16)]].concat()));
    assert_eq!(strict(&out).last(), Some(&true), "what is not enforced counts nothing");
}

#[test]
fn an_answers_schema_is_told_in_words_behind_a_beginning() {
    let body = |last: Value| {
        json!({"messages": [{"role": "user", "content": "q"}, last], "response_format":
            {"type": "json_schema", "json_schema": {"name": "n", "schema": parameters(1, 0)}}})
    };
    let ask = |last| sent(Dialect::Chat, "claude-sonnet-4-5", &body(last)).0;
    let begun = ask(json!({"role": "assistant", "content": "{"}));
    assert_eq!(begun["messages"][1]["role"], "assistant");
    assert_eq!(begun.get("output_config"), None);
    assert!(begun["system"][0]["text"].as_str().is_some_and(|text| text.contains("JSON schema")), "{begun}");
    let asked = ask(json!({"role": "user", "content": "r"}));
    assert!(asked["output_config"]["format"].is_object(), "{asked}");
}

#[test]
fn a_large_schema_is_not_copied_at_each_of_its_levels() {
    let words: Vec<String> = (0..50_000).map(|n| n.to_string()).collect();
    let flat = json!({"type": "string", "enum": words});
    let deep = (0..100).fold(flat.clone(), |inner, _| json!({"type": "array", "items": inner}));
    let [flat, deep] = [flat, deep].map(|schema| {
        let asked = Instant::now();
        assert!(schema::fitted(&schema).is_some());
        asked.elapsed()
    });
    assert!(deep < flat * 20 + Duration::from_millis(100), "{deep:?} {flat:?}");
}
