//! Owns writing a chat completions request.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    super::{
        Protocol,
        chat::{ChatRequest, Message, Part, Reasoning, Role, Source, Weight},
        end_user,
        ids::Taken,
        json::note,
        translate::Target,
        turns::{CONTINUE, DREW, Later, Takes, arrange},
        words::told,
    },
    echo,
    models::{Model, is_googles},
    reply_out::google,
    tools_out::{format, tools},
};

/// The loss of all tools.
pub(crate) const TOOLS: &str = "tools";

/// Why they are lost, and where they are not.
pub(crate) const NO_TOOLS: &str = ": this model takes no functions over chat completions. Over /v1/responses it does, if the \
                                   backend has native_responses = true";

/// Writes a request; what it cannot say joins the losses.
pub(crate) fn write(request: &mut ChatRequest, target: &Target<'_>) -> Map<String, Value> {
    let mut out = Map::new();
    let model = Model::of(target.model);
    out.insert("model".into(), target.model.into());
    let later = if model.is_openais() { Later::Told } else { Later::MarkedInResults };
    let ids = if target.mistral { Taken::Nine } else { model.ids() };
    let takes = Takes { prefill: true, later, ids };
    if !model.is_openais() {
        echo::carry(&mut request.messages);
    }
    let arranged = arrange(std::mem::take(&mut request.messages), Protocol::Openai, takes, &mut request.losses);
    if arranged.turns.last().is_some_and(|turn| turn.role == Role::Assistant) {
        // It is answered, and not gone on with.
        note(&mut request.losses, "messages[] of the assistant at the end", Weight::Note);
    }
    let mut messages = Vec::with_capacity(arranged.turns.len() + 1);
    if !arranged.system.is_empty() {
        // One message: templates of some servers refuse a second (BerriAI/litellm#26879).
        messages.push(json!({"role": "system", "content": arranged.instructions().join("\n\n")}));
    }
    for message in arranged.turns {
        write_message(message, target.model, request, &mut messages);
    }
    out.insert("messages".into(), Value::Array(messages));
    tools(request, model, &mut out);
    sampling(request, model, &mut out);
    stop(request, model, &mut out);
    if let Some(n) = request.n {
        out.insert("n".into(), n.into());
    }
    if let Some(seed) = request.seed {
        out.insert("seed".into(), seed.into());
    }
    match &request.user {
        Some(_) if target.mistral => note(&mut request.losses, "user", Weight::Hint),
        Some(user) => drop(out.insert("user".into(), end_user::for_openai(user).into())),
        None => {}
    }
    format(request, model, &mut out);
    effort(request, model, &mut out);
    match request.verbosity.take() {
        Some(word) if model.has_verbosity() => drop(out.insert("verbosity".into(), word.into())),
        Some(_) => note(&mut request.losses, "verbosity", Weight::Hint),
        None => {}
    }
    if model.is_openais() {
        out.extend(request.caching.drain(..).map(|(name, said)| (name.into(), said.into())));
    }
    if let Some(metadata) = request.metadata.take().filter(|m| !m.is_empty()) {
        // Refused without the other (QwenLM/qwen-code#243).
        if request.store && !target.mistral {
            out.insert("store".into(), true.into());
            out.insert("metadata".into(), Value::Object(metadata));
        } else {
            note(&mut request.losses, "metadata", Weight::Note);
        }
    }
    match request.service_tier.as_deref() {
        // As where nothing is said; Groq refuses to be told (vectorize-io/hindsight#89).
        None | Some("auto") => {}
        Some("default" | "standard_only") if target.mistral => {}
        Some(_) if target.mistral => note(&mut request.losses, "service_tier", Weight::Hint),
        Some("standard_only") => drop(out.insert("service_tier".into(), "default".into())),
        Some(tier) => drop(out.insert("service_tier".into(), tier.into())),
    }
    if request.stream {
        out.insert("stream".into(), true.into());
        if target.ask_usage {
            out.insert("stream_options".into(), json!({"include_usage": true}));
        }
    }
    out
}

/// Writes the longest answer and what is drawn from.
fn sampling(request: &mut ChatRequest, model: Model, out: &mut Map<String, Value>) {
    let thinks = model.thinks();
    if let Some(max) = request.max_tokens {
        // Anthropic takes none, to fill its cache (API reference of `max_tokens`).
        let max = max.max(1);
        // Reasoning models refuse the older name; most other servers know only that one.
        out.insert(if thinks { "max_completion_tokens" } else { "max_tokens" }.into(), max.into());
    }
    for (name, value) in [
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("frequency_penalty", request.frequency_penalty),
        ("presence_penalty", request.presence_penalty),
    ] {
        match value {
            // These models take the default only.
            Some(_) if thinks => note(&mut request.losses, name, Weight::Hint),
            Some(value) => {
                out.insert(name.into(), value.into());
            }
            None => {}
        }
    }
    if request.top_k.is_some() {
        note(&mut request.losses, "top_k", Weight::Hint);
    }
}

/// Writes what ends an answer.
fn stop(request: &mut ChatRequest, model: Model, out: &mut Map<String, Value>) {
    match request.stop.len() {
        0 => {}
        _ if model.refuses_stop() => note(&mut request.losses, "stop", Weight::Answer),
        // OpenAI's limit.
        5.. if model.is_openais() => note(&mut request.losses, "stop_sequences[4..]", Weight::Answer),
        _ => drop(out.insert("stop".into(), json!(request.stop))),
    }
}

