//! What servers of the `OpenAI` protocol offer beside text and vectors: verdicts, ranks, pictures, sound.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{
    answer::{self, Ask},
    fault::Fault,
    hearing::fields,
    openai::{admitted, reply},
    pace::Frame,
    provider::{Provider, now, text_of},
};

/// A picture of one pixel, as PNG in base64.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// As many pictures as can be asked for at once.
const MOST: u64 = 10;

/// As many as can come before one is complete.
const MOST_PARTIAL: u64 = 3;

/// What a picture costs, in tokens.
const TOKENS: u64 = 272;

/// The head of a WAV: one channel of 16-bit samples, 8,000 a second.
const WAV: &[u8] =
    b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\xff\xff\xff\xff";

/// A tenth of a second of it, bytes.
const SAMPLES: usize = 1600;

/// Lays the routes.
pub(super) fn lay(routes: &mut web::ServiceConfig) {
    routes
        .route("/v1/moderations", web::post().to(moderations))
        .route("/v1/rerank", web::post().to(rerank))
        .route("/v1/images/generations", web::post().to(images))
        .route("/v1/images/edits", web::post().to(edits))
        .route("/v1/audio/speech", web::post().to(speech));
}

async fn moderations(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    reply(admitted(&request, &body, &provider).await.and_then(|(body, model)| judge(&body, &model, &provider)))
}

/// It finds fault with nothing but the word "violence".
fn judge(body: &Value, model: &str, provider: &Provider) -> Result<HttpResponse, Fault> {
    let inputs = texts(body, "input")?;
    let verdict = |text: &String| {
        let flagged = text.contains("violence");
        let score = if flagged { 0.9 } else { 0.001 };
        json!({"flagged": flagged, "categories": {"violence": flagged}, "category_scores": {"violence": score}})
    };
    let results: Vec<Value> = inputs.iter().map(verdict).collect();
    Ok(HttpResponse::Ok().json(json!({"id": provider.next_id("modr-"), "model": model, "results": results})))
}

async fn rerank(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    reply(admitted(&request, &body, &provider).await.and_then(|(body, model)| rank(&body, &model, &provider)))
}

/// A document is worth the share of the query's words that it has.
fn rank(body: &Value, model: &str, provider: &Provider) -> Result<HttpResponse, Fault> {
    let (query, documents) = (texts(body, "query")?.concat().to_lowercase(), texts(body, "documents")?);
    let worth = |document: &str| {
        let document = document.to_lowercase();
        let words = query.split_whitespace();
        words.clone().filter(|word| document.contains(word)).count() as f64 / words.count().max(1) as f64
    };
    let mut ranks: Vec<(usize, f64)> = documents.iter().map(|document| worth(document)).enumerate().collect();
    ranks.sort_by(|one, other| other.1.total_cmp(&one.1));
    ranks.truncate(body["top_n"].as_u64().map_or(usize::MAX, |most| most as usize));
    let results: Vec<Value> = ranks
        .iter()
        .map(
            |(index, score)| json!({"index": index, "document": {"text": documents[*index]}, "relevance_score": score}),
        )
        .collect();
    let tokens: usize = documents.iter().chain([&query]).map(|text| answer::estimate(text)).sum();
    let whole = json!({
        "id": provider.next_id("rerank-"), "model": model, "results": results, "usage": {"total_tokens": tokens},
    });
    Ok(HttpResponse::Ok().json(whole))
}

async fn images(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    let asked = admitted(&request, &body, &provider).await;
    reply(async { draw(&asked?.0, "image_generation", &provider).await }.await)
}

async fn edits(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    reply(edit(&request, &body, &provider).await)
}

/// Whatever the pictures of the form are, it draws its own.
async fn edit(request: &HttpRequest, body: &[u8], provider: &Provider) -> Result<HttpResponse, Fault> {
    let fields = fields(request, body).ok_or_else(|| Fault::Bad("The body must be multipart/form-data.".to_owned()))?;
    if !fields.keys().any(|name| matches!(&**name, "image" | "image[]")) {
        return Err(Fault::missing("image"));
    }
    let text = |name: &str| fields.get(name).map(|value| String::from_utf8_lossy(value));
    let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
    let asked = json!({
        "model": text("model"), "prompt": text("prompt"), "n": number("n"),
        "stream": text("stream").as_deref() == Some("true"), "partial_images": number("partial_images"),
    });
    let (asked, _) = admitted(request, asked.to_string().as_bytes(), provider).await?;
    draw(&asked, "image_edit", provider).await
}

/// Pictures, whole or as events whose names begin with `kind`.
async fn draw(body: &Value, kind: &str, provider: &Provider) -> Result<HttpResponse, Fault> {
    let prompt = texts(body, "prompt")?.concat();
    let count = body["n"].as_u64().unwrap_or(1).clamp(1, MOST);
    let (input, output) = (answer::estimate(&prompt) as u64, TOKENS * count);
    let usage = json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output});
    if body["stream"] != true {
        let data: Vec<Value> = (0..count).map(|_| json!({"b64_json": PIXEL})).collect();
        return Ok(HttpResponse::Ok().json(json!({"created": now(), "data": data, "usage": usage})));
    }
    let event = |name: &str, mut data: Value| {
        (data["type"], data["b64_json"], data["created_at"]) =
            (json!(format!("{kind}.{name}")), PIXEL.into(), now().into());
        Frame::token(format!("event: {kind}.{name}\ndata: {data}\n\n"))
    };
    let partial = |index| event("partial_image", json!({"partial_image_index": index}));
    let partials = body["partial_images"].as_u64().unwrap_or(0).min(MOST_PARTIAL);
    let last = event("completed", json!({"usage": usage}));
    provider.stream(&Ask::default(), (0..partials).map(partial).chain([last]).collect()).await
}

async fn speech(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    reply(speak(&request, &body, &provider).await)
}

/// A WAV of silence whose length nobody knows yet, as streamed ones have it: a tenth of a second for each token.
async fn speak(request: &HttpRequest, body: &[u8], provider: &Provider) -> Result<HttpResponse, Fault> {
    let (body, model) = admitted(request, body, provider).await?;
    let input = texts(&body, "input")?.concat();
    let mut ask = Ask { model, ..Ask::default() };
    ask.set_prompt(&input);
    let pieces = (0..answer::estimate(&input).max(1)).map(|_| Frame::token(vec![0; SAMPLES]));
    let frames = std::iter::once(Frame::framing(WAV)).chain(pieces).collect();
    provider.stream_as(&ask, "audio/wav", frames).await
}

/// The texts of a member: one, or a list.
fn texts(body: &Value, member: &str) -> Result<Vec<String>, Fault> {
    match &body[member] {
        Value::Null => Err(Fault::missing(member)),
        Value::Array(items) => Ok(items.iter().map(text_of).collect()),
        one => Ok(vec![text_of(one)]),
    }
}
