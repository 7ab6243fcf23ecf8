//! The `OpenAI` chat protocol: requests read, answers written whole or as chunks.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{
    answer::{self, Answer, Ask, Content, Finish, Tool},
    directive::MOST_TOKENS,
    fault::Fault,
    openai::reply,
    pace::Frame,
    provider::{Provider, now, text_of},
};

/// The most choices of one request, as the provider has it.
const MOST_CHOICES: u64 = 128;

/// `POST /chat/completions`.
pub(super) async fn chat(request: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    reply(handle(&request, &body, &provider).await)
}

async fn handle(request: &HttpRequest, body: &[u8], provider: &Provider) -> Result<HttpResponse, Fault> {
    provider.admit(request).await?;
    let body = Provider::parse(body)?;
    let mut ask = read(&body, provider)?;
    let choices = body["n"].as_u64().unwrap_or(1).clamp(1, MOST_CHOICES) as usize;
    // All of them together are no longer than one may be.
    ask.max_tokens = Some(ask.max_tokens.unwrap_or(usize::MAX).min(MOST_TOKENS / choices));
    let answer = answer::answer(&provider.settings.name, &ask);
    let free_text = ask.tool.as_ref().is_some_and(|tool| tool.free_text);
    let head = Head { id: provider.next_id("chatcmpl-"), created: now(), model: ask.model.clone(), free_text };
    let usage = usage(ask.input_tokens, answer.tokens() * choices);
    if body["stream"].as_bool().unwrap_or(false) {
        let wanted = body["stream_options"]["include_usage"].as_bool().unwrap_or(false);
        let frames = head.frames(&answer, choices, wanted.then_some(&usage));
        return provider.stream(&ask, frames).await;
    }
    let choices: Vec<Value> = (0..choices)
        .map(|index| {
            let message = head.message(&answer, index);
            json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish(answer.finish)})
        })
        .collect();
    let whole = json!({
        "id": head.id, "object": "chat.completion", "created": head.created, "model": head.model,
        "choices": choices, "usage": usage, "service_tier": "default", "system_fingerprint": "fp_simulated",
    });
    provider.whole(&ask, answer.tokens(), &whole).await
}

fn read(body: &Value, provider: &Provider) -> Result<Ask, Fault> {
    let model = provider.model(body["model"].as_str().ok_or_else(|| Fault::missing("model"))?)?;
    let messages = body["messages"]
        .as_array()
        .filter(|messages| !messages.is_empty())
        .ok_or_else(|| Fault::missing("messages"))?;
    let last = &messages[messages.len() - 1];
    let role = |message: &Value, role: &str| message["role"].as_str() == Some(role);
    let user = messages.iter().rfind(|message| role(message, "user"));
    let mut ask = Ask {
        model,
        input_tokens: answer::estimate(&body["messages"].to_string()),
        max_tokens: body["max_completion_tokens"]
            .as_u64()
            .or_else(|| body["max_tokens"].as_u64())
            .map(|most| most as usize),
        schema: schema(&body["response_format"]),
        tool: if role(last, "user") { tool(body) } else { None },
        tool_result: role(last, "tool").then(|| text_of(&last["content"])),
        ..Ask::default()
    };
    ask.set_prompt(&user.map(|user| text_of(&user["content"])).unwrap_or_default());
    Ok(ask)
}

fn schema(format: &Value) -> Option<Value> {
    match format["type"].as_str()? {
        "json_object" => Some(json!({"type": "object"})),
        "json_schema" => Some(format["json_schema"]["schema"].clone()),
        _ => None,
    }
}

fn tool(body: &Value) -> Option<Tool> {
    let choice = &body["tool_choice"];
    if choice.as_str() == Some("none") {
        return None;
    }
    let tools = body["tools"].as_array()?;
    // The name stands in a member called as the type.
    let inner = |value: &Value| value[value["type"].as_str().unwrap_or("function")].clone();
    let named = inner(choice)["name"].as_str().map(ToOwned::to_owned);
    let (tool, inner) = tools
        .iter()
        .map(|tool| (tool, inner(tool)))
        .find(|(_, inner)| named.as_deref().is_none_or(|name| inner["name"].as_str() == Some(name)))?;
    let free_text = tool["type"].as_str() == Some("custom");
    Some(Tool { name: inner["name"].as_str()?.to_owned(), parameters: inner["parameters"].clone(), free_text })
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Call => "tool_calls",
    }
}

fn usage(input: usize, output: usize) -> Value {
    json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    })
}

/// In streams calls are numbered, and there is one.
fn numbered(mut call: Value) -> Value {
    call["index"] = json!(0);
    call
}

struct Head {
    id: String,
    created: u64,
    model: String,
    /// Calls are those of a tool with free text.
    free_text: bool,
}

impl Head {
    fn message(&self, answer: &Answer, index: usize) -> Value {
        let text = answer.pieces().concat();
        match &answer.content {
            Content::Text(_) => json!({"role": "assistant", "content": text, "refusal": null, "annotations": []}),
            Content::Call { name, .. } => json!({"role": "assistant", "content": null, "refusal": null,
                "tool_calls": [self.call(Some(&self.call_id(index)), Some(name), &text)]}),
        }
    }

    /// A call, or a piece of one.
    fn call(&self, id: Option<&str>, name: Option<&str>, text: &str) -> Value {
        let (kind, member) = if self.free_text { ("custom", "input") } else { ("function", "arguments") };
        let mut inner = json!({});
        if let Some(name) = name {
            inner["name"] = name.into();
        }
        inner[member] = text.into();
        match id {
            Some(id) => json!({"id": id, "type": kind, kind: inner}),
            None => json!({kind: inner}),
        }
    }

    fn call_id(&self, index: usize) -> String {
        format!("call_{}{index}", self.id.trim_start_matches("chatcmpl-"))
    }

    fn event(&self, choices: &Value, usage: Option<&Value>) -> String {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "service_tier": "default", "system_fingerprint": "fp_simulated", "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        format!("data: {chunk}\n\n")
    }

    /// With usage asked for, every chunk before the last carries `"usage": null`, as the provider writes it.
    fn frames(&self, answer: &Answer, choices: usize, usage: Option<&Value>) -> Vec<Frame> {
        let none = usage.map(|_| &Value::Null);
        let chunk = |index: usize, delta: &Value, finish: Option<&str>| {
            let choices = json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": finish}]);
            self.event(&choices, none)
        };
        let mut frames = Vec::new();
        for index in 0..choices {
            let role = match &answer.content {
                Content::Text(_) => json!({"role": "assistant", "content": "", "refusal": null}),
                Content::Call { name, .. } => json!({"role": "assistant", "content": null,
                    "tool_calls": [numbered(self.call(Some(&self.call_id(index)), Some(name), ""))]}),
            };
            frames.push(Frame::framing(chunk(index, &role, None)));
            for piece in answer.pieces() {
                let delta = match &answer.content {
                    Content::Text(_) => json!({"content": piece}),
                    Content::Call { .. } => json!({"tool_calls": [numbered(self.call(None, None, piece))]}),
                };
                frames.push(Frame::token(chunk(index, &delta, None)));
            }
            frames.push(Frame::framing(chunk(index, &json!({}), Some(finish(answer.finish)))));
        }
        if usage.is_some() {
            frames.push(Frame::framing(self.event(&json!([]), usage)));
        }
        frames.push(Frame::framing("data: [DONE]\n\n"));
        frames
    }
}
