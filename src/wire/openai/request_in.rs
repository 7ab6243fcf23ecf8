//! Owns reading a chat completions request.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    super::{
        chat::{ChatRequest, Format, Loss, Reasoning, Tool, ToolChoice, Weight},
        free_text,
        json::{MARK, invalid, list, mark, note, object, owned, text, unknown, unread},
        members::{
            take, take_count, take_flag, take_integer, take_limit, take_list, take_messages, take_number, take_object,
            take_text, take_texts,
        },
        translate::Refused,
        web::Wish,
    },
    messages_in::message,
};

/// Reads a body.
pub(crate) fn read(body: &[u8]) -> Result<ChatRequest, Refused> {
    let mut map = object(body)?;
    let mut request = ChatRequest::default();
    for (at, value) in take_messages(&mut map)?.iter().enumerate() {
        let found = message(value, at, &mut request.losses)?;
        request.messages.push(found);
    }
    // The options of a stream are the envelope's to read.
    for known in ["model", "backend", "stream_options"] {
        map.remove(known);
    }
    tools(&mut map, &mut request)?;
    request.parallel_tool_calls = take_flag(&mut map, "parallel_tool_calls")?;
    let older = take_limit(&mut map, "max_tokens")?;
    request.max_tokens = take_limit(&mut map, "max_completion_tokens")?.or(older);
    request.temperature = take_number(&mut map, "temperature")?;
    request.top_p = take_number(&mut map, "top_p")?;
    request.top_k = take_count(&mut map, "top_k")?;
    request.frequency_penalty = take_number(&mut map, "frequency_penalty")?;
    request.presence_penalty = take_number(&mut map, "presence_penalty")?;
    request.stop = take_texts(&mut map, "stop")?;
    request.n = take_count(&mut map, "n")?;
    request.seed = take_integer(&mut map, "seed")?;
    // The newer name for the same.
    let older = take_text(&mut map, "user")?;
    request.user = take_text(&mut map, "safety_identifier")?.or(older);
    request.verbosity = take_text(&mut map, "verbosity")?;
    request.format = take(&mut map, "response_format").map(|v| format(&v)).transpose()?.flatten();
    let effort = take_text(&mut map, "reasoning_effort")?;
    let thinking = take(&mut map, "thinking").and_then(|value| thinking_budget(&value, &mut request.losses));
    let routers = take(&mut map, "reasoning").and_then(|value| openrouters(&value, &mut request.losses));
    request.reasoning = thinking.or(effort.as_deref().and_then(Reasoning::effort)).or(routers);
    request.metadata = take_object(&mut map, "metadata")?.unwrap_or_default();
    request.service_tier = take_text(&mut map, "service_tier")?;
    request.stream = take_flag(&mut map, "stream")?.unwrap_or(false);
    request.cache = map.remove(MARK).filter(Value::is_object);
    pictures(&mut map, &mut request)?;
    // With no options at all the web is searched all the same.
    if let Some(options) = take(&mut map, "web_search_options") {
        let wish = Wish::read(&options, "web_search_options".to_owned(), &mut request.losses);
        request.web = wish.map(|wish| Wish { firm: true, ..wish });
    }
    leftovers(&map, &mut request.losses);
    Ok(request)
}

/// Reads a wish for pictures in the answer.
fn pictures(map: &mut Map<String, Value>, request: &mut ChatRequest) -> Result<(), Refused> {
    let modalities = take_texts(map, "modalities")?;
    if modalities.iter().any(|one| !matches!(one.as_str(), "text" | "image")) {
        note(&mut request.losses, "modalities", Weight::Answer);
    } else if modalities.iter().any(|one| one == "image") {
        request.modalities = modalities;
    }
    if let Some(config) = take(map, "image_config") {
        unread(&config, &["aspect_ratio", "image_size"], "image_config", Weight::Hint, &mut request.losses);
        request.image_config = config.as_object().cloned().unwrap_or_default();
    }
    Ok(())
}

/// Weighs what no other protocol knows.
fn leftovers(map: &Map<String, Value>, losses: &mut Vec<Loss>) {
    for (key, value) in map {
        let idle = match value {
            Value::Null => true,
            // What is off anyway. Of an unknown switch nobody knows: a model may think unless it is told not to.
            Value::Bool(on) => !on && matches!(key.as_str(), "logprobs" | "store"),
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Number(number) => key == "top_logprobs" && number.as_u64() == Some(0),
            Value::String(_) => false,
        };
        if idle {
            continue;
        }
        let weight = match key.as_str() {
            "audio" | "logprobs" | "top_logprobs" | "logit_bias" => Weight::Answer,
            "extra_body" | "extra_headers" | "prompt_cache_key" | "prompt_cache_retention" => Weight::Note,
            // Bookkeeping, speed, and what this gateway has not heard of.
            _ => Weight::Hint,
        };
        note(losses, key.as_str(), weight);
    }
}

