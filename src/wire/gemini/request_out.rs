//! Owns writing a `generateContent` request.

use serde_json::{Map, Value, json};

use super::super::{
    Protocol,
    chat::{ChatRequest, Format, Message, Part, Reasoning, Role, Signature, Tool, ToolChoice, Weight, one_answer},
    ids::Taken,
    json::{arguments, note, within},
    members::Members,
    signature::UNPROVEN,
    translate::Target,
    turns::{Later, Takes, arrange},
    words::{told, words},
};
use super::{
    calls_out::{Calls, is_result},
    grounding,
    media::media,
    models::Model,
};

/// Most stop sequences taken.
const MOST_STOPS: usize = 5;

/// Writes a request; what it cannot say joins the losses.
pub(crate) fn write(request: &mut ChatRequest, target: &Target<'_>) -> Map<String, Value> {
    let mut out = Map::new();
    let model = Model::of(target.model);
    // Later instructions, moved to the front of the prompt, would invalidate its cache.
    let takes = Takes { prefill: false, later: Later::Marked, marks: false, ids: Taken::Any };
    let mut arranged = arrange(std::mem::take(&mut request.messages), Protocol::Gemini, takes, &mut request.losses);
    // Before the third generation a format goes with no tools: then it is told in words.
    let formal = (request.tools.is_empty() && request.web.is_none()) || model.is_third();
    if !formal {
        arranged.system.extend(request.format.as_ref().map(|format| Part::text(format.in_words(true))));
    }
    if !arranged.system.is_empty() {
        let parts: Vec<Value> = arranged.instructions().iter().map(|text| json!({"text": text})).collect();
        out.set("systemInstruction", json!({"parts": parts}));
    }
    let calls = Calls::of(&arranged.turns, model);
    let contents: Vec<Value> = arranged.turns.iter().map(|m| content(m, &calls, request)).collect();
    out.set("contents", contents);
    tools(request, model, &mut out);
    let config = config(request, model, formal);
    if !config.is_empty() {
        out.set("generationConfig", config);
    }
    for (name, set) in [
        ("user", request.user.is_some()),
        ("metadata", !request.metadata.is_empty()),
        ("service_tier", request.service_tier.as_deref().is_some_and(|t| t != "auto" && t != "default")),
        ("parallel_tool_calls", request.parallel_tool_calls == Some(false) && !request.tools.is_empty()),
    ] {
        if set {
            note(&mut request.losses, name, Weight::Hint);
        }
    }
    if request.tools.iter().any(|tool| tool.strict == Some(true)) {
        note(&mut request.losses, "tools[].strict", Weight::Hint);
    }
    one_answer(request);
    out
}

fn config(request: &mut ChatRequest, model: Model, formal: bool) -> Map<String, Value> {
    let mut config = Map::new();
    sampling(request, model, &mut config);
    match request.format.as_ref().filter(|_| formal) {
        None => {}
        Some(Format::Json) => config.set("responseMimeType", "application/json"),
        Some(Format::Schema { schema, .. }) => {
            config.set("responseMimeType", "application/json");
            config.set("responseJsonSchema", schema.clone());
        }
    }
    let modalities: Vec<String> = request.modalities.drain(..).map(|one| one.to_uppercase()).collect();
    if !modalities.is_empty() {
        config.set("responseModalities", modalities);
    }
    let mut pictures = Map::new();
    for (name, own) in [("aspect_ratio", "aspectRatio"), ("image_size", "imageSize")] {
        pictures.set_some(own, request.image_config.remove(name));
    }
    request.image_config.clear();
    if !pictures.is_empty() {
        config.set("imageConfig", pictures);
    }
    match request.reasoning.as_ref().map(|reasoning| (reasoning, model.thinking(reasoning))) {
        None | Some((Reasoning::Off, None)) => {}
        Some((_, Some(thinking))) => config.set("thinkingConfig", thinking),
        Some((_, None)) => note(&mut request.losses, "reasoning_effort", Weight::Hint),
    }
    config
}

