//! One simulated provider at work: who it lets in, and how it hands out an answer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::{HttpRequest, HttpResponse, http::header};
use bytes::Bytes;
use serde_json::Value;

use super::{
    Failure, Simulated,
    answer::Ask,
    fault::{self, Fault},
    pace::{Frame, Load, Pace},
};

/// A provider's settings and what it counts.
#[derive(Debug)]
pub(super) struct Provider {
    /// As started.
    pub(super) settings: Simulated,
    load: Arc<Load>,
    answers: AtomicU64,
}

impl Provider {
    /// A provider that has answered nothing yet.
    pub(super) fn new(settings: Simulated) -> Self {
        Self { load: Load::new(settings.slots), settings, answers: AtomicU64::new(0) }
    }

    /// Lets a request in: the key, then the failure that the settings ask for.
    pub(super) async fn admit(&self, request: &HttpRequest) -> Result<(), Fault> {
        if self.settings.api_key.as_deref().is_some_and(|key| given_key(request) != Some(key)) {
            return Err(Fault::Key);
        }
        fault::suffer(self.settings.failure.as_ref()).await
    }

    /// Reads a body as a JSON object.
    pub(super) fn parse(body: &[u8]) -> Result<Value, Fault> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Fault::Bad(format!("We could not parse the JSON body of your request: {error}")))?;
        if value.is_object() { Ok(value) } else { Err(Fault::Bad("The body must be a JSON object.".to_owned())) }
    }

    /// The model's name, if the provider knows it.
    pub(super) fn model(&self, name: &str) -> Result<String, Fault> {
        let models = &self.settings.models;
        if models.is_empty() || models.iter().any(|model| model == name) {
            Ok(name.to_owned())
        } else {
            Err(Fault::Model(name.to_owned()))
        }
    }

    /// A name for an answer that this provider has not used before.
    pub(super) fn next_id(&self, prefix: &str) -> String {
        format!("{prefix}{:024x}", self.answers.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends frames at their pace as an event stream.
    pub(super) async fn stream(&self, ask: &Ask, frames: Vec<Frame>) -> Result<HttpResponse, Fault> {
        self.stream_as(ask, "text/event-stream", frames).await
    }

    /// Sends frames at their pace under a content type.
    pub(super) async fn stream_as(&self, ask: &Ask, kind: &str, frames: Vec<Frame>) -> Result<HttpResponse, Fault> {
        let pace = self.pace(ask).await?;
        Ok(HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, kind))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .streaming(pace.stream(frames)))
    }

    /// Sends a whole answer once its tokens would be out; half of it, then a break, if it is to be cut.
    pub(super) async fn whole(&self, ask: &Ask, tokens: usize, answer: &Value) -> Result<HttpResponse, Fault> {
        let mut pace = self.pace(ask).await?;
        let Some(cut) = pace.cut.take().filter(|cut| *cut < tokens) else {
            pace.wait_for_all(tokens).await;
            return Ok(HttpResponse::Ok().json(answer));
        };
        pace.wait_for_all(cut).await;
        let mut text = Bytes::from(answer.to_string());
        text.truncate(text.len() / 2);
        let rest = Pace { first: std::time::Duration::ZERO, cut: Some(1), ..pace };
        Ok(HttpResponse::Ok().content_type("application/json").streaming(rest.stream(vec![Frame::token(text)])))
    }

    async fn pace(&self, ask: &Ask) -> Result<Pace, Fault> {
        let orders = &ask.directives;
        fault::suffer(orders.failure.as_ref()).await?;
        let cut = match orders.failure.as_ref().or(self.settings.failure.as_ref()) {
            Some(Failure::Cut { after_tokens }) => Some(*after_tokens),
            _ => None,
        };
        Ok(Pace {
            first: orders.first.unwrap_or(self.settings.first_token),
            gap: orders.pace.unwrap_or(self.settings.per_token),
            cut,
            place: self.load.enter(),
        })
    }
}

/// The key of a request, by whichever header it comes, or in the query as Gemini takes it too.
fn given_key(request: &HttpRequest) -> Option<&str> {
    let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    text("x-api-key")
        .or_else(|| text("x-goog-api-key"))
        .or_else(|| text("authorization").and_then(|value| value.strip_prefix("Bearer ")))
        .or_else(|| request.query_string().split('&').find_map(|pair| pair.strip_prefix("key=")))
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The text of a message's content: a string, or parts of which those with text count.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter(|part| !part["thought"].as_bool().unwrap_or(false))
            .filter_map(|part| part["text"].as_str())
            .collect::<Vec<_>>()
            .join(" "),
        _ => String::new(),
    }
}