/// `OpenRouter`'s `reasoning` member, which holds all that is wished of it.
fn openrouters(value: &Value, losses: &mut Vec<Loss>) -> Option<Reasoning> {
    if !value.is_object() {
        note(losses, "reasoning", Weight::Hint);
    }
    unread(value, &["effort", "max_tokens", "enabled", "exclude"], "reasoning", Weight::Note, losses);
    if value.get("exclude") == Some(&Value::Bool(true)) {
        note(losses, "reasoning.exclude", Weight::Hint);
    }
    let enabled = value.get("enabled").and_then(Value::as_bool);
    let budget = || value.get("max_tokens").and_then(Value::as_u64).map(Reasoning::Budget);
    match enabled {
        Some(false) => Some(Reasoning::Off),
        _ => Reasoning::effort(text(value, "effort")).or_else(budget).or(enabled.map(|_| Reasoning::Adaptive)),
    }
}

/// Anthropic's `thinking` member, which gateways take beside `reasoning_effort`.
pub(crate) fn thinking_budget(value: &Value, losses: &mut Vec<Loss>) -> Option<Reasoning> {
    unread(value, &["type", "budget_tokens"], "thinking", Weight::Note, losses);
    match text(value, "type") {
        "enabled" => {
            Some(value.get("budget_tokens").and_then(Value::as_u64).map_or(Reasoning::Adaptive, Reasoning::Budget))
        }
        "adaptive" => Some(Reasoning::Adaptive),
        "disabled" => Some(Reasoning::Off),
        "" => None,
        // Between calls only, and what comes after it.
        _ => {
            note(losses, "thinking", Weight::Hint);
            None
        }
    }
}

fn format(value: &Value) -> Result<Option<Format>, Refused> {
    match text(value, "type") {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::Json)),
        "json_schema" => {
            let inner = value.get("json_schema").unwrap_or(&Value::Null);
            schema(inner, "response_format").map(Some)
        }
        other => {
            Err(unknown("response_format", other, "'response_format.type' must be text, json_object or json_schema"))
        }
    }
}

/// Reads `name`, `schema` and `strict`, which the client said in the member `param`.
pub(crate) fn schema(inner: &Value, param: &str) -> Result<Format, Refused> {
    let schema = inner.get("schema").filter(|s| s.is_object()).cloned();
    Ok(Format::Schema {
        name: owned(inner, "name").unwrap_or_else(|| "response".to_owned()),
        schema: schema.ok_or_else(|| invalid(Some(param), format!("'{param}': a JSON schema is missing")))?,
        strict: inner.get("strict").and_then(Value::as_bool),
    })
}

fn tools(map: &mut Map<String, Value>, request: &mut ChatRequest) -> Result<(), Refused> {
    for tool in take_list(map, "tools")?.unwrap_or_default() {
        match text(&tool, "type") {
            "function" | "" => {
                let inner = tool.get("function").unwrap_or(&Value::Null);
                let cache = mark(&tool).or_else(|| mark(inner));
                request.tools.push(Tool { cache, ..function(inner, name(inner)?) });
            }
            "custom" => {
                let inner = tool.get("custom").unwrap_or(&tool);
                request.tools.push(free_text::function(inner).ok_or_else(nameless)?);
            }
            other => note(&mut request.losses, format!("tools[{other}]"), Weight::Answer),
        }
    }
    let functions = take_list(map, "functions")?.unwrap_or_default();
    request.one_call = request.tools.is_empty() && !functions.is_empty();
    for inner in functions {
        request.tools.push(function(&inner, name(&inner)?));
    }
    let older = take(map, "function_call");
    if let Some(choice) = take(map, "tool_choice").or(older) {
        request.tool_choice = Some(tool_choice(&choice, &mut request.tools)?);
    }
    Ok(())
}

/// Reads a function, but for its name.
pub(crate) fn function(inner: &Value, name: String) -> Tool {
    Tool {
        name,
        description: owned(inner, "description"),
        parameters: inner.get("parameters").filter(|p| p.is_object()).cloned(),
        strict: inner.get("strict").and_then(Value::as_bool),
        cache: None,
    }
}

/// Reads a tool's name.
pub(crate) fn name(inner: &Value) -> Result<String, Refused> {
    owned(inner, "name").ok_or_else(nameless)
}

/// What is wrong with a tool that has none.
pub(crate) fn nameless() -> Refused {
    invalid(Some("tools"), "a tool has no name")
}

/// Reads a choice; `allowed_tools` narrows the tools themselves.
pub(crate) fn tool_choice(choice: &Value, tools: &mut Vec<Tool>) -> Result<ToolChoice, Refused> {
    const WRONG: &str = "'tool_choice' is not one of auto, none, required or a named function";
    let word = |word: &str| match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" | "any" => Ok(ToolChoice::Required),
        _ => Err(unknown("tool_choice", word, WRONG)),
    };
    let name_of = |v: &Value| owned(v.get("function").or_else(|| v.get("custom")).unwrap_or(v), "name");
    match choice {
        Value::String(text) => word(text),
        Value::Object(_) if text(choice, "type") == "allowed_tools" => {
            let inner = choice.get("allowed_tools").unwrap_or(choice);
            let names: HashSet<String> = list(inner, "tools").iter().filter_map(name_of).collect();
            tools.retain(|t| names.contains(&t.name));
            word(text(inner, "mode"))
        }
        Value::Object(_) => match name_of(choice) {
            Some(name) => Ok(ToolChoice::Named(name)),
            None => word(text(choice, "type")),
        },
        _ => Err(invalid(Some("tool_choice"), WRONG)),
    }
}
