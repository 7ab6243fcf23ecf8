//! Refusals, each in the shape of the provider whose route was asked.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use serde_json::{Value, json};

use super::{Failure, Protocol, pace, provider::Provider};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No key, or not the right one.
    Key,
    /// A model that the provider does not know.
    Model(String),
    /// A body that is not what the route takes; the text says how.
    Bad(String),
    /// A path that the provider does not have.
    Path(String),
    /// A simulated failure.
    Ordered {
        /// The HTTP status.
        status: StatusCode,
        /// The `retry-after` header, in seconds.
        retry_after: Option<u64>,
    },
}

impl Fault {
    /// `OpenAI`'s words for a parameter that is not there.
    pub(super) fn missing(name: &str) -> Self {
        Self::Bad(format!("Missing required parameter: '{name}'."))
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Key => StatusCode::UNAUTHORIZED,
            Self::Model(_) | Self::Path(_) => StatusCode::NOT_FOUND,
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Ordered { status, .. } => *status,
        }
    }

    /// The refusal in a provider's own shape.
    pub(super) fn response(&self, protocol: Protocol) -> HttpResponse {
        let body = match protocol {
            Protocol::Openai => self.openai(),
            Protocol::Anthropic => self.anthropic(),
            Protocol::Gemini => self.gemini(),
        };
        let mut response = HttpResponse::build(self.status());
        if let Self::Ordered { retry_after: Some(seconds), .. } = self {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        response.json(body)
    }

    fn ordered_words(&self) -> &'static str {
        match self.status().as_u16() {
            401 => "The key is not valid.",
            403 => "This key may not use this resource.",
            429 => "Rate limit reached for requests.",
            529 | 503 => "Overloaded",
            400..500 => "The request was refused by order.",
            _ => "The server had an error while processing your request.",
        }
    }

    fn openai(&self) -> Value {
        let (message, kind, code) = match self {
            Self::Key => ("Incorrect API key provided.".to_owned(), "invalid_request_error", Some("invalid_api_key")),
            Self::Model(model) => (
                format!("The model `{model}` does not exist or you do not have access to it."),
                "invalid_request_error",
                Some("model_not_found"),
            ),
            Self::Bad(text) => (text.clone(), "invalid_request_error", None),
            Self::Path(path) => (format!("Invalid URL ({path})"), "invalid_request_error", None),
            Self::Ordered { status, .. } => {
                let (kind, code) = match status.as_u16() {
                    429 => ("requests", Some("rate_limit_exceeded")),
                    401 => ("invalid_request_error", Some("invalid_api_key")),
                    400..500 => ("invalid_request_error", None),
                    _ => ("server_error", None),
                };
                (self.ordered_words().to_owned(), kind, code)
            }
        };
        json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
    }

    fn anthropic(&self) -> Value {
        let message = match self {
            Self::Key => "invalid x-api-key".to_owned(),
            Self::Model(model) => format!("model: {model}"),
            Self::Bad(text) => text.clone(),
            Self::Path(_) => "Not Found".to_owned(),
            Self::Ordered { .. } => self.ordered_words().to_owned(),
        };
        let kind = match self.status().as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            529 => "overloaded_error",
            400..500 => "invalid_request_error",
            _ => "api_error",
        };
        json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"})
    }

    fn gemini(&self) -> Value {
        let message = match self {
            Self::Key => "API key not valid. Please pass a valid API key.".to_owned(),
            Self::Model(model) => format!("models/{model} is not found for API version v1beta."),
            Self::Bad(text) => text.clone(),
            Self::Path(path) => format!("{path} was not found on this server."),
            Self::Ordered { .. } => self.ordered_words().to_owned(),
        };
        let code = self.status().as_u16();
        let status = match code {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            499 => "CANCELLED",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            400..500 => "INVALID_ARGUMENT",
            _ => "INTERNAL",
        };
        json!({"error": {"code": code, "message": message, "status": status}})
    }
}

/// Lets a failure that comes before the answer happen.
pub(super) async fn suffer(failure: Option<&Failure>) -> Result<(), Fault> {
    match failure {
        Some(Failure::Hang) => std::future::pending().await,
        Some(&Failure::Status { status, retry_after, after }) => {
            pace::wait(after.min(Duration::from_hours(1))).await;
            let status = StatusCode::from_u16(status).ok().filter(|status| status.as_u16() >= 400);
            Err(Fault::Ordered { status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), retry_after })
        }
        Some(Failure::Cut { .. }) | None => Ok(()),
    }
}

/// Answers any path that has no route.
pub(super) async fn no_such_path(request: HttpRequest, provider: web::Data<Provider>) -> HttpResponse {
    Fault::Path(format!("{} {}", request.method(), request.path())).response(provider.settings.protocol)
}
