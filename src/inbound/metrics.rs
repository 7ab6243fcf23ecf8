//! Owns `GET /metrics`: the page for scrapers, for admins where clients connect too.

use std::sync::atomic::Ordering::Relaxed;

use actix_web::{HttpRequest, HttpResponse, http::header::CONTENT_TYPE};

use super::{auth, chat::REQUEST_ID, header, refused, request_id, shared, worker};
use crate::{
    error::Error,
    telemetry::{
        exposition,
        metrics::{Facts, page},
    },
};

/// The page. On a listener for operators only, reaching it is leave enough: scrapers rarely carry tokens.
pub(super) async fn metrics(request: HttpRequest) -> HttpResponse {
    let shared = shared(&request);
    let table = shared.table();
    let for_clients_too = worker(&request).is_some();
    if for_clients_too && let Err(error) = auth::admin(header(&request), &table) {
        return refused(&request, &error);
    }
    let queues = table.routes.values().filter(|route| route.settings.queue > 0);
    let facts = Facts {
        handles: table.handles.values().cloned().collect(),
        queues: queues.map(|route| (route.model.clone(), route.queue.waiting.load(Relaxed))).collect(),
    };
    match page(&shared.counts, facts) {
        Ok(text) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, exposition::CONTENT_TYPE))
            .insert_header((REQUEST_ID, &*request_id(&request)))
            .body(text),
        Err(fmt) => {
            log::error!("the metrics page could not be written: {fmt}");
            refused(&request, &Error::Internal)
        }
    }
}
