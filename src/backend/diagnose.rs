//! Owns diagnosing: a backend tried step by step, so that the first step that fails names the fault.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{net, time::Instant};

use crate::{
    settings::Backend,
    upstream::{Answer, Client, Endpoint},
    wire::{
        Protocol, peek,
        translate::{self, Dialect, ReplyContext, Target},
    },
};

/// Longest time for one step.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of an answer that are looked at.
const MOST: usize = 256 << 10;

/// One step.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What was tried.
    pub step: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// How long it took, milliseconds.
    pub ms: f64,
    /// What came of it, or what the provider said: status, error type and code, never its free text.
    pub said: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<&'static str>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should.
    Ok,
    /// Not as it should.
    Failed,
    /// Not tried, since an earlier step failed or there is nothing to try.
    Skipped,
}

/// Tries a backend from its name to a tool call.
pub async fn diagnose(backend: Arc<Backend>, model: Arc<str>) -> Vec<Step> {
    let mut steps = Vec::new();
    let (host, port, secure) = address(&backend.base_url);
    let place = format!("{}:{port}", host.trim_matches(['[', ']']));
    let reached = step(&mut steps, "resolve", "check the host name in base_url, and this machine's DNS", async {
        let found: Vec<_> = net::lookup_host(place.clone()).await.map_err(|error| error.to_string())?.collect();
        if found.is_empty() { Err("no address".to_owned()) } else { Ok(format!("{} addresses", found.len())) }
    })
    .await
        && step(&mut steps, "connect", "check the port in base_url, firewalls, and that the server runs", async {
            net::TcpStream::connect(place.clone()).await.map(|_| "connected".to_owned()).map_err(|e| e.to_string())
        })
        .await;
    if !reached {
        skip(&mut steps, &["connect", "tls", "credentials", "one token", "stream", "tool call", "usage"]);
        return steps;
    }
    let client = Rc::new(Client::new(backend.clone()));
    let tls_fix = "check the certificate of the server, or use http:// if it speaks no TLS";
    if !secure {
        steps.push(Step { step: "tls", outcome: Outcome::Skipped, ms: 0.0, said: "plain http".to_owned(), fix: None });
    } else if !step(&mut steps, "tls", tls_fix, async {
        let sent = client.send(Endpoint::Models, &model, &[], Vec::new()).await;
        sent.map(|_| "secured".to_owned()).map_err(|failed| failed.message)
    })
    .await
    {
        skip(&mut steps, &["credentials", "one token", "stream", "tool call", "usage"]);
        return steps;
    }
    let try_out = Trial { backend: &backend, client: &client, model: &model };
    step(&mut steps, "credentials", "check api_key; the provider does not take it", async {
        let answer = client.send(Endpoint::Models, &model, &[], Vec::new()).await.map_err(|failed| failed.message)?;
        match answer.status() {
            200..300 => Ok("the models list was given".to_owned()),
            404 | 405 => Ok("no models list here; the next steps tell".to_owned()),
            _ => Err(try_out.refusal(answer).await),
        }
    })
    .await;
    let mut usage = None;
    let model_fix = "check the model's name under [models], and what the account may use";
    let talks = step(&mut steps, "one token", model_fix, async {
        let body = try_out.ask(json!({"max_tokens": 1}), false).await?;
        usage = Some(body["usage"]["completion_tokens"].is_u64());
        Ok("it answered".to_owned())
    })
    .await;
    if !talks {
        skip(&mut steps, &["stream", "tool call", "usage"]);
        return steps;
    }
    step(&mut steps, "stream", "the server does not stream; check its version and settings", async {
        try_out.ask(json!({"max_tokens": 5, "stream": true}), true).await.map(|_| "it streams".to_owned())
    })
    .await;
    step(&mut steps, "tool call", "the model or server takes no tools; leave it out for clients that need them", async {
        let tool = json!({"type": "function", "function": {
            "name": "get_time", "description": "Tells the time.", "parameters": {"type": "object", "properties": {}},
        }});
        let body = try_out.ask(json!({"max_tokens": 50, "tools": [tool]}), false).await?;
        let called = body["choices"][0]["message"]["tool_calls"].is_array();
        Ok(if called { "it called the tool" } else { "it takes tools, and answered without" }.to_owned())
    })
    .await;
    step(&mut steps, "usage", "the server counts no tokens; set ask_usage = false for it", async {
        if usage == Some(true) { Ok("tokens are counted".to_owned()) } else { Err("no usage in the answer".to_owned()) }
    })
    .await;
    steps
}

