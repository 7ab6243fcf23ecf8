//! Owns that no wish of a client's is lost in silence: what a provider cannot be told is noted, or refused where a backend is set to.

use serde_json::{Value, json};

use super::{
    losses::{CLAUDE, GPT, asked, blocks, is_unsupported},
    support::{made, sent, target},
};
use crate::wire::{
    Host, Protocol,
    translate::{Dialect, Refused, Target, request},
};

const GEMINI: (Protocol, &str) = (Protocol::Gemini, "gemini-3-pro");
/// The last that takes penalties.
const GEMINI_2: (Protocol, &str) = (Protocol::Gemini, "gemini-2.0-flash");

/// Whether a backend that is set to refuse what it cannot be told refuses this.
fn is_refused(dialect: Dialect, (protocol, model): (Protocol, &str), body: &Value) -> bool {
    let target = Target { refuse_unsupported: true, ..target(protocol, model) };
    request(dialect, body.to_string().as_bytes(), &target).is_err()
}

#[test]
fn what_a_client_says_in_members_that_nobody_knows_is_refused_where_that_is_wanted_and_what_an_answer_had_is_not() {
    let part = json!([{"type": "text", "text": "x", "zzz": 1}]);
    let chat = |message: Value| asked(Dialect::Chat, json!({"messages": [{"role": "user", "content": "q"}, message]}));
    let message = |role: &str, content: &Value| {
        asked(Dialect::Messages, json!({"messages": [{"role": role, "content": content}]}))
    };
    let item = |kind: &str| json!({"input": [{"role": "user", "content": [{"type": kind, "text": "x", "zzz": 1}]}]});
    for to in [CLAUDE, GEMINI] {
        for (body, field, refused) in [
            (chat(json!({"role": "user", "content": "x", "zzz": 1})), "messages[].zzz", true),
            (chat(json!({"role": "user", "content": part})), "messages[].content[].zzz", true),
            (chat(json!({"role": "assistant", "content": part})), "messages[].content[].zzz", false),
            (chat(json!({"role": "assistant", "content": "x", "zzz": 1})), "messages[].zzz", false),
        ] {
            assert_eq!(sent(Dialect::Chat, to, &body).1, [field], "{body}");
            assert_eq!(is_refused(Dialect::Chat, to, &body), refused, "{body}");
        }
    }
    for (role, refused) in [("user", true), ("assistant", false)] {
        assert_eq!(is_refused(Dialect::Messages, GEMINI, &message(role, &part)), refused, "{role}");
    }
    for (kind, refused) in [("input_text", true), ("output_text", false)] {
        assert_eq!(is_refused(Dialect::Responses, GEMINI, &item(kind)), refused, "{kind}");
    }
    // A mark for a cache shows in no answer.
    let marked = blocks(&json!([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]));
    assert!(!is_refused(Dialect::Messages, GEMINI, &marked));
}

#[test]
fn a_number_that_a_provider_does_not_take_is_the_nearest_that_it_does_and_refused_where_that_is_wanted() {
    for (to, wish, told, name, nearest) in [
        (CLAUDE, json!({"temperature": 1.5}), "temperature above 1", "/temperature", 1.0),
        (CLAUDE, json!({"temperature": -1}), "temperature below 0", "/temperature", 0.0),
        (CLAUDE, json!({"top_p": 1.5}), "top_p above 1", "/top_p", 1.0),
        (GEMINI, json!({"temperature": -1}), "temperature below 0", "/generationConfig/temperature", 0.0),
        (GEMINI, json!({"temperature": 2.5}), "temperature above 2", "/generationConfig/temperature", 2.0),
        (
            GEMINI_2,
            json!({"frequency_penalty": -3}),
            "frequency_penalty below -2",
            "/generationConfig/frequencyPenalty",
            -2.0,
        ),
    ] {
        let body = asked(Dialect::Chat, wish);
        let (out, dropped) = sent(Dialect::Chat, to, &body);
        assert_eq!((out.pointer(name), dropped), (Some(&json!(nearest)), vec![told.to_owned()]), "{out}");
        assert!(is_refused(Dialect::Chat, to, &body), "{body}");
    }
    let most =
        asked(Dialect::Chat, json!({"temperature": 2, "top_p": 1, "frequency_penalty": 2, "presence_penalty": -2}));
    assert!(!is_refused(Dialect::Chat, GEMINI_2, &most));
}

