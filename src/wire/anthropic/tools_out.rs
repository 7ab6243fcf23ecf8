//! Owns writing the tools of a Messages request, and what of its schemas Anthropic is to hold the model to.

use std::{borrow::Cow, collections::HashSet};

use serde_json::{Map, Value, json};

use super::{
    super::{
        chat::{ChatRequest, Message, Part, Tool, ToolChoice, Weight},
        json::{MARK, note},
        members::Members,
        schema::{Fitted, fitted},
        web::NAME,
    },
    models::Generation,
    search,
};

/// What may stand beside a reference and adds nothing to it: at the root of arguments it is an object in any case.
const SAYS_NOTHING: [&str; 4] = ["type", "$schema", "$id", "$comment"];

/// What one request may have enforced: beyond it Anthropic refuses the whole (guide to structured outputs).
#[derive(Debug)]
pub(super) struct Enforced {
    /// The model takes any at all.
    able: bool,
    tools: usize,
    optional: usize,
    unions: usize,
}

impl Enforced {
    /// What a model takes. Other makers' servers of this protocol may not know strict tools.
    pub(super) fn by(generation: Generation, model: &str) -> Self {
        let tools = if model.contains("claude") { 20 } else { 0 };
        Self { able: generation.schemas, tools, optional: 24, unions: 16 }
    }

    /// The schema in the part of the language that is enforced; `None` where it does not fit, or no longer does.
    pub(super) fn schema(&mut self, schema: &Value) -> Option<Value> {
        let fitted = self.able.then(|| fitted(schema))??;
        self.counted(fitted)
    }

    /// A tool's schema: an object at its root, and said to be one.
    fn arguments(&mut self, schema: &Value) -> Option<Value> {
        let fitted = self.able.then(|| fitted(&rooted(schema)))??;
        if fitted.schema["type"] == "object" { self.counted(fitted) } else { None }
    }

    fn counted(&mut self, fitted: Fitted) -> Option<Value> {
        let left = (self.optional.checked_sub(fitted.optional)?, self.unions.checked_sub(fitted.unions)?);
        (self.optional, self.unions) = left;
        Some(fitted.schema)
    }
}

/// Writes tools and the choice among them. Strict ones come before the answer's format: what follows a thought must not
/// depend on how the next answer is to look.
pub(super) fn tools(
    request: &mut ChatRequest,
    model: &str,
    turns: &[Message],
    enforced: &mut Enforced,
    out: &mut Map<String, Value>,
) {
    let mut tools: Vec<Value> = Vec::with_capacity(request.tools.len());
    for tool in &mut request.tools {
        let mut written = write(tool);
        if tool.strict == Some(true) && !strictly(tool, &mut written, enforced) {
            note(&mut request.losses, "tools[].strict", Weight::Hint);
        }
        tools.push(written);
    }
    let search = search::offer(request, model);
    let mut choice = request.tool_choice.clone();
    if search.is_some() {
        match choice {
            // In the words of who may say so beside a wish for a search, that is none of the tools.
            Some(ToolChoice::None) => {
                if !tools.is_empty() {
                    note(&mut request.losses, "tool_choice", Weight::Answer);
                }
                choice = None;
            }
            // A tool that only stands for calls of the history must not be called.
            Some(ToolChoice::Required) if tools.is_empty() => choice = Some(ToolChoice::Named(NAME.to_owned())),
            _ => {}
        }
    }
    if tools.is_empty() {
        tools = called(turns);
        if search.is_none() {
            if tools.is_empty() {
                return;
            }
            choice = Some(ToolChoice::None);
        }
    }
    tools.extend(search);
    out.set("tools", tools);
    let single = request.one_call || request.parallel_tool_calls == Some(false);
    out.set_some("tool_choice", chosen(choice.or(single.then_some(ToolChoice::Auto)), single));
}

/// Calls in the history need their tools declared, though none is to be called now.
fn called(turns: &[Message]) -> Vec<Value> {
    let mut seen = HashSet::new();
    let names = turns.iter().flat_map(|m| &m.parts).filter_map(|part| match part {
        Part::ToolCall { name, .. } => seen.insert(name).then_some(name),
        _ => None,
    });
    names.map(|name| json!({"name": name, "input_schema": {"type": "object"}})).collect()
}

/// Writes the choice among tools; `single`: no more than one call at a time.
fn chosen(choice: Option<ToolChoice>, single: bool) -> Option<Value> {
    let mut written = match choice? {
        ToolChoice::None => return Some(json!({"type": "none"})),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
        ToolChoice::Auto => json!({"type": "auto"}),
    };
    if single {
        written["disable_parallel_tool_use"] = true.into();
    }
    Some(written)
}

/// Has a tool's schema enforced, if it can be.
fn strictly(tool: &Tool, written: &mut Value, enforced: &mut Enforced) -> bool {
    let none = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let parameters = tool.parameters.as_ref().unwrap_or(&none);
    if enforced.tools == 0 || parameters["type"] != "object" {
        return false;
    }
    let Some(schema) = enforced.arguments(parameters) else { return false };
    enforced.tools -= 1;
    written["input_schema"] = schema;
    written["strict"] = true.into();
    true
}

/// The schema with what it is by reference in its place, if that is all it says beside its definitions.
fn rooted(schema: &Value) -> Cow<'_, Value> {
    let place = schema.get("$ref").and_then(Value::as_str).and_then(|place| place.strip_prefix('#'));
    let Some((Value::Object(target), Value::Object(root))) =
        place.and_then(|p| schema.pointer(p)).map(|to| (to, schema))
    else {
        return Cow::Borrowed(schema);
    };
    let mut joined = target.clone();
    for (key, value) in root {
        match key.as_str() {
            "$ref" => {}
            "$defs" | "definitions" | "title" | "description" => drop(joined.insert(key.clone(), value.clone())),
            key if SAYS_NOTHING.contains(&key) => {}
            _ => return Cow::Borrowed(schema),
        }
    }
    Cow::Owned(Value::Object(joined))
}

fn write(tool: &mut Tool) -> Value {
    let mut out = Map::new();
    out.set("name", tool.name.as_str());
    out.set_some("description", tool.description.as_deref());
    let mut schema = tool.parameters.clone().unwrap_or_else(|| json!({}));
    if let Some(map) = schema.as_object_mut() {
        map.set("type", "object");
    }
    out.set("input_schema", schema);
    out.set_some(MARK, tool.cache.take());
    Value::Object(out)
}
