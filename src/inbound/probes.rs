//! Owns what load balancers and orchestrators ask: alive, ready.

use actix_web::{HttpRequest, HttpResponse};

use super::{chat::REQUEST_ID, request_id, shared};

/// The process answers.
pub(super) async fn live(request: HttpRequest) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((REQUEST_ID, &*request_id(&request)))
        .content_type("text/plain; charset=utf-8")
        .body("ok\n")
}

/// The process can serve.
pub(super) async fn ready(request: HttpRequest) -> HttpResponse {
    let ready = shared(&request).is_ready();
    let (mut response, text) =
        if ready { (HttpResponse::Ok(), "ready\n") } else { (HttpResponse::ServiceUnavailable(), "not ready\n") };
    response.insert_header((REQUEST_ID, &*request_id(&request))).content_type("text/plain; charset=utf-8").body(text)
}
