//! Owns the story of a request to any of the model endpoints: who asks, is it in order, then over to the exchange.

use std::{fmt::Write, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderName, HeaderValue},
    web,
};
use futures_util::FutureExt;
use tokio::time::Instant;

use super::{Shared, auth, body, shared, worker};
use crate::{
    backend::load,
    clock,
    error::Error,
    exchange::{self, Request, response, surface::Surface},
    router::table::{self, Table},
    settings::User,
    telemetry::{
        log,
        phase::Phase,
        story::{Listener, Story, Telling},
    },
    wire::envelope::{self, Envelope, Pin, Stream, Unreadable},
};

/// `POST /v1/chat/completions`
pub(super) async fn chat(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(request, payload, Surface::Chat).await
}

/// `POST /v1/messages`
pub(super) async fn messages(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(request, payload, Surface::Messages).await
}

/// `POST /v1/messages/count_tokens`
pub(super) async fn count_tokens(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(request, payload, Surface::CountTokens).await
}

/// `POST /v1/responses`
pub(super) async fn responses(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(request, payload, Surface::Responses).await
}

/// `POST /v1/embeddings`
pub(super) async fn embeddings(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(request, payload, Surface::Embeddings).await
}

/// `POST /v1/completions`
pub(super) async fn completions(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(request, payload, Surface::Completions).await
}

/// A panic anywhere on a request's way is a bug of ours: it costs this request a 500, and nobody else anything.
async fn serve(request: HttpRequest, payload: web::Payload, surface: Surface) -> HttpResponse {
    let id = request_id(&request);
    // Pinned where it stands: a future of this size is not moved through two wrappers.
    let work = std::pin::pin!(take(&request, payload, surface, id.clone()));
    let served = AssertUnwindSafe(work).catch_unwind().await;
    served.unwrap_or_else(|panic| {
        ::log::error!("request {id} panicked: {}", log::panic_words(&*panic));
        refuse(shared(&request), &id, None, &Error::Internal, surface)
    })
}

async fn take(request: &HttpRequest, payload: web::Payload, surface: Surface, id: Arc<str>) -> HttpResponse {
    let received = clock::now();
    let shared = shared(request);
    let Some(worker) = worker(request) else { return response::refused(&id, &Error::Internal, surface.dialect()) };
    let table = shared.table();
    worker.notice(&table);
    let user = match auth::user(request, &table) {
        Ok(user) => user,
        Err(error) => return refuse(shared, &id, None, &error, surface),
    };
    let arrival = Arrival { surface, id: id.clone(), received, authorised: clock::now() };
    let listener = worker.listener.clone();
    match prepare(request, payload, &table, &user, arrival, listener).await {
        Ok(prepared) => exchange::respond(worker.clone(), prepared, shared.cut.clone()).await,
        Err(error) => refuse(shared, &id, Some(&user), &error, surface),
    }
}

/// A request whose sender is known.
struct Arrival {
    surface: Surface,
    id: Arc<str>,
    received: Duration,
    authorised: Duration,
}

fn refuse(shared: &Shared, id: &str, user: Option<&User>, error: &Error, surface: Surface) -> HttpResponse {
    log::refused(id, user.map(|u| u.name.as_str()), error);
    shared.counts.refused(error);
    response::refused(id, error, surface.dialect())
}

