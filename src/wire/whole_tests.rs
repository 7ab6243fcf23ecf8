//! Owns that an answer is told alike, be it whole or a stream: its items, its names, its counts.

use serde_json::json;

use super::{
    Protocol,
    tests_support::{context, streamed},
    translate::Dialect,
};

#[test]
fn kimis_counts_reach_clients_of_other_protocols() {
    let choice = json!({"index": 0, "delta": {"content": "a"}, "finish_reason": "stop",
        "usage": {"prompt_tokens": 8, "completion_tokens": 2, "cached_tokens": 3}});
    let events = streamed(Protocol::Openai, Dialect::Messages, context(), &[json!({"id": "c", "choices": [choice]})]);
    let counts = &events[events.len() - 2]["usage"];
    assert_eq!((&counts["input_tokens"], &counts["cache_read_input_tokens"]), (&json!(5), &json!(3)), "{events:?}");
}
