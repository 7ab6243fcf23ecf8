//! Owns reading a whole chat completion.

use serde_json::Value;

use super::{
    super::{
        Malformed,
        chat::{Part, Source},
        events::{ChatReply, Finish, unplaced},
        json::{list, malformed, owned, text},
        peek,
    },
    echo,
    fault::GaveUp,
    messages_in::google_signature,
    stream_in::finish,
};

/// Reads a body of the model `asked` for; an error body gives a reply with a fault.
pub(crate) fn read(body: &[u8], asked: &str) -> Result<ChatReply, Malformed> {
    let seen = peek::whole(body)?;
    if let Some(fault) = seen.fault {
        return Ok(ChatReply { fault: Some(fault), ..ChatReply::default() });
    }
    let usage = seen.usage;
    let value: Value = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    let Some(choice) = list(&value, "choices").first() else {
        return Err(Malformed("a completion without choices".into()));
    };
    let message = choice.get("message").unwrap_or(&Value::Null);
    let mut parts = Vec::new();
    let thinking = echo::MEMBERS.into_iter().find(|member| !text(message, member).is_empty());
    parts.extend(thinking.map(|member| Part::Thinking {
        text: text(message, member).to_owned(),
        signature: Some(echo::mark(member, asked, text(&value, "model"))),
    }));
    match message.get("content") {
        Some(Value::String(text)) if !text.is_empty() => parts.push(Part::text(text.as_str())),
        Some(Value::Array(list)) => parts.extend(list.iter().filter_map(content_part)),
        _ => {}
    }
    let spoke = parts.iter().any(|part| matches!(part, Part::Text { .. }));
    let refusal = owned(message, "refusal").filter(|r| !r.is_empty());
    let refused = refusal.is_some();
    parts.extend(refusal.map(Part::Refusal));
    let mut called = false;
    for call in list(message, "tool_calls") {
        let function = call.get("function").unwrap_or(&Value::Null);
        called = true;
        parts.push(Part::ToolCall {
            id: text(call, "id").to_owned(),
            name: text(function, "name").to_owned(),
            arguments: arguments(function.get("arguments")),
            signature: call.get("extra_content").and_then(google_signature),
        });
    }
    let reason = choice.get("finish_reason").and_then(Value::as_str);
    if let Some(fault) = reason.and_then(GaveUp::read).map(GaveUp::fault) {
        return Ok(ChatReply { fault: Some(fault), ..ChatReply::default() });
    }
    if message.get("audio").and_then(Value::as_object).is_some_and(|audio| !audio.is_empty()) {
        return Ok(ChatReply { fault: Some(unplaced(SOUND)), ..ChatReply::default() });
    }
    parts.extend(list(message, "images").iter().map(|image| Part::Image {
        source: pictured(image),
        detail: None,
        signature: None,
    }));
    let reason = match reason.map(finish) {
        Some(Finish::ToolCalls) if !called && !spoke => return Err(Malformed(CALLLESS.into())),
        // Some servers give this reason to words alone.
        Some(Finish::ToolCalls) if !called => Some(Finish::Stop),
        reason => reason,
    };
    Ok(ChatReply {
        id: owned(&value, "id"),
        created: value.get("created").and_then(Value::as_u64),
        model: owned(&value, "model"),
        parts,
        finish: match reason {
            // Some servers say "stop" after a call.
            Some(Finish::Stop) if called => Some(Finish::ToolCalls),
            Some(Finish::Stop) if refused => Some(Finish::Refused),
            other => other,
        },
        stop_sequence: owned(choice, "stop_reason"),
        usage,
        fault: None,
    })
}

/// What stands for audio.
pub(super) const SOUND: &str = "sound";

/// What is wrong with an answer that is to end in calls and has none.
pub(super) const CALLLESS: &str = "it ended for calls of tools that are not there";

/// Where an image of an answer is.
pub(super) fn pictured(image: &Value) -> Source {
    Source::from_url(image.pointer("/image_url/url").and_then(Value::as_str).unwrap_or_default())
}

/// Arguments as text; some servers send them as the object that the text should tell.
fn arguments(given: Option<&Value>) -> String {
    match given {
        Some(Value::String(text)) => text.clone(),
        Some(object @ Value::Object(_)) => object.to_string(),
        _ => String::new(),
    }
}

/// A part of content in parts: text, or (Mistral) thinking.
fn content_part(part: &Value) -> Option<Part> {
    let thought: String = list(part, "thinking").iter().map(|t| text(t, "text")).collect();
    if !thought.is_empty() {
        return Some(Part::Thinking { text: thought, signature: None });
    }
    Some(text(part, "text")).filter(|said| !said.is_empty()).map(Part::text)
}