#[test]
fn penalties_are_left_out_for_geminis_that_refuse_them_and_one_of_nothing_is_none() {
    let wish = |penalty: f64| {
        asked(Dialect::Chat, json!({"frequency_penalty": penalty, "presence_penalty": penalty, "temperature": 1}))
    };
    let only = json!({"temperature": 1.0});
    for model in ["gemini-2.5-flash", "gemini-3-pro-preview", "gemini-flash-latest"] {
        let to = (Protocol::Gemini, model);
        let (out, dropped) = sent(Dialect::Chat, to, &wish(0.5));
        assert_eq!((&out["generationConfig"], dropped.len()), (&only, 2), "{model}: {dropped:?}");
        assert!(is_refused(Dialect::Chat, to, &wish(0.5)), "{model}");
        let (out, dropped) = sent(Dialect::Chat, to, &wish(0.0));
        assert_eq!((&out["generationConfig"], dropped), (&only, vec![]), "{model}");
    }
    let (out, dropped) = sent(Dialect::Chat, GEMINI_2, &wish(0.5));
    assert_eq!((&out["generationConfig"]["presencePenalty"], dropped), (&json!(0.5), vec![]));
}

#[test]
fn what_a_provider_has_no_place_for_is_noted() {
    let said = |part: Value| json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, part]}]});
    let image =
        |detail: &str| json!({"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": detail}});
    let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUE="}});
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}});
    let detail = "messages[].content[].image_url.detail";
    for (to, wish, told) in [
        (CLAUDE, said(image("high")), detail),
        (GEMINI, said(image("low")), detail),
        (GEMINI, said(file), "messages[].content[].file.filename"),
        (GEMINI, json!({"tools": [tool]}), "tools[].strict"),
        (CLAUDE, json!({"n": 0}), "n"),
        (GEMINI, json!({"n": 0}), "n"),
        (CLAUDE, json!({"tool_choice": "required"}), "tool_choice"),
        (GEMINI, json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}), "tool_choice"),
    ] {
        assert_eq!(sent(Dialect::Chat, to, &asked(Dialect::Chat, wish)).1, [told]);
    }
    let any = asked(Dialect::Messages, json!({"tool_choice": {"type": "any"}}));
    assert_eq!(sent(Dialect::Messages, GPT, &any).1, ["tool_choice"]);
    for nothing in
        [said(image("auto")), json!({"n": 1}), json!({"tool_choice": "auto"}), json!({"tool_choice": "none"})]
    {
        for to in [CLAUDE, GEMINI] {
            assert_eq!(sent(Dialect::Chat, to, &asked(Dialect::Chat, nothing.clone())).1, Vec::<String>::new());
        }
    }
}

