//! Owns the proof that this reads what `serde_json` reads, and nothing else.

use proptest::prelude::*;

use super::*;

/// The members by key; none: malformed.
fn scanned(text: &str) -> Option<HashMap<String, &str>> {
    let (mut json, mut found) = (Cursor::new(text), HashMap::new());
    let read = json.object(|json, key| {
        found.insert(key.to_owned(), json.value()?);
        Ok(())
    });
    read.and_then(|()| json.end()).ok().map(|()| found)
}

/// The same by `serde_json`.
fn parsed(text: &str) -> Option<HashMap<String, &str>> {
    let found: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    Some(found.into_iter().map(|(key, value)| (key, value.get())).collect())
}

#[test]
fn numbers_words_and_brackets_are_read_as_the_standard_has_them() {
    let values = r#"0|-0|10|1.5|-1.50e+3|2E-7|true|false|null|[]|{}|[ ]|{ }|[1 , [2]]|{"a":[{"b":{}}]}|"""#;
    for value in values.split('|') {
        let text = format!(" {{ \"k\" : {value} }} ");
        assert_eq!(scanned(&text), Some([("k".to_owned(), value)].into()), "{text}");
    }
    let broken = r#"|01|-|1.|.5|1e|1e+|+1|tru|nul|True|NaN|'a'|1 2|[1,]|[,1]|[1 2]|[1}|[[1]|]|{"a"}|{"a":}|{"a":1,}|{"a":1]|{a:1}|{1:1}"#;
    for value in broken.split('|') {
        let text = format!("{{\"k\":{value}}}");
        assert_eq!((scanned(&text), parsed(&text)), (None, None), "{text}");
    }
    for text in r#"| |{|{}{}|{},|{,}|{,"k":1}|{"k":1|{"k":1}}|[]|"k"|{"\ud800":1}"#.split('|') {
        assert_eq!((scanned(text), parsed(text)), (None, None), "{text}");
    }
}

#[test]
fn depth_takes_no_stack() {
    let deep = 100_000;
    let text = format!("{{\"k\":{}{}}}", "[".repeat(deep), "]".repeat(deep));
    assert_eq!(scanned(&text).map(|members| members.len()), Some(1));
}

/// JSON and what is nearly JSON, of pieces that matter to a reader.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\\\\", "\\\"", "\\n", "\\u00e9", "\\u12g4", "\\x", " ", "\n", "\t",
            "\u{1}", "0", "-1.5e3", "true", "null", "\"k\":", "\"a\"", "é", "中", "\"k\":1,", "u", "n", "/",
        ]).prop_map(str::to_owned),
        1 => "[a-z ]{0,70}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        "[a-z\"\\\\\n\u{1}é]{0,200}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::vec(("[a-z\"é]{0,9}", inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn it_reads_what_serde_json_reads_and_nothing_else(inside in nearly_json(), braces in any::<bool>()) {
        let text = if braces { format!("{{\"k\":\"{inside}\"}}") } else { inside };
        prop_assert_eq!(scanned(&text), parsed(&text));
    }

    #[test]
    fn one_byte_less_or_another_makes_the_same_difference_to_both(
        value in json(), pretty in any::<bool>(), at in any::<prop::sample::Index>(), byte in prop::sample::select(b"\"\\{}[],: n0".to_vec()),
        less in any::<bool>(),
    ) {
        let object = serde_json::json!({"a": value, "b\"": 1});
        let text = if pretty { format!("{object:#}") } else { object.to_string() };
        prop_assert_eq!(scanned(&text), parsed(&text));
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        if less { bytes.remove(at); } else { bytes[at] = byte; }
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert_eq!(scanned(&text), parsed(&text));
        }
    }
}
