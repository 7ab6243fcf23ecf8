//! Owns what a trace shows of a request: one span of the request itself and below it one of each attempt; pure.
//!
//! Names are those of OpenTelemetry's `gen_ai` conventions as last frozen, v1.41; what those have no name for is under
//! `greenroom`. Nothing that a client or a provider wrote is among the values, but a plain request id: they are names of the
//! settings, numbers and words of closed sets.

use std::time::Duration;

use super::{
    Hop, Trace,
    otlp::{Attributes, Digits, Kind, Name, Span, Status, flags},
};
use crate::{
    error::{Class, Owner},
    settings::{self, Money, Style},
    telemetry::{
        counts::Labels,
        story::{CANCELLED, LET_GO, RescueOutcome, SUCCESS, Story},
    },
    wire::{Protocol, Usage},
};

/// A request that was refused before it had a story.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// `x-request-id`.
    pub id: &'a str,
    /// The user's name.
    pub user: &'a str,
    /// The public model, if it got as far as to name a configured one.
    pub model: Option<&'a str>,
    /// When it came.
    pub received: Duration,
    /// When it was refused.
    pub ended: Duration,
    /// The status the client got.
    pub status: u16,
    /// Why.
    pub class: Class,
}

/// The nanoseconds from the epoch of a moment.
pub(super) type Wall<'a> = &'a dyn Fn(Duration) -> u64;

/// Tells the spans of a request that has ended, its own first.
pub(super) fn tell<'a>(
    story: &'a Story,
    trace: &Trace,
    labels: Labels<'a>,
    wall: Wall<'_>,
    mut each: impl FnMut(&Span<'a>),
) {
    each(&of_request(story, trace, labels, wall));
    for n in 0..story.attempts.len() {
        of_attempt(story, trace, labels, n, wall).iter().for_each(&mut each);
    }
}

fn of_request<'a>(story: &'a Story, trace: &Trace, labels: Labels<'a>, wall: Wall<'_>) -> Span<'a> {
    let served = story.served();
    let mut a = asked(trace, Some(&**labels.model), &story.id, &story.user.name);
    a.text("gen_ai.provider.name", served.and_then(|s| s.hop.as_ref()).map(|hop| provider(&hop.backend)));
    a.flag("gen_ai.request.stream", story.stream);
    a.seconds("gen_ai.response.time_to_first_chunk", story.first_token.filter(|_| story.stream));
    used(&mut a, story.counted());
    a.text("greenroom.backend.name", served.map(|attempt| &*attempt.backend));
    a.text("greenroom.route.reason", served.map(|attempt| attempt.route.as_str()));
    a.flag("greenroom.route.pinned", story.pin.is_some());
    a.text("greenroom.request.rescue", story.rescue.map(RescueOutcome::as_str));
    a.seconds("greenroom.request.queued", story.queued);
    let ended = story.ended.unwrap_or(story.received);
    ended_as(request(trace, Some(&**labels.model), [story.received, ended].map(wall), a), story.status, story.class)
}

/// The span of a request that was refused before it had a story.
pub(super) fn refused<'a>(trace: &Trace, refused: &Refused<'a>, wall: Wall<'_>) -> Span<'a> {
    let a = asked(trace, refused.model, refused.id, refused.user);
    let times = [refused.received, refused.ended].map(wall);
    ended_as(request(trace, refused.model, times, a), refused.status, Some(refused.class))
}

/// What every request's own span has.
fn asked<'a>(trace: &Trace, model: Option<&'a str>, id: &'a str, user: &'a str) -> Attributes<'a> {
    let mut a = Attributes::default();
    a.text("gen_ai.operation.name", trace.operation);
    a.text("gen_ai.request.model", model);
    a.text("http.request.method", "POST");
    a.text("http.route", trace.route);
    a.text("greenroom.request.id", id);
    a.text("greenroom.request.model_alias", model);
    a.text("greenroom.user.name", user);
    a
}

fn request<'a>(trace: &Trace, model: Option<&'a str>, [start, end]: [u64; 2], attributes: Attributes<'a>) -> Span<'a> {
    Span {
        trace: trace.id,
        id: trace.span,
        parent: trace.parent,
        flags: flags(trace.parent.is_some()),
        name: Name(trace.operation, model),
        kind: Kind::Server,
        start_time_unix_nano: Digits(start),
        end_time_unix_nano: Digits(end),
        attributes,
        status: None,
    }
}

