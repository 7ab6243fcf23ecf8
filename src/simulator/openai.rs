//! The rest of the `OpenAI` surface: models, embeddings, legacy completions.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{
    Protocol,
    answer::{self, Ask, Finish},
    fault::Fault,
    pace::Frame,
    provider::{Provider, now, text_of},
};

/// The length of an embedding unless the request gives one: enough to compare, short enough to read.
const DIMENSIONS: u64 = 8;

/// The longest embedding, that of the provider's largest model.
const MOST_DIMENSIONS: u64 = 3072;

/// Lays the routes.
pub(super) fn lay(routes: &mut web::ServiceConfig) {
    routes
        .route("/v1/models", web::get().to(models))
        .route("/v1/models/{id}", web::get().to(model))
        .route("/v1/embeddings", web::post().to(embeddings))
        .route("/v1/completions", web::post().to(completions));
}

/// The answer, or what is wrong in the provider's words.
pub(super) fn reply(result: Result<HttpResponse, Fault>) -> HttpResponse {
    result.unwrap_or_else(|fault| fault.response(Protocol::Openai))
}

fn describe(model: &str) -> Value {
    json!({"id": model, "object": "model", "created": 1_715_367_049, "owned_by": "simulated"})
}

async fn models(request: HttpRequest, provider: web::Data<Provider>) -> HttpResponse {
    reply(provider.admit(&request).await.map(|()| {
        let data: Vec<Value> = provider.settings.models.iter().map(|model| describe(model)).collect();
        HttpResponse::Ok().json(json!({"object": "list", "data": data}))
    }))
}

async fn model(request: HttpRequest, id: web::Path<String>, provider: web::Data<Provider>) -> HttpResponse {
    let found = provider.admit(&request).await.and_then(|()| provider.model(&id));
    reply(found.map(|model| HttpResponse::Ok().json(describe(&model))))
}

/// The body of a request whose sender and model are known, and the model.
pub(super) async fn admitted(
    request: &HttpRequest,
    body: &[u8],
    provider: &Provider,
) -> Result<(Value, String), Fault> {
    provider.admit(request).await?;
    let body = Provider::parse(body)?;
    let name = body["model"].as_str().ok_or_else(|| Fault::missing("model"))?;
    let model = provider.model(name)?;
    Ok((body, model))
}

async fn embeddings(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    reply(admitted(&request, &body, &provider).await.and_then(|(body, model)| embed(&body, &model)))
}

fn embed(body: &Value, model: &str) -> Result<HttpResponse, Fault> {
    let inputs: Vec<String> = match &body["input"] {
        Value::String(text) => vec![text.clone()],
        // A list of numbers is one input in tokens, a list of anything else one input each.
        Value::Array(items) if items.first().is_some_and(Value::is_number) => vec![body["input"].to_string()],
        Value::Array(items) if !items.is_empty() => {
            items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
        }
        _ => return Err(Fault::missing("input")),
    };
    let length = body["dimensions"].as_u64();
    let base64 = body["encoding_format"].as_str() == Some("base64");
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(input, length);
            json!({"object": "embedding", "index": index, "embedding": if base64 { packed(&vector) } else { json!(vector) }})
        })
        .collect();
    let tokens: usize = inputs.iter().map(|input| answer::estimate(input)).sum();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data, "model": model, "usage": usage})))
}

/// A vector of length 1, and of so many numbers, that is the same for the same text.
pub(super) fn vector(text: &str, length: Option<u64>) -> Vec<f32> {
    let length = length.unwrap_or(DIMENSIONS).clamp(1, MOST_DIMENSIONS);
    let raw: Vec<f32> = (0..length)
        .map(|at| (answer::fingerprint(&format!("{at}:{text}")) >> 40) as f32 / (1 << 23) as f32 - 1.0)
        .collect();
    let norm = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.iter().map(|x| x / norm).collect()
}

fn packed(vector: &[f32]) -> Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    Value::String(STANDARD.encode(bytes))
}

async fn completions(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    reply(complete(&request, &body, &provider).await)
}

async fn complete(request: &HttpRequest, body: &[u8], provider: &Provider) -> Result<HttpResponse, Fault> {
    let (body, model) = admitted(request, body, provider).await?;
    let prompt = match &body["prompt"] {
        Value::Null => return Err(Fault::missing("prompt")),
        Value::Array(items) => items.first().map(text_of).unwrap_or_default(),
        prompt => text_of(prompt),
    };
    let mut ask = Ask {
        model,
        input_tokens: answer::estimate(&prompt),
        // The legacy route answers with 16 tokens unless told otherwise, as the provider documents.
        max_tokens: Some(body["max_tokens"].as_u64().unwrap_or(16) as usize),
        ..Ask::default()
    };
    ask.set_prompt(&prompt);
    let answer = answer::answer(&provider.settings.name, &ask);
    let reason = if answer.finish == Finish::Length { "length" } else { "stop" };
    let (id, created, output) = (provider.next_id("cmpl-"), now(), answer.tokens());
    let shape = |text: &str, reason: Option<&str>| {
        json!({
            "id": id, "object": "text_completion", "created": created, "model": ask.model,
            "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": reason}],
        })
    };
    let usage = json!({"prompt_tokens": ask.input_tokens, "completion_tokens": output,
        "total_tokens": ask.input_tokens + output});
    if !body["stream"].as_bool().unwrap_or(false) {
        let mut whole = shape(&answer.pieces().concat(), Some(reason));
        whole["usage"] = usage;
        return provider.whole(&ask, output, &whole).await;
    }
    let mut frames: Vec<Frame> =
        answer.pieces().iter().map(|piece| Frame::token(format!("data: {}\n\n", shape(piece, None)))).collect();
    frames.push(Frame::framing(format!("data: {}\n\n", shape("", Some(reason)))));
    if body["stream_options"]["include_usage"].as_bool().unwrap_or(false) {
        let mut last = shape("", None);
        last["choices"] = json!([]);
        last["usage"] = usage;
        frames.push(Frame::framing(format!("data: {last}\n\n")));
    }
    frames.push(Frame::framing("data: [DONE]\n\n"));
    provider.stream(&ask, frames).await
}
