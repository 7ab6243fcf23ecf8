//! Owns the HTTP surface: routes, and what each worker is given when it starts.

mod admin;
mod astray;
mod auth;
mod chat;
mod connection;
mod history;
mod ids;
mod metrics;
mod models;
mod operate;
mod probes;
mod query;
mod refusal;
pub mod reload;
pub mod rotate;
mod trace;
mod users;

use std::{
    future::ready,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::Addr;
use actix_web::{
    FromRequest, Handler, HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder, Resource, Responder, Route,
    body::MessageBody, guard, http::StatusCode, web,
};
use tokio::sync::Notify;

use crate::{
    error::Error,
    exchange::{
        Worker,
        reply::{Body, REQUEST_ID},
        response,
    },
    router::table::{Installed, Table},
    settings::Source,
    supervision::Overseer,
    telemetry::{
        actors::Role,
        counts::Counts,
        history::History,
        ledger::Ledger,
        log,
        story::Listener,
        traces::{Traces, feed::Feed},
    },
    wire::translate::Dialect,
};

use astray::{MODELS, not_found, wrong_method};
pub use connection::Door;
use reload::Reloading;

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// The table in force.
    pub installed: Installed,
    /// The Overseer.
    pub overseer: Addr<Overseer>,
    /// Greenroom is stopping.
    pub draining: Arc<AtomicBool>,
    /// No further request is taken on. Each request checks this as it comes: a message to the workers would be later than some
    /// of them.
    pub closed: Arc<AtomicBool>,
    /// Requests that still run, or whose answers are still being sent, end now, streams with an error frame.
    pub cut: Arc<Notify>,
    /// The last requests.
    pub ledger: Arc<Ledger>,
    /// What is counted of requests.
    pub counts: Arc<Counts>,
    /// What history keeps of them, if it is on.
    pub history: Option<History>,
    /// Where their spans go, if anywhere.
    pub traces: Option<Traces>,
    ready: Arc<AtomicBool>,
    /// How the settings are read again.
    reloading: Arc<Reloading>,
}

impl Shared {
    /// The world as workers see it.
    pub fn new(installed: Installed, overseer: Addr<Overseer>, counts: Arc<Counts>, source: Option<Source>) -> Self {
        // Checked here, too, so that it does not depend on when it is first asked for.
        let ready = Arc::new(AtomicBool::new(installed.load().could_serve()));
        Self {
            installed,
            overseer,
            draining: Arc::default(),
            closed: Arc::default(),
            cut: Arc::default(),
            ledger: Arc::default(),
            counts,
            history: None,
            traces: None,
            ready,
            reloading: Arc::new(Reloading::of(source)),
        }
    }

    /// What a worker does with the story of each request; its spans go to `traces`.
    pub fn listener(&self, traces: Option<Rc<Feed>>) -> Listener {
        let (ledger, counts, installed) = (self.ledger.clone(), self.counts.clone(), self.installed.clone());
        let feed = self.history.as_ref().map(History::feed);
        Rc::new(move |told| {
            let Some(story) = told else { return };
            log::request(story);
            let is_model = |name: &str| installed.load().routes.contains_key(name);
            let labels = counts.labels(story, is_model, |name| installed.load().handles.contains_key(name));
            counts.record(story, labels);
            if let Some(feed) = &feed {
                feed.record(story, labels);
            }
            if let Some(traces) = &traces {
                traces.record(story, labels);
            }
            ledger.enter(told);
        })
    }

    fn table(&self) -> Arc<Table> {
        self.installed.load_full()
    }

    /// Whether a load balancer may send requests: from when a backend can first serve until Greenroom stops, except while a
    /// worker has no router. If all backends are down later, clients get honest 503s; readiness would take every replica out.
    fn is_ready(&self) -> bool {
        if self.draining.load(Relaxed) || self.counts.actors.has_given_up(Role::Router) {
            return false;
        }
        if !self.ready.load(Relaxed) {
            self.ready.store(self.table().could_serve(), Relaxed);
        }
        self.ready.load(Relaxed)
    }
}

/// Routes for clients, except the model endpoints, which `connection` serves.
pub fn client_routes(config: &mut web::ServiceConfig, shared: Shared, worker: Rc<Worker>) {
    config
        .app_data(shared)
        .app_data(worker)
        .service(read(MODELS, models::list))
        .service(read("/v1/models/{id:.*}", models::one))
        .default_service(web::to(not_found));
    probe_routes(config);
}

