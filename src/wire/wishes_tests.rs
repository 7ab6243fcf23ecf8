//! Owns that no wish of a client's is lost in silence: what a provider cannot be told is noted, or refused where a backend is set to.

use serde_json::{Value, json};

use super::{
    Protocol,
    losses_tests::{CLAUDE, asked, blocks},
    tests_support::{sent, target},
    translate::{Dialect, Target, request},
};

const GEMINI: (Protocol, &str) = (Protocol::Gemini, "gemini-3-pro");

/// Whether a backend that is set to refuse what it cannot be told refuses this.
fn is_refused(dialect: Dialect, (protocol, model): (Protocol, &str), body: &Value) -> bool {
    let target = Target { refuse_unsupported: true, ..target(protocol, model) };
    request(dialect, body.to_string().as_bytes(), &target).is_err()
}

#[test]
fn what_a_client_says_in_members_that_nobody_knows_is_refused_where_that_is_wanted_and_what_an_answer_had_is_not() {
    let part = json!([{"type": "text", "text": "x", "zzz": 1}]);
    let chat = |message: Value| asked(Dialect::Chat, json!({"messages": [{"role": "user", "content": "q"}, message]}));
    let message = |role: &str, content: &Value| {
        asked(Dialect::Messages, json!({"messages": [{"role": role, "content": content}]}))
    };
    let item = |kind: &str| json!({"input": [{"role": "user", "content": [{"type": kind, "text": "x", "zzz": 1}]}]});
    for to in [CLAUDE, GEMINI] {
        for (body, field, refused) in [
            (chat(json!({"role": "user", "content": "x", "zzz": 1})), "messages[].zzz", true),
            (chat(json!({"role": "user", "content": part})), "messages[].content[].zzz", true),
            (chat(json!({"role": "assistant", "content": part})), "messages[].content[].zzz", false),
            (chat(json!({"role": "assistant", "content": "x", "zzz": 1})), "messages[].zzz", false),
        ] {
            assert_eq!(sent(Dialect::Chat, to, &body).1, [field], "{body}");
            assert_eq!(is_refused(Dialect::Chat, to, &body), refused, "{body}");
        }
    }
    for (role, refused) in [("user", true), ("assistant", false)] {
        assert_eq!(is_refused(Dialect::Messages, GEMINI, &message(role, &part)), refused, "{role}");
    }
    for (kind, refused) in [("input_text", true), ("output_text", false)] {
        assert_eq!(is_refused(Dialect::Responses, GEMINI, &item(kind)), refused, "{kind}");
    }
    // A mark for a cache shows in no answer.
    let marked = blocks(&json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]));
    assert!(!is_refused(Dialect::Messages, GEMINI, &marked));
}

#[test]
fn a_number_that_a_provider_does_not_take_is_the_nearest_that_it_does_and_refused_where_that_is_wanted() {
    for (to, wish, told, name, nearest) in [
        (CLAUDE, json!({"temperature": 1.5}), "temperature above 1", "/temperature", 1.0),
        (CLAUDE, json!({"temperature": -1}), "temperature below 0", "/temperature", 0.0),
        (CLAUDE, json!({"top_p": 1.5}), "top_p above 1", "/top_p", 1.0),
        (GEMINI, json!({"temperature": -1}), "temperature below 0", "/generationConfig/temperature", 0.0),
        (GEMINI, json!({"temperature": 2.5}), "temperature above 2", "/generationConfig/temperature", 2.0),
        (
            GEMINI,
            json!({"frequency_penalty": -3}),
            "frequency_penalty below -2",
            "/generationConfig/frequencyPenalty",
            -2.0,
        ),
    ] {
        let body = asked(Dialect::Chat, wish);
        let (out, dropped) = sent(Dialect::Chat, to, &body);
        assert_eq!((out.pointer(name), dropped), (Some(&json!(nearest)), vec![told.to_owned()]), "{out}");
        assert!(is_refused(Dialect::Chat, to, &body), "{body}");
    }
    let most =
        asked(Dialect::Chat, json!({"temperature": 2, "top_p": 1, "frequency_penalty": 2, "presence_penalty": -2}));
    assert!(!is_refused(Dialect::Chat, GEMINI, &most));
}
