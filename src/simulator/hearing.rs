//! What servers of the `OpenAI` protocol make of recordings: a form with a file goes in, text comes out in one of several formats.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde_json::json;

use super::{
    answer::{self, Ask},
    fault::Fault,
    openai::reply,
    pace::Frame,
    provider::Provider,
};

/// Bytes of a recording that make up a second, more or less.
const BYTES_A_SECOND: usize = 16_000;

/// Tokens that are counted for each second of it.
const TOKENS_A_SECOND: usize = 10;

/// Lays the routes.
pub(super) fn lay(routes: &mut web::ServiceConfig) {
    routes
        .route("/v1/audio/transcriptions", web::post().to(hear))
        .route("/v1/audio/translations", web::post().to(hear));
}

async fn hear(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    reply(heard(&request, &body, &provider).await)
}

/// It understands no more of a recording than how long it is.
async fn heard(request: &HttpRequest, body: &[u8], provider: &Provider) -> Result<HttpResponse, Fault> {
    provider.admit(request).await?;
    let fields = fields(request, body).ok_or_else(|| Fault::Bad("The body must be multipart/form-data.".to_owned()))?;
    let text = |name: &str| fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let model = provider.model(&text("model").ok_or_else(|| Fault::missing("model"))?)?;
    let seconds = fields.get("file").ok_or_else(|| Fault::missing("file"))?.len().div_ceil(BYTES_A_SECOND);
    let mut ask = Ask { model, ..Ask::default() };
    ask.set_prompt(&text("prompt").unwrap_or_default());
    let said = format!("This is a simulated transcript of a recording of {seconds} s.");
    let pieces = answer::pieces(&said);
    let (input, output) = (seconds * TOKENS_A_SECOND, pieces.len());
    let usage = json!({
        "type": "tokens", "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
    });
    let kind = match text("response_format").as_deref() {
        Some("text" | "srt") => "text/plain; charset=utf-8",
        Some("vtt") => "text/vtt; charset=utf-8",
        _ if text("stream").as_deref() == Some("true") => {
            let event = |event: serde_json::Value| format!("data: {event}\n\n");
            let delta = |piece: &String| Frame::token(event(json!({"type": "transcript.text.delta", "delta": piece})));
            let done = event(json!({"type": "transcript.text.done", "text": said, "usage": usage}));
            let frames = pieces.iter().map(delta).chain([Frame::framing(done)]).collect();
            return provider.stream(&ask, frames).await;
        }
        _ => return provider.whole(&ask, output, &json!({"text": said, "usage": usage})).await,
    };
    let opening = match text("response_format").as_deref() {
        Some("srt") => format!("1\n00:00:00,000 --> 00:00:{:02},000\n", seconds.min(59)),
        Some("vtt") => format!("WEBVTT\n\n00:00:00.000 --> 00:00:{:02}.000\n", seconds.min(59)),
        _ => String::new(),
    };
    let words = pieces.into_iter().map(Frame::token);
    let frames = [Frame::framing(opening)].into_iter().chain(words).chain([Frame::framing("\n")]).collect();
    provider.stream_as(&ask, kind, frames).await
}

/// The parts of a form by their names.
pub(super) fn fields<'b>(request: &HttpRequest, body: &'b [u8]) -> Option<HashMap<String, &'b [u8]>> {
    let kind = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    let boundary = kind.strip_prefix("multipart/form-data")?.split("boundary=").nth(1)?.trim_matches('"');
    let line = format!("\r\n--{boundary}");
    // Of the first delimiter the end of line in front may be missing.
    let mut rest = body.strip_prefix(&line.as_bytes()[2..])?;
    let mut fields = HashMap::new();
    while let Some(end) = memchr::memmem::find(rest, line.as_bytes()) {
        let part = &rest[..end];
        let head = memchr::memmem::find(part, b"\r\n\r\n")?;
        let name = String::from_utf8_lossy(&part[..head]);
        let name = name.split("; name=\"").nth(1)?.split('"').next()?.to_owned();
        fields.insert(name, &part[head + 4..]);
        rest = &rest[end + line.len()..];
    }
    Some(fields)
}