/// Writes how much to reason.
fn effort(request: &mut ChatRequest, model: Model, out: &mut Map<String, Value>) {
    let asked = request.reasoning.as_ref().filter(|reasoning| **reasoning != Reasoning::Adaptive);
    let wanted = asked.is_some_and(|reasoning| *reasoning != Reasoning::Off);
    let word = asked.and_then(|reasoning| model.effort(reasoning.word()));
    if model.calls_unthinking() && !request.tools.is_empty() {
        if model.takes_none() {
            out.insert("reasoning_effort".into(), "none".into());
            if wanted {
                note(&mut request.losses, "reasoning_effort", Weight::Hint);
            }
        } else {
            // There is no effort at which it takes them here (genkit-ai/genkit#6303).
            note(&mut request.losses, TOOLS, Weight::Answer);
        }
    } else if let Some(word) = word {
        out.insert("reasoning_effort".into(), word.into());
    } else if wanted {
        note(&mut request.losses, "thinking", Weight::Hint);
    }
}

fn write_message(message: Message, model: &str, request: &mut ChatRequest, out: &mut Vec<Value>) {
    match message.role {
        Role::Assistant => assistant(message.parts, model, request, out),
        Role::System => out.push(json!({"role": "system", "content": join(&message.parts)})),
        Role::User => {
            let mut rest = Vec::new();
            // Of a tool's result only words fit there: what else it has follows as the user's.
            for part in message.parts {
                let Part::ToolResult { id, parts, error } = part else {
                    rest.push(part);
                    continue;
                };
                let (texts, media): (Vec<Part>, Vec<Part>) =
                    parts.into_iter().filter(|p| !matches!(p, Part::CacheMark(_))).partition(|p| told(p).is_some());
                let mut text = join(&texts);
                if error && !tells_error(&text) {
                    text = format!("Error: {text}");
                }
                if text.is_empty() && !media.is_empty() {
                    "The result is attached below.".clone_into(&mut text);
                }
                out.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
                rest.extend(media);
            }
            if !rest.is_empty() {
                out.push(json!({"role": "user", "content": content(rest, request)}));
            }
        }
    }
}

/// Whether a failed tool's words begin with that. Further on it may stand for anything.
fn tells_error(text: &str) -> bool {
    text.trim_start().get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("error"))
}

fn join(parts: &[Part]) -> String {
    let texts: Vec<Cow<'_, str>> = parts.iter().filter_map(told).collect();
    texts.join("\n")
}

fn assistant(parts: Vec<Part>, model: &str, request: &mut ChatRequest, out: &mut Vec<Value>) {
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    let mut reasoning: Option<(&str, String)> = None;
    let (mut text, mut refusal, mut calls, mut drew) = (String::new(), String::new(), Vec::new(), false);
    for part in parts {
        match part {
            Part::Text { text: more, .. } => text.push_str(&more),
            Part::Refusal(more) => refusal.push_str(&more),
            Part::ToolCall { id, name, arguments, signature } => {
                let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
                let mut call =
                    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
                let googles = signature.filter(|signature| signature.origin == Protocol::Gemini);
                if let Some(signature) = googles.filter(|_| is_googles(model)) {
                    call["extra_content"] = google(&signature);
                }
                calls.push(call);
            }
            Part::Thinking { text: more, signature } => match echo::member(signature.as_ref(), model) {
                Some(member) => reasoning.get_or_insert_with(|| (member, String::new())).1.push_str(&more),
                None => note(&mut request.losses, "messages[].thinking", Weight::Note),
            },
            other => {
                drew |= matches!(other, Part::Image { .. });
                note(&mut request.losses, "messages[].content[] of the assistant", Weight::Hint);
            }
        }
    }
    if text.is_empty() && refusal.is_empty() && calls.is_empty() {
        // Of images and files nothing is left, and the turns alternate.
        if drew { DREW } else { CONTINUE }.clone_into(&mut text);
    }
    message.insert("content".into(), if text.is_empty() { Value::Null } else { text.into() });
    if !refusal.is_empty() {
        message.insert("refusal".into(), refusal.into());
    }
    if !calls.is_empty() {
        // Wanted back in a tool loop; elsewhere some servers refuse it.
        if let Some((member, text)) = reasoning {
            message.insert(member.into(), text.into());
        }
        message.insert("tool_calls".into(), Value::Array(calls));
    }
    out.push(Value::Object(message));
}

/// A string where text is all there is: the form every server takes (QwenLM/qwen-code#2320).
fn content(parts: Vec<Part>, request: &mut ChatRequest) -> Value {
    let texts: Option<Vec<Cow<'_, str>>> = parts.iter().map(told).collect();
    if let Some(texts) = texts {
        return texts.join("\n\n").into();
    }
    let mut out = Vec::new();
    for part in parts {
        if let Some(text) = told(&part) {
            out.push(json!({"type": "text", "text": text}));
            continue;
        }
        out.push(match part {
            Part::Image { source, detail, .. } => {
                let Some(url) = source.to_url() else {
                    note(&mut request.losses, "messages[].content[].source.file_id", Weight::Answer);
                    continue;
                };
                let mut image = json!({"url": url});
                if let (Some(detail), Some(image)) = (detail, image.as_object_mut()) {
                    image.insert("detail".into(), detail.into());
                }
                json!({"type": "image_url", "image_url": image})
            }
            Part::File { source: source @ Source::Data { .. }, name } => {
                json!({"type": "file", "file": {"filename": name.unwrap_or_else(|| "document.pdf".into()), "file_data": source.to_url()}})
            }
            Part::File { .. } => {
                note(&mut request.losses, "messages[].content[].document", Weight::Answer);
                continue;
            }
            Part::Audio { data, format } => json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}),
            _ => continue,
        });
    }
    Value::Array(out)
}
