//! Owns writing a Messages request.

use serde_json::{Map, Value, json};

use super::{
    super::{
        Protocol,
        chat::{ChatRequest, Format, Loss, Message, Part, Reasoning, Role, ToolChoice, Weight, one_answer},
        end_user,
        ids::Taken,
        json::{MARK, note, within},
        members::Members,
        translate::Target,
        turns::{Later, Takes, Turns, arrange},
    },
    binding,
    blocks_out::{blocks, prefill, takeable},
    marks,
    models::{Generation, Quiet},
    tools_out::{Enforced, tools},
};

/// Smallest thinking budget the API takes, tokens.
const LEAST_BUDGET: u64 = 1024;

/// Writes a request; what it cannot say joins the losses.
pub(crate) fn write(request: &mut ChatRequest, target: &Target<'_>) -> Map<String, Value> {
    let generation = Generation::of(target.model);
    let mut out = Map::new();
    let room = Room::of(request.max_tokens, target, generation);
    out.set("model", target.model);
    out.set("max_tokens", room.max_tokens);
    // A thought is good for what stood before it, instructions included: those that come later may change nothing of that. A
    // role of their own in the conversation not all models know, nor all platforms (guide to mid-conversation system messages).
    let takes = Takes { prefill: generation.prefill(), later: Later::Marked, marks: true, ids: Taken::Plain };
    let mut arranged = arrange(std::mem::take(&mut request.messages), Protocol::Anthropic, takes, &mut request.losses);
    choice(request, generation);
    let thinking = thinking(request, generation, &room, &arranged.turns, &mut out);
    let mut enforced = Enforced::by(generation, target.model);
    tools(request, target.model, &arranged.turns, &mut enforced, &mut out);
    format(request, &mut enforced, &mut arranged, &mut out);
    let system = blocks(&arranged.system, request);
    if !system.is_empty() {
        out.set("system", system);
    }
    let mut messages = Vec::new();
    for message in &arranged.turns {
        write_message(message, request, &mut messages);
    }
    if let Some(last) = messages.last_mut().filter(|m| m["role"] == "assistant") {
        prefill(last, &mut request.losses);
    }
    if generation.bound {
        binding::loosen(&messages, &mut out);
    }
    out.set("messages", messages);
    out.set_some(MARK, request.cache.take());
    marks::limit(&mut out, &mut request.losses);
    sampling(request, generation, thinking, &mut out);
    if let Some(user) = &request.user {
        out.set("metadata", json!({"user_id": end_user::for_anthropic(user)}));
    }
    if !request.metadata.is_empty() {
        note(&mut request.losses, "metadata", Weight::Hint);
    }
    match request.service_tier.as_deref() {
        None => {}
        Some("auto") => out.set("service_tier", "auto"),
        Some("default" | "standard_only") => out.set("service_tier", "standard_only"),
        Some(_) => note(&mut request.losses, "service_tier", Weight::Hint),
    }
    if request.stream {
        out.set("stream", true);
    }
    out
}

/// Makes a forced call optional for a model that refuses such a choice.
fn choice(request: &mut ChatRequest, generation: Generation) {
    if request.forces_a_call() && generation.refuses_force {
        note(&mut request.losses, "tool_choice", Weight::Hint);
        request.tool_choice = Some(ToolChoice::Auto);
    }
}

/// The limit where neither the client nor the settings name one and the model is not known.
const UNKNOWN: u64 = 4_096;

/// Room for an answer and the thinking before it, of which the limit covers both.
struct Room {
    max_tokens: u64,
    /// Nobody says that there is no more: thinking gets room of its own.
    open: bool,
}

impl Room {
    /// A client that names no limit gets all that the model gives, as with other providers.
    fn of(asked: Option<u64>, target: &Target<'_>, generation: Generation) -> Self {
        let set = Some(u64::from(target.max_tokens)).filter(|set| *set > 0);
        let most = generation.most_tokens.filter(|_| set.is_none());
        let fixed = asked.or(most);
        let max_tokens = fixed.or(set).unwrap_or(UNKNOWN);
        match target.at_most.filter(|_| asked.is_none()) {
            Some(most) => Self { max_tokens: max_tokens.min(most), open: false },
            None => Self { max_tokens, open: fixed.is_none() },
        }
    }

    fn make(&self, budget: u64, out: &mut Map<String, Value>) {
        if self.open {
            out.set("max_tokens", self.max_tokens.saturating_add(budget));
        }
    }
}

/// Writes `thinking` and effort; says whether it is on.
fn thinking(
    request: &mut ChatRequest,
    generation: Generation,
    room: &Room,
    turns: &[Message],
    out: &mut Map<String, Value>,
) -> bool {
    let Some(reasoning) = request.reasoning.clone() else {
        if generation.quiet != Quiet::Anyway {
            room.make(Reasoning::Adaptive.budget(), out);
        }
        return false;
    };
    if reasoning == Reasoning::Off {
        match generation.quiet {
            Quiet::Anyway => {}
            Quiet::By(kind) => out.set("thinking", json!({"type": kind})),
            Quiet::Never => {
                room.make(LEAST_BUDGET, out);
                out.set("output_config", json!({"effort": "low"}));
            }
        }
        return false;
    }
    // Thinking takes no forced call; the call is what the client asked for.
    if request.forces_a_call() && !(request.tools.is_empty() && request.web.is_none()) {
        note(&mut request.losses, "reasoning_effort", Weight::Hint);
        if generation.quiet != Quiet::Anyway {
            room.make(reasoning.budget(), out);
        }
        return false;
    }
    if generation.adaptive {
        adaptive(&reasoning, generation, room, out, &mut request.losses);
        return true;
    }
    let thinks = generation.thinks && can_begin(turns) && budgeted(&reasoning, room, out);
    if !thinks {
        note(&mut request.losses, "reasoning_effort", Weight::Hint);
    }
    thinks
}

