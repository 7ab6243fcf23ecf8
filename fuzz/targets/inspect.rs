//! Owns fuzzing the reader of a request's top level, against a reader that builds the whole tree.
#![no_main]

use bytes::Bytes;
use greenroom::wire::envelope::{self, Change, Pin, Stream, Unreadable};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let tree = serde_json::from_slice::<Value>(input);
    let envelope = match envelope::read(input) {
        Ok(envelope) => envelope,
        Err(Unreadable::Twice(_)) => return,
        Err(form @ (Unreadable::NoBoundary | Unreadable::NotForm(_))) => panic!("of what is no form: {form:?}"),
        Err(Unreadable::NotJson(why)) => {
            // A tree holds numbers and depths that skipping need not: those alone may be told apart.
            assert!(!matches!(&tree, Ok(Value::Object(_))), "refused as {why}");
            return;
        }
    };
    let Ok(Value::Object(mut tree)) = tree else { return };
    assert_eq!(envelope.model.as_deref(), tree.get("model").and_then(Value::as_str));
    match (&envelope.pin, tree.get("backend")) {
        (Pin::None, None) | (Pin::Bad, Some(_)) => {}
        (Pin::To(name), Some(Value::String(said))) => assert_eq!(name, said),
        (pin, said) => panic!("{pin:?} of {said:?}"),
    }
    assert_eq!(envelope.stream == Stream::On, tree.get("stream") == Some(&Value::Bool(true)));

    let body = Bytes::copy_from_slice(input);
    let change = Change { model: Some("other \"name\""), ask_usage: false, partial: None };
    let edited = envelope.edit(&body, change).concat();
    let edited: Value = serde_json::from_slice(&edited).expect("an edited object stays one");
    tree.shift_remove("backend");
    if envelope.model.is_some() {
        tree.insert("model".to_owned(), Value::from("other \"name\""));
    }
    if envelope.model.is_some() || !tree.contains_key("model") {
        assert_eq!(edited, Value::Object(tree));
    }

    let change = Change { model: None, ask_usage: true, partial: None };
    let asked = envelope.edit(&body, change).concat();
    let asked: Value = serde_json::from_slice(&asked).expect("asking for usage keeps it an object");
    if envelope.usage_can_be_asked() {
        assert_eq!(asked["stream_options"]["include_usage"], true);
    }
});
