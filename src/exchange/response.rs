//! Owns the responses that clients get: heads with Greenroom's own headers, error bodies, error frames.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    attempt::{Headers, Whole},
    stage::{Play, Sent},
};
use crate::{
    error::{Error, Face},
    telemetry::story::{Millis, Telling},
    wire::translate::{Dialect, Received, failed as failed_response},
};

/// Greenroom's header names, parsed at compile time rather than for each response.
mod own {
    use actix_web::http::header::HeaderName;

    macro_rules! names {
        ($($name:ident = $text:literal;)*) => { $(pub(super) const $name: HeaderName = HeaderName::from_static($text);)* };
    }
    names! {
        REQUEST_ID = "x-request-id";
        ATTEMPTS = "x-greenroom-attempts";
        BACKEND = "x-greenroom-backend";
        UPSTREAM_MODEL = "x-greenroom-upstream-model";
        ROUTE = "x-greenroom-route";
        SERVER_TIMING = "server-timing";
        UPSTREAM_STATUS = "x-greenroom-upstream-status";
        RETRY_AFTER_MS = "retry-after-ms";
        SHOULD_RETRY = "x-should-retry";
        ACCEL_BUFFERING = "x-accel-buffering";
    }
}

/// The answer in one piece.
pub(super) fn whole(telling: &Telling, whole: Whole, explain: bool) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    for header in whole.headers {
        response.append_header(header);
    }
    tell(&mut response, telling);
    match explanation(telling, explain) {
        Some(explanation) => response.body(explained(&whole.body, &explanation)),
        None => response.body(whole.body),
    }
}

/// The answer as a stream.
pub(super) fn stream(telling: &Telling, headers: Headers, play: Play) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    for header in headers.into_iter().filter(|(name, _)| name != header::CONTENT_TYPE) {
        response.append_header(header);
    }
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // Keeps nginx and its like from collecting frames.
        .insert_header((own::ACCEL_BUFFERING, "no"));
    tell(&mut response, telling);
    response.body(play)
}

/// An error, told to the client and to the story.
pub(super) fn failed(telling: &Telling, error: &Error, explain: bool, dialect: Dialect) -> HttpResponse {
    let face = error.face();
    telling.end(face.status.as_u16(), Some(error));
    let mut response = HttpResponse::build(face.status);
    tell(&mut response, telling);
    if let Error::Upstream(failed) = error
        && let Some(status) = failed.status
    {
        response.insert_header((own::UPSTREAM_STATUS, usize::from(status)));
    }
    let explanation = explanation(telling, explain);
    telling.read(|story| finish(&mut response, &face, &story.id, explanation, dialect))
}

/// The whole story, for a client that asked for it and may know.
fn explanation(telling: &Telling, explain: bool) -> Option<Value> {
    // Plain data always serialises.
    explain.then(|| telling.read(|story| serde_json::to_value(story.report()).ok()))?
}

/// The comment that explains a stream: SDKs pass over comments.
pub(super) fn explained_stream(telling: &Telling) -> Bytes {
    explanation(telling, true).map_or_else(Bytes::new, |value| format!(": greenroom {value}\n\n").into())
}

/// The comment that names the backend where the head could not.
pub(super) fn named_late(telling: &Telling) -> Bytes {
    let name = telling.read(|story| story.served().map(|served| served.backend.clone()));
    name.map_or_else(Bytes::new, |name| format!(": greenroom backend={name}\n\n").into())
}

/// The answer with one more member, `greenroom`, at its end.
fn explained(body: &Bytes, explanation: &Value) -> Bytes {
    let text = body.trim_ascii_end();
    match text.strip_suffix(b"}") {
        Some(open) => [open, b",\"greenroom\":", explanation.to_string().as_bytes(), b"}"].concat().into(),
        None => body.clone(),
    }
}

/// An error of a request that has no story yet.
pub fn refused(id: &str, error: &Error, dialect: Dialect) -> HttpResponse {
    let face = error.face();
    let mut response = HttpResponse::build(face.status);
    response.insert_header((own::REQUEST_ID, id));
    finish(&mut response, &face, id, None, dialect)
}

fn finish(
    response: &mut HttpResponseBuilder,
    face: &Face,
    id: &str,
    explanation: Option<Value>,
    dialect: Dialect,
) -> HttpResponse {
    if face.status == StatusCode::UNAUTHORIZED {
        response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    if let Some(wait) = face.retry_after {
        // The SDKs read the milliseconds first; whole seconds are rounded up, so that nobody comes too early.
        response.insert_header((header::RETRY_AFTER, wait.as_secs_f64().ceil().max(1.0) as u64));
        response.insert_header((own::RETRY_AFTER_MS, wait.as_millis().max(1) as u64));
    }
    if face.hopeless {
        response.insert_header((own::SHOULD_RETRY, "false"));
    }
    response.insert_header((header::CONTENT_TYPE, "application/json"));
    match (&face.body, explanation) {
        (Some(body), None) => response.body(body.clone()),
        (_, explanation) => response.body(body(face, id, explanation, dialect)),
    }
}

/// The error object that every client SDK knows.
fn body(face: &Face, id: &str, explanation: Option<Value>, dialect: Dialect) -> String {
    if dialect == Dialect::Messages {
        let error = json!({"type": anthropic_kind(face.status), "message": face.message, "code": face.code, "param": face.param});
        return json!({"type": "error", "error": error, "request_id": id}).to_string();
    }
    let mut error = error_object(face, id);
    if let Some(explanation) = explanation {
        error["greenroom"] = explanation;
    }
    json!({"error": error}).to_string()
}

fn error_object(face: &Face, id: &str) -> Value {
    json!({
        "message": face.message,
        "type": face.kind,
        "param": face.param,
        "code": face.code,
        "request_id": id,
    })
}

/// Anthropic's error types go by the status.
fn anthropic_kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    }
}

/// An error inside of a stream, after what was `sent`.
pub(super) fn error_frame(telling: &Telling, error: &Error, dialect: Dialect, sent: &Sent) -> Bytes {
    telling.read(|story| {
        let face = error.face();
        match dialect {
            Dialect::Chat => format!("data: {}\n\n", body(&face, &story.id, None, dialect)).into(),
            Dialect::Messages => format!("event: error\ndata: {}\n\n", body(&face, &story.id, None, dialect)).into(),
            Dialect::Responses => {
                let received = Received { first: &sent.first, latest: &sent.latest };
                let error = error_object(&face, &story.id);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                failed_response(received, &error, &story.id, now, &story.model).into()
            }
        }
    })
}

/// Greenroom's own headers: who served this, why, after how many attempts, in what time.
fn tell(response: &mut HttpResponseBuilder, telling: &Telling) {
    telling.read(|story| {
        response.insert_header((own::REQUEST_ID, &*story.id));
        response.insert_header((own::ATTEMPTS, story.attempts.len()));
        if let Some(served) = story.served() {
            response.insert_header((own::BACKEND, &*served.backend));
            response.insert_header((own::UPSTREAM_MODEL, &*served.upstream_model));
            response.insert_header((own::ROUTE, served.route.as_str()));
            let total = story.total();
            let upstream = story.first_token.unwrap_or(total).saturating_sub(served.started);
            let mut timing = String::with_capacity(48);
            timing.push_str("upstream;dur=");
            Millis(upstream, 3).push_to(&mut timing);
            timing.push_str(", gw;dur=");
            Millis(total.saturating_sub(upstream), 3).push_to(&mut timing);
            response.insert_header((own::SERVER_TIMING, timing));
        }
    });
}
