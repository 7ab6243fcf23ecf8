//! Owns reading the messages of a chat completions request.

use serde_json::Value;

use super::{
    super::{
        Protocol,
        chat::{Loss, Message, Part, Role, Signature, Source, Weight},
        free_text,
        json::{MARK, invalid, list, mark, note, owned, parts, text, unknown, unread},
        mime,
        translate::Refused,
    },
    thoughts_in::Thoughts,
};

/// Reads the message at a place.
pub(crate) fn message(value: &Value, at: usize, losses: &mut Vec<Loss>) -> Result<Message, Refused> {
    let param = format!("messages[{at}]");
    let role = match text(value, "role") {
        "assistant" => Role::Assistant,
        "system" | "developer" => Role::System,
        _ => Role::User,
    };
    unread(
        value,
        &[
            "role",
            "content",
            "name",
            "refusal",
            "tool_calls",
            "tool_call_id",
            "function_call",
            "reasoning_content",
            "thinking_blocks",
            "extra_content",
            "annotations",
            "images",
            "audio",
            "is_error",
            MARK,
        ],
        "messages[]",
        role.unknown(),
        losses,
    );
    match text(value, "role") {
        "system" | "developer" | "user" => {}
        "assistant" => return assistant(value, &param, losses),
        "tool" | "function" => {
            let id = owned(value, "tool_call_id").or_else(|| owned(value, "name")).unwrap_or_default();
            let error = value.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            let mut parts = content(value, &param, role, losses)?;
            parts.extend(cache_mark(value));
            return Ok(Message { role, parts: vec![Part::ToolResult { id, parts, error }] });
        }
        other => {
            let message = format!("'{param}.role' must be system, developer, user, assistant or tool");
            return Err(unknown(&format!("{param}.role"), other, message));
        }
    }
    if value.get("name").is_some_and(|n| !n.is_null()) {
        note(losses, "messages[].name", Weight::Note);
    }
    let mut parts = content(value, &param, role, losses)?;
    parts.extend(cache_mark(value));
    Ok(Message { role, parts })
}

/// Where clients of many models put it, in the place that it has in Messages.
fn cache_mark(value: &Value) -> Option<Part> {
    mark(value).map(Part::CacheMark)
}

/// The signature in an `extra_content`, where Google's own OpenAI endpoint puts it.
pub(crate) fn google_signature(extra: &Value) -> Option<Signature> {
    let signature = extra.pointer("/google/thought_signature")?.as_str()?;
    Some(Signature::new(Protocol::Gemini, signature))
}

fn assistant(value: &Value, param: &str, losses: &mut Vec<Loss>) -> Result<Message, Refused> {
    let mut thoughts = Thoughts::of(value);
    if thoughts.is_empty() && !text(value, "reasoning_content").is_empty() {
        note(losses, "messages[].reasoning_content", Weight::Note);
    }
    let mut said = content(value, param, Role::Assistant, losses)?;
    if let Some(found) = value.get("extra_content").and_then(google_signature) {
        match said.iter_mut().rev().find(|p| matches!(p, Part::Text { .. })) {
            Some(Part::Text { signature, .. }) => *signature = Some(found),
            _ => said.push(Part::Text { text: String::new(), signature: Some(found) }),
        }
    }
    said.extend(list(value, "images").iter().filter_map(|image| made(image, losses)));
    let mut parts = thoughts.among(said);
    if let Some(refusal) = owned(value, "refusal") {
        parts.push(Part::Refusal(refusal));
    }
    for call in list(value, "tool_calls") {
        let (inner, arguments) = match (call.get("function"), call.get("custom")) {
            (Some(inner), _) => (inner, text(inner, "arguments").to_owned()),
            (None, Some(inner)) => (inner, free_text::arguments(text(inner, "input"))),
            (None, None) => {
                note(losses, "messages[].tool_calls[]", Weight::Answer);
                continue;
            }
        };
        let (id, name) = (text(call, "id").to_owned(), text(inner, "name").to_owned());
        let signature = call.get("extra_content").and_then(google_signature);
        parts.push(Part::ToolCall { id, name, arguments, signature });
        parts.extend(cache_mark(call));
        thoughts.after_call(&mut parts);
    }
    if let Some(inner) = value.get("function_call").filter(|c| c.is_object()) {
        let name = text(inner, "name").to_owned();
        let arguments = text(inner, "arguments").to_owned();
        let signature = inner.get("extra_content").and_then(google_signature);
        parts.push(Part::ToolCall { id: name.clone(), name, arguments, signature });
    }
    parts.extend(thoughts.rest());
    parts.extend(cache_mark(value));
    if value.get("audio").is_some_and(|a| !a.is_null()) {
        note(losses, "messages[].audio", Weight::Answer);
    }
    Ok(Message { role: Role::Assistant, parts })
}

