//! Owns tools all the way: the names and schemas under which they are offered, and their calls in the client's own words.

use serde_json::{Value, json};

use super::support;
use crate::wire::{
    Protocol,
    translate::{Dialect, Refused, ReplyContext, StreamTranslator, Target, asked, reply, request},
};

const PROTOCOLS: [(Protocol, &str); 3] = [
    (Protocol::Openai, "deepseek-chat"),
    (Protocol::Anthropic, "claude-opus-4-6"),
    (Protocol::Gemini, "gemini-2.5-pro"),
];

fn made(from: Dialect, to: (Protocol, &str), body: &Value) -> Result<(Value, Vec<String>), Refused> {
    let out = support::made(from, to, body)?;
    Ok((serde_json::from_slice(&out.body).expect("JSON"), out.dropped))
}

fn sent(from: Dialect, to: (Protocol, &str), body: &Value) -> Value {
    made(from, to, body).expect("a request").0
}

/// What a client hears that asked so, of a chat completion that calls these tools: whole, and in the end of a stream.
fn heard(dialect: Dialect, body: &Value, calls: &[(&str, &str)]) -> [Value; 2] {
    let context = || {
        let asked = asked(dialect, body.to_string().as_bytes());
        ReplyContext { asked, ..support::context() }
    };
    let call = |(at, (name, arguments)): (usize, &(&str, &str))| json!({"index": at, "id": format!("c{at}"), "type": "function", "function": {"name": name, "arguments": arguments}});
    let calls: Vec<Value> = calls.iter().enumerate().map(call).collect();
    let whole = json!({"choices": [{"index": 0, "message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]});
    let (out, _) = reply(Protocol::Openai, dialect, whole.to_string().as_bytes(), &context()).expect("a reply");
    let mut streamed = Vec::new();
    let mut translator = StreamTranslator::new(Protocol::Openai, dialect, context(), false);
    let chunk = json!({"choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}]});
    translator.frame(None, chunk.to_string().as_bytes(), &mut streamed).expect("a frame");
    assert!(translator.end(&mut streamed));
    let text = String::from_utf8(streamed).expect("UTF-8");
    let events = text.lines().filter_map(|l| l.strip_prefix("data: ")).filter_map(|l| serde_json::from_str(l).ok());
    [serde_json::from_slice(&out).expect("JSON"), Value::Array(events.collect())]
}

fn function(name: &str) -> Value {
    json!({"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}})
}

fn namespace(name: &str, tools: &[Value]) -> Value {
    json!({"type": "namespace", "name": name, "description": "Files.", "tools": tools})
}

/// The names of the tools in a chat completions request.
fn offered(body: &Value) -> Vec<&str> {
    body["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["function"]["name"].as_str()).collect()
}

fn is_unsupported<T>(made: &Result<T, Refused>, field: &str) -> bool {
    matches!(made, Err(Refused::Unsupported { param: Some(param), .. }) if param == field)
}

#[test]
fn tools_in_namespaces_are_offered_under_flat_names_with_their_history() {
    let custom = json!({"type": "custom", "name": "patch"});
    let call =
        json!({"type": "function_call", "call_id": "c", "namespace": "mcp__fs", "name": "read", "arguments": "{}"});
    let body = json!({"tools": [namespace("mcp__fs", &[function("read"), custom]), function("g"),
            namespace("mcp__db__", &[function("read")])],
        "tool_choice": {"type": "custom", "name": "patch"}, "input": [{"role": "user", "content": "q"}, call,
            {"type": "function_call_output", "call_id": "c", "output": "r"}]});
    let names = ["mcp__fs__read", "mcp__fs__patch", "g", "mcp__db__read"];
    let openai = sent(Dialect::Responses, PROTOCOLS[0], &body);
    assert_eq!(offered(&openai), names);
    assert_eq!(openai["messages"][1]["tool_calls"][0]["function"]["name"], names[0]);
    assert_eq!(openai["tool_choice"]["function"]["name"], names[1]);
    assert_eq!(openai["tools"][0]["function"]["description"], "About mcp__fs: Files.");
    let claude = sent(Dialect::Responses, PROTOCOLS[1], &body);
    assert_eq!(
        (&claude["tools"][3]["name"], &claude["messages"][1]["content"][0]["name"]),
        (&json!(names[3]), &json!(names[0]))
    );
    let allowed = json!([{"type": "namespace", "name": "mcp__fs"}, {"type": "function", "name": "g"}, "odd"]);
    let mut narrowed = body.clone();
    narrowed["tool_choice"] = json!({"type": "allowed_tools", "mode": "auto", "tools": allowed});
    assert_eq!(sent(Dialect::Responses, PROTOCOLS[0], &narrowed)["tools"].as_array().map(Vec::len), Some(3));
}

#[test]
fn calls_of_tools_in_namespaces_say_their_namespace_whole_and_streamed() {
    let custom = json!({"type": "custom", "name": "patch"});
    let body = json!({"input": "q", "tools": [namespace("mcp__fs", &[function("read"), custom]), function("g")]});
    let calls = [("mcp__fs__read", "{}"), ("read", "{}"), ("patch", r#"{"input":"x"}"#), ("g", "{}")];
    let [whole, events] = heard(Dialect::Responses, &body, &calls);
    let last = events.as_array().and_then(|events| events.last()).expect("an end")["response"]["output"].clone();
    let done = |at: &u64| {
        let mut events = events.as_array().into_iter().flatten();
        let done = events.find(|e| e["type"] == "response.output_item.done" && e["output_index"] == *at);
        done.expect("an item")["item"].clone()
    };
    let done = Value::Array((0..4).collect::<Vec<u64>>().iter().map(done).collect());
    for output in [&whole["output"], &last, &done] {
        let told = |at: usize| (&output[at]["type"], output[at].get("namespace"), &output[at]["name"]);
        let (call, space) = (json!("function_call"), json!("mcp__fs"));
        assert_eq!(told(0), (&call, Some(&space), &json!("read")), "{output}");
        assert_eq!(told(1), (&call, Some(&space), &json!("read")), "a model that leaves the namespace out");
        assert_eq!(told(2), (&json!("custom_tool_call"), Some(&space), &json!("patch")));
        assert_eq!((&output[2]["input"], told(3)), (&json!("x"), (&call, None, &json!("g"))));
    }
}

#[test]
fn a_search_of_the_clients_own_is_a_call_and_what_it_found_is_offered() {
    let search = json!({"type": "tool_search", "execution": "client", "description": "Finds tools.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}});
    let found = namespace("mcp__fs", &[function("read")]);
    let offer = json!([search, function("g")]);
    let body = json!({"tools": offer, "input": [{"role": "user", "content": "q"},
        {"type": "tool_search_call", "call_id": "s", "execution": "client", "arguments": {"query": "fs"}},
        {"type": "tool_search_output", "call_id": "s", "execution": "client", "tools": [found]},
        {"type": "additional_tools", "role": "developer", "tools": [found, function("h")]}]});
    let (out, dropped) = made(Dialect::Responses, PROTOCOLS[0], &body).expect("a request");
    assert_eq!((offered(&out), dropped), (vec!["tool_search", "g", "mcp__fs__read", "h"], Vec::new()));
    let call = &out["messages"][1]["tool_calls"][0]["function"];
    assert_eq!(call, &json!({"name": "tool_search", "arguments": r#"{"query":"fs"}"#}));
    assert_eq!(out["messages"][2]["content"], "Can be called now: mcp__fs__read.");
    let [whole, events] =
        heard(Dialect::Responses, &body, &[("tool_search", r#"{"query":"x"}"#), ("mcp__fs__read", "{}")]);
    let last = &events.as_array().and_then(|events| events.last()).expect("an end")["response"];
    for output in [&whole["output"], &last["output"]] {
        let want = json!({"id": output[0]["id"], "type": "tool_search_call", "status": "completed", "call_id": "c0",
            "execution": "client", "arguments": {"query": "x"}});
        assert_eq!((&output[0], &output[1]["namespace"]), (&want, &json!("mcp__fs")));
    }
    let is_piece = |e: &Value| e["type"] == "response.function_call_arguments.delta" && e["output_index"] == 0;
    assert!(!events.as_array().into_iter().flatten().any(is_piece), "its item comes whole");
}

#[test]
fn what_only_the_client_can_run_is_never_left_out() {
    let local = json!({"type": "shell", "environment": {"type": "local"}});
    let hosted = json!({"type": "shell", "environment": {"type": "container_auto"}});
    for tool in [json!({"type": "local_shell"}), json!({"type": "apply_patch"}), json!({"type": "shell"}), local] {
        let field = format!("tools[{}]", tool["type"].as_str().expect("a type"));
        let got = made(Dialect::Responses, PROTOCOLS[1], &json!({"input": "q", "tools": [tool, function("g")]}));
        assert!(is_unsupported(&got, &field), "{field}: {got:?}");
    }
    for tool in [hosted, json!({"type": "web_search"}), json!({"type": "tool_search"})] {
        let body = json!({"input": "q", "tools": [tool, function("g")]});
        assert!(made(Dialect::Responses, PROTOCOLS[1], &body).is_ok(), "{tool}");
    }
    let history = |items: &[Value]| {
        let mut input = vec![json!({"role": "user", "content": "q"})];
        input.extend(items.iter().cloned());
        made(Dialect::Responses, PROTOCOLS[1], &json!({"input": input}))
    };
    for kind in ["local_shell_call", "apply_patch_call", "shell_call", "computer_call"] {
        let (call, output) =
            (json!({"type": kind, "call_id": "a"}), json!({"type": format!("{kind}_output"), "call_id": "a"}));
        assert!(is_unsupported(&history(&[call]), &format!("input[{kind}]")), "{kind}");
        assert!(is_unsupported(&history(&[output]), &format!("input[{kind}_output]")), "{kind}");
    }
    let there = json!({"type": "shell_call", "call_id": "a", "environment": {"type": "container_reference"}});
    assert!(history(&[there, json!({"type": "shell_call_output", "call_id": "a"})]).is_ok());
}

#[test]
fn names_too_long_are_short_everywhere_in_a_request_and_whole_again_in_its_answer() {
    let long = format!("mcp__{}__read", "server".repeat(12));
    let schema = json!({"type": "object", "properties": {}});
    let body = json!({"max_tokens": 9, "tools": [{"name": long, "input_schema": schema}, {"name": "g", "input_schema": schema}],
        "tool_choice": {"type": "tool", "name": long}, "messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": long, "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]}]});
    let out = sent(Dialect::Messages, PROTOCOLS[0], &body);
    let short = out["tools"][0]["function"]["name"].as_str().expect("a name").to_owned();
    assert!(short.len() == 64 && long.starts_with(&short[..50]), "{short}");
    assert_eq!(out["tool_choice"]["function"]["name"], short.as_str());
    assert_eq!(out["messages"][1]["tool_calls"][0]["function"]["name"], short.as_str());
    let gemini = sent(Dialect::Messages, PROTOCOLS[2], &body);
    assert_eq!(gemini["contents"][2]["parts"][0]["functionResponse"]["name"], short.as_str(), "{gemini}");
    let [whole, events] = heard(Dialect::Messages, &body, &[(&short, "{}"), ("g", "{}")]);
    assert_eq!((&whole["content"][0]["name"], &whole["content"][1]["name"]), (&json!(long), &json!("g")));
    assert_eq!(events[1]["content_block"]["name"], long.as_str(), "{events}");
    let chat = json!({"messages": [], "tools": [{"type": "custom", "custom": {"name": long}}]});
    let [whole, events] = heard(Dialect::Chat, &chat, &[(&short, r#"{"input":"x"}"#)]);
    let custom = json!({"name": long, "input": "x"});
    assert_eq!(whole["choices"][0]["message"]["tool_calls"][0]["custom"], custom);
    assert!(events.to_string().contains(&long), "{events}");
    let response = json!({"input": "q", "tools": [function(&long), namespace("n".repeat(40).as_str(), &[function(&"t".repeat(40))])]});
    let flat = sent(Dialect::Responses, PROTOCOLS[1], &response)["tools"][1]["name"].clone();
    let flat = flat.as_str().expect("a name");
    assert_eq!(flat.len(), 64);
    let output = &heard(Dialect::Responses, &response, &[(&short, "{}"), (flat, "{}")])[0]["output"];
    assert_eq!((&output[0]["name"], &output[1]["name"]), (&json!(long), &json!("t".repeat(40))));
    assert_eq!(output[1]["namespace"], "n".repeat(40));
}

#[test]
fn a_tool_without_parameters_says_so_where_openai_wants_to_be_told() {
    for (given, want) in [
        (json!({"type": "object"}), json!({"type": "object", "properties": {}})),
        (json!({}), json!({"type": "object", "properties": {}})),
        (
            json!({"type": "object", "properties": null, "$schema": "s"}),
            json!({"type": "object", "properties": {}, "$schema": "s"}),
        ),
    ] {
        let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"}], "tools": [{"name": "f", "input_schema": given}]});
        let out = sent(Dialect::Messages, PROTOCOLS[0], &body);
        assert_eq!(out["tools"][0]["function"]["parameters"], want);
    }
}

#[test]
fn strict_is_said_to_openai_only_of_schemas_that_it_would_enforce() {
    let schema = |required: Value| {
        let properties = json!({"a": {"type": "string"}, "b": {"type": "string"}});
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    let ask = |model, schema: &Value| {
        let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"}],
            "tools": [{"name": "f", "strict": true, "input_schema": schema}],
            "output_config": {"format": {"type": "json_schema", "schema": schema}}});
        let (out, dropped) = made(Dialect::Messages, (Protocol::Openai, model), &body).expect("a request");
        let said = |place: &str| out.pointer(place).cloned();
        (said("/tools/0/function/strict"), said("/response_format/json_schema/strict"), dropped)
    };
    let whole = schema(json!(["b", "a"]));
    assert_eq!(ask("gpt-4o", &whole), (Some(json!(true)), Some(json!(true)), Vec::new()));
    assert_eq!(ask("qwen3", &whole).1, None, "what nobody asked for is not said to others");
    let lost = vec!["tools[].strict".to_owned(), "output_config.format".to_owned()];
    assert_eq!(ask("gpt-4o", &schema(json!(["a"]))), (None, None, lost));
    assert_eq!(ask("openai/gpt-oss-120b", &whole).1, None, "open weights are served by others");
}

#[test]
fn a_format_that_openai_cannot_enforce_is_refused_to_nobody_who_did_not_ask_for_that() {
    let target = Target { refuse_unsupported: true, ..support::target(Protocol::Openai, "gpt-4o") };
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
    let messages = json!([{"role": "user", "content": "q"}]);
    let format = json!({"format": {"type": "json_schema", "schema": schema}});
    let body = json!({"max_tokens": 9, "messages": messages, "output_config": format});
    let made = request(Dialect::Messages, body.to_string().as_bytes(), &target).expect("a request");
    assert_eq!(made.dropped, ["output_config.format"]);
    let format = json!({"type": "json_schema", "name": "n", "strict": true, "schema": schema});
    let body = json!({"input": "q", "text": {"format": format}});
    let refused = request(Dialect::Responses, body.to_string().as_bytes(), &target);
    assert!(is_unsupported(&refused, "response_format.strict"));
}

#[test]
fn values_without_a_type_are_enforced_with_the_type_they_have() {
    let schema = json!({"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
        "additionalProperties": false});
    let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"}],
        "tools": [{"name": "f", "strict": true, "input_schema": schema}, {"name": "g", "input_schema": schema}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let out = sent(Dialect::Messages, (Protocol::Openai, "gpt-4o"), &body);
    let (tool, format) = (&out["tools"][0]["function"], &out["response_format"]["json_schema"]);
    assert_eq!((&tool["strict"], &format["strict"]), (&json!(true), &json!(true)));
    for schema in [&tool["parameters"], &format["schema"]] {
        assert_eq!(schema["properties"]["a"], json!({"enum": ["x", "y"], "type": "string"}));
    }
    assert_eq!(out["tools"][1]["function"]["parameters"], schema, "others stay as they are");
}

#[test]
fn tools_lead_back_by_the_names_that_they_were_offered_under() {
    // `functions` are of chat completions: in a Responses request nobody offers them.
    let body = json!({"input": [{"role": "user", "content": "q"},
            {"type": "additional_tools", "tools": [namespace("n", &[function("g")])]}],
        "functions": [{"name": "n__f"}, {"name": "n__g"}], "tools": [namespace("n", &[function("f")])]});
    let offer = sent(Dialect::Responses, PROTOCOLS[0], &body);
    assert_eq!(offered(&offer), ["n__f", "n__g"]);
    let [whole, _] = heard(Dialect::Responses, &body, &[("n__f", "{}"), ("n__g", "{}")]);
    for (at, name) in ["f", "g"].into_iter().enumerate() {
        let call = &whole["output"][at];
        assert_eq!((&call["namespace"], &call["name"]), (&json!("n"), &json!(name)), "{call}");
    }
}

#[test]
fn a_result_whose_numbers_are_too_long_for_gemini_is_told_in_words() {
    let call = json!({"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    for (result, whole) in [
        (r#"{"wei":18446744073709551615123}"#, false),
        (r#"{"a":[{"b":-9223372036854775809}]}"#, false),
        (r#"{"id":18446744073709551615}"#, false),
        (r#"{"id":9007199254740993}"#, false),
        (r#"{"id":-9007199254740991,"x":0.12345678901234567890,"none":null}"#, true),
        (r#"{"id":"18446744073709551615123","quoted \"9007199254740993":true}"#, true),
    ] {
        let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t", "content": result}]);
        let out = sent(Dialect::Chat, (Protocol::Gemini, "gemini-3-pro"), &json!({"messages": messages}));
        let want = if whole { serde_json::from_str(result).expect("JSON") } else { json!({"result": result}) };
        assert_eq!(out["contents"][2]["parts"][0]["functionResponse"]["response"], want);
    }
}
