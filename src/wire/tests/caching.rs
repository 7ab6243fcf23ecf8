//! What lets servers find in their caches what they have of a conversation: its beginning stays, whatever is new in a request.

use serde_json::{Value, json};

use super::{
    losses::{CLAUDE, GPT, asked},
    support::{To, kept, sent},
};
use crate::wire::{Protocol, translate::Dialect};

const QWEN: To<'_> = (Protocol::Openai, "qwen3");
const GEMINI: To<'_> = (Protocol::Gemini, "gemini-3-pro");

#[test]
fn where_a_prompt_is_to_be_cached_is_told_openais_models_and_keeps_no_request_from_others() {
    let wish = json!({"prompt_cache_key": "k", "prompt_cache_retention": "24h"});
    let body = asked(Dialect::Responses, wish.clone());
    let openais = kept(Dialect::Responses, GPT, &body);
    for (name, said) in wish.as_object().expect("an object") {
        assert_eq!(&openais[name], said);
    }
    for to in [QWEN, GEMINI, CLAUDE] {
        assert!(!kept(Dialect::Responses, to, &body).to_string().contains("prompt_cache"), "{to:?}");
        let (_, dropped) = sent(Dialect::Responses, to, &body);
        assert_eq!(dropped, ["prompt_cache_key", "prompt_cache_retention"]);
    }
    assert!(!kept(Dialect::Chat, CLAUDE, &asked(Dialect::Chat, wish)).to_string().contains("prompt_cache"));
}

#[test]
fn what_claude_code_tells_anthropics_accounts_is_told_nobody_else() {
    let line = "x-anthropic-billing-header: cc_version=2.1.177; cch=fa690;";
    let block = |text: &str| json!({"type": "text", "text": text});
    for (system, want) in [
        (json!([block(line), block("You are Claude Code.")]), "You are Claude Code."),
        (json!(format!("{line}\n\nYou are Claude Code.")), "You are Claude Code."),
        (json!(line), ""),
    ] {
        let body = asked(Dialect::Messages, json!({"system": system}));
        let vllm = kept(Dialect::Messages, QWEN, &body);
        let said = vllm["messages"].as_array().expect("messages").iter().find(|m| m["role"] == "system");
        assert_eq!(said.map_or("", |m| m["content"].as_str().expect("a text").trim()), want, "{vllm}");
        let gemini = kept(Dialect::Messages, GEMINI, &body);
        assert!(!gemini.to_string().contains("cch="), "{gemini}");
    }
    let later = json!({"system": [block("Brief."), block(line)]});
    let vllm = kept(Dialect::Messages, QWEN, &asked(Dialect::Messages, later));
    assert!(vllm.to_string().contains("cch="), "only where it heads the prompt: {vllm}");
}

/// A Messages request of an agent amid its work, with more to say behind a tool's result.
fn at_work(result: &Value, more: &[Value]) -> Value {
    let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": result});
    let mut messages = vec![
        json!({"role": "user", "content": "q"}),
        json!({"role": "assistant", "content": [call]}),
        json!({"role": "user", "content": [result]}),
    ];
    messages.extend_from_slice(more);
    asked(Dialect::Messages, json!({"system": "Brief.", "messages": messages}))
}

