//! The Anthropic Messages protocol: requests read and checked, answers written whole or as events.

mod events;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{
    Protocol,
    answer::{self, Answer, Ask, Content, Finish, Tool},
    fault::Fault,
    provider::{Provider, text_of},
};

/// Lays the routes.
pub(super) fn lay(routes: &mut web::ServiceConfig) {
    routes
        .route("/v1/messages", web::post().to(messages))
        .route("/v1/messages/count_tokens", web::post().to(count_tokens))
        .route("/v1/models", web::get().to(models))
        .route("/v1/models/{id}", web::get().to(model));
}

fn reply(result: Result<HttpResponse, Fault>) -> HttpResponse {
    result.unwrap_or_else(|fault| fault.response(Protocol::Anthropic))
}

fn describe(model: &str) -> Value {
    json!({"type": "model", "id": model, "display_name": model, "created_at": "2025-09-29T00:00:00Z"})
}

async fn models(request: HttpRequest, provider: web::Data<Provider>) -> HttpResponse {
    reply(provider.admit(&request).await.map(|()| {
        let models = &provider.settings.models;
        let data: Vec<Value> = models.iter().map(|model| describe(model)).collect();
        HttpResponse::Ok()
            .json(json!({"data": data, "has_more": false, "first_id": models.first(), "last_id": models.last()}))
    }))
}

async fn model(request: HttpRequest, id: web::Path<String>, provider: web::Data<Provider>) -> HttpResponse {
    let found = provider.admit(&request).await.and_then(|()| provider.model(&id));
    reply(found.map(|model| HttpResponse::Ok().json(describe(&model))))
}

async fn count_tokens(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    let counted = admitted(&request, &body, &provider).await.and_then(|body| read(&body, &provider));
    reply(counted.map(|ask| HttpResponse::Ok().json(json!({"input_tokens": ask.input_tokens}))))
}

async fn messages(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    reply(handle(&request, &body, &provider).await)
}

async fn admitted(request: &HttpRequest, body: &[u8], provider: &Provider) -> Result<Value, Fault> {
    provider.admit(request).await?;
    if !request.headers().contains_key("anthropic-version") {
        return Err(Fault::Bad("anthropic-version: header is required".to_owned()));
    }
    Provider::parse(body)
}

async fn handle(request: &HttpRequest, body: &[u8], provider: &Provider) -> Result<HttpResponse, Fault> {
    let body = admitted(request, body, provider).await?;
    let mut ask = read(&body, provider)?;
    let most = body["max_tokens"].as_u64().filter(|most| *most > 0);
    ask.max_tokens = Some(most.ok_or_else(|| Fault::Bad("max_tokens: Field required".to_owned()))? as usize);
    let answer = answer::answer(&provider.settings.name, &ask);
    let id = provider.next_id("msg_");
    if body["stream"].as_bool().unwrap_or(false) {
        return provider.stream(&ask, events::frames(&id, &ask, &answer)).await;
    }
    let mut whole = shell(&id, &ask.model, &json!(usage(ask.input_tokens, output_tokens(&answer))));
    whole["content"] = Value::Array(blocks(&id, &answer));
    whole["stop_reason"] = json!(stop_reason(answer.finish));
    provider.whole(&ask, output_tokens(&answer), &whole).await
}

fn read(body: &Value, provider: &Provider) -> Result<Ask, Fault> {
    let missing = |name: &str| Fault::Bad(format!("{name}: Field required"));
    let model = provider.model(body["model"].as_str().ok_or_else(|| missing("model"))?)?;
    let messages = body["messages"].as_array().ok_or_else(|| missing("messages"))?;
    let last = messages.last().ok_or_else(|| Fault::Bad("messages: at least one message is required".to_owned()))?;
    for (at, message) in messages.iter().enumerate() {
        check(at, message)?;
    }
    let role = |message: &Value, role: &str| message["role"].as_str() == Some(role);
    let results: Vec<String> = parts(last)
        .iter()
        .filter(|part| part["type"].as_str() == Some("tool_result"))
        .map(|part| text_of(&part["content"]))
        .collect();
    let formats = [&body["output_config"]["format"], &body["output_format"]];
    let thinking = matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive"));
    let mut ask = Ask {
        model,
        input_tokens: answer::estimate(&format!("{}{}", body["system"], body["messages"])),
        schema: formats.iter().find_map(|format| format.get("schema")).cloned(),
        tool: if role(last, "user") { tool(body) } else { None },
        tool_result: (!results.is_empty()).then(|| results.join(" ")),
        thinking,
        ..Ask::default()
    };
    let texts = messages.iter().rev().filter(|message| role(message, "user"));
    ask.set_prompt(&texts.map(|user| text_of(&user["content"])).find(|text| !text.is_empty()).unwrap_or_default());
    Ok(ask)
}

fn parts(message: &Value) -> &[Value] {
    message["content"].as_array().map_or(&[], Vec::as_slice)
}

/// Refuses what the provider refuses in a message: a foreign role, and thinking that it did not sign. Instructions may stand
/// between the turns, as its own agents send them.
fn check(at: usize, message: &Value) -> Result<(), Fault> {
    if !matches!(message["role"].as_str(), Some("user" | "assistant" | "system")) {
        return Err(Fault::Bad(format!("messages.{at}.role: Input should be 'user', 'assistant' or 'system'")));
    }
    for (part_at, part) in parts(message).iter().enumerate() {
        let signed = part["thinking"].as_str().map(answer::signature);
        if part["type"].as_str() == Some("thinking") && signed.as_deref() != part["signature"].as_str() {
            return Err(Fault::Bad(format!(
                "messages.{at}.content.{part_at}: Invalid `signature` in `thinking` block"
            )));
        }
    }
    Ok(())
}

fn tool(body: &Value) -> Option<Tool> {
    let choice = &body["tool_choice"];
    if choice["type"].as_str() == Some("none") {
        return None;
    }
    let named = choice["name"].as_str();
    let mut offered = body["tools"].as_array()?.iter().filter(|tool| tool.get("input_schema").is_some());
    let tool = offered.find(|tool| named.is_none_or(|name| tool["name"].as_str() == Some(name)))?;
    Some(Tool { name: tool["name"].as_str()?.to_owned(), parameters: tool["input_schema"].clone(), free_text: false })
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Call => "tool_use",
    }
}

fn output_tokens(answer: &Answer) -> usize {
    answer.thinking.len() + answer.tokens()
}

fn usage(input: usize, output: usize) -> Value {
    json!({"input_tokens": input, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "output_tokens": output, "service_tier": "standard"})
}

fn shell(id: &str, model: &str, usage: &Value) -> Value {
    json!({"id": id, "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": usage})
}

fn call_id(id: &str) -> String {
    format!("toolu_{}", id.trim_start_matches("msg_"))
}

fn blocks(id: &str, answer: &Answer) -> Vec<Value> {
    let mut blocks = Vec::new();
    if !answer.thinking.is_empty() {
        let text = answer.thinking.concat();
        blocks.push(json!({"type": "thinking", "thinking": text, "signature": answer::signature(&text)}));
    }
    blocks.push(match &answer.content {
        Content::Text(text) => json!({"type": "text", "text": text.concat()}),
        Content::Call { name, .. } => {
            json!({"type": "tool_use", "id": call_id(id), "name": name, "input": answer.arguments()})
        }
    });
    blocks
}
