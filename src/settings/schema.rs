//! Owns the JSON Schema of settings files: what the loader looked for as it read one table of each kind, in the words of
//! `default.toml`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    load::{self, DEFAULT},
    section::{Known, join},
    value::Kind,
};

/// What stands for any name among the keys of `default.toml`.
const NAME: &str = "NAME";

/// Tables that hold defaults, and the table that they hold for.
const DEFAULTS: [(&str, &str); 2] = [("defaults.backend", "backends.NAME"), ("defaults.model", "models.NAME")];

/// A variable, which may stand for a value of any kind.
const VARIABLE: &str = r"\$\{[^}]+\}";

/// A time: numbers, each with its unit.
const TIME: &str = r"^\s*(0|([0-9.]+\s*[A-Za-zµ]+\s*)+)$";

/// The schema, of the draft that editors of TOML read.
pub fn schema() -> Value {
    let one_of_each: Vec<&str> = DEFAULT.lines().map(uncommented).collect();
    let schema = Schema {
        tables: load::tables(&one_of_each.join("\n")).into_iter().collect(),
        words: words(&one_of_each),
        defaults: toml::from_str(DEFAULT).unwrap_or_default(),
    };
    let Value::Object(root) = schema.table("") else { return Value::Null };
    let mut all = Map::new();
    all.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    all.insert("title".to_owned(), json!("Settings of Greenroom"));
    all.extend(root);
    Value::Object(all)
}

struct Schema {
    tables: HashMap<String, Vec<Known>>,
    words: HashMap<String, String>,
    defaults: Value,
}

impl Schema {
    fn table(&self, path: &str) -> Value {
        let known = self.tables.get(path).map(Vec::as_slice).unwrap_or_default();
        let properties: Map<_, _> =
            known.iter().map(|known| (known.key.to_owned(), self.property(path, known))).collect();
        let mut table = json!({"type": "object", "additionalProperties": false, "properties": properties});
        // All others may be set elsewhere: among the defaults, or in the environment.
        if path.contains(']') {
            table["required"] = known.iter().filter(|known| known.is_required).map(|known| known.key).collect();
        }
        table
    }

    fn property(&self, path: &str, known: &Known) -> Value {
        let full = join(path, known.key);
        let mut property = match &known.kind {
            Kind::Within => self.within(&full),
            kind => leaf(kind),
        };
        // What is set for all backends, or all models, is told of there.
        let above = DEFAULTS.iter().find(|(_, one)| *one == path).map(|(all, _)| join(all, known.key));
        let written = above.iter().chain([&full]);
        if let Some(words) = written.clone().find_map(|key| self.words.get(key)) {
            property["description"] = json!(words);
        }
        let at = |key: &String| self.defaults.pointer(&format!("/{}", key.replace('.', "/"))).cloned();
        let default = written.filter(|_| !matches!(known.kind, Kind::Within)).find_map(at);
        if let Some(default) = default.or_else(|| known.default.clone()) {
            property["default"] = default;
        }
        property
    }

    /// What is in a key that holds tables, by the tables that were read there.
    fn within(&self, key: &str) -> Value {
        let (named, listed) = (join(key, NAME), format!("{key}[0]"));
        if let Some((_, one)) = DEFAULTS.iter().find(|(all, _)| *all == key) {
            self.table(one)
        } else if self.tables.contains_key(key) {
            self.table(key)
        } else if self.tables.contains_key(&named) {
            json!({"type": "object", "additionalProperties": self.table(&named)})
        } else if self.tables.contains_key(&listed) {
            json!({"type": ["array", "string"], "items": self.table(&listed), "pattern": VARIABLE})
        } else {
            json!({"type": "object", "additionalProperties": {"type": "string"}})
        }
    }
}

/// Values of a kind. What is said of numbers, lists and strings holds for each of them alone.
fn leaf(kind: &Kind) -> Value {
    match kind {
        Kind::Truth => json!({"type": ["boolean", "string"], "pattern": VARIABLE}),
        Kind::Whole { least, most: None } => {
            json!({"type": ["integer", "string"], "minimum": least, "pattern": VARIABLE})
        }
        Kind::Whole { least, most } => {
            json!({"type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": VARIABLE})
        }
        Kind::Number => json!({"type": ["number", "string"], "pattern": VARIABLE}),
        Kind::Share => json!({"type": ["number", "string"], "minimum": 0, "maximum": 1, "pattern": VARIABLE}),
        Kind::Texts => json!({"type": ["array", "string"], "items": {"type": "string"}, "pattern": VARIABLE}),
        Kind::TextOrTexts => json!({"type": ["string", "array"], "items": {"type": "string"}}),
        Kind::Time => json!({"type": "string", "pattern": format!("{TIME}|{VARIABLE}")}),
        Kind::Word(words) => json!({"type": "string", "anyOf": [{"enum": words}, {"pattern": VARIABLE}]}),
        Kind::Text | Kind::Within => json!({"type": "string"}),
    }
}

