//! Owns fitting JSON schemas to providers that enforce a part of the language only.

use serde_json::{Value, json};

/// Constraints that Anthropic's structured outputs refuse; they go into the description instead.
const UNENFORCED: [&str; 12] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "pattern",
];

/// Closes every object to unnamed members and moves what is not enforced into descriptions.
pub(crate) fn closed(schema: &Value) -> Value {
    let Some(map) = schema.as_object() else { return schema.clone() };
    let mut out = map.clone();
    let mut remarks = Vec::new();
    for key in UNENFORCED {
        if let Some(value) = out.shift_remove(key) {
            remarks.push(format!("{key}: {value}"));
        }
    }
    if out.get("minItems").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        remarks.extend(out.shift_remove("minItems").map(|n| format!("minItems: {n}")));
    }
    for key in ["items", "not"] {
        if let Some(inner) = out.get_mut(key) {
            *inner = closed(inner);
        }
    }
    for key in ["properties", "$defs", "definitions"] {
        for (_, inner) in out.get_mut(key).and_then(Value::as_object_mut).into_iter().flatten() {
            *inner = closed(inner);
        }
    }
    for key in ["anyOf", "allOf", "oneOf"] {
        for inner in out.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            *inner = closed(inner);
        }
    }
    if let Some(one) = out.shift_remove("oneOf") {
        out.insert("anyOf".into(), one);
    }
    if out.get("type").is_some_and(|t| t == "object") || out.contains_key("properties") {
        out.insert("additionalProperties".into(), json!(false));
    }
    if !remarks.is_empty() {
        let before = out.get("description").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{before} ({})", remarks.join(", "));
        out.insert("description".into(), text.trim().into());
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_and_limits_become_words() {
        let schema = json!({"type": "object", "properties": {"age": {"type": "integer", "minimum": 3}}});
        let closed = closed(&schema);
        assert_eq!(closed["additionalProperties"], false);
        assert_eq!(closed["properties"]["age"], json!({"type": "integer", "description": "(minimum: 3)"}));
    }
}