/// An image that a model made, as answers tell it.
fn made(image: &Value, losses: &mut Vec<Loss>) -> Option<Part> {
    let inner = image.get("image_url").unwrap_or(&Value::Null);
    let url = inner.as_str().unwrap_or_else(|| text(inner, "url"));
    if url.is_empty() {
        note(losses, "messages[].images[]", Weight::Hint);
        return None;
    }
    let signature = image.get("extra_content").and_then(google_signature);
    Some(Part::Image { source: Source::from_url(url), detail: None, signature })
}

fn content(of: &Value, param: &str, role: Role, losses: &mut Vec<Loss>) -> Result<Vec<Part>, Refused> {
    parts(of, "content", param, |value, parts| {
        parts.push(part(value, param, role, losses)?);
        parts.extend(cache_mark(value));
        Ok(())
    })
}

fn part(value: &Value, param: &str, role: Role, losses: &mut Vec<Loss>) -> Result<Part, Refused> {
    let kind = text(value, "type");
    let inner = value.get(kind).unwrap_or(&Value::Null);
    let known = ["type", "text", "refusal", MARK, kind];
    unread(value, &known, "messages[].content[]", role.unknown(), losses);
    let wrong = |what: &str| invalid(Some(&format!("{param}.content")), format!("'{param}.content': {what}"));
    Ok(match kind {
        "text" => Part::text(text(value, "text")),
        "refusal" => Part::Refusal(text(value, "refusal").to_owned()),
        // Mistral's thinking models tell it so, and it is proven to nobody.
        "thinking" if role == Role::Assistant => {
            Part::Thinking { text: list(value, kind).iter().map(|t| text(t, "text")).collect(), signature: None }
        }
        "image_url" | "video_url" => {
            let url = inner.as_str().unwrap_or_else(|| text(inner, "url"));
            if url.is_empty() {
                return Err(wrong("an image or a video has no URL"));
            }
            let source = Source::from_url(url);
            if kind == "video_url" {
                let source = source.said(said(inner).or_else(|| Some(mime::VIDEO.to_owned())));
                return Ok(Part::File { source, name: None });
            }
            Part::Image { source: source.said(said(inner)), detail: owned(inner, "detail"), signature: None }
        }
        "input_audio" => Part::Audio { data: text(inner, "data").to_owned(), format: text(inner, "format").to_owned() },
        "file" => {
            let name = owned(inner, "filename");
            let source = match (owned(inner, "file_data"), owned(inner, "file_id")) {
                (Some(data), _) => Source::of_file(data, name.as_deref()),
                (None, Some(id)) => Source::of_id(id),
                (None, None) => return Err(wrong("a file has neither data nor id")),
            };
            Part::File { source: source.said(said(inner)), name }
        }
        other => {
            let message = format!("'{param}.content': unknown part type '{other}'");
            return Err(unknown(&format!("{param}.content"), other, message));
        }
    })
}

/// What a URL leads to, as clients of many models say (`LiteLLM`'s `format`).
fn said(inner: &Value) -> Option<String> {
    owned(inner, "format").or_else(|| owned(inner, "mime_type")).filter(|mime| mime.contains('/'))
}
