//! The Gemini `generateContent` protocol: requests read, answers written whole or as chunks.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{
    Protocol,
    answer::{self, Answer, Ask, Content, Finish, Tool},
    fault::Fault,
    openai::vector,
    pace::Frame,
    provider::{Provider, text_of},
};

/// Lays the routes.
pub(super) fn lay(routes: &mut web::ServiceConfig) {
    for prefix in ["/v1", "/v1beta"] {
        routes
            .route(&format!("{prefix}/models"), web::get().to(models))
            .route(&format!("{prefix}/models/{{id}}"), web::get().to(model))
            .route(&format!("{prefix}/models/{{call}}"), web::post().to(call));
    }
}

fn reply(result: Result<HttpResponse, Fault>) -> HttpResponse {
    result.unwrap_or_else(|fault| fault.response(Protocol::Gemini))
}

fn describe(model: &str) -> Value {
    json!({"name": format!("models/{model}"), "version": "001", "displayName": model, "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens", "batchEmbedContents"]})
}

async fn models(request: HttpRequest, provider: web::Data<Provider>) -> HttpResponse {
    reply(provider.admit(&request).await.map(|()| {
        let models: Vec<Value> = provider.settings.models.iter().map(|model| describe(model)).collect();
        HttpResponse::Ok().json(json!({"models": models}))
    }))
}

async fn model(request: HttpRequest, id: web::Path<String>, provider: web::Data<Provider>) -> HttpResponse {
    let found = provider.admit(&request).await.and_then(|()| provider.model(&id));
    reply(found.map(|model| HttpResponse::Ok().json(describe(&model))))
}

async fn call(
    request: HttpRequest,
    call: web::Path<String>,
    body: web::Bytes,
    provider: web::Data<Provider>,
) -> HttpResponse {
    reply(handle(&request, &call, &body, &provider).await)
}

async fn handle(request: &HttpRequest, call: &str, body: &[u8], provider: &Provider) -> Result<HttpResponse, Fault> {
    provider.admit(request).await?;
    let path = || Fault::Path(format!("{} {}", request.method(), request.path()));
    let (model, method) = call.split_once(':').ok_or_else(path)?;
    let mut body = Provider::parse(body)?;
    if let Some(all) = body.get_mut("generateContentRequest").filter(|_| method == "countTokens") {
        body = all.take();
    }
    if method == "batchEmbedContents" {
        return provider.model(model).and_then(|model| embed(&body, &model));
    }
    let ask = read(&body, provider.model(model)?)?;
    let answer = || answer::answer(&provider.settings.name, &ask);
    match method {
        "countTokens" => Ok(HttpResponse::Ok().json(json!({"totalTokens": ask.input_tokens}))),
        "generateContent" => {
            let answer = answer();
            let whole = Chunks::new(provider, &ask, &answer).chunk(&parts(&answer), Some(answer.finish));
            provider.whole(&ask, answer.thinking.len() + answer.tokens(), &whole).await
        }
        "streamGenerateContent" => {
            let answer = answer();
            let sse = request.query_string().split('&').any(|pair| pair == "alt=sse");
            let chunks = Chunks::new(provider, &ask, &answer).all(&answer);
            if sse {
                let frames = chunks.iter().map(|chunk| Frame::token(format!("data: {chunk}\r\n\r\n"))).collect();
                return provider.stream(&ask, frames).await;
            }
            // Without `alt=sse` the provider writes the chunks as one JSON array.
            let mut frames: Vec<Frame> = chunks
                .iter()
                .enumerate()
                .map(|(at, chunk)| Frame::token(format!("{}{chunk}", if at == 0 { "[" } else { ",\r\n" })))
                .collect();
            frames.push(Frame::framing("]"));
            provider.stream_as(&ask, "application/json", frames).await
        }
        _ => Err(path()),
    }
}

/// A vector for each of several contents, all at once.
fn embed(body: &Value, model: &str) -> Result<HttpResponse, Fault> {
    let requests = body["requests"].as_array().filter(|requests| !requests.is_empty());
    let requests =
        requests.ok_or_else(|| Fault::Bad("* BatchEmbedContentsRequest.requests: is not specified".to_owned()))?;
    let mut tokens = 0;
    let mut embeddings = Vec::new();
    for request in requests {
        if request["model"] != format!("models/{model}") {
            return Err(Fault::Bad("* EmbedContentRequest.model: must match the batch's".to_owned()));
        }
        let text = text_of(&request["content"]["parts"]);
        tokens += answer::estimate(&text);
        embeddings.push(json!({"values": vector(&text, request["outputDimensionality"].as_u64())}));
    }
    Ok(HttpResponse::Ok().json(json!({"embeddings": embeddings, "usageMetadata": {"promptTokenCount": tokens}})))
}