#[test]
fn a_picture_within_a_tools_result_is_noted_like_any_other() {
    let image = json!({"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "high"}});
    let call = json!({"id": "t", "function": {"name": "f", "arguments": "{}"}});
    let body = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t", "content": [image]}]});
    assert_eq!(sent(Dialect::Chat, CLAUDE, &body).1, ["messages[].content[].image_url.detail"]);
}

#[test]
fn a_documents_title_reaches_gemini() {
    let document = json!({"type": "document", "title": "Tides",
        "source": {"type": "text", "media_type": "text/plain", "data": "Twice a day."}});
    let (body, dropped) = sent(Dialect::Messages, GEMINI, &blocks(&json!([document])));
    assert_eq!(body["contents"][0]["parts"], json!([{"text": "Tides\n\nTwice a day."}]));
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn no_token_at_all_is_never_taken_for_as_many_as_there_are() {
    for to in [CLAUDE, GEMINI] {
        for name in ["max_tokens", "max_completion_tokens"] {
            let got = made(Dialect::Chat, to, &asked(Dialect::Chat, json!({name: 0})));
            assert!(is_unsupported(&got, name), "{got:?}");
        }
        let got = made(Dialect::Responses, to, &asked(Dialect::Responses, json!({"max_output_tokens": 0})));
        assert!(is_unsupported(&got, "max_output_tokens"), "{got:?}");
    }
    // Anthropic takes it, and so may its clients; of others the least is asked.
    let (gemini, _) = sent(Dialect::Messages, GEMINI, &asked(Dialect::Messages, json!({"max_tokens": 0})));
    assert_eq!(gemini["generationConfig"]["maxOutputTokens"], 1);
}

#[test]
fn what_is_no_whole_number_is_one_mistake_in_every_way_to_write_it() {
    for wrong in [json!("10"), json!(10.0), json!(1.5), json!(true), json!([1])] {
        for name in ["max_tokens", "top_k", "n"] {
            let got = made(Dialect::Chat, CLAUDE, &asked(Dialect::Chat, json!({name: wrong})));
            let Err(Refused::Invalid { param, message }) = got else { panic!("{name} {wrong}: {got:?}") };
            assert_eq!((param.as_deref(), message), (Some(name), format!("'{name}' must be a whole number")));
        }
    }
    let got = made(Dialect::Chat, CLAUDE, &asked(Dialect::Chat, json!({"max_tokens": -5})));
    let Err(Refused::Unsupported { message, .. }) = got else { panic!("{got:?}") };
    assert_eq!(message, "'max_tokens' of -5 cannot be served by this backend");
}

#[test]
fn a_wish_for_one_call_at_a_time_is_kept_from_models_that_refuse_the_word() {
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    for (model, off, told, dropped) in [
        ("o3-mini", true, None, vec!["parallel_tool_calls"]),
        ("o4-mini", false, None, vec![]),
        ("gpt-4o", true, Some(false), vec![]),
    ] {
        let choice = json!({"type": "auto", "disable_parallel_tool_use": off});
        let body = asked(Dialect::Messages, json!({"tools": tools, "tool_choice": choice}));
        let (out, left) = sent(Dialect::Messages, (Protocol::Openai, model), &body);
        assert_eq!(
            (out.get("parallel_tool_calls"), left),
            (told.map(Value::from).as_ref(), dropped.iter().map(|d| (*d).to_owned()).collect()),
            "{model}"
        );
    }
}

#[test]
fn mistral_is_told_of_no_user_and_no_tier_and_the_loss_is_noted() {
    let to = |host| Target { host, ..target(Protocol::Openai, "mistral-large-latest") };
    let made = |dialect, more, host| {
        let made = request(dialect, asked(dialect, more).to_string().as_bytes(), &to(host)).expect("a request");
        (serde_json::from_slice::<Value>(&made.body).expect("JSON"), made.dropped)
    };
    let user = json!({"metadata": {"user_id": "u"}, "service_tier": "standard_only"});
    let kept = json!({"user": "u", "service_tier": "flex", "store": true, "metadata": {"team": "blue"}});
    for (dialect, more, dropped) in [
        (Dialect::Messages, user, vec!["user"]),
        (Dialect::Responses, kept, vec!["store", "user", "metadata", "service_tier"]),
    ] {
        let (out, left) = made(dialect, more.clone(), Host::Mistral);
        assert_eq!(left, dropped);
        let names = ["user", "service_tier", "store", "metadata"];
        assert!(names.iter().all(|name| out.get(name).is_none()), "{out}");
        let out = made(dialect, more, Host::Other).0;
        assert!(out["user"] == "u" && out.get("service_tier").is_some(), "{out}");
    }
}

#[test]
fn a_schema_that_is_missing_is_missed_where_the_client_said_it() {
    let format = json!({"type": "json_schema"});
    for (dialect, more, member) in [
        (Dialect::Chat, json!({"response_format": format}), "response_format"),
        (Dialect::Messages, json!({"output_config": {"format": format}}), "output_config.format"),
        (Dialect::Messages, json!({"output_format": format}), "output_format"),
        (Dialect::Responses, json!({"text": {"format": format}}), "text.format"),
    ] {
        let refused = made(dialect, GPT, &asked(dialect, more)).expect_err("no schema");
        assert!(matches!(&refused, Refused::Invalid { param: Some(param), .. } if param == member), "{refused:?}");
    }
}

#[test]
fn what_openrouters_clients_wish_of_reasoning_is_told_in_each_providers_words() {
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    for (wish, claude, gemini) in [
        (json!({"effort": "high"}), budget(24_576), json!("high")),
        (json!({"max_tokens": 2000}), budget(2000), json!("low")),
        (json!({"enabled": true}), budget(8192), Value::Null),
        (json!({"effort": "none"}), Value::Null, json!("low")),
        (json!({"enabled": false}), Value::Null, json!("low")),
    ] {
        let body = asked(Dialect::Chat, json!({"reasoning": wish}));
        assert!(!is_refused(Dialect::Chat, CLAUDE, &body) && !is_refused(Dialect::Chat, GEMINI, &body), "{wish}");
        assert_eq!(sent(Dialect::Chat, CLAUDE, &body).0.get("thinking").unwrap_or(&Value::Null), &claude, "{wish}");
        let out = sent(Dialect::Chat, GEMINI, &body).0;
        let level = out.pointer("/generationConfig/thinkingConfig/thinkingLevel").unwrap_or(&Value::Null);
        assert_eq!(level, &gemini, "{wish}");
    }
    for (wish, told) in [(json!({"exclude": true}), "reasoning.exclude"), (json!("low"), "reasoning")] {
        assert_eq!(sent(Dialect::Chat, CLAUDE, &asked(Dialect::Chat, json!({"reasoning": wish}))).1, [told]);
    }
}

#[test]
fn an_effort_that_a_model_does_not_know_is_lowered_with_a_note() {
    for (model, effort, told) in [
        ("claude-opus-4-6", "max", "max"),
        ("claude-sonnet-4-6", "xhigh", "high"),
        ("claude-opus-4-7", "xhigh", "xhigh"),
        ("house-model", "max", "high"),
        ("house-model", "high", "high"),
    ] {
        let body = asked(Dialect::Chat, json!({"reasoning_effort": effort}));
        let (out, dropped) = sent(Dialect::Chat, (Protocol::Anthropic, model), &body);
        assert_eq!(out["output_config"]["effort"], told, "{model}");
        assert_eq!(dropped.len(), usize::from(told != effort), "{model}: {dropped:?}");
        assert!(!is_refused(Dialect::Chat, (Protocol::Anthropic, model), &body));
    }
}
