//! Owns what Greenroom reads of a request body, in one pass over its top level with no tree built, and the small cuts it makes.

use std::{borrow::Cow, fmt, ops::Range};

use bytes::{Bytes, BytesMut};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The top level of a request, as far as the gateway cares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// `model`, if it is a string.
    pub model: Option<String>,
    /// `backend`.
    pub pin: Pin,
    /// `stream`.
    pub stream: Stream,
    /// First bytes of the values of `messages`, `input` and `prompt`, whichever are there.
    prompts: [Option<u8>; 3],
    /// `stream_options.include_usage` as the client set it.
    pub include_usage: Option<bool>,
    model_at: Option<Member>,
    backend_at: Option<Member>,
    stream_at: Option<Member>,
    options_at: Option<Member>,
    messages_at: Option<Range<usize>>,
    /// Position of the closing brace.
    close: usize,
}

/// The `backend` member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Pin {
    /// Not there.
    #[default]
    None,
    /// A non-empty string.
    To(String),
    /// Something else.
    Bad,
}

/// The `stream` member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stream {
    /// False, null or not there.
    #[default]
    Off,
    /// True.
    On,
    /// Something else; never guessed.
    Bad,
}

/// Why a body was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Not a JSON object; why.
    NotJson(String),
    /// A key that decides something stands there twice, so that two readers could decide differently.
    Twice(&'static str),
}

/// Where a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    /// End of the value before, or just behind the opening brace.
    from: usize,
    first: bool,
    value: Range<usize>,
}

const PROMPTS: [&str; 3] = ["messages", "input", "prompt"];

/// Reads a body's top level.
pub fn read(body: &[u8]) -> Result<Envelope, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|error| Unreadable::NotJson(format!("not UTF-8 ({error})")))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let mut reader = Reader { text, found: Envelope::default(), twice: None, last_end: None };
    TopLevel(&mut reader)
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| Unreadable::NotJson(error.to_string()))?;
    match reader.twice {
        Some(key) => Err(Unreadable::Twice(key)),
        None => Ok(reader.found),
    }
}

/// What to change on the way to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// The backend's own name for the model, where it differs.
    pub model: Option<&'a str>,
    /// Ask for token usage in the stream.
    pub ask_usage: bool,
    /// A partial answer to be continued: goes behind the messages as the assistant's.
    pub partial: Option<&'a str>,
}

/// Bodies up to this size are put together in one buffer; larger ones go out as slices of the client's own bytes.
const COPY_LIMIT: usize = 64 << 10;

impl Envelope {
    /// Whether `ask_usage` would change anything: a stream whose options do not speak of usage.
    pub fn usage_can_be_asked(&self) -> bool {
        self.stream == Stream::On && self.include_usage.is_none()
    }

    /// The first byte of the value of `messages`, `input` or `prompt`.
    pub fn prompt(&self, member: &str) -> Option<u8> {
        self.prompts[PROMPTS.iter().position(|p| *p == member)?]
    }

    /// Whether there is a `model` member, of whatever kind.
    pub fn has_model(&self) -> bool {
        self.model_at.is_some()
    }

