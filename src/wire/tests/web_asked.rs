//! Cases of searches of the web that are asked for: in each provider's words, left out, refused, and gone on from.

use serde_json::{Value, json};

use super::{
    losses::{CLAUDE, GPT, asked, is_unsupported},
    support::{kept, made, sent},
};
use crate::wire::{Protocol, translate::Dialect};

const GEMINI: (Protocol, &str) = (Protocol::Gemini, "gemini-2.5-flash");

fn function(dialect: Dialect) -> Value {
    match dialect {
        Dialect::Chat => json!({"type": "function", "function": {"name": "f"}}),
        Dialect::Messages => json!({"name": "f", "input_schema": {"type": "object"}}),
        Dialect::Responses => json!({"type": "function", "name": "f"}),
    }
}

/// A request of each dialect that wishes a search, alone or beside a function.
fn searching(dialect: Dialect, more: Value, beside: bool) -> Value {
    let mut tool = match dialect {
        Dialect::Chat => json!({}),
        Dialect::Messages => json!({"type": "web_search_20250305", "name": "web_search"}),
        Dialect::Responses => json!({"type": "web_search"}),
    };
    if let (Some(tool), Value::Object(more)) = (tool.as_object_mut(), more) {
        tool.extend(more);
    }
    let functions = if beside { vec![function(dialect)] } else { Vec::new() };
    if dialect == Dialect::Chat {
        return asked(dialect, json!({"web_search_options": tool, "tools": functions}));
    }
    let tools = [vec![tool], functions].concat();
    asked(dialect, json!({"tools": tools}))
}

const ALL: [Dialect; 3] = [Dialect::Chat, Dialect::Messages, Dialect::Responses];

#[test]
fn gemini_is_asked_to_search_with_google() {
    for dialect in ALL {
        let out = kept(dialect, GEMINI, &searching(dialect, json!({}), false));
        assert_eq!((&out["tools"], out.get("toolConfig")), (&json!([{"googleSearch": {}}]), None), "{dialect:?}");
    }
    for kind in ["web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"] {
        let out = kept(Dialect::Responses, GEMINI, &searching(Dialect::Responses, json!({"type": kind}), false));
        assert_eq!(out["tools"], json!([{"googleSearch": {}}]), "{kind}");
    }
    let newer = json!({"type": "web_search_20260209"});
    assert_eq!(
        kept(Dialect::Messages, GEMINI, &searching(Dialect::Messages, newer, false))["tools"][0]["googleSearch"],
        json!({})
    );
}

#[test]
fn what_google_searches_by_no_wish_of_is_left_out_or_refused() {
    let place = json!({"type": "approximate", "city": "Bern", "country": "CH"});
    for (dialect, more, dropped) in [
        (
            Dialect::Messages,
            json!({"max_uses": 8, "cache_control": {"type": "ephemeral"}}),
            vec!["tools[web_search_20250305].max_uses"],
        ),
        (Dialect::Messages, json!({"user_location": place}), vec!["tools[web_search_20250305].user_location"]),
        (
            Dialect::Responses,
            json!({"search_context_size": "high", "filters": null, "external_web_access": true}),
            vec!["tools[web_search].search_context_size"],
        ),
        (
            Dialect::Chat,
            json!({"user_location": {"type": "approximate", "approximate": {"city": "Bern"}}}),
            vec!["web_search_options.user_location"],
        ),
        (Dialect::Chat, json!({"search_context_size": "medium", "user_location": null}), vec![]),
    ] {
        let (out, mut lost) = sent(dialect, GEMINI, &searching(dialect, more, false));
        lost.retain(|field| !field.ends_with("cache_control"));
        assert_eq!(
            (&out["tools"], lost),
            (&json!([{"googleSearch": {}}]), dropped.into_iter().map(str::to_owned).collect())
        );
    }
    for (dialect, more, field) in [
        (Dialect::Messages, json!({"allowed_domains": ["a.test"]}), "tools[web_search_20250305].allowed_domains"),
        (Dialect::Messages, json!({"blocked_domains": ["a.test"]}), "tools[web_search_20250305].blocked_domains"),
        (Dialect::Responses, json!({"filters": {"allowed_domains": ["a.test"]}}), "tools[web_search].allowed_domains"),
    ] {
        let got = made(dialect, GEMINI, &searching(dialect, more, false));
        assert!(is_unsupported(&got, field), "{field}: {got:?}");
    }
}

