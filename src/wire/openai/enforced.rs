//! Owns knowing which JSON schemas OpenAI would enforce rather than refuse.

use std::collections::HashSet;

use serde_json::Value;

use super::super::json::list;

/// Keywords of the schemas that OpenAI enforces (its guide to structured outputs, "Supported schemas"); others are refused
/// (567-labs/instructor#961, jina-ai/node-DeepResearch#79).
const ENFORCED: [&str; 21] = [
    "$schema",
    "$defs",
    "definitions",
    "title",
    "description",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "enum",
    "const",
    "pattern",
    "multipleOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
];
/// The values of `format` among them.
const FORMATS: [&str; 9] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// Whether OpenAI would enforce a schema rather than refuse it: an object, with every object in it closed and all of its
/// members required.
pub(crate) fn is_enforceable(schema: &Value) -> bool {
    is_object(schema) && schema.get("anyOf").is_none() && fits(schema)
}

fn is_object(schema: &Value) -> bool {
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().any(|kind| kind == "object"),
        Some(kind) => kind == "object",
        None => schema.get("properties").is_some(),
    }
}

fn fits(schema: &Value) -> bool {
    let Some(map) = schema.as_object() else { return false };
    if map.contains_key("$ref") {
        return map.len() == 1;
    }
    let known = |(key, value): (&String, &Value)| match key.as_str() {
        "format" => value.as_str().is_some_and(|format| FORMATS.contains(&format)),
        key => ENFORCED.contains(&key),
    };
    let typed = map.contains_key("type") || map.contains_key("anyOf");
    let members = |key: &str| map.get(key).and_then(Value::as_object).into_iter().flatten();
    let required: HashSet<&str> = list(schema, "required").iter().filter_map(Value::as_str).collect();
    let closed = !is_object(schema)
        || (schema.get("additionalProperties") == Some(&Value::Bool(false))
            && schema.get("properties").is_some_and(Value::is_object)
            && members("properties").all(|(name, _)| required.contains(name.as_str())));
    let itemised = map.get("type").is_none_or(|kind| kind != "array") || map.contains_key("items");
    let inner = ["properties", "$defs", "definitions"].into_iter().flat_map(members).map(|(_, inner)| inner);
    let mut inner = inner.chain(map.get("items")).chain(list(schema, "anyOf"));
    typed && closed && itemised && map.iter().all(known) && inner.all(fits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_enforceable_where_all_its_objects_are_closed_and_complete() {
        let inner = json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false});
        let good = json!({"type": "object", "required": ["a", "b"], "additionalProperties": false, "properties": {
            "a": {"type": ["string", "null"], "format": "email"}, "b": {"type": "array", "items": {"anyOf": [inner,
                {"$ref": "#/$defs/c"}]}}}, "$defs": {"c": {"type": "string", "enum": ["x"]}}});
        assert!(is_enforceable(&good));
        for (at, value) in [
            ("/required", json!(["a"])),
            ("/additionalProperties", json!(true)),
            ("/type", json!("string")),
            ("/properties/a/format", json!("uri")),
            ("/properties/a", json!({"type": "string", "default": ""})),
            ("/properties/a", json!({"description": "of any kind"})),
            ("/properties/a", json!(true)),
            ("/properties/b/items/anyOf/0/additionalProperties", json!({})),
            ("/properties/b", json!({"type": "array"})),
            (
                "/$defs/c",
                json!({"type": "object", "properties": {"d": {"type": "string"}}, "additionalProperties": false}),
            ),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(at).expect("a place") = value;
            assert!(!is_enforceable(&bad), "{at}");
        }
        assert!(!is_enforceable(&json!({"anyOf": [good]})));
    }
}