fn said(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

#[test]
fn what_an_agent_is_reminded_of_stands_at_the_end_and_changes_nothing_before_it() {
    let reminder = said("system", "<total_tokens>90 tokens left</total_tokens>");
    for more in [vec![], vec![said("assistant", "a")], vec![said("assistant", "a"), said("user", "r")]] {
        let reminded = [more.as_slice(), std::slice::from_ref(&reminder)].concat();
        for to in [QWEN, GEMINI, CLAUDE] {
            let of = |more: &[Value]| kept(Dialect::Messages, to, &at_work(&json!("5"), more));
            let (before, after) = (of(&more), of(&reminded));
            for instructions in ["system", "systemInstruction"] {
                assert_eq!(before.get(instructions), after.get(instructions), "{to:?}");
            }
            let turns = |body: &Value| body.get("messages").or(body.get("contents")).expect("turns").clone();
            let (before, after) = (turns(&before), turns(&after));
            let (before, after) = (before.as_array().expect("a list"), after.as_array().expect("a list"));
            let (last, same) = after.split_last().expect("a turn");
            assert_eq!(same, &before[..same.len()], "{to:?}");
            assert!(last.to_string().contains("90 tokens left"), "{last}");
        }
    }
}

#[test]
fn a_first_question_leaves_the_instructions_before_it_as_they_are_whatever_is_said_behind_it() {
    let asked = |messages: &[Value]| {
        let body = asked(Dialect::Messages, json!({"system": "Brief.", "messages": messages}));
        [QWEN, GEMINI, CLAUDE].map(|to| kept(Dialect::Messages, to, &body))
    };
    let (question, reminder) = (said("user", "q"), said("system", "Hurry."));
    let before = asked(std::slice::from_ref(&question));
    let after = asked(&[question, reminder]);
    assert_eq!(before[0]["messages"][0], after[0]["messages"][0]);
    assert_eq!(after[0]["messages"][1]["content"], "q\n\n<system>\nHurry.\n</system>");
    assert_eq!(before[1]["systemInstruction"], after[1]["systemInstruction"]);
    assert_eq!(before[2]["system"], after[2]["system"]);
}

#[test]
fn a_reminder_is_told_so_that_strict_templates_find_the_roles_in_turn() {
    let reminder = said("system", "Hurry.");
    let marked = "<system>\nHurry.\n</system>";
    let roles = |result: &Value, more: &[Value]| -> Vec<(String, String)> {
        let out = kept(Dialect::Messages, QWEN, &at_work(result, more));
        let messages = out["messages"].as_array().expect("messages").iter().skip(3);
        messages.map(|m| (m["role"].as_str().unwrap_or_default().to_owned(), m["content"].to_string())).collect()
    };
    let want = |role: &str, content: &str| (role.to_owned(), json!(content).to_string());
    let behind_result = roles(&json!("5"), std::slice::from_ref(&reminder));
    assert_eq!(behind_result, [want("tool", &format!("5\n{marked}"))], "no user's message behind a result");
    let (answer, question) = (said("assistant", "a"), said("user", "r"));
    assert_eq!(
        roles(&json!("5"), &[answer.clone(), question.clone(), reminder.clone()])[2..],
        [want("user", &format!("r\n\n{marked}"))]
    );
    assert_eq!(
        roles(&json!("5"), &[answer, reminder.clone(), question])[2..],
        [want("user", &format!("{marked}\n\nr"))]
    );
    // A picture is the user's to show, and what follows it stands beside it.
    let source = json!({"type": "base64", "media_type": "image/png", "data": "QUE="});
    let shown = roles(&json!([{"type": "image", "source": source}]), &[reminder]);
    assert_eq!(shown[0], want("tool", "The result is attached below."));
    assert!(shown[1].0 == "user" && shown[1].1.contains("image_url") && shown[1].1.contains("Hurry."), "{shown:?}");
}

#[test]
fn results_that_an_instruction_parts_are_all_results() {
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": format!("result {id}")});
    let body = json!({"messages": [said("user", "q"), {"role": "assistant", "tool_calls": [call("a"), call("b"), call("c")]},
        result("a"), said("system", "Hurry."), result("b"), said("system", "Now."), result("c")]});
    for to in [QWEN, GPT] {
        let out = sent(Dialect::Chat, to, &body).0;
        let results = out["messages"].as_array().expect("messages").iter().filter(|m| m["role"] == "tool");
        let told: Vec<&str> = results.map(|m| m["content"].as_str().unwrap_or_default()).collect();
        assert_eq!(told[..2], ["result a", "result b"], "{out}");
        assert!(told[2].starts_with("result c") && out.to_string().contains("Now."), "{out}");
    }
}

#[test]
fn a_wish_to_cache_all_of_a_chat_reaches_anthropic_within_its_four_marks() {
    let mark = json!({"type": "ephemeral"});
    let text = json!({"type": "text", "text": "q", "cache_control": mark});
    let body = json!({"cache_control": mark, "messages": [{"role": "user", "content": [text, text, text, text]}]});
    let claude = sent(Dialect::Chat, CLAUDE, &body).0;
    assert_eq!(claude["cache_control"], mark);
    assert_eq!(claude.to_string().matches("cache_control").count(), 4, "{claude}");
    let gemini = kept(Dialect::Chat, GEMINI, &body);
    assert!(!gemini.to_string().contains("cache_control"), "{gemini}");
}
