//! Owns reading a Messages request.

use serde_json::{Map, Value};

use super::super::{
    Protocol,
    chat::{ChatRequest, Loss, Message, Part, Reasoning, Role, Signature, Tool, ToolChoice, Weight, leave_out_hosted},
    json::{MARK, invalid, mark, note, object, owned, parts, text, unknown, unread},
    members::{take, take_count, take_flag, take_list, take_messages, take_number, take_text, take_texts},
    openai::request_in::{name, schema, thinking_budget},
    translate::Refused,
    web,
};
use super::{
    search::is_of_a_search,
    sources_in::{document, search_result, source},
};

/// The member for a conversation that the provider keeps, so that the next request has only the new messages.
pub(crate) const THREAD: &str = "thread";

/// Reads a body.
pub(crate) fn read(body: &[u8]) -> Result<ChatRequest, Refused> {
    let mut map = object(body)?;
    let mut request = ChatRequest::default();
    if map.get(THREAD).is_some_and(|thread| !thread.is_null()) {
        // The earlier turns are at another provider, and there may be nothing beside them.
        let message =
            "a conversation that its provider keeps is not for this backend: send all of it, without 'thread'";
        return Err(unknown(THREAD, THREAD, message));
    }
    system(&mut map, &mut request)?;
    for (at, value) in take_messages(&mut map)?.iter().enumerate() {
        let found = message(value, at, &mut request.losses)?;
        request.messages.push(found);
    }
    for known in ["model", "backend"] {
        map.remove(known);
    }
    tools(&mut map, &mut request)?;
    request.max_tokens = take_count(&mut map, "max_tokens")?;
    request.temperature = take_number(&mut map, "temperature")?;
    request.top_p = take_number(&mut map, "top_p")?;
    request.top_k = take_count(&mut map, "top_k")?;
    request.stop = take_texts(&mut map, "stop_sequences")?;
    request.stream = take_flag(&mut map, "stream")?.unwrap_or(false);
    request.service_tier = take_text(&mut map, "service_tier")?;
    request.cache = map.remove(MARK).filter(Value::is_object);
    if let Some(metadata) = take(&mut map, "metadata") {
        request.user = owned(&metadata, "user_id");
        unread(&metadata, &["user_id"], "metadata", Weight::Note, &mut request.losses);
    }
    thinking_and_form(&mut map, &mut request)?;
    for (key, value) in &map {
        let idle = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !idle {
            let weight = match key.as_str() {
                // A compaction is asked for in place of an answer.
                "compaction" | "mcp_servers" => Weight::Answer,
                _ => Weight::Hint,
            };
            note(&mut request.losses, key.as_str(), weight);
        }
    }
    Ok(request)
}

/// Reads how much is to be thought, and what the answer has to look like.
fn thinking_and_form(map: &mut Map<String, Value>, request: &mut ChatRequest) -> Result<(), Refused> {
    request.reasoning = take(map, "thinking").and_then(|value| thinking_budget(&value, &mut request.losses));
    let older = take(map, "output_format");
    let config = take(map, "output_config").unwrap_or_default();
    let newer = config.get("format").filter(|format| !format.is_null());
    let format = newer.map(|format| (format, "output_config.format"));
    if let Some((format, member)) = format.or(older.as_ref().map(|format| (format, "output_format"))) {
        request.format = Some(schema(format, member)?);
        request.format_binds = true;
    }
    if let Some(effort) = owned(&config, "effort").as_deref().and_then(Reasoning::effort)
        && matches!(request.reasoning, None | Some(Reasoning::Adaptive))
    {
        request.reasoning = Some(effort);
    }
    unread(&config, &["format", "effort"], "output_config", Weight::Note, &mut request.losses);
    Ok(())
}

/// How the first line of Claude Code's instructions begins. It is for Anthropic's billing and holds a new number in
/// each request, so that no other server could use its prompt cache.
pub(crate) const BILLING: &str = "x-anthropic-billing-header:";

fn system(map: &mut Map<String, Value>, request: &mut ChatRequest) -> Result<(), Refused> {
    let mut parts = match take(map, "system") {
        None => return Ok(()),
        Some(Value::String(text)) => vec![Part::text(text)],
        Some(Value::Array(list)) => {
            let mut parts = Vec::with_capacity(list.len());
            for block in &list {
                if matches!(text(block, "type"), "" | "text") {
                    unread(block, &["type", "text", MARK], "system[]", Weight::Hint, &mut request.losses);
                    parts.push(Part::text(text(block, "text")));
                    parts.extend(mark(block).map(Part::CacheMark));
                } else {
                    parts.extend(part(block, "system[]", Role::System, &mut request.losses)?);
                }
            }
            parts
        }
        Some(_) => return Err(invalid(Some("system"), "'system' must be a string or an array of text blocks")),
    };
    if let Some(Part::Text { text, .. }) = parts.first_mut()
        && text.starts_with(BILLING)
    {
        *text = text.split_once('\n').map_or_else(String::new, |(_, rest)| rest.trim_start().to_owned());
        note(&mut request.losses, "system[] of billing", Weight::Note);
    }
    request.messages.push(Message { role: Role::System, parts });
    Ok(())
}

/// How the types of tools begin that Anthropic defines and the client runs.
const CLIENT_RUN: [&str; 4] = ["bash_", "computer_", "memory_", "text_editor_"];