fn read(body: &Value, model: String) -> Result<Ask, Fault> {
    let contents = body["contents"].as_array().filter(|contents| !contents.is_empty());
    let contents = contents
        .ok_or_else(|| Fault::Bad("* GenerateContentRequest.contents: contents is not specified".to_owned()))?;
    for content in contents {
        if !matches!(content["role"].as_str(), None | Some("user" | "model" | "function")) {
            return Err(Fault::Bad("Please use a valid role: user, model.".to_owned()));
        }
    }
    let last = &contents[contents.len() - 1];
    let from_user = |content: &Value| content["role"].as_str() != Some("model");
    let results: Vec<String> = last["parts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|part| part.pointer("/functionResponse/response"))
        .map(Value::to_string)
        .collect();
    let config = &body["generationConfig"];
    let mut ask = Ask {
        model,
        input_tokens: answer::estimate(&format!("{}{}", body["systemInstruction"], body["contents"])),
        max_tokens: config["maxOutputTokens"].as_u64().map(|most| most as usize),
        schema: schema(config),
        tool: if from_user(last) { tool(body) } else { None },
        tool_result: (!results.is_empty()).then(|| results.join(" ")),
        thinking: config["thinkingConfig"]["includeThoughts"].as_bool().unwrap_or(false),
        ..Ask::default()
    };
    let texts = contents.iter().rev().filter(|content| from_user(content)).map(|content| text_of(&content["parts"]));
    ask.set_prompt(&texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default());
    Ok(ask)
}

fn schema(config: &Value) -> Option<Value> {
    if config["responseMimeType"].as_str() != Some("application/json") {
        return None;
    }
    let given = ["responseJsonSchema", "responseSchema"].iter().find_map(|key| config.get(key));
    Some(given.cloned().unwrap_or_else(|| json!({"type": "object"})))
}

fn tool(body: &Value) -> Option<Tool> {
    let config = &body["toolConfig"]["functionCallingConfig"];
    if config["mode"].as_str() == Some("NONE") {
        return None;
    }
    let named = config["allowedFunctionNames"][0].as_str();
    let mut offered =
        body["tools"].as_array()?.iter().filter_map(|tool| tool["functionDeclarations"].as_array()).flatten();
    let tool = offered.find(|tool| named.is_none_or(|name| tool["name"].as_str() == Some(name)))?;
    let parameters = ["parametersJsonSchema", "parameters"].iter().find_map(|key| tool.get(key));
    Some(Tool {
        name: tool["name"].as_str()?.to_owned(),
        parameters: parameters.cloned().unwrap_or_default(),
        free_text: false,
    })
}

/// The parts of a whole answer.
fn parts(answer: &Answer) -> Vec<Value> {
    let thought = answer.thinking.concat();
    let mut last = match &answer.content {
        Content::Text(pieces) => json!({"text": pieces.concat()}),
        Content::Call { name, .. } => json!({"functionCall": {"name": name, "args": answer.arguments()}}),
    };
    if thought.is_empty() {
        return vec![last];
    }
    last["thoughtSignature"] = json!(answer::signature(&thought));
    vec![json!({"text": thought, "thought": true}), last]
}

struct Chunks {
    id: String,
    model: String,
    usage: Value,
}

impl Chunks {
    fn new(provider: &Provider, ask: &Ask, answer: &Answer) -> Self {
        let (input, thoughts, output) = (ask.input_tokens, answer.thinking.len(), answer.tokens());
        let mut usage = json!({"promptTokenCount": input, "candidatesTokenCount": output,
            "totalTokenCount": input + thoughts + output,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": input}]});
        if thoughts > 0 {
            usage["thoughtsTokenCount"] = json!(thoughts);
        }
        Self { id: provider.next_id("sim"), model: ask.model.clone(), usage }
    }

    fn chunk(&self, parts: &[Value], finish: Option<Finish>) -> Value {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if let Some(finish) = finish {
            // A call ends with STOP as well: the provider has no reason of its own for it.
            candidate["finishReason"] = json!(if finish == Finish::Length { "MAX_TOKENS" } else { "STOP" });
        }
        json!({"candidates": [candidate], "usageMetadata": self.usage, "modelVersion": self.model,
            "responseId": self.id})
    }

    /// A chunk for every token, the last with the reason to finish; a call is never split.
    fn all(&self, answer: &Answer) -> Vec<Value> {
        let mut all: Vec<Vec<Value>> =
            answer.thinking.iter().map(|piece| vec![json!({"text": piece, "thought": true})]).collect();
        match &answer.content {
            Content::Text(pieces) => all.extend(pieces.iter().map(|piece| vec![json!({"text": piece})])),
            Content::Call { .. } => all.extend(parts(answer).pop().map(|part| vec![part])),
        }
        if all.is_empty() {
            all.push(Vec::new());
        }
        let last = all.len() - 1;
        all.iter().enumerate().map(|(at, parts)| self.chunk(parts, (at == last).then_some(answer.finish))).collect()
    }
}
