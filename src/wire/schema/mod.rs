//! Owns fitting JSON schemas to a provider that enforces only a part of the language, and refuses the rest.

mod references;

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::members::Members;

/// A schema in the part of the language that Anthropic's structured outputs take, and what counts against their limits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fitted {
    pub(crate) schema: Value,
    /// Members that may be left out.
    pub(crate) optional: usize,
    /// Places where there is more than one type.
    pub(crate) unions: usize,
}

/// Formats of strings that are enforced.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];
/// Keywords that say nothing of a value.
const SILENT: [&str; 3] = ["$schema", "$id", "$comment"];
/// Keywords that name a value without constraining it.
const WORDS: [&str; 2] = ["title", "description"];

/// Closes every object to unnamed members and moves what is not enforced into descriptions, as Anthropic's SDKs do. `None`
/// where the answer would be another one: a member of any type or of any name has no place in a closed schema, nor has one
/// that holds itself.
pub(crate) fn fitted(schema: &Value) -> Option<Fitted> {
    let mut out = Fitted { schema: Value::Null, optional: 0, unions: 0 };
    out.schema = fit(schema.clone(), &mut out)?;
    references::lead_on(&out.schema).then_some(out)
}

fn fit(schema: Value, count: &mut Fitted) -> Option<Value> {
    let Value::Object(mut rest) = schema else { return None };
    let mut out = Map::new();
    for key in ["$defs", "definitions"] {
        if let Some(Value::Object(parts)) = rest.shift_remove(key) {
            out.set(key, each(parts, count)?);
        }
    }
    rest.retain(|key, _| !SILENT.contains(&key.as_str()));
    if let Some(place) = rest.shift_remove("$ref") {
        // Another document's is not taken, and nothing is read beside one.
        place.as_str().filter(|place| place.starts_with("#/"))?;
        out.set("$ref", place);
        return Some(Value::Object(out));
    }
    if let Some(all) = rest.shift_remove("allOf") {
        let Value::Object(fitted) = fit(alone(all, rest)?, count)? else { return None };
        out.extend(fitted);
        return Some(Value::Object(out));
    }
    let either = rest.shift_remove("anyOf").or_else(|| rest.shift_remove("oneOf"));
    if let Some(Value::Array(variants)) = either {
        // What stands beside would have to be said of each.
        let beside = ["properties", "items", "required", "enum", "const", "oneOf", "additionalProperties"];
        if beside.iter().any(|key| rest.contains_key(*key)) {
            return None;
        }
        rest.shift_remove("type");
        count.unions += 1;
        let variants: Option<Vec<Value>> = variants.into_iter().map(|variant| fit(variant, count)).collect();
        out.set("anyOf", variants?);
    } else {
        typed(&mut rest, &mut out, count)?;
    }
    for key in WORDS {
        out.set_some(key, rest.shift_remove(key).filter(Value::is_string));
    }
    if !rest.is_empty() {
        let remarks: Vec<String> = rest.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        let before = out.get("description").and_then(Value::as_str).unwrap_or_default();
        let text = format!("{before} ({})", remarks.join(", "));
        out.set("description", text.trim());
    }
    Some(Value::Object(out))
}

/// What an `allOf` of one says with what stands beside it. Closed objects have no members in common, so that several of them
/// would have no value.
fn alone(mut all: Value, beside: Map<String, Value>) -> Option<Value> {
    let [Value::Object(joined)] = all.as_array_mut()?.as_mut_slice() else { return None };
    let mut joined = std::mem::take(joined);
    for (key, value) in beside {
        if joined.get(&key).is_some_and(|other| *other != value) && !WORDS.contains(&key.as_str()) {
            return None;
        }
        joined.insert(key, value);
    }
    Some(Value::Object(joined))
}

/// Takes out of the rest what tells a type.
fn typed(rest: &mut Map<String, Value>, out: &mut Map<String, Value>, count: &mut Fitted) -> Option<()> {
    let plain = |value: &Value| !value.is_object() && !value.is_array();
    let mut literal = false;
    if rest.get("enum").and_then(Value::as_array).is_some_and(|values| values.iter().all(plain)) {
        out.set_some("enum", rest.shift_remove("enum"));
        literal = true;
    }
    if rest.get("const").is_some_and(plain) {
        out.set_some("const", rest.shift_remove("const"));
        literal = true;
    }
    let kinds: Vec<String> = match rest.shift_remove("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) if !literal => {
            let mut seen = HashSet::new();
            kinds.iter().filter_map(Value::as_str).filter(|kind| seen.insert(*kind)).map(ToOwned::to_owned).collect()
        }
        // The values tell.
        _ if literal => return Some(()),
        _ if rest.contains_key("properties") => vec!["object".to_owned()],
        _ => return None,
    };
    if let [kind] = kinds.as_slice() {
        return of_kind(kind, rest, out, count);
    }
    if kinds.is_empty() {
        return None;
    }
    count.unions += 1;
    if !kinds.iter().any(|kind| kind == "object" || kind == "array") {
        string(rest, out);
        out.set("type", kinds);
        return Some(());
    }
    let mut variants = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let mut variant = Map::new();
        of_kind(&kind, rest, &mut variant, count)?;
        variants.push(Value::Object(variant));
    }
    out.set("anyOf", variants);
    Some(())
}

fn of_kind(kind: &str, rest: &mut Map<String, Value>, out: &mut Map<String, Value>, count: &mut Fitted) -> Option<()> {
    out.set("type", kind);
    match kind {
        "object" => object(rest, out, count)?,
        "array" => {
            // Without any, what is in it is told in words.
            let items = rest.shift_remove("items").filter(|items| items != &json!(false));
            if let Some(items) = items {
                out.set("items", fit(items, count)?);
            }
            if rest.get("minItems").and_then(Value::as_u64).is_some_and(|least| least <= 1) {
                out.set_some("minItems", rest.shift_remove("minItems"));
            }
        }
        "string" => string(rest, out),
        _ => {}
    }
    Some(())
}