/// A line of `default.toml`, where a table or a key that has no default stands behind a '#'.
fn uncommented(line: &str) -> &str {
    let is_key = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let is_setting = |text: &&str| text.starts_with('[') || text.split_once(" = ").is_some_and(|(key, _)| is_key(key));
    line.strip_prefix("# ").filter(is_setting).unwrap_or(line)
}

/// What the lines of `default.toml` say of each table and key.
fn words(lines: &[&str]) -> HashMap<String, String> {
    let mut words: HashMap<String, String> = HashMap::new();
    let (mut table, mut last, mut list) = (String::new(), String::new(), String::new());
    for line in lines {
        let (written, said) = line.split_once("# ").unwrap_or((line, ""));
        let written = written.trim_end();
        if let Some(name) = written.strip_prefix('[') {
            let bare = name.trim_matches(['[', ']']);
            if name.starts_with('[') {
                (table, list) = (format!("{bare}[0]"), format!("{bare}."));
                bare.clone_into(&mut last);
            } else {
                // A part of a list belongs to the item before it.
                let part = bare.strip_prefix(&*list).filter(|_| !list.is_empty());
                table =
                    part.map_or_else(|| bare.to_owned(), |part| format!("{}[0].{part}", list.trim_end_matches('.')));
                table.clone_into(&mut last);
            }
        } else if let Some((key, _)) = written.split_once(" = ") {
            last = join(&table, key);
        } else if !line.starts_with(' ') {
            last.clear();
        }
        if !last.is_empty() && !said.is_empty() {
            let all = words.entry(last.clone()).or_default();
            if !all.is_empty() {
                all.push(' ');
            }
            all.push_str(said);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `look` with each key of a schema, and what is said of it.
    fn each<'s>(path: &str, schema: &'s Value, look: &mut dyn FnMut(&str, &'s Value)) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let key = join(path, key);
            look(&key, property);
            each(&key, property, look);
            each(&join(&key, NAME), &property["additionalProperties"], look);
            each(&format!("{key}[0]"), &property["items"], look);
        }
    }

    /// `default.toml` with what stands behind a '#' there.
    fn reference() -> String {
        DEFAULT.lines().map(uncommented).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_key_is_explained_and_has_the_default_that_is_written_for_it() {
        let (schema, all) = (schema(), toml::from_str::<Value>(&reference()).expect("the reference is TOML"));
        let mut count = 0;
        each("", &schema, &mut |key, property| {
            let is_table = property["type"] == "object" && !key.ends_with(".headers");
            assert!(is_table || property["description"].as_str().is_some_and(|words| words.len() > 10), "{key}");
            if let Some(default) = property.get("default") {
                let twin = |of: &str, is: &str| Some(format!("{is}{}", key.strip_prefix(of)?));
                let twins = DEFAULTS.iter().flat_map(|(all, one)| [twin(one, all), twin(all, one)]).flatten();
                let at = |key: String| all.pointer(&format!("/{}", key.replace("[0]", "/0").replace('.', "/")));
                let written: Vec<_> = twins.chain([key.to_owned()]).filter_map(at).collect();
                assert!(!written.is_empty() && written.iter().all(|value| *value == default), "{key}: {written:?}");
                count += 1;
            }
        });
        assert!(count > 80, "{count} defaults");
        assert_eq!(schema["properties"]["server"]["properties"]["watch_every"]["default"], "0s");
        let bounds = |table: &str, key: &str| {
            let property = &schema["properties"][table]["properties"][key];
            (property["minimum"].as_u64(), property["maximum"].as_u64())
        };
        assert_eq!(bounds("history", "queue"), (Some(1), Some(1_000_000)));
        assert_eq!((bounds("traces", "sample"), bounds("server", "workers")), ((Some(0), Some(1)), (Some(0), None)));
        let user = &schema["properties"]["users"]["additionalProperties"]["properties"];
        assert_eq!((&user["may_pin"]["default"], user["token"].get("default")), (&json!(false), None));
        let rescue = &schema["properties"]["defaults"]["properties"]["model"]["properties"]["rescue"];
        assert_eq!(rescue["anyOf"][0]["enum"], json!(["off", "replay", "prefix"]));
        let words = rescue["description"].as_str().unwrap_or_default();
        assert!(words.starts_with("a stream that breaks") && words.ends_with("not of pins"), "{words}");
    }

    #[test]
    fn the_reference_has_every_key_and_can_be_used_but_for_a_key_and_a_token_that_are_there_twice() {
        let text = reference().replace("${", "$${");
        let bad = super::super::parse("the reference", &text).expect_err("two of each");
        let told: Vec<_> = bad.problems.iter().map(ToString::to_string).collect();
        let twice = ["stands beside api_key_file", "stands beside token_sha256"];
        assert!(told.len() == 2 && told.iter().zip(twice).all(|(told, twice)| told.contains(twice)), "{told:?}");
        let (schema, words) = (schema(), words(&reference().lines().collect::<Vec<_>>()));
        let mut keys = Vec::new();
        each("", &schema, &mut |key, _| keys.push(key.to_owned()));
        let strangers: Vec<_> = words.keys().filter(|key| !keys.contains(*key) && !key.ends_with(NAME)).collect();
        assert!(strangers.is_empty(), "{strangers:?}");
    }
}