fn tools(map: &mut Map<String, Value>, request: &mut ChatRequest) -> Result<(), Refused> {
    let mut hosted = Vec::new();
    for tool in take_list(map, "tools")?.unwrap_or_default() {
        let name = || name(&tool);
        match (text(&tool, "type"), tool.get("input_schema")) {
            ("" | "custom", Some(schema)) => {
                unread(
                    &tool,
                    &["type", "name", "description", "input_schema", "strict", MARK],
                    "tools[]",
                    Weight::Note,
                    &mut request.losses,
                );
                request.tools.push(Tool {
                    name: name()?,
                    description: owned(&tool, "description"),
                    parameters: Some(schema.clone()),
                    strict: tool.get("strict").and_then(Value::as_bool),
                    cache: mark(&tool),
                });
            }
            ("" | "custom", None) => {
                return Err(invalid(Some("tools"), format!("tool '{}' has no input_schema", name()?)));
            }
            (kind, _) if kind.starts_with(web::NAME) && request.web.is_none() => {
                request.web = web::Wish::read(&tool, format!("tools[{kind}]"), &mut request.losses);
            }
            // The client waits to be told to run it: without it the answer is another one.
            (kind, _) if CLIENT_RUN.iter().any(|own| kind.starts_with(own)) => {
                request.losses.push(Loss { field: format!("tools[{kind}]"), weight: Weight::Answer });
            }
            (kind, _) => hosted.push(format!("tools[{kind}]")),
        }
    }
    leave_out_hosted(hosted, request);
    let Some(choice) = take(map, "tool_choice") else { return Ok(()) };
    request.tool_choice = Some(match text(&choice, "type") {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(text(&choice, "name").to_owned()),
        other => return Err(unknown("tool_choice", other, "'tool_choice.type' must be auto, any, tool or none")),
    });
    request.web.take_if(|_| request.tool_choice == Some(ToolChoice::None));
    if let Some(off) = choice.get("disable_parallel_tool_use").and_then(Value::as_bool) {
        request.parallel_tool_calls = Some(!off);
    }
    Ok(())
}

fn message(value: &Value, at: usize, losses: &mut Vec<Loss>) -> Result<Message, Refused> {
    let param = format!("messages[{at}]");
    let role = match text(value, "role") {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => {
            let message = format!("'{param}.role' must be user or assistant");
            return Err(unknown(&format!("{param}.role"), other, message));
        }
    };
    unread(value, &["role", "content"], "messages[]", role.unknown(), losses);
    let parts = content(value, &param, role, losses)?;
    Ok(Message { role, parts })
}

fn content(of: &Value, param: &str, role: Role, losses: &mut Vec<Loss>) -> Result<Vec<Part>, Refused> {
    parts(of, "content", param, |block, parts| {
        let found = part(block, param, role, losses)?;
        // A thought bears none.
        let marked = found.as_ref().is_some_and(|part| !matches!(part, Part::Thinking { .. } | Part::Redacted(_)));
        parts.extend(found);
        parts.extend(mark(block).filter(|_| marked).map(Part::CacheMark));
        Ok(())
    })
}

fn part(block: &Value, param: &str, role: Role, losses: &mut Vec<Loss>) -> Result<Option<Part>, Refused> {
    const READ: [&str; 17] = [
        "type",
        "text",
        "source",
        "title",
        "context",
        "tool_name",
        "id",
        "name",
        "input",
        "caller",
        "tool_use_id",
        "content",
        "is_error",
        "thinking",
        "signature",
        "data",
        MARK,
    ];
    unread(block, &READ, "messages[].content[]", role.unknown(), losses);
    Ok(Some(match text(block, "type") {
        "text" => Part::text(text(block, "text")),
        "image" => Part::Image { source: source(block, param, losses)?, detail: None, signature: None },
        "document" => Part::File { source: document(block, param, losses)?, name: owned(block, "title") },
        "search_result" => Part::text(search_result(block)),
        // The tool itself is among the others: its name is what was found.
        "tool_reference" => Part::text(text(block, "tool_name")),
        "tool_use" => Part::ToolCall {
            id: text(block, "id").to_owned(),
            name: text(block, "name").to_owned(),
            arguments: block.get("input").map_or_else(|| "{}".to_owned(), Value::to_string),
            signature: None,
        },
        "tool_result" => Part::ToolResult {
            id: text(block, "tool_use_id").to_owned(),
            parts: content(block, param, role, losses)?,
            error: block.get("is_error").and_then(Value::as_bool).unwrap_or(false),
        },
        "thinking" | "redacted_thinking" => thought(block),
        other if is_of_a_search(block) => {
            note(losses, format!("messages[].content[{other}]"), Weight::Note);
            return Ok(None);
        }
        // What Anthropic's own tools left in the history tells how an answer came about; all else is what to answer from.
        other => {
            let left = other.ends_with("_tool_use") || other.ends_with("_tool_result");
            let weight = if left { Weight::Hint } else { Weight::Answer };
            note(losses, format!("messages[].content[{other}]"), weight);
            return Ok(None);
        }
    }))
}

/// Reads a block of thinking, encrypted or not.
pub(crate) fn thought(block: &Value) -> Part {
    if text(block, "type") == "redacted_thinking" {
        return Part::Redacted(text(block, "data").to_owned());
    }
    let signature = owned(block, "signature").filter(|signature| !signature.is_empty());
    let signature = signature.map(|signature| Signature::untagged(&signature, Protocol::Anthropic));
    Part::Thinking { text: text(block, "thinking").to_owned(), signature }
}
