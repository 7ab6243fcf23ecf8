//! Owns thoughts that newer models bind to everything in front of them.

use serde_json::{Map, Value, json};

use super::{
    super::json::{list, text},
    blocks_out::is_thought,
};

/// The trial of Anthropic's API in which `block_binding` is a member of `thinking`.
const BINDING: &str = "thinking-binding-controls-2026-08-01";

/// Asks the API to drop thoughts in front of which something has changed. Clients of other APIs may change tools and
/// instructions between requests, and otherwise could not go on with the conversation.
pub(super) fn loosen(messages: &[Value], out: &mut Map<String, Value>) {
    let blocks = messages.iter().flat_map(|message| list(message, "content"));
    if !blocks.into_iter().any(is_thought) {
        return;
    }
    // Once `thinking` is in the request, a forced call is refused.
    let forces = |choice: &Value| ["any", "tool"].contains(&text(choice, "type"));
    if !out.contains_key("thinking") && out.get("tool_choice").is_some_and(forces) {
        return;
    }
    // What these models do by themselves.
    let thinking = out.entry("thinking").or_insert_with(|| json!({"type": "adaptive"}));
    if text(thinking, "type") == "adaptive" {
        thinking["block_binding"] = json!({"prefix_mismatch_behavior": "drop_block"});
    }
}

/// The trials that a request which was written is part of, in the words of `anthropic-beta`.
pub(crate) fn trials(written: &Map<String, Value>) -> Option<&'static str> {
    written.get("thinking")?.get("block_binding").map(|_| BINDING)
}
