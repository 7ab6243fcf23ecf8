//! Owns the responses that clients get: heads with Greenroom's own headers, error bodies, error frames.

use std::time::Duration;

use actix_web::http::StatusCode;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    attempt::Whole,
    reply::{REQUEST_ID, Reply},
    request::Request,
    stream_body::{Sent, StreamBody},
};
use crate::{
    clock,
    error::{Error, Face, millis, seconds},
    telemetry::{
        phase::Phase,
        story::{AttemptNote, Millis, RouteReason, Story, Telling, ms},
    },
    upstream::{HeaderLines, UPSTREAM_REQUEST_ID},
    wire::{
        too_long,
        translate::{Dialect, Received, THREAD_UNSUPPORTED, failed as failed_response},
    },
};

/// The answer in one piece.
pub(super) fn whole(request: &Request, whole: Whole) -> Reply {
    let mut reply = Reply::new(StatusCode::OK, whole.headers);
    reply.at = Some(clock::instant(whole.at));
    add_own_headers(&mut reply, request);
    match explanation(request) {
        Some(explanation) => reply.body(explained(&whole.body, &explanation)),
        None => reply.body(whole.body),
    }
}

/// The answer as a stream. One that is passed on raw keeps the content type of its backend.
pub(super) fn stream(request: &Request, headers: HeaderLines, body: StreamBody) -> Reply {
    let mut reply = Reply::new(StatusCode::OK, headers);
    if !request.surface.is_raw() {
        reply.line("content-type", "text/event-stream; charset=utf-8");
    }
    reply.line("cache-control", "no-cache");
    // Keeps nginx and its like from collecting frames.
    reply.line("x-accel-buffering", "no");
    add_own_headers(&mut reply, request);
    reply.stream(body)
}

/// Ends a request with an error, in its story and for its client.
pub fn failed(request: &Request, error: &Error) -> Reply {
    let (telling, dialect) = (&request.telling, request.surface.dialect());
    let face = face(error, dialect);
    telling.end(face.status.as_u16(), Some(error), clock::now());
    let mut reply = Reply::new(face.status, Vec::new());
    add_own_headers(&mut reply, request);
    if let Error::PinUnavailable { backend, .. } | Error::PinOverloaded { backend } = error {
        // Whoever pinned to it knows its name.
        reply.line("x-greenroom-backend", backend);
    }
    if let Error::Upstream(failed) = error {
        // What the backend asked last has said, whichever failure the client is told of.
        let last = telling.read(|story| story.attempts.last().and_then(|attempt| attempt.status));
        if let Some(status) = last {
            reply.count("x-greenroom-upstream-status", u64::from(status));
        }
        if let Some(id) = &failed.request_id {
            reply.line(UPSTREAM_REQUEST_ID, id);
        }
    }
    let explanation = explanation(request);
    telling.read(|story| {
        ErrorAnswer { face: &face, id: &story.id, dialect, attempts: attempts(story), explanation }.complete(reply)
    })
}

/// The whole story, for a client that asked for it and may know.
fn explanation(request: &Request) -> Option<Value> {
    // Plain data always serialises.
    request.explain.then(|| request.telling.read(|story| serde_json::to_value(story.report()).ok()))?
}

/// The attempts of a failed request, for a client that may know them; never in a provider's words.
fn attempts(story: &Story) -> Option<Value> {
    let may = story.user.may_see_backends && !story.attempts.is_empty();
    may.then(|| {
        let one = |attempt: &AttemptNote| {
            let mut told = json!({
                "backend": attempt.backend, "class": attempt.outcome, "ms": attempt.duration.map(ms),
            });
            if let Some(status) = attempt.status {
                told["status"] = json!(status);
            }
            told
        };
        story.attempts.iter().map(one).collect()
    })
}

/// The comment that explains a stream: SDKs ignore comments.
pub(super) fn explained_stream(request: &Request) -> Bytes {
    explanation(request).map_or_else(Bytes::new, |value| format!(": greenroom {value}\n\n").into())
}

/// The comment that names the backend where the head could not.
pub(super) fn named_late(telling: &Telling) -> Bytes {
    let name = telling
        .read(|story| story.served().filter(|_| story.user.may_see_backends).map(|served| served.backend.clone()));
    name.map_or_else(Bytes::new, |name| format!(": greenroom backend={name}\n\n").into())
}

/// The answer with one more member, `greenroom`, at its end.
fn explained(body: &Bytes, explanation: &Value) -> Bytes {
    let text = body.trim_ascii_end();
    match text.strip_suffix(b"}").filter(|open| open.starts_with(b"{")) {
        // No answer is without members.
        Some(open) => [open, b",\"greenroom\":", explanation.to_string().as_bytes(), b"}"].concat().into(),
        None => body.clone(),
    }
}

/// The error for a request that has no story yet.
pub fn refused(id: &str, error: &Error, dialect: Dialect) -> Reply {
    let face = error.face();
    let mut reply = Reply::new(face.status, Vec::new());
    add_request_id(&mut reply, id, dialect);
    if error.is_bad_pin() {
        reply.line("x-greenroom-route", RouteReason::Pinned.as_str());
    }
    ErrorAnswer { face: &face, id, dialect, attempts: None, explanation: None }.complete(reply)
}

/// An error in the form in which a client is told it.
struct ErrorAnswer<'a> {
    face: &'a Face,
    id: &'a str,
    dialect: Dialect,
    attempts: Option<Value>,
    explanation: Option<Value>,
}

