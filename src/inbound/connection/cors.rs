//! Owns letting web pages of other sites send requests: which origins may, and what their browsers are told (Fetch, 3.2).

use actix_web::http::StatusCode;

use super::head::Head;
use crate::{
    exchange::reply::{REQUEST_ID, Reply},
    settings::Allowed,
};

/// How long a browser may keep what it was told, seconds; Chromium keeps it no longer.
const MAX_AGE: u64 = 7200;

/// The origin of a request, if its page may read the answer. Answers of operators' endpoints may never be read, whatever the
/// listener.
fn origin<'h>(head: &'h Head, allowed: &Allowed) -> Option<&'h str> {
    head.text("origin").filter(|origin| head.path().starts_with("/v1/") && allowed.allows(origin))
}

/// The answer to a browser that asks whether it may send a page's request. It brings no token.
pub(super) fn preflight(head: &Head, allowed: &Allowed, id: &str) -> Option<Reply> {
    origin(head, allowed)?;
    if head.method.as_str() != "OPTIONS" {
        return None;
    }
    head.text("access-control-request-method")?;
    let mut reply = Reply::new(StatusCode::OK, Vec::new());
    reply.line(REQUEST_ID, id);
    reply.line("access-control-allow-methods", "GET, HEAD, POST");
    // SDKs send many different headers, and none of them does anything that the token does not allow.
    if let Some(asked) = head.text("access-control-request-headers") {
        reply.line("access-control-allow-headers", asked);
    }
    reply.count("access-control-max-age", MAX_AGE);
    Some(reply)
}

/// Lets the page that a request comes from read the answer and all its headers. There are no cookies, so that `*` means all.
pub(super) fn tell(head: &Head, allowed: &Allowed, reply: &mut Reply) {
    let Some(origin) = origin(head, allowed) else { return };
    reply.line("access-control-allow-origin", origin);
    reply.line("access-control-expose-headers", "*");
    reply.line("vary", "origin");
}
