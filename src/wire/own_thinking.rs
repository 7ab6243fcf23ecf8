//! Owns the thinking that an untranslated request may bring to Anthropic: only Anthropic's own, and none where that is
//! missing.

use serde_json::{Map, Value};

use super::{
    chat::Signature,
    foreign::items,
    json::{list, text},
    scan::texts_of,
};

/// What the ids of Anthropic's own calls begin with, at its resellers too.
const CALL: &str = "toolu_";

/// Whether a look at the bytes finds what `keep` might change: a thought without a signature, one that is not Anthropic's, or the
/// result of another's call. In a history of Anthropic's own, as all of Claude Code's requests bring one, it finds none.
pub(super) fn suspected(body: &[u8]) -> bool {
    // What a tool is given may have the name of a proof, and is none: it does not look like one.
    let is_base64 = |proof: &&str| proof.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b));
    let is_others = |proof: &[u8]| !str::from_utf8(proof).ok().filter(is_base64).is_some_and(is_anthropics);
    // `srvtoolu_` is of its own tools.
    let is_own_call = |id: &[u8]| id.strip_prefix(b"srv").unwrap_or(id).starts_with(CALL.as_bytes());
    let thoughts = texts_of(body, "\"type\"").filter(|kind| *kind == b"thinking").count();
    texts_of(body, "\"signature\"").count() != thoughts
        || texts_of(body, "\"signature\"").any(is_others)
        || !texts_of(body, "\"tool_use_id\"").all(is_own_call)
}

/// Leaves the thinking that is Anthropic's own, and asks for none where the turn under way has begun without: a budget demands
/// that each of its messages begins with thinking.
pub(super) fn keep(map: &mut Map<String, Value>) -> bool {
    let (mut changed, mut calls_of_others, mut silent) = (false, false, false);
    for message in items(map, "messages") {
        if message["role"] != "assistant" {
            // The words of a user begin another turn.
            if message["role"] == "user" && list(message, "content").iter().all(|b| text(b, "type") != "tool_result") {
                (calls_of_others, silent) = (false, false);
            }
            continue;
        }
        let Some(content) = message.get_mut("content").and_then(Value::as_array_mut) else { continue };
        let before = content.len();
        content.retain(|block| text(block, "type") != "thinking" || is_anthropics(text(block, "signature")));
        changed |= content.len() < before;
        let begins = content.first().map_or("", |block| text(block, "type"));
        let calls = |block: &Value| text(block, "type") == "tool_use" && !text(block, "id").starts_with(CALL);
        calls_of_others |= content.len() < before || content.iter().any(calls);
        silent |= !content.is_empty() && !begins.ends_with("thinking");
    }
    let Some(messages) = map.get_mut("messages").and_then(Value::as_array_mut) else { return false };
    if changed {
        messages.retain(|m| m["role"] != "assistant" || m["content"].as_array().is_none_or(|c| !c.is_empty()));
    }
    let last = messages.iter().rfind(|m| m["role"] == "assistant").map_or(&[][..], |m| list(m, "content"));
    let under_way = last.iter().any(|block| text(block, "type") == "tool_use");
    if under_way && calls_of_others && silent && map.get("thinking").is_some_and(|t| text(t, "type") == "enabled") {
        map.shift_remove("thinking");
        unforgetting(map);
        changed = true;
    }
    changed
}

/// Takes the wish to forget thinking out of a request that asks for none: it is refused without the other.
fn unforgetting(map: &mut Map<String, Value>) {
    let Some(management) = map.get_mut("context_management").and_then(Value::as_object_mut) else { return };
    if let Some(edits) = management.get_mut("edits").and_then(Value::as_array_mut) {
        edits.retain(|edit| !text(edit, "type").starts_with("clear_thinking"));
        if edits.is_empty() {
            management.shift_remove("edits");
        }
    }
    if management.is_empty() {
        map.shift_remove("context_management");
    }
}

