//! Owns what becomes of what a provider does not know: put otherwise, left out with a note, or refused so that another backend
//! can be asked.

use serde_json::{Value, json};

use super::support::{made, sent};
use crate::wire::{
    Protocol,
    translate::{Dialect, Refused, Translated},
};

pub(super) const CLAUDE: (Protocol, &str) = (Protocol::Anthropic, "claude-sonnet-4-5");
pub(super) const GPT: (Protocol, &str) = (Protocol::Openai, "gpt-4o");

/// A request of each dialect with further members.
pub(super) fn asked(dialect: Dialect, more: Value) -> Value {
    let mut body = match dialect {
        Dialect::Responses => json!({"input": "hi"}),
        Dialect::Chat => json!({"messages": [{"role": "user", "content": "hi"}]}),
        Dialect::Messages => json!({"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    };
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

/// A Messages request whose user says these blocks.
pub(super) fn blocks(content: &Value) -> Value {
    asked(Dialect::Messages, json!({"messages": [{"role": "user", "content": content}]}))
}

pub(super) fn is_unsupported(made: &Result<Translated, Refused>, field: &str) -> bool {
    matches!(made, Err(Refused::Unsupported { param: Some(param), .. }) if param == field)
}

#[test]
fn an_end_user_is_told_by_a_digest_where_the_name_would_be_refused() {
    let of = |dialect, to, more| sent(dialect, to, &asked(dialect, more)).0;
    let long = "user_".to_owned() + &"a".repeat(180);
    let openai = of(Dialect::Messages, GPT, json!({"metadata": {"user_id": long}}));
    let told = openai["user"].as_str().expect("a user");
    assert!(told.len() == 64 && told.bytes().all(|b| b.is_ascii_hexdigit()), "{told}");
    assert_eq!(of(Dialect::Messages, GPT, json!({"metadata": {"user_id": "u-1"}}))["user"], "u-1");
    let anthropic = of(Dialect::Chat, CLAUDE, json!({"user": "ann@example.org"}));
    assert_eq!(anthropic["metadata"]["user_id"].as_str().map(str::len), Some(64), "{anthropic}");
}

#[test]
fn the_name_that_followed_user_tells_the_end_user_too() {
    for dialect in [Dialect::Chat, Dialect::Responses] {
        let body = asked(dialect, json!({"safety_identifier": "u-2", "user": "u-1"}));
        let (out, dropped) = sent(dialect, CLAUDE, &body);
        assert_eq!((&out["metadata"]["user_id"], dropped), (&json!("u-2"), vec![]));
    }
}

#[test]
fn a_way_to_think_that_is_not_known_is_told_of() {
    for dialect in [Dialect::Chat, Dialect::Messages] {
        let (out, dropped) = sent(dialect, GPT, &asked(dialect, json!({"thinking": {"type": "between_tools"}})));
        assert_eq!((out.get("reasoning_effort"), dropped), (None, vec!["thinking".to_owned()]));
        assert_eq!(sent(dialect, GPT, &asked(dialect, json!({"thinking": false}))).1, Vec::<String>::new());
    }
}

#[test]
fn a_search_without_options_is_no_wish_that_can_be_left_out_and_a_switch_that_is_off_is_noted() {
    let made_of = |more: Value| made(Dialect::Chat, GPT, &asked(Dialect::Chat, more));
    for options in [json!({}), json!({"search_context_size": "low"})] {
        assert!(is_unsupported(&made_of(json!({"web_search_options": options})), "web_search_options"), "{options}");
    }
    let off = json!({"enable_thinking": false, "logprobs": false, "store": false, "logit_bias": {}});
    assert_eq!(sent(Dialect::Chat, CLAUDE, &asked(Dialect::Chat, off)).1, ["enable_thinking"]);
}

#[test]
fn a_failed_tools_picture_is_not_lost() {
    let result = |content: Value| {
        let call = json!({"id": "t", "function": {"name": "f", "arguments": "{}"}});
        let body = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t", "content": content, "is_error": true}]});
        sent(Dialect::Chat, CLAUDE, &body).0["messages"][2]["content"][0].clone()
    };
    let text = |text: &str| json!({"type": "text", "text": text});
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}});
    let out = result(json!([text("see"), image]));
    assert_eq!(out.get("is_error"), None, "Anthropic takes text alone there");
    assert_eq!((&out["content"][0], &out["content"][1]), (&text("The tool failed."), &text("see")));
    assert_eq!(out["content"][2]["type"], "image");
    for (content, said) in [(json!(""), "The tool failed."), (json!("boom"), "boom")] {
        let out = result(content);
        assert_eq!((&out["is_error"], &out["content"]), (&json!(true), &json!([text(said)])));
    }
}

#[test]
fn a_search_result_is_told_in_words_wherever_it_stands() {
    let result = json!({"type": "search_result", "title": "Tides", "source": "https://x.test/t",
        "content": [{"type": "text", "text": "Twice"}, {"type": "text", "text": "a day"}]});
    let body = json!({"max_tokens": 9, "messages": [
        {"role": "user", "content": [result, {"type": "text", "text": "When?"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [result,
            {"type": "tool_reference", "tool_name": "weather"}]}]}]});
    let (body, dropped) = sent(Dialect::Messages, GPT, &body);
    let words = "Tides\nhttps://x.test/t\nTwice\na day";
    assert_eq!(body["messages"][0]["content"], format!("{words}\n\nWhen?"));
    assert_eq!(body["messages"][2]["content"], format!("{words}\nweather"));
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn what_an_answer_is_drawn_from_is_never_left_out() {
    for kind in ["container_upload", "compaction", "browser_state", "one_of_tomorrow"] {
        let got = made(Dialect::Messages, GPT, &blocks(&json!([{"type": kind}, {"type": "text", "text": "q"}])));
        assert!(is_unsupported(&got, &format!("messages[].content[{kind}]")), "{kind}: {got:?}");
    }
    let used = json!([{"type": "server_tool_use"}, {"type": "web_search_tool_result"}, {"type": "text", "text": "q"}]);
    assert!(made(Dialect::Messages, GPT, &blocks(&used)).is_ok());
    let input =
        |kind: &str| json!({"input": [{"type": kind, "encrypted_content": "e"}, {"role": "user", "content": "q"}]});
    for kind in ["compaction", "one_of_tomorrow"] {
        let got = made(Dialect::Responses, CLAUDE, &input(kind));
        assert!(is_unsupported(&got, &format!("input[{kind}]")), "{kind}: {got:?}");
    }
    let alone = made(Dialect::Responses, CLAUDE, &json!({"input": [{"type": "compaction", "encrypted_content": "e"}]}));
    assert!(is_unsupported(&alone, "input[compaction]"), "{alone:?}");
    assert!(made(Dialect::Responses, CLAUDE, &input("web_search_call")).is_ok());
}

#[test]
fn a_conversation_that_its_provider_keeps_is_never_answered_from_its_last_message() {
    for (member, value) in [
        ("thread", json!({"type": "create"})),
        ("thread", json!({"type": "continue", "previous_message_id": "msg_1"})),
        ("compaction", json!({"type": "summarize"})),
    ] {
        let body = asked(Dialect::Messages, json!({member: value}));
        for to in [GPT, (Protocol::Gemini, "gemini-3-pro")] {
            assert!(is_unsupported(&made(Dialect::Messages, to, &body), member), "{member}");
        }
        assert!(made(Dialect::Messages, GPT, &asked(Dialect::Messages, json!({member: null}))).is_ok());
    }
    let code = |dialect, param: &str| {
        Refused::Unsupported { param: Some(param.to_owned()), message: String::new() }.code(dialect)
    };
    assert_eq!(code(Dialect::Messages, "thread"), "thread_unsupported_request");
    for (dialect, param) in [(Dialect::Messages, "compaction"), (Dialect::Chat, "thread")] {
        assert_eq!(code(dialect, param), "unsupported_parameter");
    }
}

#[test]
fn what_is_not_known_here_is_left_to_backends_that_may_know_it() {
    let part = json!({"messages": [{"role": "user", "content": [{"type": "hologram", "hologram": {"url": "u"}}]}]});
    for (more, field) in [
        (part, "messages[0].content"),
        (json!({"messages": [{"role": "observer", "content": "x"}]}), "messages[0].role"),
        (json!({"response_format": {"type": "structural_tag"}}), "response_format"),
        (json!({"tool_choice": "sometimes"}), "tool_choice"),
        (json!({"top_k": -1}), "top_k"),
    ] {
        let got = made(Dialect::Chat, CLAUDE, &asked(Dialect::Chat, more));
        assert!(is_unsupported(&got, field), "{field}: {got:?}");
    }
    let source = blocks(&json!([{"type": "image", "source": {"type": "bucket"}}]));
    assert!(is_unsupported(&made(Dialect::Messages, GPT, &source), "messages[0].content"));
    let part = json!({"input": [{"role": "user", "content": [{"type": "input_video"}]}]});
    assert!(is_unsupported(&made(Dialect::Responses, CLAUDE, &part), "input[0].content"));
    // What is not there is the client's own mistake.
    let nameless = json!({"messages": [{"content": "x"}]});
    assert!(matches!(made(Dialect::Chat, CLAUDE, &nameless), Err(Refused::Invalid { .. })));
}

#[test]
fn a_hosted_tool_needs_no_name() {
    let toolset = json!({"type": "mcp_toolset", "mcp_server_name": "s"});
    let own = json!({"name": "f", "input_schema": {"type": "object"}});
    let tools = |tools: Value| asked(Dialect::Messages, json!({"tools": tools}));
    let (body, dropped) = sent(Dialect::Messages, GPT, &tools(json!([toolset, own])));
    assert_eq!((body["tools"].as_array().map(Vec::len), dropped), (Some(1), vec!["tools[mcp_toolset]".to_owned()]));
    assert!(is_unsupported(&made(Dialect::Messages, GPT, &tools(json!([toolset]))), "tools[mcp_toolset]"));
    let nameless = made(Dialect::Messages, GPT, &tools(json!([{"input_schema": {"type": "object"}}])));
    assert!(matches!(nameless, Err(Refused::Invalid { .. })));
}

#[test]
fn a_tool_that_only_the_client_can_run_is_not_left_out() {
    let own = json!({"name": "f", "input_schema": {"type": "object"}});
    for kind in ["bash_20250124", "text_editor_20250728", "computer_20251124", "memory_20250818"] {
        let tools = json!({"tools": [own, {"type": kind, "name": "x"}]});
        let got = made(Dialect::Messages, GPT, &asked(Dialect::Messages, tools));
        assert!(is_unsupported(&got, &format!("tools[{kind}]")), "{got:?}");
    }
}

#[test]
fn metadata_goes_to_openai_only_with_what_is_to_be_stored() {
    let body = |store: bool| asked(Dialect::Responses, json!({"metadata": {"team": "a"}, "store": store}));
    let (kept, dropped) = sent(Dialect::Responses, GPT, &body(true));
    assert_eq!(
        (&kept["store"], &kept["metadata"], dropped),
        (&json!(true), &json!({"team": "a"}), vec!["store".to_owned()])
    );
    let (left, dropped) = sent(Dialect::Responses, GPT, &body(false));
    assert_eq!((left.get("store"), left.get("metadata"), dropped), (None, None, vec!["metadata".to_owned()]));
}

#[test]
fn verbosity_goes_where_it_is_known_and_is_noted_elsewhere() {
    let body = asked(Dialect::Responses, json!({"text": {"verbosity": "low"}}));
    assert_eq!(sent(Dialect::Responses, (Protocol::Openai, "gpt-5.2"), &body).0["verbosity"], "low");
    for to in [GPT, (Protocol::Openai, "o3"), CLAUDE, (Protocol::Gemini, "gemini-3-pro")] {
        let (out, dropped) = sent(Dialect::Responses, to, &body);
        assert_eq!((out.get("verbosity"), dropped), (None, vec!["verbosity".to_owned()]), "{to:?}");
    }
}

#[test]
fn probabilities_that_shall_be_included_are_part_of_the_answer() {
    let body = |kind: &str| asked(Dialect::Responses, json!({"include": [kind]}));
    assert!(is_unsupported(&made(Dialect::Responses, GPT, &body("message.output_text.logprobs")), "include"));
    assert!(made(Dialect::Responses, GPT, &body("reasoning.encrypted_content")).is_ok());
}

#[test]
fn who_refers_to_earlier_answers_is_told_to_send_them_along() {
    let reference =
        json!({"input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "And now?"}]});
    let kept = json!({"input": "And now?", "previous_response_id": "resp_1"});
    for body in [reference, kept] {
        let Err(Refused::Unsupported { message, .. }) = made(Dialect::Responses, CLAUDE, &body) else {
            panic!("{body}")
        };
        assert!(message.contains("'store': false"), "{message}");
    }
}

#[test]
fn an_input_that_a_provider_keeps_is_no_mistake_of_the_clients() {
    for kept in ["prompt", "conversation", "previous_response_id"] {
        let got = made(Dialect::Responses, CLAUDE, &json!({kept: {"id": "x"}}));
        assert!(is_unsupported(&got, "input"), "{kept}: {got:?}");
    }
    assert!(matches!(made(Dialect::Responses, CLAUDE, &json!({})), Err(Refused::Invalid { .. })));
}

#[test]
fn a_schema_without_named_members_still_reaches_gemini() {
    let declared = |parameters: Value| {
        let tools = json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]});
        let (body, _) = sent(Dialect::Chat, (Protocol::Gemini, "gemini-3-pro"), &asked(Dialect::Chat, tools));
        body["tools"][0]["functionDeclarations"][0].get("parametersJsonSchema").cloned()
    };
    for schema in [
        json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]}),
        json!({"type": "object", "additionalProperties": {"type": "string"}}),
    ] {
        assert_eq!(declared(schema.clone()), Some(schema));
    }
    for bare in [
        json!({"type": "object"}),
        json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false, "description": "d"}),
    ] {
        assert_eq!(declared(bare), None);
    }
}

