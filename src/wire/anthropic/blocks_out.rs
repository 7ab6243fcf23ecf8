//! Owns writing the content blocks of a Messages request.

use serde_json::{Value, json};

use super::super::{
    Protocol,
    chat::{ChatRequest, Loss, Part, Signature, Source, Weight},
    json::{MARK, arguments, note, text},
    mime,
    turns::DREW,
    words::words,
};

/// Writes parts; a mark goes on the block before it, which thinking does not bear (Anthropic's guide to prompt caching).
pub(crate) fn blocks(parts: &[Part], request: &mut ChatRequest) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::CacheMark(mark) => {
                if let Some(block) = out.last_mut().filter(|block| !is_thought(block)) {
                    block[MARK] = mark.clone();
                }
            }
            other => out.extend(block(other, request)),
        }
    }
    out
}

/// Writes a part; `None` where nothing of it can be said.
fn block(part: &Part, request: &mut ChatRequest) -> Option<Value> {
    Some(match part {
        Part::Text { .. } | Part::Refusal(_) => {
            let text = words(part).filter(|t| !t.trim().is_empty())?;
            json!({"type": "text", "text": text})
        }
        // An upload at another provider.
        Part::Image { source: Source::Id(_), .. } => return lost("image.file_id", request),
        Part::Image { source, .. } => json!({"type": "image", "source": media(source)}),
        Part::File { source: Source::Id(_), .. } => return lost("file.file_id", request),
        Part::File { source: source @ Source::Data { mime, .. }, .. } if mime.starts_with("image/") => {
            json!({"type": "image", "source": media(source)})
        }
        Part::File { source, name } => {
            let Some(source) = document(source) else { return lost("file", request) };
            let mut document = json!({"type": "document", "source": source});
            if let Some(name) = name {
                document["title"] = name.as_str().into();
            }
            document
        }
        Part::Audio { .. } => return lost("input_audio", request),
        Part::ToolCall { id, name, arguments: text, .. } => {
            json!({"type": "tool_use", "id": id, "name": name, "input": arguments(text)})
        }
        Part::ToolResult { id, parts, error } => result(id, blocks(parts, request), *error),
        Part::Thinking { text, signature } => {
            let value = Signature::of(signature.as_ref(), Protocol::Anthropic)?;
            json!({"type": "thinking", "thinking": text, "signature": value})
        }
        Part::Redacted(data) => json!({"type": "redacted_thinking", "data": data}),
        // Of a history no searches are read.
        Part::CacheMark(_) => return None,
    })
}

/// Notes content that Claude does not take.
fn lost(what: &str, request: &mut ChatRequest) -> Option<Value> {
    note(&mut request.losses, format!("messages[].content[].{what}"), Weight::Answer);
    None
}

/// A tool's result. One that is marked as failed must have text and nothing else; any other says in words that it failed.
fn result(id: &str, mut content: Vec<Value>, failed: bool) -> Value {
    let worded = content.iter().all(|block| block["type"] == "text");
    if failed && (content.is_empty() || !worded) {
        content.insert(0, json!({"type": "text", "text": "The tool failed."}));
    }
    let mut result = json!({"type": "tool_result", "tool_use_id": id, "content": content});
    if failed && worded {
        result["is_error"] = true.into();
    }
    result
}

/// Leaves of an assistant's blocks what Claude takes for its own.
pub(super) fn takeable(blocks: &mut Vec<Value>, request: &mut ChatRequest) {
    let all = blocks.len();
    // Claude makes no images.
    blocks.retain(|block| block["type"] != "image");
    let drew = blocks.len() < all;
    // "The final block in an assistant message cannot be `thinking`."
    while blocks.pop_if(|block| is_thought(block)).is_some() {
        note(&mut request.losses, "messages[].thinking", Weight::Note);
    }
    if drew {
        note(&mut request.losses, "messages[].content[] of the assistant", Weight::Hint);
        if blocks.is_empty() {
            blocks.push(json!({"type": "text", "text": DREW}));
        }
    }
}

/// Prepares the beginning of an answer for the model to go on with: no white space at its end, and no thoughts, since
/// thinking is off for it.
pub(super) fn prefill(message: &mut Value, losses: &mut Vec<Loss>) {
    let Some(blocks) = message["content"].as_array_mut() else { return };
    if blocks.extract_if(.., |block| is_thought(block)).count() > 0 {
        note(losses, "messages[].thinking", Weight::Note);
    }
    if let Some(block) = blocks.last_mut()
        && let Some(trimmed) = block["text"].as_str().map(|t| t.trim_end().to_owned())
    {
        block["text"] = trimmed.into();
    }
}

/// Whether a block is thinking, encrypted or not.
pub(super) fn is_thought(block: &Value) -> bool {
    text(block, "type").ends_with("thinking")
}

/// The source of a document: of what comes in base64 only PDF is taken, and what is text as plain text (API reference,
/// `DocumentBlockParam`).
fn document(source: &Source) -> Option<Value> {
    match source {
        Source::Data { mime, .. } if mime::is_text(mime) => Some(media(&Source::Text(source.written()?))),
        Source::Data { mime, .. } | Source::Url { mime: Some(mime), .. } if mime != "application/pdf" => None,
        other => Some(media(other)),
    }
}

fn media(source: &Source) -> Value {
    match source {
        Source::Url { url, .. } => json!({"type": "url", "url": url}),
        Source::Data { mime, data } => json!({"type": "base64", "media_type": mime, "data": data}),
        Source::Text(text) => json!({"type": "text", "media_type": "text/plain", "data": text}),
        Source::Id(id) => json!({"type": "file", "file_id": id}),
    }
}
