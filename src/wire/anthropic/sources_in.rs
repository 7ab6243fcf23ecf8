//! Owns reading where the images and documents of a Messages request are, and what its search results say.

use serde_json::Value;

use super::super::{
    chat::{Loss, Source, Weight},
    json::{list, note, owned, text, unknown},
    translate::Refused,
};

/// A search result in words.
pub(super) fn search_result(block: &Value) -> String {
    let said = list(block, "content").iter().map(|t| text(t, "text"));
    let all: Vec<&str> = [text(block, "title"), text(block, "source")].into_iter().chain(said).collect();
    all.join("\n")
}

/// A document's source; with a text goes what it is about.
pub(super) fn document(block: &Value, param: &str, losses: &mut Vec<Loss>) -> Result<Source, Refused> {
    let context = owned(block, "context").filter(|context| !context.is_empty());
    Ok(match (source(block, param, losses)?, context) {
        (Source::Text(text), Some(context)) => Source::Text(format!("{context}\n\n{text}")),
        (source, Some(_)) => {
            note(losses, "messages[].content[].context", Weight::Note);
            source
        }
        (source, None) => source,
    })
}

/// Where an image's or a document's bytes are.
pub(super) fn source(block: &Value, param: &str, losses: &mut Vec<Loss>) -> Result<Source, Refused> {
    let source = block.get("source").unwrap_or(&Value::Null);
    Ok(match text(source, "type") {
        "base64" => Source::data(text(source, "media_type"), text(source, "data")),
        "url" => Source::from_url(text(source, "url")),
        "text" => Source::Text(text(source, "data").to_owned()),
        "file" => Source::Id(text(source, "file_id").to_owned()),
        "content" => {
            let texts = list(source, "content");
            if let Some(all) = source.get("content").and_then(Value::as_str) {
                return Ok(Source::Text(all.to_owned()));
            }
            if texts.iter().any(|t| text(t, "type") != "text") {
                note(losses, "messages[].content[].source.content", Weight::Answer);
            }
            let texts: Vec<&str> = texts.iter().map(|t| text(t, "text")).collect();
            Source::Text(texts.join("\n"))
        }
        other => {
            let message = format!("'{param}.content': unknown source type '{other}'");
            return Err(unknown(&format!("{param}.content"), other, message));
        }
    })
}
