//! Owns the cases of thoughts with which a turn ends, or which are all of it: no provider takes them there.

use serde_json::{Value, json};

use super::{
    losses::CLAUDE,
    support::{context, kept, sent},
};
use crate::wire::{
    Protocol,
    json::list,
    translate::{Dialect, reply},
};

const GEMINI: (Protocol, &str) = (Protocol::Gemini, "gemini-3-pro-preview");
const QWEN: (Protocol, &str) = (Protocol::Openai, "qwen3-coder");

fn thought(signature: &str) -> Value {
    json!({"type": "thinking", "thinking": "hm", "signature": signature})
}

fn redacted() -> Value {
    json!({"type": "redacted_thinking", "data": "r"})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// A conversation in which an assistant's message stands between two of the user's.
fn around(message: &Value) -> Value {
    json!({"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}, message, {"role": "user", "content": "go on"}]})
}

#[test]
fn a_turn_that_is_nothing_but_a_thought_goes_to_nobody_and_the_turns_around_it_are_one() {
    for (signature, to) in [("sig", CLAUDE), ("gemini:sig", GEMINI), ("openai:reasoning_content:qwen3-coder", QWEN)] {
        for thoughts in [vec![thought(signature)], vec![thought(signature), thought(signature)], vec![redacted()]] {
            let said = around(&json!({"role": "assistant", "content": "", "thinking_blocks": thoughts}));
            let mut bodies = vec![kept(Dialect::Chat, to, &said)];
            if to != CLAUDE {
                let said = around(&json!({"role": "assistant", "content": thoughts}));
                bodies.push(kept(Dialect::Messages, to, &said));
            }
            let proof = if signature == "sig" { "anthropic:sig" } else { signature };
            let item = json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": proof});
            let user = |text: &str| json!({"role": "user", "content": text});
            bodies.push(kept(Dialect::Responses, to, &json!({"input": [user("hi"), item, user("go on")]})));
            let want = match to.0 {
                Protocol::Openai => json!([user("hi\n\ngo on")]),
                Protocol::Anthropic => json!([{"role": "user", "content": [text("hi"), text("go on")]}]),
                Protocol::Gemini => json!([{"role": "user", "parts": [{"text": "hi"}, {"text": "go on"}]}]),
            };
            for body in bodies {
                assert_eq!(body.get("messages").or_else(|| body.get("contents")), Some(&want), "{to:?}");
            }
        }
    }
}

#[test]
fn thoughts_behind_all_else_in_a_turn_do_not_go_to_claude() {
    let back = |blocks: &[Value]| {
        let said = json!({"role": "assistant", "content": "so", "thinking_blocks": blocks});
        kept(Dialect::Chat, CLAUDE, &around(&said))["messages"][1]["content"].clone()
    };
    let placed = |mut block: Value| {
        block["after"] = json!({"text": 2, "calls": 0});
        block
    };
    for behind in [placed(thought("s2")), placed(redacted())] {
        assert_eq!(back(&[thought("s1"), behind]), json!([thought("s1"), text("so")]));
    }
}

#[test]
fn a_thought_between_a_call_and_a_text_is_told_before_the_text_that_chat_clients_put_first() {
    let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    let said = [thought("s1"), call.clone(), thought("s2"), text("so")];
    let whole =
        json!({"type": "message", "id": "m", "model": "c", "content": said, "stop_reason": "tool_use", "usage": {}});
    let (out, _) =
        reply(Protocol::Anthropic, Dialect::Chat, whole.to_string().as_bytes(), &context()).expect("a reply");
    let out: Value = serde_json::from_slice(&out).expect("JSON");
    let result = json!({"role": "tool", "tool_call_id": "t", "content": "r"});
    let turn = json!({"messages": [{"role": "user", "content": "q"}, out["choices"][0]["message"], result]});
    let back = kept(Dialect::Chat, CLAUDE, &turn);
    assert_eq!(back["messages"][1]["content"], json!([thought("s1"), thought("s2"), text("so"), call]));
}

#[test]
fn a_thought_between_two_calls_stays_between_them() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let mut between = thought("s");
    between["after"] = json!({"text": 0, "calls": 1});
    let said = json!({"role": "assistant", "content": "abc", "tool_calls": [call("t"), call("u")],
        "thinking_blocks": [between]});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "r"});
    let turn = json!({"messages": [{"role": "user", "content": "q"}, said, result("t"), result("u")]});
    let back = kept(Dialect::Chat, CLAUDE, &turn);
    let kinds: Vec<_> = list(&back["messages"][1], "content").iter().map(|block| block["type"].clone()).collect();
    assert_eq!(kinds, ["text", "tool_use", "thinking", "tool_use"]);
}

#[test]
fn a_proof_of_no_words_leaves_the_thought_before_it_its_own() {
    let parts =
        json!([{"text": "hm", "thought": true, "thoughtSignature": "s1"}, {"text": "", "thoughtSignature": "s2"}]);
    let whole = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "MAX_TOKENS"}]});
    let (out, _) =
        reply(Protocol::Gemini, Dialect::Messages, whole.to_string().as_bytes(), &context()).expect("a reply");
    let out: Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(out["content"], json!([thought("gemini:s1")]));
}

#[test]
fn an_answer_already_begun_goes_to_claude_without_the_thoughts_before_it() {
    let begun = json!({"role": "assistant", "content": "It is ", "thinking_blocks": [thought("sig"), redacted()]});
    let body = kept(Dialect::Chat, CLAUDE, &json!({"messages": [{"role": "user", "content": "q"}, begun]}));
    assert_eq!(body["messages"][1]["content"], json!([text("It is")]));
    assert_eq!(body.get("thinking"), None);
}

#[test]
fn a_proven_thought_that_goes_to_nobody_is_noted() {
    let with =
        |content: &str, blocks: Value| json!({"role": "assistant", "content": content, "thinking_blocks": blocks});
    let behind = json!({"type": "redacted_thinking", "data": "r", "after": {"text": 2, "calls": 0}});
    let begun = json!({"messages": [{"role": "user", "content": "q"}, with("It is ", json!([thought("sig")]))]});
    for (to, body) in [
        (CLAUDE, around(&with("", json!([thought("sig")])))),
        (CLAUDE, around(&with("", json!([redacted()])))),
        (CLAUDE, around(&with("so", json!([thought("sig"), behind])))),
        (CLAUDE, begun),
        (GEMINI, around(&with("", json!([thought("gemini:sig")])))),
        (QWEN, around(&with("", json!([thought("openai:reasoning_content:qwen3-coder")])))),
    ] {
        assert_eq!(sent(Dialect::Chat, to, &body).1, ["messages[].thinking"], "{to:?} {body}");
    }
    let told = around(&with("so", json!([thought("sig")])));
    assert_eq!(sent(Dialect::Chat, CLAUDE, &told).1, Vec::<String>::new());
}