/// Routes for operators, on the clients' listener or on their own.
pub fn admin_routes(config: &mut web::ServiceConfig) {
    config
        .service(read("/metrics", metrics::metrics))
        .service(read("/admin/backends", admin::backends))
        .service(read("/admin/backends/{name}", admin::backend))
        .service(act("/admin/backends/{name}/probe", operate::probe))
        .service(act("/admin/backends/{name}/diagnose", operate::diagnose))
        .service(act("/admin/reload", admin::reload))
        .service(act("/admin/backends/{name}/{action}", operate::act))
        .service(read("/admin/history", history::history))
        .service(read("/admin/users", users::users))
        .service(read("/admin/requests", admin::requests))
        .service(read("/admin/requests/{id}", admin::request))
        .service(act("/admin/chaos/backends/{name}", operate::crash_backend))
        .service(act("/admin/chaos/router", operate::crash_router));
}

/// Routes for a listener that serves operators only.
pub fn admin_only_routes(config: &mut web::ServiceConfig, shared: Shared) {
    config.app_data(shared).default_service(web::to(not_found));
    probe_routes(config);
    admin_routes(config);
}

fn probe_routes(config: &mut web::ServiceConfig) {
    config
        .service(read("/livez", probes::live))
        .service(read("/health", probes::live))
        .service(read("/readyz", probes::ready));
}

/// An endpoint for GET and HEAD.
fn read<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let route = web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
    endpoint(path, route.to(handler), "GET, HEAD")
}

/// An endpoint for POST.
fn act<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    endpoint(path, web::post().to(handler), "POST")
}

/// An endpoint with one route, which tells other methods what it allows.
fn endpoint(path: &str, route: Route, allow: &'static str) -> Resource {
    let other = move |request: HttpRequest| ready(wrong_method(&request, allow));
    web::resource(path).route(route).default_service(web::to(other))
}

fn shared(request: &HttpRequest) -> &Shared {
    request.app_data::<Shared>().expect("every app is configured with it")
}

fn worker(request: &HttpRequest) -> Option<&Rc<Worker>> {
    request.app_data::<Rc<Worker>>()
}

/// The text of a header.
fn header<'r>(request: &'r HttpRequest) -> impl Fn(&str) -> Option<&'r str> {
    move |name| request.headers().get(name)?.to_str().ok()
}

/// The id of a request. Once found or made, it stays the same.
struct Id(Arc<str>);

fn request_id(request: &HttpRequest) -> Arc<str> {
    if let Some(Id(known)) = request.extensions().get() {
        return known.clone();
    }
    let id = ids::id_of(header(request), &shared(request).table());
    request.extensions_mut().insert(Id(id.clone()));
    id
}

/// Begins an answer of the framework's, which names its request.
fn answer(request: &HttpRequest, status: StatusCode) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer.insert_header((REQUEST_ID, &*request_id(request)));
    answer
}

/// JSON, once the work for it is done, or an error, as the framework's answer.
async fn json<B>(request: &HttpRequest, work: impl Future<Output = Result<B, Error>>) -> HttpResponse
where
    B: MessageBody + 'static,
{
    // Before the work: after a reload the caller may be a stranger, whose id would not be accepted.
    let mut answer = answer(request, StatusCode::OK);
    match work.await {
        Ok(body) => answer.content_type("application/json").body(body),
        Err(error) => refused(request, &error),
    }
}

/// An error, as the framework's answer.
fn refused(request: &HttpRequest, error: &Error) -> HttpResponse {
    let id = request_id(request);
    let is_astray = matches!(error, Error::NoEndpoint { .. } | Error::WrongMethod { .. });
    // An attempt to guess an operator's token is logged, and whatever misses the endpoints: nobody else would tell of it.
    if is_astray || matches!(error, Error::InvalidKey | Error::PermissionDenied) {
        let user = auth::user(header(request), &shared(request).table()).ok();
        let line = log::Refused {
            id: &id,
            trace: None,
            user: user.as_ref().map(|user| user.name.as_str()),
            model: None,
            endpoint: astray::endpoint(request.path(), error),
            peer: request.peer_addr(),
            error,
            took: Duration::ZERO,
        };
        line.write();
    }
    if is_astray && worker(request).is_some() {
        shared(request).counts.refused(error, None);
    }
    let reply = response::refused(&id, error, Dialect::Chat);
    let mut response = HttpResponse::build(reply.status);
    for line in reply.lines.split(|b| *b == b'\n') {
        if let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.trim_end().split_once(": ")) {
            response.append_header((name, value));
        }
    }
    match reply.body {
        Body::Whole(body) => response.body(body),
        // An error is never a stream.
        Body::Stream(_) => response.finish(),
    }
}