async fn prepare(
    request: &HttpRequest,
    payload: web::Payload,
    table: &Table,
    user: &Arc<User>,
    arrival: Arrival,
    listener: Listener,
) -> Result<Request, Error> {
    let limit = table.settings.server.body_limit;
    let body = body::read(request, payload, limit).await?;
    let began = clock::now();
    let envelope = envelope::read(&body).map_err(|unreadable| match unreadable {
        Unreadable::NotJson(why) => Error::InvalidJson(why),
        Unreadable::Twice(key) => Error::Invalid {
            param: key.to_owned(),
            message: format!("'{key}' stands in the body twice. Send it once."),
        },
    })?;
    let (model, stream) = check(&envelope, arrival.surface)?;
    let pin = match &envelope.pin {
        Pin::None => None,
        Pin::To(name) => Some(Arc::from(name.as_str())),
        Pin::Bad => return Err(Error::BackendInvalid),
    };
    let failover = table.settings.failover.clone();
    let deadline = deadline(request, failover.deadline)?;
    let Arrival { surface, id, received, authorised } = arrival;
    let telling = Telling::new(
        Story {
            id,
            user: user.clone(),
            model: model.clone(),
            pin: pin.clone(),
            stream,
            received,
            early_head: false,
            attempts: Vec::with_capacity(1),
            served_by: None,
            first_token: None,
            usage: None,
            status: 0,
            class: None,
            message: None,
            decision: None,
            rescue: None,
            ended: None,
            queued: None,
            spent: [authorised.saturating_sub(received), Duration::ZERO, Duration::ZERO],
        },
        listener,
    );
    let route = table.routes.get(&*model).cloned();
    let has_affinity = route.as_ref().is_some_and(|route| route.settings.prefix_affinity);
    let affinity = has_affinity.then(|| table::hash(envelope.head(&body)));
    telling.spent(Phase::Translate, began);
    Ok(Request {
        telling,
        user: user.clone(),
        pin,
        surface,
        stream,
        prompt_tokens: load::prompt_tokens(body.len()),
        envelope,
        body,
        extra: anthropic_headers(request, surface),
        deadline: Instant::now() + deadline,
        explain: user.may_explain && asks_to_explain(request),
        affinity,
        route,
        is_retry: is_retry(request),
        model,
        failover,
    })
}

/// What a request must have, and have right.
fn check(envelope: &Envelope, surface: Surface) -> Result<(Arc<str>, bool), Error> {
    let invalid = |param: &str, message: &str| Error::Invalid { param: param.to_owned(), message: message.to_owned() };
    let model = match &envelope.model {
        Some(model) if !model.is_empty() => model.as_str(),
        _ if envelope.has_model() => return Err(invalid("model", "'model' must be a non-empty string.")),
        _ => return Err(Error::Missing("model")),
    };
    let (prompt, is_list) = surface.prompt();
    match envelope.prompt(prompt) {
        Some(b'[') => {}
        Some(_) if is_list => return Err(invalid(prompt, &format!("'{prompt}' must be a list of messages."))),
        Some(b'n') | None => return Err(Error::Missing(prompt)),
        Some(_) => {}
    }
    let stream = match envelope.stream {
        Stream::Off => false,
        Stream::On => true,
        Stream::Bad => return Err(invalid("stream", "'stream' must be true or false.")),
    };
    Ok((Arc::from(model), stream))
}

/// What a client of the Messages API says of that API's version and trials.
fn anthropic_headers(request: &HttpRequest, surface: Surface) -> Vec<(HeaderName, HeaderValue)> {
    if !matches!(surface, Surface::Messages | Surface::CountTokens) {
        return Vec::new();
    }
    let headers = request.headers();
    let named = |name: &'static str| Some((HeaderName::from_static(name), headers.get(name)?.clone()));
    ["anthropic-version", "anthropic-beta"].into_iter().filter_map(named).collect()
}

/// Whether an SDK says that it sends this again after a failure.
fn is_retry(request: &HttpRequest) -> bool {
    let count =
        request.headers().get("x-stainless-retry-count").and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    count.is_some_and(|count| count > 0)
}

/// Whether the client wants to know how the decision came about.
fn asks_to_explain(request: &HttpRequest) -> bool {
    request.headers().get("x-greenroom-explain").is_some_and(|value| matches!(value.as_bytes(), b"1" | b"true"))
}

/// The deadline of the settings, or a shorter one that the client asks for.
fn deadline(request: &HttpRequest, most: Duration) -> Result<Duration, Error> {
    const NAME: &str = "x-greenroom-timeout-ms";
    let Some(value) = request.headers().get(NAME) else { return Ok(most) };
    let millis: Option<u64> = value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|ms| *ms > 0);
    let millis = millis.ok_or(Error::InvalidHeader(NAME, "must be a whole number of milliseconds, at least 1"))?;
    Ok(most.min(Duration::from_millis(millis)))
}

/// The client's `x-request-id` if it is a plain one, else a new one.
pub(super) fn request_id(request: &HttpRequest) -> Arc<str> {
    let plain = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if let Some(id) = request.headers().get("x-request-id").and_then(|v| v.to_str().ok()).filter(plain) {
        return id.into();
    }
    let mut id = String::with_capacity(36);
    // Writing to a string cannot fail.
    let _ = write!(id, "req_{:032x}", rand::random::<u128>());
    id.into()
}
