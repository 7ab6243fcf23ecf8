//! Owns writing the schemas of a chat completions request: those of its tools, and that of the answer's form.

use serde_json::{Map, Value, json};

use super::super::{
    chat::{ChatRequest, Format, Tool, ToolChoice, Weight},
    json::{MARK, note},
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
        inner.insert("name".into(), tool.name.as_str().into());
        if let Some(description) = &tool.description {
            inner.insert("description".into(), description.as_str().into());
        }
        let mut parameters = parameters(tool);
        if tool.strict == Some(true) {
            parameters = typed(&parameters);
        }
        let strict = tool.strict.filter(|strict| !strict || is_enforceable(&parameters));
        loose |= strict != tool.strict;
        inner.insert("parameters".into(), parameters);
        if let Some(strict) = strict {
            inner.insert("strict".into(), strict.into());
        }
        let mut tool_written = json!({"type": "function", "function": inner});
        if let Some(mark) = tool.cache.take_if(|_| marks) {
            tool_written[MARK] = mark;
        }
        tool_written
    });
    out.insert("tools".into(), tools.collect());
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
        out.insert("tool_choice".into(), choice);
    }
    match request.parallel_tool_calls {
        Some(parallel) if !model.refuses_parallel() => drop(out.insert("parallel_tool_calls".into(), parallel.into())),
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
        schema.insert("type".into(), "object".into());
    }
    if schema.get("properties").is_none_or(Value::is_null) {
        schema.insert("properties".into(), json!({}));
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
    out.insert("response_format".into(), format);
}
