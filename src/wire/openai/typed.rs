//! Owns adding the types of values that a schema lists. OpenAI enforces no schema without them, and SDKs leave them
//! out.

use serde_json::{Value, json};

use super::super::members::Members;

/// The schema with a type wherever there are values and no type, if the values agree on one. It means what it meant.
pub(super) fn typed(schema: &Value) -> Value {
    let mut out = schema.clone();
    fill(&mut out);
    out
}

fn fill(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    let told = ["type", "anyOf", "$ref"].iter().any(|key| map.contains_key(*key));
    let values = match (map.get("enum"), map.get("const")) {
        _ if told => None,
        (Some(Value::Array(values)), _) => agreed(values),
        (None, Some(value)) => agreed(std::slice::from_ref(value)),
        _ => None,
    };
    map.set_some("type", values);
    for (key, inner) in map.iter_mut() {
        match (key.as_str(), inner) {
            ("properties" | "$defs" | "definitions", Value::Object(all)) => all.values_mut().for_each(fill),
            ("anyOf", Value::Array(all)) => all.iter_mut().for_each(fill),
            ("items", inner) => fill(inner),
            _ => {}
        }
    }
}

/// The one type of all values, null beside it.
fn agreed(values: &[Value]) -> Option<Value> {
    let mut kinds: Vec<&str> = values.iter().map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    match *kinds {
        ["array" | "object", ..] => None,
        ["integer", "number"] => Some("number".into()),
        [one] => Some(one.into()),
        ["null", other] | [other, "null"] => Some(json!([other, "null"])),
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_agree_tell_their_type() {
        for (given, want) in [
            (json!({"enum": ["a", "b"]}), json!("string")),
            (json!({"const": true}), json!("boolean")),
            (json!({"enum": [1, 2.5]}), json!("number")),
            (json!({"enum": [null, "a"]}), json!(["string", "null"])),
            (json!({"enum": ["a", 1]}), Value::Null),
            (json!({"enum": []}), Value::Null),
            (json!({"const": {}}), Value::Null),
            (json!({"enum": ["a"], "type": "number"}), json!("number")),
            (json!({"enum": ["a"], "anyOf": []}), Value::Null),
        ] {
            for outer in [
                json!({"properties": {"enum": given}}),
                json!({"items": given}),
                json!({"anyOf": [given]}),
                json!({"$defs": {"a": given}}),
            ] {
                let out = typed(&outer);
                let place = ["/properties/enum", "/items", "/anyOf/0", "/$defs/a"];
                let inner = place.iter().find_map(|place| out.pointer(place)).expect("what was given");
                assert_eq!(inner.get("type").unwrap_or(&Value::Null), &want, "{outer}");
            }
        }
        let values = json!({"enum": [{"enum": ["a"]}], "default": {"const": 1}});
        assert_eq!(typed(&values), values, "values are no schemas");
    }
}
