//! Owns telling Gemini of images, files and videos.

use serde_json::{Value, json};

use super::super::{
    chat::{ChatRequest, Source, Weight},
    json::note,
    mime,
};

/// The part that tells them, `None` of an upload at another provider. `assumed` is the type of what nobody says anything of.
pub(super) fn media(source: &Source, assumed: &str, request: &mut ChatRequest) -> Option<Value> {
    match source {
        Source::Url { url, mime } => {
            let said = mime.as_deref().filter(|mime| *mime != mime::VIDEO).or_else(|| mime::of_url(url));
            // A page with a video is of no type, and for what is not known none is better than a wrong one.
            let guess = Some(assumed).filter(|_| mime.is_none() && !is_youtube(url));
            let mut file = json!({"fileUri": url});
            if let Some(mime) = said.or(guess) {
                file["mimeType"] = mime.into();
            }
            Some(json!({"fileData": file}))
        }
        Source::Data { mime, data } => Some(json!({"inlineData": {"mimeType": mime, "data": data}})),
        Source::Text(text) => Some(json!({"text": text})),
        Source::Id(_) => {
            note(&mut request.losses, "messages[].content[].file.file_id", Weight::Answer);
            None
        }
    }
}

/// Whether a URL is of a video that Gemini fetches itself (guide to understanding videos).
fn is_youtube(url: &str) -> bool {
    let host = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()).unwrap_or_default();
    matches!(host, "youtu.be" | "youtube.com" | "www.youtube.com" | "m.youtube.com")
}
