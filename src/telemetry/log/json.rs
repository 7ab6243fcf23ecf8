//! Owns the log's lines as JSON, an object each, for those who collect logs rather than read them.

use std::{
    io::{self, Write},
    net::SocketAddr,
    ops::Not,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Refused, TARGET,
    audit::{self, Audit},
};
use crate::{
    settings::Money,
    telemetry::story::{AttemptNote, RescueOutcome, Story, ms},
    wire::trace_context::TraceId,
};

/// What every line has, and what it has beside that.
#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    level: &'a str,
    target: &'a str,
    #[serde(flatten)]
    rest: T,
}

/// A line of any other kind: its words.
#[derive(Serialize)]
struct Words {
    message: String,
}

/// A request that has ended. One that was refused before it had a story has null for what it lacks. There is no
/// message: some are a provider's own words about the prompt.
#[derive(Default, Serialize)]
struct Request<'a> {
    id: &'a str,
    /// Only of requests whose spans are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<TraceId>,
    user: Option<&'a str>,
    model: Option<&'a str>,
    /// What was asked, in a word of a closed set.
    endpoint: &'a str,
    backend: Option<&'a str>,
    upstream_model: Option<&'a str>,
    route: Option<&'a str>,
    attempts: Vec<Attempt<'a>>,
    status: u16,
    class: &'a str,
    total_ms: f64,
    ttft_ms: Option<f64>,
    /// What Greenroom itself took, microseconds.
    overhead_us: Option<u64>,
    tokens_in: Option<u64>,
    tokens_out: Option<u64>,
    cost_usd: Option<Box<RawValue>>,
    /// Only where tokens or cost are estimated.
    #[serde(skip_serializing_if = "Not::not")]
    estimated: bool,
    rescue: Option<&'a str>,
    stream: Option<bool>,
    pinned: Option<bool>,
    /// The other end of a stranger's connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    /// How one that missed the endpoints did that.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

#[derive(Serialize)]
struct Attempt<'a> {
    backend: &'a str,
    route: &'a str,
    outcome: Option<&'a str>,
    status: Option<u16>,
    duration_ms: Option<f64>,
}

/// Writes a line that is no request's.
pub(super) fn record(out: &mut impl Write, record: &log::Record<'_>) -> io::Result<()> {
    let rest = Words { message: record.args().to_string() };
    write(out, record.level().as_str(), record.target(), rest)
}

/// Writes the line of a request that has ended.
pub(super) fn request(out: &mut Vec<u8>, story: &Story) {
    let served = story.served();
    put(
        out,
        TARGET,
        Request {
            id: &story.id,
            trace_id: story.trace.and_then(|trace| trace.told()),
            user: Some(&story.user.name),
            model: Some(&story.model),
            endpoint: story.endpoint,
            backend: served.map(|attempt| &*attempt.backend),
            upstream_model: served.map(|attempt| &*attempt.upstream_model),
            route: served.map(|attempt| attempt.route.as_str()),
            attempts: story.attempts.iter().map(attempt).collect(),
            status: story.status,
            class: story.class_word(),
            total_ms: ms(story.total()),
            ttft_ms: story.first_token.map(ms),
            overhead_us: Some(story.spent.iter().sum::<Duration>().as_micros() as u64),
            tokens_in: story.usage.map(|usage| usage.input),
            tokens_out: story.usage.map(|usage| usage.output),
            cost_usd: story.cost().and_then(plain),
            estimated: story.is_estimated(),
            rescue: story.rescue.map(RescueOutcome::as_str),
            stream: Some(story.stream),
            pinned: Some(story.pin.is_some()),
            ..Request::default()
        },
    );
}

/// The number in plain digits: as a float a small one would have an exponent.
fn plain(cost: Money) -> Option<Box<RawValue>> {
    RawValue::from_string(cost.to_string()).ok()
}

fn attempt(note: &AttemptNote) -> Attempt<'_> {
    Attempt {
        backend: &note.backend,
        route: note.route.as_str(),
        outcome: note.outcome,
        status: note.status,
        duration_ms: note.duration.map(ms),
    }
}

/// Writes the line of a request that was refused before it had a story.
pub(super) fn refused(out: &mut Vec<u8>, refused: &Refused<'_>) {
    let Refused { id, trace: trace_id, user, model, endpoint, peer, error, took } = *refused;
    let (status, class) = (error.face().status.as_u16(), error.class().as_str());
    let (method, path) = refused.missed().map_or((None, None), |(method, path)| (Some(method), path));
    let known = Request { id, trace_id, user, model, endpoint, peer, method, path, ..Request::default() };
    put(out, TARGET, Request { status, class, total_ms: ms(took), ..known });
}

/// Writes the audit line of a pin.
pub(super) fn pin(out: &mut Vec<u8>, audit: &Audit<'_>) {
    put(out, audit::TARGET, audit);
}

fn put(out: &mut Vec<u8>, target: &str, rest: impl Serialize) {
    // Writing to a vector cannot fail, and plain data always serialises.
    let _ = write(out, "INFO", target, rest);
}

fn write(out: &mut impl Write, level: &str, target: &str, rest: impl Serialize) -> io::Result<()> {
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    serde_json::to_writer(&mut *out, &Line { time, level, target, rest })?;
    out.write_all(b"\n")
}
