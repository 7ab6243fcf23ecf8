//! Owns the one match from a failure to its status, words and headers.

use std::time::Duration;

use actix_web::http::StatusCode;
use bytes::Bytes;

use super::{Class, Error, Failed};

/// What an error looks like from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Face {
    /// HTTP status.
    pub status: StatusCode,
    /// `error.type`.
    pub kind: String,
    /// `error.code`.
    pub code: String,
    /// `error.param`.
    pub param: Option<String>,
    /// `error.message`.
    pub message: String,
    /// `retry-after` and `retry-after-ms`.
    pub retry_after: Option<Duration>,
    /// Sends `x-should-retry: false`: trying again cannot help.
    pub hopeless: bool,
    /// `allow`: the methods to ask with.
    pub allow: Option<&'static str>,
    /// The whole body, where the provider's own is passed on.
    pub body: Option<Bytes>,
}

/// Wait suggested where the true one is unknown, for example until one of many running requests ends.
pub const SOON: Duration = Duration::from_secs(1);

impl Error {
    /// Status, words and headers.
    pub fn face(&self) -> Face {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::InvalidJson(why) => {
                caller(bad, "invalid_json", None, format!("The request body is not a JSON object: {why}."))
            }
            Self::Missing(param) => caller(
                bad,
                "missing_required_parameter",
                Some(param),
                format!("Missing required parameter: '{param}'. Add it to the request body."),
            ),
            Self::Invalid { param, message } => caller(bad, "invalid_value", Some(param), message.clone()),
            Self::InvalidHeader(name, message) => {
                caller(bad, "invalid_header", None, format!("Header '{name}' {message}."))
            }
            Self::BadRequest(why) => caller(bad, "bad_request", None, format!("This cannot be served: {why}.")),
            Self::HeadTooLong => caller(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "request_headers_too_large",
                None,
                "The request's headers are too many or too long. Send fewer or shorter ones.".into(),
            ),
            Self::Slow => caller(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                None,
                "The request did not come in time. Send it without pauses.".into(),
            ),
            // Most have gone for good; one that has only closed its own side can read this.
            Self::CutShort => caller(
                StatusCode::from_u16(499).unwrap_or(bad),
                "client_closed_request",
                None,
                "The connection was closed before the request was complete. Send all of its body.".into(),
            ),
            Self::TooLarge(limit) => caller(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                None,
                format!("The request body is larger than {limit} bytes, the limit here (server.body_limit)."),
            ),
            Self::InvalidKey => caller(
                StatusCode::UNAUTHORIZED,
                "invalid_api_key",
                None,
                "Missing or unknown API key. Send a valid one as 'Authorization: Bearer KEY'.".into(),
            ),
            Self::ModelNotFound(model) => caller(
                StatusCode::NOT_FOUND,
                "model_not_found",
                Some("model"),
                format!(
                    "The model '{model}' does not exist or you do not have access to it. GET /v1/models lists yours."
                ),
            ),
            Self::BackendInvalid => caller(
                bad,
                "invalid_backend",
                Some("backend"),
                "'backend' must be a non-empty string: the name of a configured backend.".into(),
            ),
            Self::BackendNotFound(name) => {
                caller(bad, "backend_not_found", Some("backend"), format!("There is no backend '{name}'."))
            }
            Self::BackendNotAllowed(name) => Face {
                kind: "permission_error".into(),
                hopeless: true,
                ..caller(
                    StatusCode::FORBIDDEN,
                    "backend_not_allowed",
                    Some("backend"),
                    format!("You may not pin requests to the backend '{name}'. Leave out 'backend' to be routed."),
                )
            },
            Self::ModelNotOnBackend { backend, model } => caller(
                bad,
                "model_not_on_backend",
                Some("backend"),
                format!("The backend '{backend}' does not serve the model '{model}'."),
            ),
            Self::PermissionDenied => Face {
                kind: "permission_error".into(),
                ..caller(StatusCode::FORBIDDEN, "permission_denied", None, "You may not use this endpoint.".into())
            },
            Self::NotFound(what) => caller(StatusCode::NOT_FOUND, "not_found", None, what.clone()),
            Self::WrongMethod { method, allow } => Face {
                allow: Some(allow),
                ..caller(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    None,
                    format!("This endpoint is not asked with {method}. It takes: {allow}."),
                )
            },
            Self::Conflict(what) => caller(StatusCode::CONFLICT, "conflict", None, what.clone()),
            Self::HistoryUnavailable(why) => busy("history_unavailable", None, why.clone(), None),
            Self::PinUnavailable { backend, reason, retry_after } => busy(
                "backend_unavailable",
                Some("backend"),
                format!("The backend '{backend}' takes no requests now: {reason}. A pinned request is never rerouted."),
                *retry_after,
            ),
            Self::PinOverloaded { backend } => busy(
                "backend_overloaded",
                Some("backend"),
                format!("The backend '{backend}' is full. A pinned request is never rerouted."),
                None,
            ),
            Self::NoHealthyBackend { model, retry_after } => busy(
                "no_healthy_backend",
                Some("model"),
                format!("No backend of the model '{model}' takes requests now."),
                *retry_after,
            ),
            Self::Overloaded { model, retry_after } => {
                let wait = retry_after.map(|wait| wait.max(SOON));
                busy("gateway_overloaded", None, format!("All backends of the model '{model}' are full."), wait)
            }
            Self::ShuttingDown => {
                busy("shutting_down", None, "This Greenroom is shutting down. Try another instance.".into(), None)
            }
            Self::Upstream(failed) => failed.face(),
            Self::Internal => Face {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                kind: "server_error".into(),
                ..caller(bad, "internal_error", None, "An internal error in Greenroom; it has been logged.".into())
            },
        }
    }
}

