//! Owns whether a call's arguments are complete, piece by piece. Reading them all again with each piece would take time
//! with the square of their length.

/// How far a JSON value has come.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// Objects and lists that are open.
    depth: usize,
    /// A string is open.
    string: bool,
    /// The next byte of the string is part of an escape.
    escaped: bool,
    /// More than blanks has come.
    begun: bool,
    /// A word or a number stands by itself, of which nothing but what follows tells the end.
    bare: bool,
}

impl Extent {
    /// Takes a further piece.
    pub(super) fn add(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if self.string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => continue,
                b'"' => self.string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => self.bare |= self.depth == 0,
            }
            self.begun = true;
        }
    }

    /// Whether anything of it has come but blanks.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether it breaks off: an object, a list or a string is open.
    pub(super) fn is_cut(&self) -> bool {
        self.depth > 0 || self.string
    }

    /// Whether the value is there, as its last bracket or quote tells.
    pub(super) fn is_whole(&self) -> bool {
        self.begun && !self.bare && !self.is_cut()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a{}\\[\\]\"\\\\\n é]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let members = proptest::collection::btree_map("[a{\"\\\\]{0,3}", inner.clone(), 0..4);
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn arguments_are_whole_where_a_parser_of_all_of_them_finds_them_whole(inner in value(), pretty in any::<bool>()) {
            for value in [json!({"x": inner}), json!([inner]), json!("\"{\\")] {
                let text = if pretty { format!(" {value:#}\n") } else { value.to_string() };
                let (mut extent, mut said) = (Extent::default(), String::new());
                for letter in text.chars() {
                    said.push(letter);
                    extent.add(letter.encode_utf8(&mut [0; 4]));
                    let parsed = serde_json::from_str::<Value>(&said).is_ok();
                    prop_assert_eq!(extent.is_whole(), parsed, "{}", said);
                    prop_assert_eq!(extent.is_cut(), !parsed && !said.trim().is_empty(), "{}", said);
                }
            }
        }
    }

    #[test]
    fn words_by_themselves_are_neither_whole_nor_cut() {
        for text in ["", " \n", "nul", "null", "12", "{}x"] {
            let mut extent = Extent::default();
            extent.add(text);
            assert!(!extent.is_whole() && !extent.is_cut(), "{text}");
        }
    }
}
