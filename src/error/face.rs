//! Owns the one match from a failure to its status, words and headers; a backend's own are in `failed`.

use std::{fmt::Write, sync::Arc, time::Duration};

use actix_web::http::StatusCode;
use bytes::Bytes;

use super::{Error, Refused, Unit};

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
    /// Header lines that go with the status, such as `allow`.
    pub lines: Vec<(&'static str, &'static str)>,
    /// The whole body, where the provider's own is passed on.
    pub body: Option<Bytes>,
}

impl Face {
    /// A face of these words, and nothing else.
    pub(super) fn new(status: StatusCode, kind: &str, code: &str, message: String) -> Self {
        Self {
            status,
            kind: kind.into(),
            code: code.into(),
            param: None,
            message,
            retry_after: None,
            hopeless: false,
            lines: Vec::new(),
            body: None,
        }
    }
}

/// Wait suggested where the true one is unknown, for example until one of many running requests ends.
pub const SOON: Duration = Duration::from_secs(1);

/// The longest wait that an SDK heeds, openai-python's. Told of a longer one, its older releases ask again within seconds, in vain.
pub const SDKS_WAIT: Duration = Duration::from_secs(120);

impl Error {
    /// `error.code` of a path that nothing is asked at.
    pub const NO_ENDPOINT: &'static str = "unknown_endpoint";

    /// Status, words and headers.
    pub fn face(&self) -> Face {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::InvalidJson(why) => {
                caller(bad, "invalid_json", None, format!("The request body is not a JSON object: {why}."))
            }
            Self::InvalidForm(why) => invalid_form(why),
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
            // Most such clients are gone. One that has closed only its sending side can read this.
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
            Self::UnknownCoding { taken } => unknown_coding(taken),
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
            Self::ModelNotOnBackend { backend, model, elsewhere } => {
                let message = if *elsewhere {
                    format!("The backend '{backend}' serves the model '{model}', but not at this endpoint.")
                } else {
                    format!("The backend '{backend}' does not serve the model '{model}'.")
                };
                caller(bad, "model_not_on_backend", Some("backend"), message)
            }
            Self::PermissionDenied => Face {
                kind: "permission_error".into(),
                ..caller(StatusCode::FORBIDDEN, "permission_denied", None, "You may not use this endpoint.".into())
            },
            Self::Limited(refused) => limited(refused),
            Self::NotFound(what) => caller(StatusCode::NOT_FOUND, "not_found", None, what.clone()),
            Self::NoEndpoint { method, path, instead } => {
                let message = format!("There is no {method} {path} here. {instead}");
                caller(StatusCode::NOT_FOUND, Self::NO_ENDPOINT, None, message)
            }
            Self::NoWebsocket => no_websocket(),
            Self::WrongMethod { method, allow } => wrong_method(method, allow),
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
            Self::NoHealthyBackend { model, retry_after, spent, out } => {
                busy("no_healthy_backend", Some("model"), all_out(model, *spent, out), *retry_after)
            }
            Self::Overloaded { model, retry_after } => {
                let wait = retry_after.map(|wait| wait.max(SOON));
                busy("gateway_overloaded", None, format!("All backends of the model '{model}' are full."), wait)
            }
            Self::Unpacking => busy("gateway_overloaded", None, UNPACKING.into(), Some(SOON)),
            Self::NoMemory => busy("gateway_overloaded", None, NO_MEMORY.into(), Some(SOON)),
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

/// Why a model is refused though others could serve it, as the end of a sentence.
const SPENT: &str =
    ": an account has no money or quota left, and no other may stand in for it (quota_failover = false).";

/// Most backends that an error names.
const MOST_NAMED: usize = 5;

/// The words for a model none of whose backends takes requests, and why each is `out`.
fn all_out(model: &str, spent: bool, out: &[(Arc<str>, &str)]) -> String {
    let mut message =
        format!("No backend of the model '{model}' takes requests now{}", if spent { SPENT } else { "." });
    for (backend, why) in out.iter().take(MOST_NAMED) {
        let _ = write!(message, " {backend}: {why}.");
    }
    if let more @ 1.. = out.len().saturating_sub(MOST_NAMED) {
        let _ = write!(message, " And {more} more.");
    }
    message
}

/// Why a packed body is not taken now.
const UNPACKING: &str =
    "Too much is being unpacked at the moment. Try again, or send the body without 'content-encoding'.";

/// Why a large body is not taken now.
const NO_MEMORY: &str = "Greenroom has no memory for the request's body at the moment. Try again.";

/// A fault of the request or of its sender.
fn caller(status: StatusCode, code: &str, param: Option<&str>, message: String) -> Face {
    Face { param: param.map(Into::into), ..Face::new(status, "invalid_request_error", code, message) }
}

fn invalid_form(why: &str) -> Face {
    let message =
        format!("The request body is not a form as its content-type says: {why}. Let an HTTP client write it.");
    caller(StatusCode::BAD_REQUEST, "invalid_form", None, message)
}

/// With the codings to pack with in its head (RFC 9110, 15.5.16).
fn unknown_coding(taken: &'static str) -> Face {
    let message = format!(
        "Header 'content-encoding' names a coding that is not taken here, or several. Send the body as it is, or in one of: \
         {taken}."
    );
    Face {
        lines: vec![("accept-encoding", taken)],
        ..caller(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding", None, message)
    }
}

/// With the methods to ask with in its head.
fn wrong_method(method: &str, allow: &'static str) -> Face {
    let message = format!("This endpoint is not asked with {method}. It takes: {allow}.");
    Face {
        lines: vec![("allow", allow)],
        ..caller(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", None, message)
    }
}

/// With the protocol to ask by in its head, in a line that is between neighbours only (RFC 9110, 15.5.22 and 7.8).
fn no_websocket() -> Face {
    let message = "Websockets are not served here. Ask with POST, and with 'stream' for an answer as it comes.";
    Face {
        lines: vec![("upgrade", "HTTP/1.1"), ("connection", "upgrade")],
        ..caller(StatusCode::UPGRADE_REQUIRED, "upgrade_required", None, message.into())
    }
}

/// The user has had enough, for now.
fn limited(refused: &Refused) -> Face {
    let Refused { dimension, limit, wait } = *refused;
    let message = dimension.message(limit, wait);
    // There will be budget again, but not within the time that an SDK retries for.
    let is_budget = dimension.unit() == Unit::Dollars;
    Face {
        kind: if is_budget { dimension.code() } else { "rate_limit_error" }.into(),
        retry_after: Some(wait),
        hopeless: is_budget,
        ..caller(StatusCode::TOO_MANY_REQUESTS, dimension.code(), None, message)
    }
}

/// Nobody is free, for now.
fn busy(code: &str, param: Option<&str>, message: String, retry_after: Option<Duration>) -> Face {
    Face {
        kind: "service_unavailable_error".into(),
        retry_after: Some(retry_after.unwrap_or(SOON)),
        hopeless: retry_after.is_some_and(|wait| wait > SDKS_WAIT),
        ..caller(StatusCode::SERVICE_UNAVAILABLE, code, param, message)
    }
}