fn address(base_url: &str) -> (String, u16, bool) {
    let uri: actix_web::http::Uri = base_url.parse().unwrap_or_default();
    let secure = uri.scheme_str() == Some("https");
    (uri.host().unwrap_or_default().to_owned(), uri.port_u16().unwrap_or(if secure { 443 } else { 80 }), secure)
}

async fn step(
    steps: &mut Vec<Step>,
    name: &'static str,
    fix: &'static str,
    work: impl Future<Output = Result<String, String>>,
) -> bool {
    let began = Instant::now();
    let done =
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(format!("nothing within {PATIENCE:?}")));
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    let good = done.is_ok();
    let said = done.unwrap_or_else(|why| why);
    // A server that fails by itself is not cured by another key or name.
    let fix = if said.starts_with("HTTP 5") { "the server itself fails; look at its logs or status page" } else { fix };
    let (outcome, fix) = if good { (Outcome::Ok, None) } else { (Outcome::Failed, Some(fix)) };
    steps.push(Step { step: name, outcome, ms, said, fix });
    good
}

fn skip(steps: &mut Vec<Step>, names: &[&'static str]) {
    for name in names {
        if !steps.iter().any(|step| step.step == *name) {
            let said = "an earlier step failed".to_owned();
            steps.push(Step { step: name, outcome: Outcome::Skipped, ms: 0.0, said, fix: None });
        }
    }
}

/// Questions in the backend's own protocol.
struct Trial<'a> {
    backend: &'a Backend,
    client: &'a Client,
    model: &'a Arc<str>,
}

impl Trial<'_> {
    /// Asks with `extra` members; the answer as an OpenAI chat completion, null for a stream that was one.
    async fn ask(&self, extra: Value, stream: bool) -> Result<Value, String> {
        let mut body = json!({"model": &**self.model, "messages": [{"role": "user", "content": "What time is it?"}]});
        if let (Some(body), Value::Object(extra)) = (body.as_object_mut(), extra) {
            body.extend(extra);
        }
        let protocol = self.backend.protocol;
        let target =
            Target { protocol, model: self.model, max_tokens: self.backend.max_tokens, refuse_unsupported: false };
        let bytes = match protocol {
            Protocol::Openai => body.to_string().into_bytes(),
            _ => {
                translate::request(Dialect::Chat, body.to_string().as_bytes(), &target)
                    .map_err(|_| "the question cannot be put in its protocol".to_owned())?
                    .body
            }
        };
        let endpoint = if stream { Endpoint::ChatStream } else { Endpoint::Chat };
        let sent = self.client.send(endpoint, self.model, &[], vec![Bytes::from(bytes)]).await;
        let mut answer = sent.map_err(|failed| failed.message)?;
        if !(200..300).contains(&answer.status()) {
            return Err(self.refusal(answer).await);
        }
        if stream {
            let is_stream = answer.is_event_stream();
            let bytes = read(&mut answer).await;
            return match (is_stream, bytes.is_empty()) {
                (true, false) => Ok(Value::Null),
                (true, true) => Err("the stream is empty".to_owned()),
                (false, _) => Err("it answered a stream request without a stream".to_owned()),
            };
        }
        let bytes = read(&mut answer).await;
        let context = ReplyContext { id: "diagnose".to_owned(), created: 0, model: self.model.to_string() };
        let chat = match protocol {
            Protocol::Openai => bytes,
            _ => translate::reply(protocol, Dialect::Chat, &bytes, &context).map_err(|bad| bad.0)?.0,
        };
        serde_json::from_slice(&chat).map_err(|error| format!("its answer is not JSON ({error})"))
    }

    /// An error in words that tell no secret: status, type, code.
    async fn refusal(&self, mut answer: Answer) -> String {
        let status = answer.status();
        let body = read(&mut answer).await;
        let fault = match self.backend.protocol {
            Protocol::Openai => peek::error_body(status, &body),
            protocol => translate::fault(protocol, status, &body),
        };
        format!("HTTP {status} {} {}", fault.kind, fault.code).trim_end().to_owned()
    }
}

async fn read(answer: &mut Answer) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(Ok(piece)) = answer.chunk().await {
        all.extend_from_slice(&piece);
        if all.len() > MOST {
            break;
        }
    }
    all
}