impl ErrorAnswer<'_> {
    /// Adds the error's headers and its body.
    fn complete(self, mut reply: Reply) -> Reply {
        let face = self.face;
        if face.status == StatusCode::UNAUTHORIZED {
            reply.line("www-authenticate", "Bearer");
        }
        if let Some(wait) = face.retry_after {
            // The SDKs read the milliseconds first.
            reply.count("retry-after", seconds(wait));
            reply.count("retry-after-ms", millis(wait));
        }
        for (name, value) in &face.lines {
            reply.line(name, value);
        }
        if face.hopeless {
            reply.line("x-should-retry", "false");
        }
        reply.line("content-type", "application/json");
        match &face.body {
            Some(body) if self.explanation.is_none() => reply.body(body.clone()),
            _ => reply.body(self.body()),
        }
    }

    /// The body that every client SDK knows.
    fn body(self) -> String {
        let id = self.id;
        match self.dialect {
            Dialect::Messages => json!({"type": "error", "error": self.object(), "request_id": id}).to_string(),
            Dialect::Chat | Dialect::Responses => json!({"error": self.object()}).to_string(),
        }
    }

    fn object(self) -> Value {
        let Self { face, id, .. } = self;
        // A provider that refuses a request need not say why in one word.
        let code = (!face.code.is_empty()).then_some(&face.code);
        let mut error;
        if self.dialect == Dialect::Messages {
            let kind = anthropic_kind(face.status);
            error = json!({"type": kind, "message": face.message, "code": code, "param": face.param});
            if face.code == THREAD_UNSUPPORTED {
                error["details"] = json!({"error_code": face.code});
            }
        } else {
            error = json!({"message": face.message, "type": face.kind, "param": face.param, "code": code, "request_id": id});
            if let Some(attempts) = self.attempts {
                error["attempts"] = attempts;
            }
        }
        if let Some(explanation) = self.explanation {
            error["greenroom"] = explanation;
        }
        error
    }
}

/// How an error looks to clients of this dialect. They shorten a prompt that is too long only if the error has the words and
/// the status that they know.
fn face(error: &Error, dialect: Dialect) -> Face {
    let mut face = error.face();
    if face.code == "context_length_exceeded" && face.body.is_none() {
        face.message = too_long::restated(&face.message, dialect);
        if dialect == Dialect::Messages {
            face.status = StatusCode::BAD_REQUEST;
        }
    }
    face
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

/// An error in the middle of a stream, after what was `sent`.
pub(super) fn error_frame(request: &Request, error: &Error, sent: &Sent) -> Bytes {
    let dialect = request.surface.dialect();
    request.telling.read(|story| {
        let face = face(error, dialect);
        let told = ErrorAnswer { face: &face, id: &story.id, dialect, attempts: attempts(story), explanation: None };
        match dialect {
            Dialect::Chat => format!("data: {}\n\n", told.body()).into(),
            Dialect::Messages => format!("event: error\ndata: {}\n\n", told.body()).into(),
            Dialect::Responses => {
                let received = Received { first: &sent.first, latest: &sent.latest };
                let wait = if let Error::Upstream(failed) = error { failed.retry_after } else { None };
                failed_response(received, &told.object(), wait, &story.id, clock::unix(), &story.model).into()
            }
        }
    })
}

/// Names the request, for Anthropic's SDKs under Anthropic's name as well.
fn add_request_id(reply: &mut Reply, id: &str, dialect: Dialect) {
    reply.line(REQUEST_ID, id);
    if dialect == Dialect::Messages {
        reply.line("request-id", id);
    }
}

/// Adds Greenroom's own headers: which backend served, why, after how many attempts, in what time. In `server-timing`, `queue`
/// is the time spent waiting for a place, `route` that of choosing, and `gw` that of all own work, choosing included.
/// `upstream` counts from the start of the attempt that served, `ttft` from the request's arrival; both end with the first
/// content or the whole answer. A head that goes out early says none of this: another backend may serve in the end, and a
/// comment in the stream names it.
fn add_own_headers(reply: &mut Reply, request: &Request) {
    request.telling.read(|story| {
        add_request_id(reply, &story.id, request.surface.dialect());
        if story.early_head {
            return;
        }
        reply.count("x-greenroom-attempts", story.attempts.len() as u64);
        if let Some(served) = story.served() {
            if story.user.may_see_backends {
                reply.line("x-greenroom-backend", &served.backend);
                reply.line("x-greenroom-upstream-model", &served.upstream_model);
            }
            reply.line("x-greenroom-route", served.route.as_str());
            let upstream = story.first_token.unwrap_or_else(|| story.total()).saturating_sub(served.started);
            // Without any waiting, for backends or for the client's own bytes.
            let own = story.spent.iter().sum();
            let mut timing = String::with_capacity(96);
            let mut part = |name: &str, time: Duration| {
                timing.push_str(name);
                Millis::<3>(time).push_to(&mut timing);
            };
            if let Some(queued) = story.queued {
                part("queue;dur=", queued);
                part(", route;dur=", story.spent[Phase::Route as usize]);
            } else {
                part("route;dur=", story.spent[Phase::Route as usize]);
            }
            part(", upstream;dur=", upstream);
            if let Some(first) = story.first_token {
                part(", ttft;dur=", first);
            }
            part(", gw;dur=", own);
            reply.line("server-timing", &timing);
        } else if story.pin.is_some() {
            reply.line("x-greenroom-route", RouteReason::Pinned.as_str());
        }
    });
}
