//! Owns writing a chat completions request.

use serde_json::{Map, Value, json};

use super::{
    super::{
        Host, Protocol,
        chat::{ChatRequest, Reasoning, Role, Weight},
        end_user,
        ids::Taken,
        json::{MARK, note},
        members::Members,
        translate::Target,
        turns::{Later, Takes, arrange},
        words::is_mark,
    },
    echo,
    messages_out::{content, message},
    models::Model,
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
    let (mistral, routed) = (target.host == Host::Mistral, target.host == Host::OpenRouter);
    out.set("model", target.model);
    out.set("messages", messages(request, model, target));
    tools(request, model, routed, &mut out);
    sampling(request, model, &mut out);
    stop(request, model, &mut out);
    out.set_some("n", request.n);
    out.set_some("seed", request.seed);
    match &request.user {
        Some(_) if mistral => note(&mut request.losses, "user", Weight::Hint),
        user => out.set_some("user", user.as_deref().map(end_user::for_openai)),
    }
    format(request, model, &mut out);
    if routed {
        out.set_some("reasoning", wish(request.reasoning.as_ref(), model));
        out.set_some(MARK, request.cache.take());
    } else {
        effort(request, model, &mut out);
    }
    if model.has_verbosity() {
        out.set_some("verbosity", request.verbosity.take());
    }
    if model.is_openais() {
        out.extend(request.caching.drain(..).map(|(name, said)| (name.into(), said.into())));
    }
    metadata(request, mistral, &mut out);
    service_tier(request, mistral, &mut out);
    if request.stream {
        out.set("stream", true);
        if target.ask_usage {
            out.set("stream_options", json!({"include_usage": true}));
        }
    }
    out
}

/// Writes the conversation.
fn messages(request: &mut ChatRequest, model: Model, target: &Target<'_>) -> Vec<Value> {
    let later = if model.is_openais() { Later::Told } else { Later::MarkedInResults };
    let ids = if target.host == Host::Mistral { Taken::Nine } else { model.ids() };
    let takes = Takes { prefill: true, later, marks: target.host == Host::OpenRouter, ids };
    if !model.is_openais() {
        echo::carry(&mut request.messages);
    }
    let arranged = arrange(std::mem::take(&mut request.messages), Protocol::Openai, takes, &mut request.losses);
    if arranged.turns.last().is_some_and(|turn| turn.role == Role::Assistant) {
        // It is answered, and not gone on with.
        note(&mut request.losses, "messages[] of the assistant at the end", Weight::Note);
    }
    let mut messages = Vec::with_capacity(arranged.turns.len() + 1);
    // Texts that were nothing leave their marks for caches.
    if !arranged.system.iter().all(is_mark) {
        // One message: templates of some servers refuse a second (BerriAI/litellm#26879).
        messages.push(json!({"role": "system", "content": content(arranged.system, &mut request.losses)}));
    }
    for turn in arranged.turns {
        message(turn, target, &mut request.losses, &mut messages);
    }
    messages
}

/// Writes metadata, which is for an answer that is kept: without `store` it is refused (QwenLM/qwen-code#243).
fn metadata(request: &mut ChatRequest, mistral: bool, out: &mut Map<String, Value>) {
    if request.metadata.is_empty() {
        return;
    }
    if request.store && !mistral {
        out.set("store", true);
        out.set("metadata", std::mem::take(&mut request.metadata));
    } else {
        note(&mut request.losses, "metadata", Weight::Note);
    }
}

fn service_tier(request: &mut ChatRequest, mistral: bool, out: &mut Map<String, Value>) {
    match request.service_tier.as_deref() {
        // The same as nothing, and Groq refuses to be told it (vectorize-io/hindsight#89).
        None | Some("auto") => {}
        Some("default" | "standard_only") if mistral => {}
        Some(_) if mistral => note(&mut request.losses, "service_tier", Weight::Hint),
        Some("standard_only") => out.set("service_tier", "default"),
        Some(tier) => out.set("service_tier", tier),
    }
}

/// Writes the longest answer and what is drawn from.
fn sampling(request: &mut ChatRequest, model: Model, out: &mut Map<String, Value>) {
    let thinks = model.thinks();
    if let Some(max) = request.max_tokens {
        // Anthropic takes none, to fill its cache (API reference of `max_tokens`).
        let max = max.max(1);
        // Reasoning models refuse the older name; most other servers know only that one.
        out.set(if thinks { "max_completion_tokens" } else { "max_tokens" }, max);
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
            value => out.set_some(name, value),
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
        _ => out.set("stop", json!(request.stop)),
    }
}

/// Writes how much to reason.
fn effort(request: &mut ChatRequest, model: Model, out: &mut Map<String, Value>) {
    let asked = request.reasoning.as_ref().filter(|reasoning| **reasoning != Reasoning::Adaptive);
    let wanted = asked.is_some_and(|reasoning| *reasoning != Reasoning::Off);
    let word = asked.and_then(|reasoning| model.effort(reasoning.word()));
    if model.calls_unthinking() && !request.tools.is_empty() {
        if model.takes_none() {
            out.set("reasoning_effort", "none");
            if wanted {
                note(&mut request.losses, "reasoning_effort", Weight::Hint);
            }
        } else {
            // There is no effort at which it takes them here (genkit-ai/genkit#6303).
            note(&mut request.losses, TOOLS, Weight::Answer);
        }
    } else if let Some(word) = word {
        out.set("reasoning_effort", word);
    } else if wanted {
        note(&mut request.losses, "thinking", Weight::Hint);
    }
}

/// How much to reason in `OpenRouter`'s words, which it puts into those of each model (guide to reasoning tokens). That there
/// is to be no reasoning only those are told that can do without: others refuse it (musistudio/claude-code-router#1238).
fn wish(asked: Option<&Reasoning>, model: Model) -> Option<Value> {
    Some(match (asked?, model.effort(asked?.word())) {
        // OpenAI's think as they see fit unless they are told.
        (Reasoning::Adaptive, Some(_)) | (Reasoning::Off, None) => return None,
        (Reasoning::Adaptive, None) => json!({"enabled": true}),
        (_, Some(word)) => json!({"effort": word}),
        (Reasoning::Effort(word), None) => json!({"effort": word}),
        (Reasoning::Budget(tokens), None) => json!({"max_tokens": tokens}),
    })
}
