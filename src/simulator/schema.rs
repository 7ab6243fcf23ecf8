//! The smallest sensible JSON value that fits a JSON schema, for tool arguments and JSON answers.

use serde_json::{Map, Value, json};

/// Below this depth only what is required is filled in, and at twice it nothing: a recursive schema has no bottom.
const DEEP: usize = 6;

/// How many values one sample has at most: schemas that branch as they recurse would grow without end.
const MOST_VALUES: usize = 2000;

/// A value for a schema. What it cannot express (patterns, `not`) is passed over.
pub(super) fn sample(schema: &Value) -> Value {
    Filler { root: schema, left: MOST_VALUES }.fill(schema, 0)
}

struct Filler<'a> {
    root: &'a Value,
    left: usize,
}

impl Filler<'_> {
    fn fill(&mut self, schema: &Value, depth: usize) -> Value {
        // Nulls count as well, so that what is left out cannot add up either.
        self.left = self.left.saturating_sub(1);
        if depth > 2 * DEEP || self.left == 0 {
            return Value::Null;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let found = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(Value::Null, |found| self.fill(found, depth + 1));
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
                return self.fill(choice, depth + 1);
            }
        }
        match kind(schema).as_str() {
            "string" => Value::String(string(schema)),
            "integer" | "number" => number(schema),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            "array" => self.array(schema, depth),
            _ => self.object(schema, depth),
        }
    }

    fn array(&mut self, schema: &Value, depth: usize) -> Value {
        let least = count(schema, "minItems").unwrap_or(0);
        let most = count(schema, "maxItems").unwrap_or(1);
        let length = if depth > DEEP { least } else { least.max(most.min(1)) };
        let items = schema.get("items");
        let mut filled = Vec::new();
        while let Some(items) = items
            && filled.len() < length
            && self.left > 0
        {
            filled.push(self.fill(items, depth + 1));
        }
        Value::Array(filled)
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut filled = Map::new();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if self.left > 0 && (depth <= DEEP || required.contains(&name.as_str())) {
                filled.insert(name.clone(), self.fill(property, depth + 1));
            }
        }
        Value::Object(filled)
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

    #[test]
    fn a_schema_that_branches_as_it_recurses_stays_small() {
        let many: Map<String, Value> = (0..9).map(|at| (format!("p{at}"), json!({"$ref": "#"}))).collect();
        let schema = json!({"properties": many, "required": many.keys().collect::<Vec<_>>()});
        assert!(sample(&schema).to_string().len() < 100 * MOST_VALUES);
        let nested = json!({"type": "array", "minItems": 1000, "items": {"$ref": "#"}});
        assert!(sample(&nested).to_string().len() < 1_000_000);
    }
}
