//! Owns the small cuts made in a request's body on its way to a backend of the same protocol: all other bytes stay the client's.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};

use super::{Envelope, Member, form};
use crate::wire::partial::Partial;

/// What to change on the way to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// The backend's own name for the model, where it differs.
    pub model: Option<&'a str>,
    /// Ask for token usage in the stream.
    pub ask_usage: bool,
    /// A partial answer to be continued: goes behind the messages as the assistant's.
    pub partial: Option<Partial<'a>>,
}

/// Bodies up to this size are put together in one buffer; larger ones go out as slices of the client's own bytes.
const COPY_LIMIT: usize = 64 << 10;

impl Envelope {
    /// The body for a backend of the same protocol: the client's bytes, less `backend`, with `change` made.
    pub fn edit(&self, body: &Bytes, change: Change<'_>) -> Vec<Bytes> {
        let mut cuts: Vec<(Range<usize>, Cow<'static, [u8]>)> = Vec::new();
        if let Some(member) = &self.backend_at {
            cuts.push((member.whole(body), Cow::Borrowed(b"")));
        }
        if let (Some(name), Some(member)) = (change.model, &self.model_at) {
            // A string always serialises.
            let name = if self.is_form { form::named(name) } else { serde_json::to_vec(name).unwrap_or_default() };
            cuts.push((member.value.clone(), Cow::Owned(name)));
        }
        if change.ask_usage && self.usage_can_be_asked() {
            cuts.extend(self.usage.ask(self.close).map(|(at, text)| (at, Cow::Borrowed(text))));
        }
        if let (Some(partial), Some((messages, b'['))) = (change.partial, self.place("messages")) {
            let inside = messages.end - 1;
            cuts.push((inside..inside, Cow::Owned(format!(",{}", partial.message()).into_bytes())));
            cuts.push((self.close..self.close, Cow::Borrowed(partial.members())));
        }
        if cuts.is_empty() {
            return vec![body.clone()];
        }
        cuts.sort_unstable_by_key(|(range, _)| (range.start, range.end));
        let mut parts = Vec::with_capacity(2 * cuts.len() + 1);
        let mut at = 0;
        for (range, new) in cuts {
            parts.push(body.slice(at..range.start));
            if !new.is_empty() {
                parts.push(Bytes::from(new.into_owned()));
            }
            at = range.end;
        }
        parts.push(body.slice(at..));
        if body.len() <= COPY_LIMIT {
            let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            for part in &parts {
                whole.extend_from_slice(part);
            }
            return vec![whole.freeze()];
        }
        parts
    }
}

impl Member {
    /// The whole member with one of the commas around it.
    fn whole(&self, body: &[u8]) -> Range<usize> {
        if !self.first {
            return self.from..self.value.end;
        }
        let rest = &body[self.value.end..];
        let blank = rest.len() - rest.trim_ascii_start().len();
        let comma = usize::from(rest.get(blank) == Some(&b','));
        self.from..self.value.end + if comma == 1 { blank + 1 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::wire::{envelope::read, partial::By};

    fn edited(body: &str, change: Change<'_>) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let parts = read(&body).expect("readable").edit(&body, change);
        String::from_utf8(parts.concat()).expect("text")
    }

    const NOTHING: Change<'static> = Change { model: None, ask_usage: false, partial: None };

    #[test]
    fn only_the_members_own_bytes_are_cut_wherever_it_stands() {
        let cases = [
            (r#"{"backend":"a"}"#, "{}"),
            (r#"{ "backend" : "a" , "x":1}"#, r#"{ "x":1}"#),
            (r#"{"x": 1.50e3, "backend":"a", "y":"\u00e9é"}"#, r#"{"x": 1.50e3, "y":"\u00e9é"}"#),
            ("{\"x\":1 ,\n \"b\\u0061ckend\" : \"a\"\n}", "{\"x\":1\n}"),
        ];
        for (body, want) in cases {
            assert_eq!(edited(body, NOTHING), want);
        }
    }

    #[test]
    fn usage_is_asked_for_without_touching_anything_else() {
        let ask = Change { model: Some("m\"2"), ask_usage: true, partial: None };
        for (body, want) in [
            (
                r#"{"model":"m","stream":true} "#,
                r#"{"model":"m\"2","stream":true,"stream_options":{"include_usage":true}} "#,
            ),
            (r#"{"stream":true,"stream_options":{ }}"#, r#"{"stream":true,"stream_options":{"include_usage":true }}"#),
            (
                r#"{"stream":true,"stream_options":{"a":1}}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true,"a":1}}"#,
            ),
            (r#"{"stream":true,"stream_options":null}"#, r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
            (
                r#"{"stream":true,"stream_options":{"a":1, "include_usage" : false}}"#,
                r#"{"stream":true,"stream_options":{"a":1, "include_usage" : true}}"#,
            ),
            (
                r#"{"stream":true, "stream_options": {"include_usage":null}}"#,
                r#"{"stream":true, "stream_options": {"include_usage":true}}"#,
            ),
            (r#"{"stream":false}"#, r#"{"stream":false}"#),
        ] {
            assert_eq!(edited(body, ask), want);
        }
    }

    #[test]
    fn options_that_ask_already_or_are_the_clients_error_are_left_as_they_are() {
        for options in [
            r#"{"include_usage":true}"#,
            r#""bad""#,
            "[]",
            "1",
            r#"{"include_usage":"yes"}"#,
            r#"{"include_usage":false,"include_usage":null}"#,
        ] {
            let body = format!(r#"{{"stream":true,"stream_options":{options}}}"#);
            assert_eq!(edited(&body, Change { ask_usage: true, ..NOTHING }), body);
        }
    }

    #[test]
    fn a_partial_answer_goes_behind_the_last_message() {
        let body = r#"{"messages":[{"role":"user","content":"x"}],"model":"m","stream":true}"#;
        let usage = r#","stream_options":{"include_usage":true}"#;
        let members = r#","continue_final_message":true,"add_generation_prompt":false"#;
        for (by, mark, rest) in [(By::Itself, "", ""), (By::Members, "", members), (By::Mark, r#","prefix":true"#, "")]
        {
            let change = Change { partial: Some(Partial { text: "He\"l", by }), ask_usage: true, ..NOTHING };
            let said = format!(r#"{{"role":"user","content":"x"}},{{"role":"assistant","content":"He\"l"{mark}}}"#);
            let want = |rest: String| format!(r#"{{"messages":[{said}],"model":"m","stream":true{rest}}}"#);
            let edited = edited(body, change);
            assert!([format!("{usage}{rest}"), format!("{rest}{usage}")].map(want).contains(&edited), "{edited}");
        }
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((".*", inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_edited_body_means_the_same_less_what_was_cut(
            members in proptest::collection::vec(("[a-zé\"\\\\]{1,6}", json_value()), 0..6),
            place in any::<prop::sample::Index>(),
            pad in proptest::collection::vec(prop_oneof![Just(""), Just(" "), Just("\n\t")], 32),
        ) {
            let mut members: Vec<(String, Value)> =
                members.into_iter().filter(|(k, _)| k != "model" && k != "backend" && k != "stream").collect();
            members.push(("model".into(), json!("public")));
            members.insert(place.index(members.len() + 1), ("backend".into(), json!("é\"b")));
            let mut pads = pad.iter().cycle();
            let mut pad = || *pads.next().expect("endless");
            let written: Vec<String> = members
                .iter()
                .map(|(k, v)| format!("{}{}{}:{}{v}{}", pad(), json!(k), pad(), pad(), pad()))
                .collect();
            let body = format!("{}{{{}}}{}", pad(), written.join(","), pad());
            let edited = edited(&body, Change { model: Some("own"), ask_usage: false, partial: None });
            let mut want: serde_json::Map<String, Value> = serde_json::from_str(&body).expect("valid");
            want.remove("backend");
            want.insert("model".into(), json!("own"));
            prop_assert_eq!(serde_json::from_str::<Value>(&edited).expect("still valid"), Value::Object(want));
            // Byte for byte: what is left is the original with exactly two places changed.
            prop_assert!(edited.len() < body.len());
        }
    }
}
