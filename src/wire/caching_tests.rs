//! What lets servers find in their caches what they have of a conversation: its beginning stays, whatever is new in a request.

use serde_json::json;

use super::{
    Protocol,
    losses_tests::{CLAUDE, GPT, asked},
    tests_support::{To, kept, sent},
    translate::Dialect,
};

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
