//! Owns a request to a model endpoint from its head to the exchange: it finds the user, checks the request and hands it over.

use std::{
    cell::Cell,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::Instant;

use super::{
    auth::Known,
    connection::{Door, Head},
    ids::{new_id, request_id},
    query,
    refusal::Asker,
    trace,
};
use crate::{
    clock,
    error::{Error, panic_words},
    exchange::{
        self, Request, Worker,
        admission::Admission,
        reply::{REQUEST_ID, Reply},
        surface::Surface,
    },
    limits::Allowance,
    router::table::{self, Table},
    settings::User,
    telemetry::{
        phase::Phase,
        story::{Story, Telling, shortened},
        traces::Trace,
    },
    turn::Socket,
    wire::{
        envelope::{self, Envelope, Pin, Stream, Unreadable, form},
        prompt,
        translate::Dialect,
    },
};

/// A request whose sender is known.
pub(super) struct Arrival {
    surface: Surface,
    id: Arc<str>,
    received: Duration,
    authorised: Duration,
    /// Its body came with its head, so no time has passed since.
    is_whole: bool,
    table: Arc<Table>,
    user: Arc<User>,
    /// The user's account, if the user is limited.
    allowance: Option<Arc<Allowance>>,
    /// Its part in a trace, where there are traces.
    trace: Option<Trace>,
}

impl Arrival {
    /// The largest body that is taken, bytes.
    pub(super) fn body_limit(&self) -> usize {
        self.table.settings.server.body_limit
    }

    /// When the request's time is used up, even if not all of it has come by then.
    pub(super) fn deadline(&self) -> Instant {
        clock::instant(self.received + self.table.settings.failover.deadline)
    }
}

/// Finds the user; the body of a stranger is not even read. `is_whole`: the body has come with the head.
pub(super) fn admit(
    door: &Door,
    known: &mut Known,
    socket: &Socket,
    head: &Head,
    surface: Surface,
    is_whole: bool,
) -> Result<Arrival, Reply> {
    let received = clock::now();
    let table = door.worker.table();
    match known.user(|name| head.text(name), &table) {
        Ok(user) => {
            let id = request_id(head.text(REQUEST_ID));
            let allowance = table.allowance(&user);
            let trace = trace::begin(door, head, surface);
            if door.shared.closed.load(Relaxed) {
                let asker = Asker::user(&id, &user, surface, received, trace.as_ref());
                let refusal = asker.refuse(door, &Error::ShuttingDown, None);
                return Err(with_limits(refusal, allowance.as_deref(), surface.dialect()));
            }
            Ok(Arrival { surface, id, received, authorised: clock::now(), is_whole, table, user, allowance, trace })
        }
        Err(error) => {
            Err(Asker::stranger(&new_id(), Some(surface), received, socket.peer()).refuse(door, &error, None))
        }
    }
}

/// Serves a request. A panic on its way is a bug of ours: this request is answered 500, and no other is affected.
pub(super) async fn serve(door: &Door, arrival: Arrival, head: &Head, body: Result<Bytes, Error>) -> Reply {
    let (id, surface, user) = (arrival.id.clone(), arrival.surface, arrival.user.clone());
    let (received, allowance, trace) = (arrival.received, arrival.allowance.clone(), arrival.trace);
    let asker = Asker::user(&id, &user, surface, received, trace.as_ref());
    let work = std::pin::pin!(async {
        let mut asked = None;
        let prepared = match body.and_then(|body| prepare(head, body, arrival, &door.worker, &mut asked)) {
            Ok(prepared) => prepared,
            Err(error) => return asker.refuse(door, &error, asked.as_ref()),
        };
        let admission = match allowance.as_ref().map(|allowance| Admission::begin(allowance, &prepared)).transpose() {
            Ok(admission) => admission,
            Err(refused) => {
                door.shared.counts.limited.refused(refused.dimension);
                return exchange::response::failed(&prepared, &Error::Limited(refused));
            }
        };
        let reply = exchange::respond(door.worker.clone(), prepared).await;
        if let Some(admission) = admission { reply.during(admission) } else { reply }
    });
    let served = AssertUnwindSafe(work).catch_unwind().await;
    let reply = served.unwrap_or_else(|panic| {
        ::log::error!("request {id} panicked: {}", panic_words(&*panic));
        asker.refuse(door, &Error::Internal, None)
    });
    with_limits(reply, allowance.as_deref(), surface.dialect())
}

/// Adds what a limited user has left by now to the answer's head.
pub(super) fn with_limits(mut reply: Reply, allowance: Option<&Allowance>, dialect: Dialect) -> Reply {
    if let Some(allowance) = allowance {
        allowance.tell(dialect == Dialect::Messages, clock::now(), &mut reply.lines);
    }
    reply
}

/// Checks a request. If it fails, `asked` is set to the model that it names, if that is a configured one.
fn prepare(
    head: &Head,
    body: Bytes,
    arrival: Arrival,
    worker: &Worker,
    asked: &mut Option<Arc<str>>,
) -> Result<Rc<Request>, Error> {
    let Arrival { surface, id, received, authorised, is_whole, table, user, trace, .. } = arrival;
    let is_chaos = table.settings.server.chaos && user.admin && head.text("x-greenroom-chaos") == Some("panic");
    assert!(!is_chaos, "crashed on request of an operator");
    let began = if is_whole { authorised } else { clock::now() };
    let envelope = read(head, surface, &body)?;
    let route = envelope.model.as_deref().and_then(|model| table.routes.get(model)).cloned();
    let mut refuse = |error| {
        *asked = route.as_ref().map(|route| route.model.clone());
        error
    };
    let (model, stream) = check(&envelope, surface).map_err(&mut refuse)?;
    // A configured name is shared, not copied.
    let model = route.as_ref().map_or_else(|| remembered(model), |route| route.model.clone());
    let explain = user.may_explain && asks_to_explain(head);
    let pin = match &envelope.pin {
        Pin::None => None,
        Pin::To(name) if table.handles.contains_key(name) => Some(Arc::from(name.as_str())),
        Pin::To(name) => Some(remembered(name)),
        Pin::Bad => return Err(refuse(Error::BackendInvalid)),
    };
    let failover = table.settings.failover.clone();
    let deadline = deadline(head, failover.deadline).map_err(refuse)?;
    let mut story = Story::begun(id, user, model, surface.word(), pin.clone(), stream, received);
    story.spent[Phase::Auth as usize] = authorised.saturating_sub(received);
    story.trace = trace;
    let telling = Telling::new(story, worker.listener.clone());
    let has_affinity = route.as_ref().is_some_and(|route| route.settings.prefix_affinity);
    let prompt_head = has_affinity.then(|| envelope.head(&body)).filter(|head| !head.is_empty());
    let affinity = prompt_head.map(table::stable_hash);
    let is_traced = route.as_ref().is_some_and(|route| route.traced);
    let checked = telling.phase_ended(Phase::Translate, began);
    // It is not moved after this: each step on its way would need room for it.
    Ok(Rc::new(Request {
        telling,
        pin,
        surface,
        stream,
        prompt_tokens: match surface {
            Surface::CountTokens => 0,
            _ if envelope.is_form => (envelope.media.max(1) * prompt::MEDIUM) as u64,
            _ => prompt::tokens(&body),
        },
        query: if surface.dialect() == Dialect::Messages { query::passed_on(head.query()) } else { Box::default() },
        // A form cannot be read without its boundary.
        extra: passed_on(head, if envelope.is_form { &["content-type"] } else { surface.own_headers() }),
        envelope,
        body,
        trace: if is_traced { passed_on(head, trace::headers(trace.as_ref())) } else { Vec::new() },
        checked: Cell::new(Some(checked)),
        deadline: clock::instant(received) + deadline,
        explain,
        affinity,
        route,
        is_retry: is_retry(head),
        failover,
    }))
}

/// Reads the top level of a body.
fn read(head: &Head, surface: Surface, body: &Bytes) -> Result<Envelope, Error> {
    let kind = surface.takes_forms().then(|| head.list("content-type").unwrap_or_default());
    let read = match kind.filter(|kind| surface.is_form(kind, body)) {
        Some(kind) => form::read(&kind, body),
        None => envelope::read(body),
    };
    read.map_err(|unreadable| match unreadable {
        Unreadable::NotJson(why) => Error::InvalidJson(why),
        Unreadable::NoBoundary => Error::InvalidHeader(
            "content-type",
            "must be 'multipart/form-data; boundary=...' here, with the file in a part of the form. Clients that are given a form \
             set it themselves",
        ),
        Unreadable::NotForm(why) => Error::InvalidForm(why),
        Unreadable::Twice(key) => Error::invalid(key, format!("'{key}' stands in the body twice, or in capitals. Send it once, as '{key}'.")),
    })
}

/// Most bytes kept of a name that is not in the settings: the stories of the last thousand requests hold it.
const LONGEST_NAME: usize = 256;

/// A name that is not in the settings, as it is kept and shown. Cut, it cannot become a name of the settings either.
fn remembered(name: &str) -> Arc<str> {
    shortened(name, LONGEST_NAME).into()
}

/// Checks that a request has what it must have, and returns its model and whether it is streamed.
fn check(envelope: &Envelope, surface: Surface) -> Result<(&str, bool), Error> {
    let model = match &envelope.model {
        Some(model) if !model.is_empty() => model.as_str(),
        _ if envelope.has_model() => return Err(Error::invalid("model", "'model' must be a non-empty string.")),
        _ => return Err(Error::Missing("model")),
    };
    let (prompt, is_list) = surface.prompt();
    match envelope.prompt(prompt) {
        Some(b'[') => {}
        Some(_) if is_list => return Err(Error::invalid(prompt, format!("'{prompt}' must be a list of messages."))),
        Some(b'n') | None => {
            let is_there = |member: &&str| envelope.prompt(member).is_some_and(|first| first != b'n');
            // What a form lacks is for its server to say: some take a URL in place of a file.
            if !envelope.is_form && !surface.references().iter().any(is_there) {
                return Err(Error::Missing(prompt));
            }
        }
        Some(_) => {}
    }
    let stream = match envelope.stream {
        // Sound always comes as it is made. What 'stream' means there is up to the server.
        Stream::On | Stream::Off if surface == Surface::Speech => true,
        Stream::Off => false,
        Stream::On if surface.streams() => true,
        // A backend that answered it whole would count as failing.
        Stream::On => return Err(Error::invalid("stream", "This endpoint has no streams. Leave 'stream' out.")),
        Stream::Bad => return Err(Error::invalid("stream", "'stream' must be true or false.")),
    };
    Ok((model, stream))
}

/// The client's own headers of these names.
fn passed_on(head: &Head, names: &[&'static str]) -> Vec<(HeaderName, HeaderValue)> {
    let named = |name: &&'static str| {
        let value = HeaderValue::from_str(&head.list(name)?).ok()?;
        Some((HeaderName::from_static(name), value))
    };
    names.iter().filter_map(named).collect()
}

/// Whether an SDK says that this is a retry.
fn is_retry(head: &Head) -> bool {
    let count = head.text("x-stainless-retry-count").and_then(|value| value.parse::<u32>().ok());
    count.is_some_and(|count| count > 0)
}

/// Whether the client wants to know how the decision came about.
fn asks_to_explain(head: &Head) -> bool {
    matches!(head.text("x-greenroom-explain"), Some("1" | "true"))
}

/// The deadline of the settings, or a shorter one that the client asks for.
fn deadline(head: &Head, most: Duration) -> Result<Duration, Error> {
    const NAME: &str = "x-greenroom-timeout-ms";
    let Some(value) = head.text(NAME) else { return Ok(most) };
    let millis: Option<u64> = value.trim().parse().ok().filter(|ms| *ms > 0);
    let millis = millis.ok_or(Error::InvalidHeader(NAME, "must be a whole number of milliseconds, at least 1"))?;
    Ok(most.min(Duration::from_millis(millis)))
}