/// Writes what an answer is drawn from, and where it ends.
fn sampling(request: &mut ChatRequest, model: Model, config: &mut Map<String, Value>) {
    // Anthropic takes none; here that is refused.
    config.set_some("maxOutputTokens", request.max_tokens.map(|most| most.max(1)));
    for (name, own, value, low, high) in [
        ("temperature", "temperature", request.temperature, 0.0, 2.0),
        ("top_p", "topP", request.top_p, 0.0, 1.0),
        // The range is open at its upper end.
        ("frequency_penalty", "frequencyPenalty", request.frequency_penalty, -2.0, 1.99),
        ("presence_penalty", "presencePenalty", request.presence_penalty, -2.0, 1.99),
    ] {
        if name.ends_with("penalty") && !model.takes_penalties() {
            if value.is_some_and(|penalty| penalty != 0.0) {
                note(&mut request.losses, name, Weight::Hint);
            }
        } else if let Some(value) = value {
            config.set(own, within(name, value, low, high, &mut request.losses));
        }
    }
    config.set_some("topK", request.top_k);
    // The field is 32 bits wide.
    match request.seed.map(i32::try_from) {
        None => {}
        Some(Ok(seed)) => config.set("seed", seed),
        Some(Err(_)) => note(&mut request.losses, "seed", Weight::Hint),
    }
    let stop: Vec<&String> = request.stop.iter().filter(|s| !s.is_empty()).collect();
    if stop.len() > MOST_STOPS {
        note(&mut request.losses, "stop[5..]", Weight::Answer);
    }
    if !stop.is_empty() {
        config.set("stopSequences", json!(stop[..stop.len().min(MOST_STOPS)]));
    }
}

fn tools(request: &mut ChatRequest, model: Model, out: &mut Map<String, Value>) {
    if let Some(search) = grounding::offer(request, model) {
        out.set("tools", json!([search]));
        return;
    }
    if request.tools.is_empty() {
        return;
    }
    let declarations: Vec<Value> = request.tools.iter().map(declaration).collect();
    out.set("tools", json!([{"functionDeclarations": declarations}]));
    let calling = match &request.tool_choice {
        None => return,
        Some(ToolChoice::Auto) => json!({"mode": "AUTO"}),
        Some(ToolChoice::None) => json!({"mode": "NONE"}),
        Some(ToolChoice::Required) => json!({"mode": "ANY"}),
        Some(ToolChoice::Named(name)) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    };
    out.set("toolConfig", json!({"functionCallingConfig": calling}));
}

fn declaration(tool: &Tool) -> Value {
    let mut out = Map::new();
    out.set("name", tool.name.as_str());
    out.set("description", tool.description.clone().unwrap_or_default());
    // An object without members is refused; no parameters say the same.
    out.set_some("parametersJsonSchema", tool.parameters.clone().filter(|parameters| !is_bare(parameters)));
    Value::Object(out)
}

/// Whether a schema says nothing of any member.
fn is_bare(schema: &Value) -> bool {
    schema.as_object().is_some_and(|schema| {
        schema.iter().all(|(keyword, value)| match keyword.as_str() {
            "type" | "title" | "description" | "$schema" => true,
            "additionalProperties" => !value.is_object(),
            "properties" | "required" => {
                value.as_object().is_none_or(Map::is_empty) && value.as_array().is_none_or(Vec::is_empty)
            }
            _ => false,
        })
    })
}