/// Anthropic's signatures are base64, never empty, and bear no other provider's name.
fn is_anthropics(signature: &str) -> bool {
    !signature.is_empty() && !Signature::is_tagged(signature)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::{foreign, translate::Dialect};

    #[test]
    fn thinking_of_others_is_taken_out_of_messages_and_anthropics_own_is_left() {
        let turn = |signature: &str| {
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": signature},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {}}]}]})
        };
        assert_eq!(cleared_of(&turn("EqQBCgIYAhIM")), None);
        for foreign in ["", "gemini:abc", "openai:reasoning_content:m"] {
            let out = cleared_of(&turn(foreign)).expect("a change");
            assert_eq!(
                out["messages"][1]["content"],
                json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}])
            );
            assert!(out.get("thinking").is_none(), "a budget needs its thinking");
        }
        let only = json!({"messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""}]},
            {"role": "user", "content": "r"}]});
        assert_eq!(cleared_of(&only).expect("a change")["messages"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn a_turn_that_another_began_without_thinking_goes_on_without_it() {
        let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
        let thought = json!({"type": "thinking", "thinking": "hm", "signature": "EqQBCgIYAhIM"});
        let said = |role: &str, content: &[Value]| json!({"role": role, "content": content});
        let result = |id: &str| said("user", &[json!({"type": "tool_result", "tool_use_id": id, "content": "r"})]);
        let asked = || json!({"role": "user", "content": "q"});
        let (own, other) = (call("toolu_01"), call("call_1"));
        let clear = |edits: Value| json!({"edits": edits});
        let (forget, tools) =
            (json!({"type": "clear_thinking_20251015", "keep": "all"}), json!({"type": "clear_tool_uses"}));
        for (messages, goes) in [
            (vec![asked(), said("assistant", std::slice::from_ref(&other)), result("call_1")], true),
            (
                vec![
                    asked(),
                    said("assistant", &[json!({"type": "text", "text": "a"}), other.clone()]),
                    result("call_1"),
                ],
                true,
            ),
            // Anthropic's own calls behind another's belong to the same turn.
            (
                vec![
                    asked(),
                    said("assistant", std::slice::from_ref(&other)),
                    result("call_1"),
                    said("assistant", std::slice::from_ref(&own)),
                    result("toolu_01"),
                ],
                true,
            ),
            // That turn is over.
            (
                vec![
                    asked(),
                    said("assistant", std::slice::from_ref(&other)),
                    result("call_1"),
                    said("assistant", &[json!({"type": "text", "text": "a"})]),
                    asked(),
                    said("assistant", &[thought.clone(), own.clone()]),
                    result("toolu_01"),
                    said("assistant", std::slice::from_ref(&own)),
                    result("toolu_01"),
                ],
                false,
            ),
            (vec![asked(), said("assistant", &[thought.clone(), other.clone()]), result("call_1")], false),
            // What a client asks for of Anthropic's own is its affair.
            (vec![asked(), said("assistant", std::slice::from_ref(&own)), result("toolu_01")], false),
            (vec![asked(), said("assistant", &[json!({"type": "text", "text": "a"})]), asked()], false),
        ] {
            let body = json!({"thinking": {"type": "enabled", "budget_tokens": 1024},
                "context_management": clear(json!([forget])), "messages": messages});
            let out = cleared_of(&body);
            assert_eq!(out, goes.then(|| json!({"messages": messages})), "{messages:?}");
            let mut both = body.clone();
            both["context_management"] = clear(json!([tools, forget]));
            let kept = cleared_of(&both).map(|out| out["context_management"].clone());
            assert_eq!(kept, goes.then(|| clear(json!([tools]))));
            let mut adaptive = body;
            adaptive["thinking"] = json!({"type": "adaptive"});
            assert_eq!(cleared_of(&adaptive), None, "which demands nothing");
        }
    }

    fn cleared_of(body: &Value) -> Option<Value> {
        let text = body.to_string();
        let out = foreign::cleared(Dialect::Messages, &[], text.as_bytes())?;
        assert!(foreign::suspected(Dialect::Messages, &[], text.as_bytes()));
        Some(serde_json::from_slice(&out).expect("JSON"))
    }
}
