//! Owns what load balancers and orchestrators ask: alive, ready.

use actix_web::{HttpRequest, HttpResponse};

use super::shared;

/// The process answers.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

/// The process can serve.
pub(super) async fn ready(request: HttpRequest) -> HttpResponse {
    let ready = shared(&request).is_ready();
    let (mut response, text) =
        if ready { (HttpResponse::Ok(), "ready\n") } else { (HttpResponse::ServiceUnavailable(), "not ready\n") };
    response.content_type("text/plain; charset=utf-8").body(text)
}
