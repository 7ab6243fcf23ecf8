//! Owns how long an answer may be at providers that want a limit: its client's, the operator's, or all that the model gives.

use serde_json::{Value, json};

use super::{losses::asked, support::target};
use crate::wire::{
    Protocol,
    translate::{Dialect, Target, request},
};

#[test]
fn thinking_without_a_limit_of_the_clients_leaves_the_answer_its_room() {
    let body = asked(Dialect::Chat, json!({"reasoning_effort": "high"})).to_string();
    let [sonnet, opus] = ["claude-sonnet-4-5", "claude-opus-4-1"].map(|model| target(Protocol::Anthropic, model));
    for (to, budget, most) in [
        (sonnet, 24_576, 4_096 + 24_576),
        // All that the model gives covers both.
        (Target { max_tokens: 0, ..opus }, 16_000, 32_000),
        // What the provider has said is the most, and what the operator has set is no more for that.
        (Target { max_tokens: 0, at_most: Some(20_000), ..opus }, 10_000, 20_000),
        (Target { at_most: Some(20_000), ..opus }, 2_048, 4_096),
    ] {
        let made = request(Dialect::Chat, body.as_bytes(), &to).expect("a request");
        let out: Value = serde_json::from_slice(&made.body).expect("JSON");
        assert_eq!((&out["thinking"]["budget_tokens"], &out["max_tokens"]), (&json!(budget), &json!(most)), "{out}");
    }
}
