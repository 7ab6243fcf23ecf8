//! Owns the answers to requests that miss an endpoint: which one may be meant, which there are, or which methods one takes.

use actix_web::{HttpRequest, HttpResponse};

use super::{refused, worker};
use crate::{
    error::Error,
    exchange::surface::Surface,
    settings::{OTHER, nearest},
};

/// Where clients ask for their models.
pub(super) const MODELS: &str = "/v1/models";

/// Answers a request for a path without an endpoint.
pub(super) async fn not_found(request: HttpRequest) -> HttpResponse {
    let (method, path) = (request.method().to_string(), request.path().to_owned());
    let is_for_clients = worker(&request).is_some();
    let instead = if is_for_clients { instead(&path) } else { "This address is for operators only.".into() };
    refused(&request, &Error::NoEndpoint { method, path, instead })
}

/// Which endpoint to use instead of this path, in words. Mostly a client's base URL lacks its `/v1`, has it twice, or is
/// Azure's.
fn instead(path: &str) -> String {
    let endpoints = Surface::ALL.map(Surface::path).into_iter().chain([MODELS]);
    let path = path.trim_end_matches('/');
    let is_base = |front: &str| {
        front.split('/').all(|step| matches!(step, "" | "v1" | "api" | "openai"))
            || front.starts_with("/openai/deployments/")
    };
    let is_meant = |endpoint: &&str| path.strip_suffix(endpoint.trim_start_matches("/v1")).is_some_and(is_base);
    if let Some(meant) = endpoints.clone().find(is_meant) {
        return format!("Did you mean {meant}? The client's base URL decides what stands before it.");
    }
    // A longer path is no slip of the pen.
    match Some(path).filter(|path| path.len() < 64).and_then(|path| nearest(path, endpoints.clone())) {
        Some(near) => format!("Did you mean {near}?"),
        None => format!("Endpoints are {}.", endpoints.collect::<Vec<_>>().join(", ")),
    }
}

/// What is asked for at a path of the framework's, as the log calls it.
pub(super) fn endpoint(path: &str, error: &Error) -> &'static str {
    let begins = |with: &str| path.starts_with(with) && !matches!(error, Error::NoEndpoint { .. });
    match () {
        () if begins("/admin/") => "admin",
        () if begins("/metrics") => "metrics",
        () if begins(MODELS) => "models",
        () => OTHER,
    }
}

/// Answers a request for an endpoint by the wrong method.
pub(super) fn wrong_method(request: &HttpRequest, allow: &'static str) -> HttpResponse {
    refused(request, &Error::WrongMethod { method: request.method().to_string(), allow })
}
