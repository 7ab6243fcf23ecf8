//! Owns turning the prompt of a chat completions request into the words of the Responses API, where OpenAI counts
//! tokens.

use serde_json::{Map, Value, json};

use super::super::{
    json::{list, text},
    members::Members,
};

/// The prompt of a request that `request_out` wrote, and what else counts (API reference of `POST /responses/input_tokens`).
pub(crate) fn of_chat(chat: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    let all = |key: &str| chat.get(key).and_then(Value::as_array).into_iter().flatten();
    for same in ["model", "parallel_tool_calls"] {
        out.set_some(same, chat.get(same).cloned());
    }
    out.set("input", all("messages").flat_map(items).collect::<Value>());
    let tools: Vec<Value> = all("tools").filter_map(|tool| flat(tool, "function")).collect();
    if !tools.is_empty() {
        out.set("tools", tools);
    }
    match chat.get("tool_choice") {
        Some(word @ Value::String(_)) => out.set("tool_choice", word.clone()),
        Some(named) => out.set_some("tool_choice", flat(named, "function")),
        None => {}
    }
    if let Some(effort) = chat.get("reasoning_effort") {
        out.set("reasoning", json!({"effort": effort}));
    }
    if let Some(format) = chat.get("response_format") {
        let format = flat(format, "json_schema").unwrap_or_else(|| format.clone());
        out.set("text", json!({"format": format}));
    }
    out
}

/// What chat completions keep in a member of its own, beside its type.
fn flat(value: &Value, member: &str) -> Option<Value> {
    let mut inner = value.get(member)?.as_object()?.clone();
    if inner.contains_key("parameters") {
        // Left out it would count as set.
        inner.entry("strict").or_insert(false.into());
    }
    inner.set("type", text(value, "type"));
    Some(Value::Object(inner))
}

/// A message as items.
fn items(message: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    let said = match &message["content"] {
        Value::Array(parts) => Some(parts.iter().map(part).collect()),
        Value::Null => None,
        text => Some(text.clone()),
    };
    match text(message, "role") {
        "tool" => {
            let call = text(message, "tool_call_id");
            out.push(json!({"type": "function_call_output", "call_id": call, "output": said}));
        }
        role => out.extend(said.map(|said: Value| json!({"role": role, "content": said}))),
    }
    for call in list(message, "tool_calls") {
        let function = &call["function"];
        let (name, arguments) = (&function["name"], &function["arguments"]);
        out.push(json!({"type": "function_call", "call_id": text(call, "id"), "name": name, "arguments": arguments}));
    }
    out
}

/// A part of what a user says.
fn part(part: &Value) -> Value {
    match text(part, "type") {
        "image_url" => {
            let image = &part["image_url"];
            let detail = image.get("detail").cloned().unwrap_or_else(|| "auto".into());
            json!({"type": "input_image", "image_url": image["url"], "detail": detail})
        }
        "file" => {
            let file = &part["file"];
            json!({"type": "input_file", "filename": file["filename"], "file_data": file["file_data"]})
        }
        _ => json!({"type": "input_text", "text": text(part, "text")}),
    }
}