/// Lets the model think as long as it sees fit, with an effort if one was asked for.
fn adaptive(
    reasoning: &Reasoning,
    generation: Generation,
    room: &Room,
    out: &mut Map<String, Value>,
    losses: &mut Vec<Loss>,
) {
    let mut thinking = json!({"type": "adaptive"});
    if generation.latest {
        thinking["display"] = "summarized".into();
    }
    out.set("thinking", thinking);
    room.make(reasoning.budget(), out);
    let word = match reasoning.word() {
        "minimal" => "low",
        word if generation.knows(word) => word,
        _ => {
            note(losses, "reasoning_effort", Weight::Note);
            "high"
        }
    };
    if *reasoning != Reasoning::Adaptive {
        out.set("output_config", json!({"effort": word}));
    }
}

/// Whether thinking can be on in what follows these turns. A tool loop whose last call was made with thinking off, or whose
/// thinking was not echoed, cannot go on with it. Nor does it go with the beginning of an answer (Anthropic's guide to
/// prefilling).
fn can_begin(turns: &[Message]) -> bool {
    let prefilled = turns.last().is_some_and(|m| m.role == Role::Assistant);
    let unproven = turns.iter().rev().find(|m| m.role == Role::Assistant).is_some_and(|last| {
        let calls = last.parts.iter().any(|p| matches!(p, Part::ToolCall { .. }));
        calls && !matches!(last.parts.first(), Some(Part::Thinking { .. } | Part::Redacted(_)))
    });
    !prefilled && !unproven
}

/// Gives thinking a budget within the limit. Returns false and writes nothing if there is no room for one.
fn budgeted(reasoning: &Reasoning, room: &Room, out: &mut Map<String, Value>) -> bool {
    if !room.open && room.max_tokens < 2 * LEAST_BUDGET {
        return false;
    }
    let budget = match reasoning {
        other if room.open => other.budget(),
        Reasoning::Budget(budget) => (*budget).min(room.max_tokens - 1),
        other => other.budget().min(room.max_tokens / 2),
    };
    let budget = budget.max(LEAST_BUDGET);
    room.make(budget, out);
    out.set("thinking", json!({"type": "enabled", "budget_tokens": budget}));
    true
}

/// Writes the form of the answer: natively with a schema that can be enforced, by instruction otherwise.
fn format(request: &ChatRequest, enforced: &mut Enforced, arranged: &mut Turns, out: &mut Map<String, Value>) {
    // A schema is enforced from the first word on, and so not behind a beginning (guide to structured outputs).
    let begun = arranged.turns.last().is_some_and(|turn| turn.role == Role::Assistant);
    let system = &mut arranged.system;
    let native = match &request.format {
        Some(Format::Schema { schema, .. }) if !begun => enforced.schema(schema),
        _ => None,
    };
    if let Some(schema) = native {
        let config = out.entry("output_config").or_insert_with(|| json!({}));
        config["format"] = json!({"type": "json_schema", "schema": schema});
        return;
    }
    let words = request.format.as_ref().map(|format| format.in_words(!request.tools.is_empty()));
    system.extend(words.map(Part::text));
}

fn sampling(request: &mut ChatRequest, generation: Generation, thinking: bool, out: &mut Map<String, Value>) {
    let losses = &mut request.losses;
    // With thinking on, and on the newest models always, only the defaults are taken.
    let fixed = thinking || generation.latest;
    if let Some(temperature) = request.temperature {
        if fixed {
            if (temperature - 1.0).abs() > f64::EPSILON {
                note(losses, "temperature", Weight::Hint);
            }
        } else {
            out.set("temperature", within("temperature", temperature, 0.0, 1.0, losses));
        }
    }
    if let Some(top_p) = request.top_p {
        // Newer models refuse the two together; a top_p of 1 says nothing.
        if fixed || out.contains_key("temperature") {
            if top_p < 1.0 {
                note(losses, "top_p", Weight::Hint);
            }
        } else {
            out.set("top_p", within("top_p", top_p, 0.0, 1.0, losses));
        }
    }
    match request.top_k {
        Some(_) if fixed => note(losses, "top_k", Weight::Hint),
        Some(top_k) => out.set("top_k", top_k),
        None => {}
    }
    let stop: Vec<&String> = request.stop.iter().filter(|s| !s.trim().is_empty()).collect();
    if stop.len() < request.stop.len() {
        note(losses, "stop of white space only", Weight::Hint);
    }
    if !stop.is_empty() {
        out.set("stop_sequences", json!(stop));
    }
    for (name, set) in [
        ("frequency_penalty", request.frequency_penalty.is_some_and(|p| p != 0.0)),
        ("presence_penalty", request.presence_penalty.is_some_and(|p| p != 0.0)),
        ("seed", request.seed.is_some()),
    ] {
        if set {
            note(losses, name, Weight::Hint);
        }
    }
    one_answer(request);
}

fn write_message(message: &Message, request: &mut ChatRequest, out: &mut Vec<Value>) {
    let mut blocks = blocks(&message.parts, request);
    if message.role == Role::Assistant {
        takeable(&mut blocks, request);
    }
    if blocks.is_empty() {
        // Everything in it was lost; the loss is listed and the roles still alternate.
        blocks.push(json!({"type": "text", "text": super::super::turns::CONTINUE}));
    }
    let role = if message.role == Role::Assistant { "assistant" } else { "user" };
    out.push(json!({"role": role, "content": blocks}));
}