#[test]
fn a_search_beside_functions_is_left_out_for_gemini_and_one_that_is_the_answer_refused() {
    for dialect in [Dialect::Messages, Dialect::Responses] {
        let (out, dropped) = sent(dialect, GEMINI, &searching(dialect, json!({}), true));
        assert_eq!(out["tools"].as_array().map(Vec::len), Some(1), "{out}");
        assert_eq!(
            (&out["tools"][0]["functionDeclarations"][0]["name"], dropped.len()),
            (&json!("f"), 1),
            "{dropped:?}"
        );
    }
    let got = made(Dialect::Chat, GEMINI, &searching(Dialect::Chat, json!({}), true));
    assert!(is_unsupported(&got, "web_search_options"), "{got:?}");
    for model in ["gemini-1.5-pro", "gemini-2.5-flash-image"] {
        let got = made(Dialect::Chat, (Protocol::Gemini, model), &searching(Dialect::Chat, json!({}), false));
        assert!(is_unsupported(&got, "web_search_options"), "{model}: {got:?}");
    }
}

#[test]
fn a_format_goes_with_googles_search_in_words_before_the_third_generation() {
    let body = |model| {
        let format = json!({"web_search_options": {}, "response_format": {"type": "json_object"}});
        kept(Dialect::Chat, (Protocol::Gemini, model), &asked(Dialect::Chat, format))
    };
    let (older, newer) = (body("gemini-2.5-pro"), body("gemini-3-pro-preview"));
    assert_eq!(older.pointer("/generationConfig/responseMimeType"), None);
    assert!(
        older["systemInstruction"]["parts"][0]["text"].as_str().is_some_and(|text| text.contains("JSON")),
        "{older}"
    );
    assert_eq!(newer["generationConfig"]["responseMimeType"], "application/json");
}

#[test]
fn claude_searches_beside_functions_within_all_that_is_wished() {
    let wish = json!({"search_context_size": "medium", "filters": {"allowed_domains": ["a.test"]},
        "user_location": {"type": "approximate", "city": "Bern", "timezone": null}});
    let out = kept(Dialect::Responses, CLAUDE, &searching(Dialect::Responses, wish, true));
    assert_eq!((out["tools"].as_array().map(Vec::len), &out["tools"][0]["name"]), (Some(2), &json!("f")));
    let want = json!({"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.test"],
        "user_location": {"city": "Bern", "type": "approximate"}});
    assert_eq!(out["tools"][1], want);
    let place = json!({"user_location": {"type": "approximate", "approximate": {"country": "CH"}}});
    let out = kept(Dialect::Chat, CLAUDE, &searching(Dialect::Chat, place, false));
    let want = json!([{"type": "web_search_20250305", "name": "web_search", "user_location": {"country": "CH", "type": "approximate"}}]);
    assert_eq!((&out["tools"], out.get("tool_choice")), (&want, None));
    let both = json!({"filters": {"allowed_domains": ["a.test"], "blocked_domains": ["b.test"]}});
    let got = made(Dialect::Responses, CLAUDE, &searching(Dialect::Responses, both, true));
    assert!(is_unsupported(&got, "tools[web_search].blocked_domains"), "{got:?}");
}

#[test]
fn a_search_is_asked_of_claude_alone_and_not_beside_a_function_of_its_name() {
    for model in ["deepseek-chat", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"] {
        let (out, dropped) =
            sent(Dialect::Responses, (Protocol::Anthropic, model), &searching(Dialect::Responses, json!({}), true));
        assert_eq!(
            (out["tools"].as_array().map(Vec::len), dropped),
            (Some(1), vec!["tools[web_search]".to_owned()]),
            "{model}"
        );
    }
    let own = json!({"tools": [{"type": "web_search"}, {"type": "function", "name": "web_search"}]});
    let (out, dropped) = sent(Dialect::Responses, CLAUDE, &asked(Dialect::Responses, own));
    assert_eq!((out["tools"].as_array().map(Vec::len), dropped), (Some(1), vec!["tools[web_search]".to_owned()]));
}

#[test]
fn who_wants_nothing_new_from_outside_gets_no_search_of_others() {
    let offline = || json!({"external_web_access": false});
    for to in [CLAUDE, GEMINI] {
        let (out, dropped) = sent(Dialect::Responses, to, &searching(Dialect::Responses, offline(), true));
        assert_eq!((out["tools"].as_array().map(Vec::len), dropped), (Some(1), vec!["tools[web_search]".to_owned()]));
        let got = made(Dialect::Responses, to, &searching(Dialect::Responses, offline(), false));
        assert!(is_unsupported(&got, "tools[web_search]"), "{got:?}");
    }
}

