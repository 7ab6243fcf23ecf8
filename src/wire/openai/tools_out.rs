//! Owns writing the schemas of a chat completions request: those of its tools, and that of the answer's form.

use serde_json::{Map, Value, json};

use super::super::{
    chat::{ChatRequest, Format, Tool, ToolChoice, Weight},
    json::{MARK, note},
    members::Members,
};
use super::{enforced::is_enforceable, models::Model, typed::typed};

/// Writes the tools and the choice among them; `marks` for a cache stand beside the function (`OpenRouter`'s API reference,
/// `ChatFunctionTool`).
pub(super) fn tools(request: &mut ChatRequest, model: Model, marks: bool, out: &mut Map<String, Value>) {
    if request.tools.is_empty() {
        // OpenAI refuses a choice, and the parallel switch, without tools.
        return;
    }
    let mut loose = false;
    let tools = request.tools.iter_mut().map(|tool| {
        let mut inner = Map::new();
        inner.set("name", tool.name.as_str());
        inner.set_some("description", tool.description.as_deref());
        let mut parameters = parameters(tool);
        if tool.strict == Some(true) {
            parameters = typed(&parameters);
        }
        let strict = tool.strict.filter(|strict| !strict || is_enforceable(&parameters));
        loose |= strict != tool.strict;
        inner.set("parameters", parameters);
        inner.set_some("strict", strict);
        let mut tool_written = json!({"type": "function", "function": inner});
        if let Some(mark) = tool.cache.take_if(|_| marks) {
            tool_written[MARK] = mark;
        }
        tool_written
    });
    out.set("tools", tools.collect::<Value>());
    if loose {
        note(&mut request.losses, "tools[].strict", Weight::Hint);
    }
    if let Some(choice) = &request.tool_choice {
        let choice = match choice {
            ToolChoice::Auto => json!("auto"),
            ToolChoice::None => json!("none"),
            ToolChoice::Required => json!("required"),
            ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
        };
        out.set("tool_choice", choice);
    }
    match request.parallel_tool_calls {
        Some(parallel) if !model.refuses_parallel() => out.set("parallel_tool_calls", parallel),
        Some(false) => note(&mut request.losses, "parallel_tool_calls", Weight::Hint),
        _ => {}
    }
}

/// The schema of a tool's arguments: OpenAI refuses an object whose properties are not named, if only to say that there are
/// none (spring-projects/spring-ai#4776).
fn parameters(tool: &Tool) -> Value {
    let mut schema = match &tool.parameters {
        Some(Value::Object(schema)) => schema.clone(),
        _ => Map::new(),
    };
    if !schema.contains_key("type") {
        schema.set("type", "object");
    }
    if schema.get("properties").is_none_or(Value::is_null) {
        schema.set("properties", json!({}));
    }
    Value::Object(schema)
}

/// Writes the form of the answer. Not every server takes a word on strictness, and some are strict without.
pub(super) fn format(request: &mut ChatRequest, model: Model, out: &mut Map<String, Value>) {
    let format = match &request.format {
        None => return,
        Some(Format::Json) => json!({"type": "json_object"}),
        Some(Format::Schema { name, schema, strict }) => {
            let mut inner = json!({"name": name, "schema": schema});
            let binds = (request.format_binds && model.is_openais()).then_some(true);
            let typed = strict.or(binds).filter(|strict| *strict).map(|_| typed(schema));
            match (strict.or(binds), typed) {
                (Some(true), Some(typed)) if is_enforceable(&typed) => {
                    inner["schema"] = typed;
                    inner["strict"] = true.into();
                }
                (Some(true), _) if strict.is_some() => {
                    note(&mut request.losses, "response_format.strict", Weight::Hint);
                }
                // Nobody asked for it in words.
                (Some(true), _) => note(&mut request.losses, "output_config.format", Weight::Note),
                (Some(false), _) => inner["strict"] = false.into(),
                (None, _) => {}
            }
            json!({"type": "json_schema", "json_schema": inner})
        }
    };
    out.set("response_format", format);
}