fn content(message: &Message, calls: &Calls<'_>, request: &mut ChatRequest) -> Value {
    let mut parts = Vec::with_capacity(message.parts.len());
    // In clients that know thinking blocks only, a call's signature travels in the block before it.
    let mut carried: Option<String> = None;
    let own =
        |signature: &Option<Signature>| Signature::of(signature.as_ref(), Protocol::Gemini).map(ToOwned::to_owned);
    // One that still waits before a call belongs to that call.
    let calling = message.parts.iter().any(|p| matches!(p, Part::ToolCall { .. }));
    let mut first_call = true;
    for part in &message.parts {
        match part {
            Part::Thinking { signature, .. } => {
                carried = own(signature).or(carried);
            }
            Part::ToolCall { id, name, arguments: text, signature } => {
                let mut call = json!({"functionCall": {"name": name, "args": arguments(text)}});
                if let Some(id) = calls.id(id) {
                    call["functionCall"]["id"] = id.into();
                }
                let own = own(signature);
                // It may have come both ways, and is for one call.
                carried.take_if(|carried| own.as_ref() == Some(carried));
                let missing = (calls.model.is_third() && first_call).then(|| UNPROVEN.to_owned());
                parts.push(signed(call, own.or_else(|| carried.take()).or(missing)));
                first_call = false;
            }
            Part::Text { text, signature } => {
                let proof = own(signature).or_else(|| carried.take_if(|_| !calling));
                parts.push(signed(json!({"text": text}), proof));
            }
            Part::Image { source, signature, .. } => {
                let image = media(source, "image/jpeg", request);
                parts.extend(image.map(|image| signed(image, own(signature))));
            }
            other => simple(other, calls, request, &mut parts),
        }
    }
    if message.role == Role::Assistant {
        stand_in(calls.model, &mut parts);
    }
    if parts.is_empty() {
        parts.push(json!({"text": super::super::turns::CONTINUE}));
    }
    let role = if message.role == Role::Assistant { "model" } else { "user" };
    json!({"role": role, "parts": parts})
}

/// A part with the proof of the thought behind it.
fn signed(mut part: Value, proof: Option<String>) -> Value {
    if let Some(proof) = proof {
        part["thoughtSignature"] = proof.into();
    }
    part
}

/// Puts what stands for a proof where a model that draws would miss one in its turn, and would refuse it: of its first part and
/// of each image (Gemini 3 guide; archestra-ai/archestra#2548).
fn stand_in(model: Model, parts: &mut [Value]) {
    for (at, part) in parts.iter_mut().enumerate() {
        let drawn = part.get("inlineData").or(part.get("fileData")).is_some();
        let wanted = (drawn && model.is_third()) || (at == 0 && model.proves_words());
        if wanted && part.get("thoughtSignature").is_none() {
            part["thoughtSignature"] = UNPROVEN.into();
        }
    }
}

/// Up to here a double is exact for whole numbers. Google reads a result into protobuf's `Struct`, whose numbers are doubles.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Whether whole numbers reach the model as they are. Where one would not, the text is told instead. Those beyond 64 bits the
/// tree has rounded itself: they are as large there.
fn keeps_digits(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() < EXACT),
        Value::Array(items) => items.iter().all(keeps_digits),
        Value::Object(members) => members.values().all(keeps_digits),
        Value::String(_) | Value::Bool(_) | Value::Null => true,
    }
}

fn simple(part: &Part, calls: &Calls<'_>, request: &mut ChatRequest, out: &mut Vec<Value>) {
    if let Some(text) = told(part) {
        out.push(json!({"text": text}));
        return;
    }
    match part {
        Part::Image { source, .. } => out.extend(media(source, "image/jpeg", request)),
        Part::File { source, .. } => out.extend(media(source, "application/pdf", request)),
        Part::Audio { data, format } => {
            out.push(json!({"inlineData": {"mimeType": format!("audio/{format}"), "data": data}}));
        }
        Part::ToolResult { id, parts, error } => {
            let texts: Vec<&str> = parts.iter().filter_map(words).collect();
            let text = texts.join("\n");
            let response = match serde_json::from_str::<Value>(&text) {
                Ok(value @ Value::Object(_)) if !error && keeps_digits(&value) => value,
                _ if *error => json!({"error": text}),
                _ => json!({"result": text}),
            };
            let mut result = json!({"name": calls.name(id), "response": response});
            if let Some(id) = calls.id(id) {
                result["id"] = id.into();
            }
            let media = parts.iter().filter(|p| words(p).is_none());
            let (within, beside): (Vec<&Part>, Vec<&Part>) =
                media.partition(|part| calls.model.is_third() && is_result(part));
            let mut inner = Vec::with_capacity(within.len());
            for part in within {
                simple(part, calls, request, &mut inner);
            }
            if !inner.is_empty() {
                result["parts"] = Value::Array(inner);
            }
            out.push(json!({"functionResponse": result}));
            for part in beside {
                simple(part, calls, request, out);
            }
        }
        _ => {}
    }
}
