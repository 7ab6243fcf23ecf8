//! Owns turning any list of messages into what strict providers take: alternating roles, paired tool calls, nothing empty.

use std::collections::{HashMap, VecDeque};

use super::{
    Protocol,
    chat::{Loss, Message, Part, Role, Signature, Source, Weight},
    ids,
    json::note,
    words::{instruct, is_mark, words},
};

/// Said for the user where a provider needs a user turn and the client gave none.
pub(crate) const CONTINUE: &str = "Continue.";
/// Stands for a model's turn of images alone, for a provider that takes no images from a model.
pub(crate) const DREW: &str = "[image]";
/// Said for a tool whose result never came.
const NO_RESULT: &str = "No result was given.";

/// A conversation in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Turns {
    /// System and developer texts, in order, and where to cache them.
    pub(crate) system: Vec<Part>,
    /// User first, alternating but for instructions between them, none empty; every tool call answered at the head of the
    /// next turn.
    pub(crate) turns: Vec<Message>,
}

impl Turns {
    /// The texts alone.
    pub(crate) fn instructions(&self) -> Vec<&str> {
        self.system.iter().filter_map(words).collect()
    }
}

/// What some models take and others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Takes {
    /// An assistant message at the end, to be continued.
    pub(crate) prefill: bool,
    /// How instructions that come later are told.
    pub(crate) later: Later,
    /// Marks for a cache.
    pub(crate) marks: bool,
    /// What calls go by.
    pub(crate) ids: ids::Taken,
}

/// How a model takes instructions that come after the beginning of a conversation. Moving them to the front would
/// invalidate caches, and the proofs of thoughts in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Later {
    /// Where they stand.
    Told,
    /// Those after an answer, or after the user's words where there were some before, where they stand, but as marked words of
    /// the user's.
    Marked,
    /// The same, and where they follow tools' results as a part of the last: a message of the user's own is refused there by
    /// some (Mistral; NousResearch/hermes-agent#20154), and to others says that the task before it is over, so that they are
    /// shown its thoughts no more (QwenLM/Qwen3.8#112).
    MarkedInResults,
}

/// Arranges messages for a provider.
pub(crate) fn arrange(mut messages: Vec<Message>, target: Protocol, takes: Takes, losses: &mut Vec<Loss>) -> Turns {
    let unproven = |p: &Part| is_thought(p) && is_empty(p, target);
    if messages.iter().flat_map(|m| &m.parts).any(unproven) {
        note(losses, "messages[].thinking", Weight::Note);
    }
    if !takes.marks && messages.iter_mut().fold(false, |found, m| unmark(&mut m.parts) | found) {
        note(losses, "messages[].content[].cache_control", Weight::Note);
    }
    if target != Protocol::Openai {
        note_unsaid(messages.iter().flat_map(|m| &m.parts), target, losses);
    }
    let (mut system, merged) = merge(messages, target, takes.later, losses);
    let mut joined = join(merged);
    if joined.is_empty() && !system.is_empty() {
        // Only instructions: they are what there is to answer.
        joined.push(Message { role: Role::User, parts: std::mem::take(&mut system) });
    }
    if joined.first().is_none_or(|m| m.role == Role::Assistant) {
        joined.insert(0, user(CONTINUE));
    }
    let mut turns = pair(joined, target, takes.ids);
    if takes.later != Later::Told {
        turns = marked(turns, takes.later);
    }
    if !takes.prefill && turns.last().is_some_and(|m| m.role == Role::Assistant) {
        turns.push(user(CONTINUE));
    }
    Turns { system, turns }
}

