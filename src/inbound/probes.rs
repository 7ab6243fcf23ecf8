//! Owns what load balancers and orchestrators ask: alive, ready.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};

use super::{answer, shared};

const TEXT: &str = "text/plain; charset=utf-8";

/// The process answers.
pub(super) async fn live(request: HttpRequest) -> HttpResponse {
    answer(&request, StatusCode::OK).content_type(TEXT).body("ok\n")
}

/// The process can serve.
pub(super) async fn ready(request: HttpRequest) -> HttpResponse {
    let ready = shared(&request).is_ready();
    let (status, text) =
        if ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") };
    answer(&request, status).content_type(TEXT).body(text)
}