#[test]
fn a_choice_of_the_search_is_kept_where_it_can_be() {
    let choosing = |dialect, choice: Value, beside| {
        let mut body = searching(dialect, json!({}), beside);
        body["tool_choice"] = choice;
        body
    };
    let named = json!({"type": "tool", "name": "web_search"});
    let (out, dropped) = sent(Dialect::Messages, GEMINI, &choosing(Dialect::Messages, named.clone(), false));
    assert_eq!((&out["tools"][0], dropped), (&json!({"googleSearch": {}}), vec!["tool_choice".to_owned()]));
    let got = made(Dialect::Messages, GEMINI, &choosing(Dialect::Messages, named.clone(), true));
    assert!(is_unsupported(&got, "tool_choice"), "{got:?}");
    let got = made(Dialect::Messages, GPT, &choosing(Dialect::Messages, named.clone(), true));
    assert!(is_unsupported(&got, "tool_choice"), "{got:?}");
    let out = kept(Dialect::Responses, CLAUDE, &choosing(Dialect::Responses, json!({"type": "web_search"}), true));
    assert_eq!(out["tool_choice"], named);
    let thinking = json!({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}, "reasoning": {"effort": "low"}});
    let (out, _) = sent(Dialect::Responses, CLAUDE, &asked(Dialect::Responses, thinking));
    assert_eq!((&out["tool_choice"], out.get("thinking")), (&named, None), "thinking takes no forced call");
    for (dialect, none) in [(Dialect::Messages, json!({"type": "none"})), (Dialect::Responses, json!("none"))] {
        let out = kept(dialect, GEMINI, &choosing(dialect, none, false));
        assert_eq!(out.get("tools"), None, "{out}");
    }
    let allowed = |tools: Value| {
        choosing(Dialect::Responses, json!({"type": "allowed_tools", "mode": "auto", "tools": tools}), true)
    };
    let count = |tools| kept(Dialect::Responses, CLAUDE, &allowed(tools))["tools"].as_array().map(Vec::len);
    assert_eq!(count(json!([{"type": "function", "name": "f"}])), Some(1));
    assert_eq!(count(json!([{"type": "function", "name": "f"}, {"type": "web_search"}])), Some(2));
}

#[test]
fn a_history_with_searches_goes_on_everywhere() {
    let call = json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}});
    let result = json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [
        {"type": "web_search_result", "url": "https://a.test", "title": "A", "encrypted_content": "e", "page_age": null}]});
    let cited = json!({"type": "text", "text": "So.", "citations": [{"type": "web_search_result_location",
        "url": "https://a.test", "title": "A", "encrypted_index": "i", "cited_text": "x"}]});
    let messages = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": [call, result, cited]}, {"role": "user", "content": "And?"}]});
    let annotation =
        json!({"type": "url_citation", "start_index": 0, "end_index": 3, "title": "A", "url": "https://a.test"});
    let item = json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}});
    let message = json!({"type": "message", "role": "assistant", "content": [
        {"type": "output_text", "text": "So.", "annotations": [annotation]}]});
    let responses =
        json!({"input": [{"role": "user", "content": "q"}, item, message, {"role": "user", "content": "And?"}]});
    let chat = json!({"messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": "So.", "annotations": [{"type": "url_citation", "url_citation": annotation}]},
        {"role": "user", "content": "And?"}]});
    for (dialect, body) in [(Dialect::Messages, messages), (Dialect::Responses, responses), (Dialect::Chat, chat)] {
        for to in [GEMINI, CLAUDE, GPT] {
            let out = kept(dialect, to, &body);
            let turns = out.get("messages").or_else(|| out.get("contents")).and_then(Value::as_array).expect("turns");
            assert_eq!(turns.len(), 3, "{dialect:?} {to:?} {out}");
            assert!(turns[1].to_string().contains("So.") && !out.to_string().contains("a.test"), "{out}");
        }
    }
}

#[test]
fn a_search_that_may_not_be_forbidden_or_replaced_is_neither_at_claude() {
    let chat = |more: Value| asked(Dialect::Chat, json!({"web_search_options": {}, "tool_choice": more}));
    assert_eq!(kept(Dialect::Chat, CLAUDE, &chat(json!("none"))).get("tool_choice"), None);
    let called = json!({"max_tokens": 9, "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": {"type": "any"}, "messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "r"}]}]});
    let responses = json!({"tools": [{"type": "web_search"}], "tool_choice": "required", "input": [
        {"role": "user", "content": "q"}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"}]});
    let out = kept(Dialect::Responses, CLAUDE, &responses);
    assert_eq!(out["tool_choice"], json!({"type": "tool", "name": "web_search"}), "{out}");
    assert!(made(Dialect::Messages, GEMINI, &called).is_ok());
}