/// Takes the instructions from the front, and merges neighbours of one role. Turns that say nothing are left out.
fn merge(messages: Vec<Message>, target: Protocol, later: Later, losses: &mut Vec<Loss>) -> (Vec<Part>, Vec<Message>) {
    let (mut system, mut merged, mut begun) = (Vec::new(), Vec::<Message>::new(), false);
    for Message { role, mut parts } in messages {
        if role == Role::System {
            instruct(&mut parts, losses);
        }
        parts.retain(|p| !is_empty(p, target));
        // Instructions that are the only ones count as said at the beginning, wherever the client has put them.
        let instructed = later == Later::Told || !system.is_empty();
        begun |= merged.last().is_some_and(|m| !m.parts.is_empty() && (instructed || m.role == Role::Assistant));
        if role == Role::System && !begun {
            system.extend(parts);
            continue;
        }
        match merged.last_mut() {
            Some(last) if last.role == role => last.parts.extend(parts),
            _ => merged.push(Message { role, parts }),
        }
    }
    // No provider takes a turn that is nothing but a thought, such as that of an answer that was cut within it.
    merged.retain(|m| {
        let says = m.parts.iter().any(|p| !is_mark(p) && !is_thought(p));
        if !says && m.parts.iter().any(is_thought) {
            note(losses, "messages[].thinking", Weight::Note);
        }
        says
    });
    (system, merged)
}

/// Joins turns of one role that have become neighbours, and tools' results that an instruction stands between.
fn join(merged: Vec<Message>) -> Vec<Message> {
    let mut joined: Vec<Message> = Vec::new();
    for mut message in merged {
        if let (Role::User, [.., before, Message { role: Role::System, .. }]) = (message.role, joined.as_mut_slice())
            && before.role == Role::User
        {
            before.parts.extend(message.parts.extract_if(.., |p| matches!(p, Part::ToolResult { .. })));
        }
        match joined.last_mut() {
            Some(last) if last.role == message.role => last.parts.extend(message.parts),
            _ if message.parts.is_empty() => {}
            _ => joined.push(message),
        }
    }
    joined
}

/// Gives each tool call one result, in the calls' order, and turns results without a call into text.
fn pair(messages: Vec<Message>, target: Protocol, taken: ids::Taken) -> Vec<Message> {
    let mut turns: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    let mut used = ids::Used::new();
    // Ids as the client wrote them, to the unique ones sent on, for the calls still open.
    let mut open: Vec<(String, String)> = Vec::new();
    // Instructions that came between calls and their results: those may not be parted.
    let mut held: Vec<Message> = Vec::new();
    for mut message in messages {
        match message.role {
            Role::System if !open.is_empty() => held.push(message),
            Role::System => turns.push(message),
            Role::Assistant => {
                if !open.is_empty() {
                    let parts = answer(std::mem::take(&mut open), Vec::new(), target);
                    turns.push(Message { role: Role::User, parts });
                }
                turns.append(&mut held);
                open = rename(&mut message.parts, &mut used, taken);
                turns.push(message);
            }
            Role::User => {
                message.parts = answer(std::mem::take(&mut open), message.parts, target);
                turns.push(message);
                turns.append(&mut held);
            }
        }
    }
    if !open.is_empty() {
        turns.push(Message { role: Role::User, parts: answer(open, Vec::new(), target) });
    }
    turns.append(&mut held);
    turns
}

/// Makes call ids unique, and such as the provider takes; returns old and new.
fn rename(parts: &mut [Part], used: &mut ids::Used, taken: ids::Taken) -> Vec<(String, String)> {
    let mut open = Vec::new();
    for part in parts {
        let Part::ToolCall { id, .. } = part else { continue };
        let fitted = taken.fit(id, used);
        open.push((std::mem::replace(id, fitted.clone()), fitted));
    }
    open
}

