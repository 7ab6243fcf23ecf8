//! Owns one attempt at one backend: send, wait for the first content or the whole answer, judge what came.

use std::{
    borrow::Cow,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::{
    adapt::{Outgoing, learn, native, shorter, translated},
    debt::{Debt, Owed},
    decode::Decoder,
    held::Held,
    judge::{empty, refused, whole},
    leg::Leg,
    redact::redacted,
    relay::{Reader, Step, Terms},
    request::Request,
    rescue::Seam,
    retry_after::named_in,
    surface::Way,
    thoughts::shows,
    watch::Watch,
    worker::Worker,
};
use crate::{
    clock,
    error::{Class, Failed},
    router::table::Target,
    settings::Rescue,
    telemetry::phase::Phase,
    upstream::{Along, Answer, BrokenOff, HeaderLines, of_trial, request_id},
    wire::{Protocol, Usage, envelope::Change, sse::MAX_FRAME},
};

/// An attempt that succeeded so far.
pub(super) enum Opened {
    /// The whole answer.
    Whole(Whole),
    /// A stream with its first content.
    Live(Box<Live>),
}

/// A whole, checked answer.
pub(super) struct Whole {
    pub(super) headers: HeaderLines,
    pub(super) body: Bytes,
    pub(super) usage: Option<Usage>,
    pub(super) note: usize,
    /// When it was complete.
    pub(super) at: Duration,
}

/// A stream under way, and whose it is.
pub(super) struct Live {
    pub(super) leg: Leg,
    pub(super) target: Arc<Target>,
    pub(super) streaming: Streaming,
}

/// A stream that has its first content.
pub(super) struct Streaming {
    pub(super) reader: Box<Reader>,
    pub(super) watch: Watch,
    pub(super) headers: HeaderLines,
    /// Frames up to and with the first content.
    pub(super) held: Bytes,
    /// It ended within those.
    pub(super) over: bool,
}

/// Makes one attempt, up to the first content or the whole answer.
pub(super) async fn open(
    worker: &Worker,
    request: &Request,
    mut leg: Leg,
    target: Arc<Target>,
    owed: Owed,
) -> Result<Opened, (Arc<Target>, Failed)> {
    match try_open(worker, request, &mut leg, &target, owed).await {
        Ok(Ready::Whole { headers, body }) => {
            let (note, usage, at) = (leg.note, leg.signs.usage.get(), clock::now());
            leg.succeeded(at);
            Ok(Opened::Whole(Whole { headers, body, usage, note, at }))
        }
        Ok(Ready::Live(streaming)) => Ok(Opened::Live(Box::new(Live { leg, target, streaming }))),
        Err(failed) => {
            let failed = redacted(&target.handle.settings, failed);
            // A translation that was refused quotes its client.
            log::debug!("attempt failed: backend={} class={} {:?}", target.handle.name(), failed.class, failed.message);
            leg.failed(&failed);
            Err((target, failed))
        }
    }
}

/// What a backend has begun with, or said.
pub(super) enum Ready {
    Whole { headers: HeaderLines, body: Bytes },
    Live(Streaming),
}

async fn try_open(
    worker: &Worker,
    request: &Request,
    leg: &mut Leg,
    target: &Arc<Target>,
    owed: Owed,
) -> Result<Ready, Failed> {
    let backend = &target.handle.settings;
    let limits = &backend.deadlines;
    let now = leg.begun;
    let left = request.deadline.saturating_duration_since(now);
    let mut watch = Watch::new(&worker.timers, now, limits, left, leg.signs.clone());
    let surface = request.surface;
    let native_chat = surface.has_choices() && backend.protocol == Protocol::Openai;
    let strip_usage = native_chat && backend.asks_usage() && request.envelope.usage_can_be_asked();
    let way = surface
        .way(backend, request.stream)
        .ok_or_else(|| Failed::new(Class::CallerUnsupported, "its protocol has no such endpoint").unsent())?;
    let begun = owed.as_ref().and_then(|debt| debt.begun(request, target, way));
    let change =
        Change { model: target.renamed.then_some(&*target.upstream_model), ask_usage: strip_usage, partial: begun };
    let outgoing = match way {
        Way::Native(_) => native(request, target, change),
        Way::Translated(_) => {
            let began = clock::now();
            let outgoing = translated(request, target, change, None);
            request.telling.spent(Phase::Translate, began);
            outgoing.map_err(Failed::unsent)?
        }
    };
    let mut answer = send(worker, request, target, way, outgoing, leg, &mut watch).await?;
    leg.status = Some(answer.status());
    if !answer.is_good() {
        let failed = Box::pin(refused(answer, &mut watch, target, (surface, way))).await;
        if let Some(debt) = owed.as_ref().filter(|_| begun.is_some() && failed.class == Class::CallerInvalid) {
            return Err(unable(debt, leg, target, failed));
        }
        let Some(limit) = shorter(request, target, way, &failed) else { return Err(failed) };
        let outgoing = translated(request, target, change, Some(limit.tokens()))?;
        leg.status = None;
        answer = Box::pin(send(worker, request, target, way, outgoing, leg, &mut watch)).await?;
        leg.status = Some(answer.status());
        if !answer.is_good() {
            return Err(Box::pin(refused(answer, &mut watch, target, (surface, way))).await);
        }
        learn(target, limit);
    }
    if let Some(why) = answer.packed() {
        return Err(Failed::new(Class::ProviderInvalid, why));
    }
    let rename = request.shown_model();
    let raw = surface.is_raw();
    if request.stream && if raw { answer.may_be_sound() } else { is_stream(&mut answer, &mut watch).await? } {
        let headers = answer.headers_for_client(!raw);
        let include_usage = request.envelope.include_usage;
        let decoder = Decoder::new(surface, way, backend, || request.context(target), include_usage);
        let text = (request.rescue() != Rescue::Off).then(String::new);
        let choices = if matches!(way, Way::Native(_)) { request.choices() } else { 1 };
        let terms = Terms { idle: limits.idle, choices, strip_usage, rename, raw };
        let mut reader = Box::new(Reader::new(answer, decoder, terms, text, leg.signs.clone()));
        if let Some(debt) = &owed {
            let seam = if begun.is_some() { Seam::gone_on_with } else { Seam::repeated };
            reader.sew_onto(seam(debt.text().to_owned()));
        }
        let first = first_content(&mut reader, &mut watch).await;
        leg.blameless = reader.differs;
        let (held, over) = first.map_err(|failed| {
            let failed = named_in(failed, |name| reader.header(name), SystemTime::now());
            let failed = Failed { request_id: request_id(&headers), ..failed };
            match &owed {
                Some(debt) if reader.resumes() && reader.differs => unable(debt, leg, target, failed),
                _ => failed,
            }
        })?;
        // What is plain text from the start shows no reasoning.
        leg.mused = !reader.intricate || !shows(&held);
        leg.first_token();
        watch.answered();
        return Ok(Ready::Live(Streaming { reader, watch, headers, held, over }));
    }
    whole(answer, &mut watch, request, way, target, rename, &leg.signs).await
}

/// A backend that was to go on with a text refused that, or began otherwise: no fault of its own. It may say all of it again.
#[cold]
fn unable(debt: &Debt, leg: &mut Leg, target: &Target, failed: Failed) -> Failed {
    debt.is_unable(target.handle.id);
    leg.blameless = true;
    Failed { class: Class::CallerUnsupported, told: None, ..failed }
}

/// Sends, within the watch's limit.
async fn send(
    worker: &Worker,
    request: &Request,
    target: &Target,
    way: Way,
    outgoing: Outgoing,
    leg: &Leg,
    watch: &mut Watch,
) -> Result<Answer, Failed> {
    let client = worker.clients.get(target.handle.id, &target.handle.settings);
    let (Way::Native(endpoint) | Way::Translated(endpoint)) = way;
    // What the client says of a provider's own API is for that provider alone.
    let (query, own): (_, &[_]) =
        if matches!(way, Way::Native(_)) { (&*request.query, &request.extra) } else { ("", &[]) };
    let is_told = target.handle.settings.trace_context;
    let trace = if is_told { request.trace_context(leg.note) } else { Vec::new() };
    let mut fields = if trace.is_empty() { Cow::Borrowed(own) } else { Cow::Owned([own, &trace].concat()) };
    if let Some(trials) = outgoing.trials {
        fields.to_mut().extend(of_trial(&target.handle.settings, trials));
    }
    let along = Along { query, fields: &fields };
    watch.guard(pin!(client.send(leg.begun, endpoint, &target.upstream_model, along, outgoing.body))).await?
}

/// Whether a stream was answered with one; where only its first bytes tell, they are waited for as a first token is.
async fn is_stream(answer: &mut Answer, watch: &mut Watch) -> Result<bool, Failed> {
    if let Some(told) = answer.is_event_stream() {
        return Ok(told);
    }
    // Boxed, since most streams have no need of it and all would carry it.
    let begins = Box::pin(async { watch.guard(pin!(answer.begins_events())).await }).await?;
    begins.map_err(|BrokenOff(why)| Failed::new(Class::ProviderStreamCut, why))
}

/// Reads on until content has come; a stream that ends without any is not an answer, unless it said that it was finished. One
/// that was to go on with a text has to have shown by then what it does, and one that has failed in the same breath is none either.
async fn first_content(reader: &mut Reader, watch: &mut Watch) -> Result<(Bytes, bool), Failed> {
    let mut held = Held::up_to(MAX_FRAME, without_content);
    loop {
        match reader.step(watch).await? {
            Step::Frames(frames) => held.add(frames, 0)?,
            Step::End(tail) => {
                held.add(tail, 0)?;
                return if reader.course.has_finish() { Ok((held.take(), true)) } else { Err(empty()) };
            }
        }
        if reader.content && !reader.has_failed() && reader.is_clear() {
            return Ok((held.take(), false));
        }
    }
}

/// What waits for a first content is as long as a single frame may be.
fn without_content(most: usize) -> Failed {
    Failed::new(Class::ProviderInvalid, format!("it sent more than {most} bytes without any content"))
}
