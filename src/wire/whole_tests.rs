//! Owns that an answer is told alike, be it whole or a stream: its items, its names, its counts.

use serde_json::{Value, json};

use super::{
    Protocol, Usage, peek,
    tests_support::{context, streamed},
    translate::{Dialect, StreamTranslator},
};

#[test]
fn a_later_count_of_no_prompt_leaves_the_first_to_clients_and_to_the_account() {
    let start = json!({"type": "message_start", "message": {"id": "x",
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 1}}});
    let stop = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": 0, "output_tokens": 9}});
    let (mut translator, mut out) =
        (StreamTranslator::new(Protocol::Anthropic, Dialect::Chat, context(), true), Vec::new());
    let (mut account, mut passed): (Option<Usage>, Option<Usage>) = (None, None);
    for frame in [&start, &stop].map(Value::to_string) {
        let seen = translator.frame(None, frame.as_bytes(), &mut out).expect("an event").usage.expect("counts");
        account = Some(seen.after(account));
        let seen = peek::messages::frame(None, frame.as_bytes()).expect("an event").usage.expect("counts");
        passed = Some(seen.after(passed));
    }
    let want = Usage { input: 8, output: 9, cached: 3, ..Usage::default() };
    assert_eq!((account, passed), (Some(want), Some(want)));
    let events = streamed(Protocol::Anthropic, Dialect::Chat, context(), &[start, stop]);
    let counts = &events.last().expect("counts")["usage"];
    assert_eq!((&counts["prompt_tokens"], &counts["completion_tokens"]), (&json!(8), &json!(9)));
}

#[test]
fn kimis_counts_reach_clients_of_other_protocols() {
    let choice = json!({"index": 0, "delta": {"content": "a"}, "finish_reason": "stop",
        "usage": {"prompt_tokens": 8, "completion_tokens": 2, "cached_tokens": 3}});
    let events = streamed(Protocol::Openai, Dialect::Messages, context(), &[json!({"id": "c", "choices": [choice]})]);
    let counts = &events[events.len() - 2]["usage"];
    assert_eq!((&counts["input_tokens"], &counts["cache_read_input_tokens"]), (&json!(5), &json!(3)), "{events:?}");
}