/// A fault of the request or of its sender.
fn caller(status: StatusCode, code: &str, param: Option<&str>, message: String) -> Face {
    Face {
        status,
        kind: "invalid_request_error".into(),
        code: code.into(),
        param: param.map(Into::into),
        message,
        retry_after: None,
        hopeless: false,
        allow: None,
        body: None,
    }
}

/// Nobody is free, for now.
fn busy(code: &str, param: Option<&str>, message: String, retry_after: Option<Duration>) -> Face {
    Face {
        kind: "service_unavailable_error".into(),
        retry_after: Some(retry_after.unwrap_or(SOON)),
        ..caller(StatusCode::SERVICE_UNAVAILABLE, code, param, message)
    }
}

impl Failed {
    fn face(&self) -> Face {
        let of = |status, kind: &str, code: &str, message: String| Face {
            status,
            kind: kind.into(),
            code: code.into(),
            param: None,
            message,
            retry_after: self.retry_after,
            hopeless: false,
            allow: None,
            body: None,
        };
        let gateway = |code, text: &str| {
            of(StatusCode::BAD_GATEWAY, "upstream_error", code, format!("{text}: {}.", self.message))
        };
        match self.class {
            Class::ProviderRatelimit => Face {
                retry_after: Some(self.retry_after.unwrap_or(SOON)),
                ..of(
                    StatusCode::TOO_MANY_REQUESTS,
                    "rate_limit_error",
                    "upstream_rate_limited",
                    format!("The backend is rate limited: {}.", self.message),
                )
            },
            // The provider's text could tell about our account: it goes nowhere. Its type and code are in the log.
            Class::ProviderQuota | Class::ProviderAuth => Face {
                hopeless: self.hopeless,
                retry_after: None,
                ..of(
                    StatusCode::BAD_GATEWAY,
                    "upstream_error",
                    "upstream_auth_failed",
                    "The backend does not accept Greenroom's account. The operator has to look at it.".into(),
                )
            },
            Class::ProviderOverloaded => Face {
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry_after: Some(self.retry_after.unwrap_or(SOON)),
                ..gateway("upstream_overloaded", "The backend is overloaded")
            },
            Class::ProviderServer | Class::ProviderStreamCut => gateway("upstream_error", "The backend failed"),
            Class::ProviderTransport | Class::ProviderTimeoutConnect => {
                gateway("upstream_unreachable", "The backend cannot be reached")
            }
            Class::GatewayOverload => Face {
                retry_after: Some(SOON),
                ..of(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "service_unavailable_error",
                    "gateway_overloaded",
                    format!("Greenroom cannot take more work: {}.", self.message),
                )
            },
            Class::ProviderInvalid => gateway("upstream_invalid_response", "The backend's answer makes no sense"),
            Class::ProviderModelMissing => {
                gateway("upstream_model_not_found", "The backend does not know the model it is configured for")
            }
            Class::ProviderTimeoutTtft | Class::ProviderTimeoutIdle | Class::ProviderTimeoutTotal => of(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout_error",
                "upstream_timeout",
                format!("The backend took too long: {}.", self.message),
            ),
            _ => self.told_face().unwrap_or_else(|| gateway("upstream_error", "The backend failed")),
        }
    }

    /// The caller's own fault, in the provider's words and with its status.
    fn told_face(&self) -> Option<Face> {
        let told = self.told.as_ref()?;
        let code = match self.class {
            // In a body of ours the code is one that programs know, whichever word the provider has for it.
            Class::ProviderContentFilter if told.code.is_empty() || told.body.is_none() => "content_filter",
            Class::ProviderContextLength if told.code.is_empty() || told.body.is_none() => "context_length_exceeded",
            _ => &told.code,
        };
        Some(Face {
            status: self.status.and_then(|s| StatusCode::from_u16(s).ok()).unwrap_or(StatusCode::BAD_REQUEST),
            kind: told.kind.clone(),
            code: code.to_owned(),
            param: told.param.clone(),
            message: told.message.clone(),
            retry_after: None,
            // SDKs repeat whatever has status 429.
            hopeless: self.class == Class::CallerMisdirected,
            allow: None,
            body: told.body.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_takes_no_connection_in_time_is_as_unreachable_as_one_that_refuses_it() {
        let face = |class| Error::Upstream(Box::new(Failed::new(class, "why"))).face();
        assert_eq!(face(Class::ProviderTimeoutConnect), face(Class::ProviderTransport));
    }
}
