//! Owns stepping over JSON with nothing built from it: where the members of an object stand.

mod string;

use std::{borrow::Cow, collections::HashMap, ops::Range};

use serde_json::value::RawValue;
use smallvec::SmallVec;

use self::string::Ended;

/// The members of the object that a text is, in their order. It is JSON to the last escape (RFC 8259), or the reading ends
/// with `Malformed`: what is wrong and where is for a slower reader to tell.
#[derive(Debug)]
pub(super) struct Members<'t> {
    text: &'t str,
    at: usize,
    first: bool,
}

/// One member of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member<'t> {
    /// Its key, borrowed unless it has escapes.
    pub(super) key: Cow<'t, str>,
    /// Where its value stands.
    pub(super) value: Range<usize>,
}

/// A text that is no JSON object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Bytes as text, or where they cease to be any, in words.
pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    // The fast reader of the two does not tell where.
    let read = simdutf8::basic::from_utf8(bytes).or_else(|_| std::str::from_utf8(bytes));
    read.map_err(|error| format!("not UTF-8 ({error})"))
}

/// What is wrong with a malformed text, and where, in words.
pub(super) fn why(text: &str) -> String {
    let object = serde_json::from_str::<HashMap<String, &RawValue>>(text);
    object.err().map_or_else(|| "it is malformed".to_owned(), |error| error.to_string())
}

impl<'t> Members<'t> {
    /// Begins with the opening brace.
    pub(super) fn of(text: &'t str) -> Result<Self, Malformed> {
        let at = blank(text.as_bytes(), 0);
        if text.as_bytes().get(at) != Some(&b'{') {
            return Err(Malformed);
        }
        Ok(Self { text, at: at + 1, first: true })
    }

    /// How far the text has been read: to behind the opening brace, the last member, or the closing brace.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next member; none: the object has ended, and the text with it.
    pub(super) fn next(&mut self) -> Result<Option<Member<'t>>, Malformed> {
        let bytes = self.text.as_bytes();
        let mut at = blank(bytes, self.at);
        match bytes.get(at) {
            Some(b'}') => {
                self.at = at + 1;
                return if blank(bytes, self.at) == bytes.len() { Ok(None) } else { Err(Malformed) };
            }
            Some(b',') if !self.first => at = blank(bytes, at + 1),
            Some(_) if self.first => {}
            _ => return Err(Malformed),
        }
        let (key, start) = key(bytes, at).ok_or(Malformed)?;
        let end = value(bytes, start).ok_or(Malformed)?;
        (self.at, self.first) = (end, false);
        let quoted = &self.text[at..key.at];
        let key = if key.escapes {
            Cow::Owned(serde_json::from_str(quoted).map_err(|_| Malformed)?)
        } else {
            Cow::Borrowed(&quoted[1..quoted.len() - 1])
        };
        Ok(Some(Member { key, value: start..end }))
    }
}

// From here on a place in the text is where something begins, and what comes back is where it has ended; none: it is malformed.

/// A value with all that is in it.
fn value(bytes: &[u8], mut at: usize) -> Option<usize> {
    // The brackets that will close what is open: on the heap only where it is nested deeper than requests are.
    let mut open = SmallVec::<[u8; 64]>::new();
    loop {
        at = match bytes.get(at)? {
            b'"' => string::end(bytes, at + 1)?.at,
            bracket @ (b'{' | b'[') => {
                // In ASCII either closing bracket comes two behind its opening one.
                let closing = bracket + 2;
                at = blank(bytes, at + 1);
                if bytes.get(at) == Some(&closing) {
                    at + 1
                } else {
                    open.push(closing);
                    at = if closing == b'}' { key(bytes, at)?.1 } else { at };
                    continue;
                }
            }
            b't' => word(bytes, at, b"true")?,
            b'f' => word(bytes, at, b"false")?,
            b'n' => word(bytes, at, b"null")?,
            _ => number(bytes, at)?,
        };
        loop {
            let Some(closing) = open.last() else { return Some(at) };
            at = blank(bytes, at);
            match bytes.get(at)? {
                b',' => {
                    at = blank(bytes, at + 1);
                    at = if *closing == b'}' { key(bytes, at)?.1 } else { at };
                    break;
                }
                bracket if bracket == closing => at += 1,
                _ => return None,
            }
            open.pop();
        }
    }
}

/// A key and its colon: where the key ends, and where the value begins.
fn key(bytes: &[u8], at: usize) -> Option<(Ended, usize)> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let end = string::end(bytes, at + 1)?;
    let colon = blank(bytes, end.at);
    (bytes.get(colon) == Some(&b':')).then(|| (end, blank(bytes, colon + 1)))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + usize::from(bytes.get(at) == Some(&b'-'));
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits(bytes, at + 1 + usize::from(signed))?;
    }
    Some(at)
}

fn digits(bytes: &[u8], at: usize) -> Option<usize> {
    let count = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then_some(at + count)
}

fn word(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes[at..].starts_with(word).then_some(at + word.len())
}

fn blank(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The members by key; none: malformed.
    fn scanned(text: &str) -> Option<HashMap<String, &str>> {
        let mut members = Members::of(text).ok()?;
        let mut found = HashMap::new();
        while let Some(Member { key, value }) = members.next().ok()? {
            found.insert(key.into_owned(), &text[value]);
        }
        Some(found)
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
}