    /// The body for a backend of the same protocol: the client's bytes, less `backend`, with `change` made.
    pub fn edit(&self, body: &Bytes, change: Change<'_>) -> Vec<Bytes> {
        let mut cuts: Vec<(Range<usize>, Cow<'static, [u8]>)> = Vec::new();
        if let Some(member) = &self.backend_at {
            cuts.push((member.whole(body), Cow::Borrowed(b"")));
        }
        if let (Some(name), Some(member)) = (change.model, &self.model_at) {
            // A string always serialises.
            cuts.push((member.value.clone(), Cow::Owned(serde_json::to_vec(name).unwrap_or_default())));
        }
        if change.ask_usage && self.usage_can_be_asked() {
            cuts.push(self.usage_edit(body));
        }
        if let (Some(partial), Some(messages)) = (change.partial, &self.messages_at) {
            let inside = messages.end - 1;
            let message = serde_json::json!({"role": "assistant", "content": partial});
            cuts.push((inside..inside, Cow::Owned(format!(",{message}").into_bytes())));
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

    fn usage_edit(&self, body: &Bytes) -> (Range<usize>, Cow<'static, [u8]>) {
        match &self.options_at {
            None => (self.close..self.close, Cow::Borrowed(br#","stream_options":{"include_usage":true}"#)),
            Some(member) => {
                let value = &body[member.value.clone()];
                if value.first() != Some(&b'{') {
                    return (member.value.clone(), Cow::Borrowed(br#"{"include_usage":true}"#));
                }
                let inside = member.value.start + 1;
                let empty = value[1..].trim_ascii_start().first() == Some(&b'}');
                let text: &[u8] = if empty { br#""include_usage":true"# } else { br#""include_usage":true,"# };
                (inside..inside, Cow::Borrowed(text))
            }
        }
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

struct Reader<'t> {
    text: &'t str,
    found: Envelope,
    twice: Option<&'static str>,
    last_end: Option<usize>,
}

impl<'t> Reader<'t> {
    fn member(&mut self, key: &str, raw: &'t RawValue) {
        let value = raw.get();
        // The raw value borrows from the body, so that its address tells its place.
        let start = value.as_ptr() as usize - self.text.as_ptr() as usize;
        let first = self.last_end.is_none();
        let from = self.last_end.unwrap_or_else(|| self.text.find('{').map_or(0, |n| n + 1));
        let member = Member { from, first, value: start..start + value.len() };
        self.last_end = Some(member.value.end);
        let found = &mut self.found;
        match key {
            "model" => {
                found.model = serde_json::from_str(value).ok();
                Self::once(&mut found.model_at, member, "model", &mut self.twice);
            }
            "backend" => {
                found.pin = match serde_json::from_str::<String>(value) {
                    Ok(name) if !name.is_empty() => Pin::To(name),
                    _ => Pin::Bad,
                };
                Self::once(&mut found.backend_at, member, "backend", &mut self.twice);
            }
            "stream" => {
                found.stream = match value {
                    "true" => Stream::On,
                    "false" | "null" => Stream::Off,
                    _ => Stream::Bad,
                };
                Self::once(&mut found.stream_at, member, "stream", &mut self.twice);
            }
            "stream_options" => {
                let options = serde_json::from_str::<Option<StreamOptions>>(value);
                found.include_usage = options.ok().flatten().and_then(|o| o.include_usage);
                Self::once(&mut found.options_at, member, "stream_options", &mut self.twice);
            }
            _ => {
                if let Some(prompt) = PROMPTS.iter().position(|p| *p == key) {
                    found.prompts[prompt] = value.as_bytes().first().copied();
                    if key == "messages" && value.starts_with('[') {
                        found.messages_at = Some(member.value);
                    }
                }
            }
        }
    }

    fn once(slot: &mut Option<Member>, member: Member, key: &'static str, twice: &mut Option<&'static str>) {
        if slot.replace(member).is_some() {
            *twice = Some(key);
        }
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

struct TopLevel<'r, 't>(&'r mut Reader<'t>);

impl<'t> DeserializeSeed<'t> for TopLevel<'_, 't> {
    type Value = ();
    fn deserialize<D: Deserializer<'t>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'t> Visitor<'t> for TopLevel<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'t>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            let raw: &'t RawValue = map.next_value()?;
            self.0.member(&key, raw);
        }
        self.0.found.close = self.0.text.rfind('}').unwrap_or_default();
        Ok(())
    }
}

/// A key, borrowed unless it has escapes.
struct Key;

impl<'t> DeserializeSeed<'t> for Key {
    type Value = Cow<'t, str>;
    fn deserialize<D: Deserializer<'t>>(self, from: D) -> Result<Cow<'t, str>, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'t> Visitor<'t> for Key {
    type Value = Cow<'t, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_str<E>(self, key: &'t str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

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
                r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
                r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
            ),
            (r#"{"stream":false}"#, r#"{"stream":false}"#),
        ] {
            assert_eq!(edited(body, ask), want);
        }
    }

    #[test]
    fn a_partial_answer_goes_behind_the_last_message() {
        let change = Change { partial: Some("He\"l"), ..NOTHING };
        let body = r#"{"messages":[{"role":"user","content":"x"}],"model":"m"}"#;
        let want = r#"{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"He\"l"}],"model":"m"}"#;
        assert_eq!(edited(body, change), want);
    }

    #[test]
    fn a_second_deciding_key_is_refused_even_when_it_is_escaped() {
        for body in [
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#"{"backend":"a","backend":"b"}"#,
            r#"{"stream":false,"stream":true}"#,
        ] {
            assert!(matches!(read(body.as_bytes()), Err(Unreadable::Twice(_))), "{body}");
        }
    }

    #[test]
    fn a_body_cut_anywhere_is_refused() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"h\u00e9é"}],"n":-1.5e3,"stream":true}"#;
        for end in 0..body.len() {
            assert!(matches!(read(&body.as_bytes()[..end]), Err(Unreadable::NotJson(_))), "cut at {end}");
        }
        for body in ["[]", "null", "1", "\"x\"", "{} {}", "{\"a\":1}x"] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
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