fn object(rest: &mut Map<String, Value>, out: &mut Map<String, Value>, count: &mut Fitted) -> Option<()> {
    let members = match rest.shift_remove("properties") {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    };
    let open = match rest.shift_remove("additionalProperties") {
        Some(Value::Bool(false)) => false,
        Some(Value::Bool(true) | Value::Object(_)) => true,
        // Unnamed members are what there is, or might be.
        _ => members.is_empty(),
    };
    if open || rest.contains_key("patternProperties") {
        return None;
    }
    let names = |value: &Value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    let required = rest.shift_remove("required").filter(names);
    let needed = required.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let needed: HashSet<&str> = needed.iter().filter_map(Value::as_str).collect();
    count.optional += members.keys().filter(|name| !needed.contains(name.as_str())).count();
    out.set("properties", each(members, count)?);
    out.set_some("required", required);
    out.set("additionalProperties", false);
    Some(())
}

fn string(rest: &mut Map<String, Value>, out: &mut Map<String, Value>) {
    if rest.get("format").and_then(Value::as_str).is_some_and(|format| FORMATS.contains(&format)) {
        out.set_some("format", rest.shift_remove("format"));
    }
}

fn each(schemas: Map<String, Value>, count: &mut Fitted) -> Option<Value> {
    let fitted = schemas.into_iter().map(|(name, schema)| Some((name, fit(schema, count)?)));
    fitted.collect::<Option<Map<String, Value>>>().map(Value::Object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(given: &Value) -> Option<Value> {
        fitted(given).map(|fitted| fitted.schema)
    }

    #[test]
    fn objects_are_closed_and_limits_become_words() {
        let closed = schema(&json!({"type": "object", "properties": {"age": {"type": "integer", "minimum": 3}}}));
        let closed = closed.expect("a schema that fits");
        assert_eq!(closed["additionalProperties"], false);
        assert_eq!(closed["properties"]["age"], json!({"type": "integer", "description": "(minimum: 3)"}));
    }

    #[test]
    fn what_is_not_enforced_becomes_words() {
        for (given, want) in [
            (
                json!({"type": "integer", "format": "int32"}),
                json!({"type": "integer", "description": "(format: \"int32\")"}),
            ),
            (json!({"type": "string", "format": "uuid"}), json!({"type": "string", "format": "uuid"})),
            (
                json!({"type": "string", "format": "phone", "description": "Whose."}),
                json!({"type": "string", "description": "Whose. (format: \"phone\")"}),
            ),
            (
                json!({"type": "array", "prefixItems": [{"type": "object"}], "minItems": 2, "items": false}),
                json!({"type": "array", "description": "(prefixItems: [{\"type\":\"object\"}], minItems: 2)"}),
            ),
            (json!({"type": ["string", "null"], "enum": ["a", null]}), json!({"enum": ["a", null]})),
            (
                json!({"oneOf": [{"type": "string"}, {"type": "null"}], "default": null}),
                json!({"anyOf": [{"type": "string"}, {"type": "null"}], "description": "(default: null)"}),
            ),
        ] {
            assert_eq!(schema(&given), Some(want), "{given}");
        }
    }

    #[test]
    fn an_object_that_may_be_null_is_closed_too() {
        let given = json!({"type": ["object", "null"], "properties": {"a": {"type": "string"}}, "title": "T"});
        let object = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
        let out = fitted(&given).expect("a schema that fits");
        assert_eq!(out.schema, json!({"anyOf": [object, {"type": "null"}], "title": "T"}));
        assert_eq!((out.optional, out.unions), (1, 1));
    }

    #[test]
    fn what_a_closed_schema_cannot_hold_does_not_fit() {
        for inner in [
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "object"}),
            json!({"type": "object", "properties": {}, "patternProperties": {"^x": {"type": "string"}}}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {}}),
            json!({"title": "Anything"}),
            json!(true),
            json!({"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}),
            json!({"$ref": "https://example.org/schema"}),
            json!({"$ref": "#/$defs/none"}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}]}),
        ] {
            let outer = json!({"type": "object", "properties": {"inner": inner}});
            assert_eq!(schema(&outer), None, "{inner}");
        }
        assert!(schema(&json!({"type": "object", "properties": {}, "additionalProperties": false})).is_some());
    }

    #[test]
    fn words_and_names_of_another_kind_than_they_should_be_are_no_schemas() {
        for odd in ["", "é", "#/$defs/none"] {
            let odd = json!({"$ref": odd});
            let member = json!({"type": "string", "title": odd, "description": odd});
            let given = json!({"type": "object", "properties": {"a": member}, "required": odd});
            let object =
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
            let out = schema(&given).expect("a schema that fits");
            assert_eq!(out["properties"]["a"]["type"], object["properties"]["a"]["type"]);
            assert_eq!(out.get("required"), None);
        }
    }

    #[test]
    fn references_are_followed_and_none_may_lead_back() {
        let of = |node: Value| {
            json!({"type": "object", "properties": {"a": {"allOf": [{"$ref": "#/$defs/node"}], "description": "A."},
                "b": {"$ref": "#/$defs/node", "title": "B"}}, "$defs": {"node": node}})
        };
        let leaf = schema(&of(json!({"type": "string"}))).expect("a schema that fits");
        assert_eq!(leaf["properties"]["b"], json!({"$ref": "#/$defs/node"}));
        assert_eq!(leaf["properties"]["a"], leaf["properties"]["b"]);
        let tree = json!({"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}});
        assert_eq!(schema(&of(tree)), None);
    }
}
