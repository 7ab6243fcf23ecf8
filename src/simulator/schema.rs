//! The smallest sensible JSON value that fits a JSON schema, for tool arguments and JSON answers.

use serde_json::{Map, Value, json};

/// Below this depth only what is required is filled in, and at twice it nothing: a recursive schema has no bottom.
const DEEP: usize = 6;

/// A value for a schema. What it cannot express (patterns, `not`) is passed over.
pub(super) fn sample(schema: &Value) -> Value {
    fill(schema, schema, 0)
}

fn fill(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > 2 * DEEP {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, |found| fill(found, root, depth + 1));
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    for union in ["anyOf", "oneOf", "allOf"] {
        if let Some(choices) = schema.get(union).and_then(Value::as_array)
            && let Some(choice) = choices.iter().find(|choice| kind(choice) != "null")
        {
            return fill(choice, root, depth + 1);
        }
    }
    match kind(schema).as_str() {
        "string" => Value::String(string(schema)),
        "integer" | "number" => number(schema),
        "boolean" => Value::Bool(true),
        "null" => Value::Null,
        "array" => array(schema, root, depth),
        _ => object(schema, root, depth),
    }
}

/// The type in lower case (Gemini writes `STRING`), the first that is not null of several, or a guess from the keys.
fn kind(schema: &Value) -> String {
    let named = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        Some(kind) => kind.as_str(),
        None if schema.get("items").is_some() => Some("array"),
        None => None,
    };
    named.unwrap_or("object").to_ascii_lowercase()
}

fn count(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key).and_then(Value::as_u64).map(|count| (count as usize).min(1000))
}

fn string(schema: &Value) -> String {
    let text = match schema.get("format").and_then(Value::as_str) {
        Some("date") => "2025-01-31",
        Some("date-time") => "2025-01-31T12:00:00Z",
        Some("time") => "12:00:00Z",
        Some("email") => "someone@example.com",
        Some("uri") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => "example",
    };
    let least = count(schema, "minLength").unwrap_or(0);
    let most = count(schema, "maxLength").unwrap_or(usize::MAX);
    let padding = std::iter::repeat_n('x', least.saturating_sub(text.len()));
    text.chars().chain(padding).take(most).collect()
}

fn number(schema: &Value) -> Value {
    if let Some(least) = schema.get("minimum") {
        return least.clone();
    }
    if let Some(least) = schema.get("exclusiveMinimum").and_then(Value::as_i64) {
        return json!(least.saturating_add(1));
    }
    match schema.get("maximum") {
        Some(most) if most.as_f64().is_some_and(|most| most < 1.0) => most.clone(),
        _ => json!(1),
    }
}

fn array(schema: &Value, root: &Value, depth: usize) -> Value {
    let least = count(schema, "minItems").unwrap_or(0);
    let length = if depth > DEEP { least } else { least.max(1).min(count(schema, "maxItems").unwrap_or(1000)) };
    match schema.get("items") {
        Some(items) => Value::Array(vec![fill(items, root, depth + 1); length]),
        None => Value::Array(Vec::new()),
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut filled = Map::new();
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if depth <= DEEP || required.contains(&name.as_str()) {
            filled.insert(name.clone(), fill(property, root, depth + 1));
        }
    }
    Value::Object(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_gets_a_value_of_its_type() {
        let schema = json!({"type": "object", "properties": {
            "city": {"type": "string"}, "unit": {"enum": ["C", "F"]}, "days": {"type": ["null", "integer"], "minimum": 3},
            "tags": {"type": "ARRAY", "items": {"$ref": "#/$defs/tag"}},
        }, "$defs": {"tag": {"type": "string", "maxLength": 2}}});
        assert_eq!(sample(&schema), json!({"city": "example", "unit": "C", "days": 3, "tags": ["ex"]}));
    }

    #[test]
    fn a_recursive_schema_comes_to_an_end() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]});
        assert!(sample(&schema)["next"]["next"].is_object());
    }
}