#[test]
fn marks_for_the_cache_reach_anthropic_on_the_blocks_that_they_stand_on() {
    let mark = json!({"type": "ephemeral"});
    let text = |text: &str| json!({"type": "text", "text": text, "cache_control": mark});
    let body = asked(
        Dialect::Chat,
        json!({"messages": [{"role": "system", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "system", "content": "three", "cache_control": mark},
            {"role": "user", "content": [text("four"), {"type": "text", "text": "five"}, text(" ")]},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": [text("six")]}]}),
    );
    let (claude, dropped) = sent(Dialect::Chat, CLAUDE, &body);
    let plain = |text: &str| json!({"type": "text", "text": text});
    assert_eq!(claude["system"], json!([plain("one"), plain("two"), text("three")]));
    assert_eq!(claude["messages"][0]["content"], json!([text("four"), text("five")]));
    assert_eq!(claude["messages"][2]["content"][0]["content"], json!([text("six")]));
    assert_eq!(dropped, Vec::<String>::new());
    for to in [GPT, (Protocol::Gemini, "gemini-3-pro")] {
        let (other, dropped) = sent(Dialect::Chat, to, &body);
        assert!(!other.to_string().contains("ephemeral"), "{other}");
        assert_eq!(dropped, ["messages[].content[].cache_control"]);
    }
}

#[test]
fn openai_is_asked_for_one_token_where_none_are_wanted_and_a_beginning_that_it_answers_is_noted() {
    let turns = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "{"}]);
    let (body, dropped) = sent(Dialect::Messages, GPT, &json!({"max_tokens": 0, "messages": turns}));
    assert_eq!((&body["max_tokens"], dropped), (&json!(1), vec!["messages[] of the assistant at the end".to_owned()]));
}
