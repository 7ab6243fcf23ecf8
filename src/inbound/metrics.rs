//! Owns `GET /metrics`: the page for scrapers. On the clients' listener it is for admins only.

use std::sync::atomic::Ordering::Relaxed;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};

use super::{answer, auth, header, refused, shared, worker};
use crate::{
    error::Error,
    telemetry::{
        exposition,
        metrics::{Facts, page},
    },
};

/// The page. On a listener for operators only it needs no token: scrapers rarely carry one.
pub(super) async fn metrics(request: HttpRequest) -> HttpResponse {
    let shared = shared(&request);
    let for_clients_too = worker(&request).is_some();
    if for_clients_too && let Err(error) = auth::admin(header(&request), &shared.table()) {
        return refused(&request, &error);
    }
    // Each name is looked up in the table in force at that moment, so that names of a table newer than this scrape's are kept.
    shared.counts.keep(
        |backend| shared.table().handles.contains_key(backend),
        |model| shared.table().routes.contains_key(model),
        |user| shared.table().settings.users.contains_key(user),
    );
    let table = shared.table();
    let queues = table.routes.values().filter(|route| route.settings.queue > 0);
    for route in table.routes.values() {
        for target in route.targets.iter().filter(|target| target.settings.price.is_some()) {
            shared.counts.costs.begin(target.handle.name(), &route.model);
        }
    }
    let facts = Facts {
        handles: table.handles.values().cloned().collect(),
        queues: queues.map(|route| (route.model.clone(), route.queue.waiting.load(Relaxed))).collect(),
    };
    match page(&shared.counts, facts, |backend, model| table.weight(backend, model)) {
        Ok(text) => answer(&request, StatusCode::OK).content_type(exposition::CONTENT_TYPE).body(text),
        Err(fmt) => {
            log::error!("the metrics page could not be written: {fmt}");
            refused(&request, &Error::Internal)
        }
    }
}