/// Adds how a request ended. A client's fault is no server error, nor is a client that left. An answer that broke off
/// is an error whatever its status said.
fn ended_as(mut span: Span<'_>, status: u16, class: Option<Class>) -> Span<'_> {
    // A client that has left got no status, as far as we know.
    let sent = class != Some(Class::CallerCancelled);
    span.attributes.count("http.response.status_code", sent.then_some(status.into()));
    span.attributes.text("error.type", class.map(Class::as_str));
    let broke_off = status < 400 && class.is_some_and(|class| class.owner() != Owner::Caller);
    span.status = (status >= 500 || broke_off).then_some(Status::FAILED);
    span
}

/// The span of the attempt of this number, if it is to be shown.
fn of_attempt<'a>(story: &'a Story, trace: &Trace, labels: Labels<'a>, n: usize, wall: Wall<'_>) -> Option<Span<'a>> {
    let attempt = story.attempts.get(n)?;
    let Hop { span, backend } = attempt.hop.as_ref()?;
    let outcome = attempt.outcome.unwrap_or(CANCELLED);
    let failed = ![SUCCESS, CANCELLED, LET_GO].contains(&outcome);
    let serves = story.served_by == Some(n);
    let mut a = Attributes::default();
    a.text("gen_ai.operation.name", trace.operation);
    a.text("gen_ai.provider.name", provider(backend));
    a.text("gen_ai.request.model", &*attempt.upstream_model);
    a.flag("gen_ai.request.stream", story.stream);
    let first = story.first_token.filter(|_| serves && story.stream);
    a.seconds("gen_ai.response.time_to_first_chunk", first.map(|first| first.saturating_sub(attempt.started)));
    used(&mut a, story.counted().filter(|_| outcome == SUCCESS));
    a.measure("greenroom.cost_usd", attempt.cost.map(Money::dollars));
    a.text("server.address", &*backend.address.host);
    a.count("server.port", u64::from(backend.address.port));
    a.count("http.response.status_code", attempt.status.map(u64::from));
    a.text("error.type", failed.then_some(outcome));
    a.text("greenroom.attempt.error_class", failed.then_some(outcome));
    a.text("greenroom.attempt.outcome", if failed { "failure" } else { outcome });
    a.count("greenroom.attempt.number", n as u64 + 1);
    a.text("greenroom.backend.name", &*attempt.backend);
    a.text("greenroom.route.reason", attempt.route.as_str());
    a.flag("greenroom.route.pinned", story.pin.is_some());
    a.text("greenroom.request.model_alias", &**labels.model);
    let start = story.received + attempt.started;
    let end = attempt.duration.map_or(story.ended.unwrap_or(start), |took| start + took);
    Some(Span {
        trace: trace.id,
        id: *span,
        parent: Some(trace.span),
        flags: flags(false),
        name: Name(trace.operation, Some(&attempt.upstream_model)),
        kind: Kind::Client,
        start_time_unix_nano: Digits(wall(start)),
        end_time_unix_nano: Digits(wall(end)),
        attributes: a,
        status: failed.then_some(Status::FAILED),
    })
}

fn used(a: &mut Attributes<'_>, usage: Option<Usage>) {
    let Some(usage) = usage else { return };
    let some = |count: u64| Some(count).filter(|count| *count > 0);
    a.count("gen_ai.usage.input_tokens", usage.input);
    a.count("gen_ai.usage.output_tokens", usage.output);
    a.count("gen_ai.usage.cache_read.input_tokens", some(usage.cached));
    a.count("gen_ai.usage.reasoning.output_tokens", some(usage.reasoning));
}

/// The provider as far as its protocol tells: `openai` is also whoever speaks as OpenAI does.
fn provider(backend: &settings::Backend) -> &'static str {
    match (backend.protocol, backend.style) {
        (Protocol::Openai, Style::Azure) => "azure.ai.openai",
        (Protocol::Openai, Style::Openai) => "openai",
        (Protocol::Anthropic, _) => "anthropic",
        (Protocol::Gemini, _) => "gcp.gemini",
    }
}