fn answer(open: Vec<(String, String)>, parts: Vec<Part>, target: Protocol) -> Vec<Part> {
    let mut given: HashMap<String, VecDeque<(Vec<Part>, bool)>> = HashMap::new();
    let (mut rest, mut all) = (Vec::new(), Vec::new());
    let mut wanted: HashMap<&str, usize> = HashMap::new();
    for (old, _) in &open {
        *wanted.entry(old).or_default() += 1;
    }
    for part in parts {
        match part {
            Part::ToolResult { id, parts, error } => match wanted.get_mut(id.as_str()) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    given.entry(id).or_default().push_back((parts, error));
                }
                _ => {
                    rest.push(Part::text(format!("Result of an earlier tool call ({id}):")));
                    rest.extend(parts.into_iter().filter(|p| !is_empty(p, target)));
                }
            },
            other => rest.push(other),
        }
    }
    for (old, unique) in open {
        let found = given.get_mut(&old).and_then(VecDeque::pop_front);
        let (parts, error) = found.unwrap_or_else(|| (vec![Part::text(NO_RESULT)], true));
        all.push(Part::ToolResult { id: unique, parts, error });
    }
    all.extend(rest);
    all
}

fn is_empty(part: &Part, target: Protocol) -> bool {
    match part {
        Part::Text { text, signature } => text.trim().is_empty() && Signature::of(signature.as_ref(), target).is_none(),
        Part::Refusal(text) | Part::File { source: Source::Text(text), name: None } => text.trim().is_empty(),
        Part::Thinking { signature, .. } => Signature::of(signature.as_ref(), target).is_none(),
        Part::Redacted(_) => target != Protocol::Anthropic,
        _ => false,
    }
}

/// Makes instructions among the turns a part of the user's next to them, in words that the user could not be taken to have said.
fn marked(turns: Vec<Message>, later: Later) -> Vec<Message> {
    let mut told: Vec<Message> = Vec::with_capacity(turns.len());
    for mut turn in turns {
        if turn.role == Role::System {
            turn.role = Role::User;
            for part in &mut turn.parts {
                if let Some(text) = words(part) {
                    *part = Part::text(format!("<system>\n{text}\n</system>"));
                }
            }
            if let (Later::MarkedInResults, Some(result)) = (later, told.last_mut().and_then(worded)) {
                result.append(&mut turn.parts);
                continue;
            }
        }
        match told.last_mut() {
            Some(last) if last.role == turn.role => last.parts.append(&mut turn.parts),
            _ => told.push(turn),
        }
    }
    told
}

/// The parts of the tool result that ends a turn, if all are words. Anything else in it would be told beside it, as the
/// user's.
fn worded(turn: &mut Message) -> Option<&mut Vec<Part>> {
    match turn.parts.last_mut()? {
        Part::ToolResult { parts, .. } if parts.iter().all(|p| words(p).is_some() || is_mark(p)) => Some(parts),
        _ => None,
    }
}

/// Notes what only OpenAI can be told about a picture or a file.
fn note_unsaid<'a>(parts: impl Iterator<Item = &'a Part>, target: Protocol, losses: &mut Vec<Loss>) {
    for part in parts {
        match part {
            Part::Image { detail: Some(detail), .. } if detail != "auto" => {
                note(losses, "messages[].content[].image_url.detail", Weight::Hint);
            }
            Part::File { name: Some(_), source: Source::Url { .. } | Source::Data { .. } }
                if target == Protocol::Gemini =>
            {
                note(losses, "messages[].content[].file.filename", Weight::Note);
            }
            Part::ToolResult { parts, .. } => note_unsaid(parts.iter(), target, losses),
            _ => {}
        }
    }
}

/// Takes away marks for a cache; says whether there were any.
fn unmark(parts: &mut Vec<Part>) -> bool {
    let all = parts.len();
    parts.retain(|p| !is_mark(p));
    let within = parts.iter_mut().fold(false, |found, part| match part {
        Part::ToolResult { parts, .. } => unmark(parts) | found,
        _ => found,
    });
    parts.len() < all || within
}

fn is_thought(part: &Part) -> bool {
    matches!(part, Part::Thinking { .. } | Part::Redacted(_))
}

fn user(text: &str) -> Message {
    Message { role: Role::User, parts: vec![Part::text(text)] }
}
