//! Owns one attempt at one backend: send, wait for the first content or the whole answer, judge what came.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{
    adapt::{native, translated},
    decode::Decoder,
    judge::{empty, refused, says_finish, whole},
    leg::Leg,
    relay::{Reader, Step},
    request::Request,
    surface::{Surface, Way},
    watch::Watch,
    worker::Worker,
};
use crate::{
    clock,
    error::{Class, Failed},
    router::table::Target,
    settings::Rescue,
    telemetry::phase::Phase,
    upstream::{Answer, HeaderLines, request_id},
    wire::{Protocol, Usage, envelope::Change, translate::Dialect},
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

/// A stream under way.
pub(super) struct Live {
    pub(super) leg: Leg,
    pub(super) reader: Box<Reader>,
    pub(super) watch: Watch,
    pub(super) headers: HeaderLines,
    /// Frames up to and with the first content.
    pub(super) held: Bytes,
    /// It ended within those.
    pub(super) over: bool,
    pub(super) target: Arc<Target>,
}

/// The text of a broken answer that the client has, where this attempt is its rescue.
pub(super) type Owed = Option<String>;

/// Makes one attempt, up to the first content or the whole answer.
pub(super) async fn open(
    worker: &Worker,
    request: &Request,
    mut leg: Leg,
    target: Arc<Target>,
    owed: Owed,
) -> Result<Opened, (Arc<Target>, Failed)> {
    match try_open(worker, request, &mut leg, &target, owed).await {
        Ok(Ready::Whole { headers, body, usage }) => {
            let (note, at) = (leg.note, clock::now());
            leg.succeeded(usage, at);
            Ok(Opened::Whole(Whole { headers, body, usage, note, at }))
        }
        Ok(Ready::Live { reader, watch, headers, held, over }) => {
            Ok(Opened::Live(Box::new(Live { leg, reader, watch, headers, held, over, target })))
        }
        Err(failed) => {
            log::debug!("attempt failed: backend={} class={} {}", target.handle.name(), failed.class, failed.message);
            leg.failed(&failed);
            Err((target, failed))
        }
    }
}

pub(super) enum Ready {
    Whole { headers: HeaderLines, body: Bytes, usage: Option<Usage> },
    Live { reader: Box<Reader>, watch: Watch, headers: HeaderLines, held: Bytes, over: bool },
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
    let mut watch = Watch::new(&worker.timers, now, limits, left, leg.slow.clone());
    let native_chat =
        matches!(request.surface, Surface::Chat | Surface::Completions) && backend.protocol == Protocol::Openai;
    let strip_usage = native_chat && backend.ask_usage && request.envelope.usage_can_be_asked();
    let surface = request.surface;
    let way = surface
        .way(backend, request.stream)
        .ok_or_else(|| Failed::new(Class::CallerUnsupported, "its protocol has no such endpoint"))?;
    let change =
        Change { model: target.renamed.then_some(&*target.upstream_model), ask_usage: strip_usage, partial: None };
    let edited = |change| match way {
        Way::Native(_) => Ok(native(request, target, change)),
        Way::Translated(_) => {
            let began = clock::now();
            let body = translated(request, target, change);
            request.telling.spent(Phase::Translate, began);
            body
        }
    };
    let mut continued = false;
    let plain = edited(change)?;
    let partial = owed.as_deref().filter(|_| request.rescue() == Rescue::Prefix && target.settings.continues);
    let answer = if partial.is_none() {
        send(worker, request, target, way, plain, &mut watch).await?
    } else {
        let body = edited(Change { partial, ..change })?;
        let answer = Box::pin(send(worker, request, target, way, body, &mut watch)).await?;
        continued = !(400..500).contains(&answer.status());
        // One that does not continue a partial answer after all can still repeat it from the start.
        if continued { answer } else { Box::pin(send(worker, request, target, way, plain, &mut watch)).await? }
    };
    if !(200..300).contains(&answer.status()) {
        return Err(Box::pin(refused(answer, &mut watch, backend.protocol, way)).await);
    }
    let rename = request.shown_model();
    if request.stream && answer.is_event_stream() {
        let headers = answer.headers_for_client(true);
        let include_usage = request.envelope.include_usage == Some(true);
        let decoder = Decoder::new(surface, way, backend, || request.context(target), include_usage);
        let text = (request.rescue() != Rescue::Off).then(String::new);
        let text = if continued { owed.clone() } else { text };
        let mut reader = Box::new(Reader::new(answer, decoder, strip_usage, rename, text));
        if let Some(owed) = owed.filter(|_| !continued) {
            reader.sew_onto(owed);
        }
        let first = first_content(&mut reader, &mut watch, surface.dialect()).await;
        leg.blameless = reader.differs;
        let named = |failed| Failed { request_id: request_id(&headers), ..failed };
        let (held, over) = first.map_err(named)?;
        leg.first_token();
        watch.answered();
        watch.limit(limits.idle, Class::ProviderTimeoutIdle);
        return Ok(Ready::Live { reader, watch, headers, held, over });
    }
    whole(answer, &mut watch, request, way, target, rename).await
}

/// Sends, within the watch's limit.
async fn send(
    worker: &Worker,
    request: &Request,
    target: &Target,
    way: Way,
    body: Vec<Bytes>,
    watch: &mut Watch,
) -> Result<Answer, Failed> {
    let client = worker.clients.get(target.handle.id, &target.handle.settings);
    let (Way::Native(endpoint) | Way::Translated(endpoint)) = way;
    // What the client says of a provider's own API is for that provider alone.
    let extra: &[_] = if matches!(way, Way::Native(_)) { &request.extra } else { &[] };
    watch.guard(pin!(client.send(endpoint, &target.upstream_model, extra, body))).await?
}

/// Reads on until content has come; a stream that ends without any is not an answer, unless it said that it was finished.
async fn first_content(reader: &mut Reader, watch: &mut Watch, dialect: Dialect) -> Result<(Bytes, bool), Failed> {
    let mut held: Option<Bytes> = None;
    let mut hold = |frames: Bytes| match &mut held {
        None => held = Some(frames),
        Some(before) if !frames.is_empty() => {
            let mut joined = BytesMut::from(&before[..]);
            joined.extend_from_slice(&frames);
            *before = joined.freeze();
        }
        Some(_) => {}
    };
    loop {
        match reader.step(watch).await? {
            Step::Frames(frames) => hold(frames),
            Step::End(tail) => {
                hold(tail);
                let held = held.unwrap_or_default();
                return if says_finish(&held, dialect) { Ok((held, true)) } else { Err(empty()) };
            }
        }
        if reader.content {
            return Ok((held.unwrap_or_default(), false));
        }
    }
}
