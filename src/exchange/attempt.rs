//! Owns one attempt at one backend: send, wait for the first content or the whole answer, judge what came.

use std::{cell::Cell, pin::pin, rc::Rc, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::{
    adapt::{native, translated},
    decode::Decoder,
    judge::{empty, refused, says_finish, whole},
    relay::{Reader, Step},
    request::Request,
    surface::{Surface, Way},
    watch::Watch,
    worker::Worker,
};
use crate::{
    backend::lease::{Lease, Outcome},
    clock,
    error::{Class, Failed},
    router::{messages::Grant, table::Target},
    settings::Rescue,
    telemetry::{
        phase::Phase,
        story::{AttemptNote, RouteReason, Telling},
    },
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

/// A lease with its entry in the story: both end together, on every path.
pub(super) struct Leg {
    lease: Option<Lease>,
    telling: Telling,
    pub(super) note: usize,
    /// Since when it has its place: from then on its deadlines count.
    begun: Instant,
    /// The soft first-token threshold has passed.
    pub(super) slow: Rc<Cell<bool>>,
    /// A failure is none of this backend's: its answer is in order, but another than the one that it should complete.
    pub(super) blameless: bool,
    /// Time in which the client did not take what was there for it.
    pub(super) held_up: Duration,
}

impl Leg {
    pub(super) fn begin(request: &Request, grant: Grant, hedged: bool) -> (Self, Arc<Target>) {
        let name = grant.target.handle.name();
        let moved = request.telling.read(|story| story.attempts.iter().any(|tried| tried.backend != *name));
        let route = match () {
            () if hedged => RouteReason::Hedged,
            () if request.pin.is_some() => RouteReason::Pinned,
            () if moved => RouteReason::Failover,
            () if grant.candidates > 1 => RouteReason::LeastLoaded,
            () => RouteReason::OnlyCandidate,
        };
        if request.pin.is_some() {
            grant.target.handle.vitals.pins.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        let note = request.telling.attempt(AttemptNote {
            backend: grant.target.handle.name().clone(),
            upstream_model: grant.target.upstream_model.clone(),
            route,
            started: request.telling.until(grant.lease.taken()),
            duration: None,
            outcome: None,
            status: None,
            message: None,
            // A decision is plain data and always serialises.
            decision: grant.decision.and_then(|d| serde_json::to_value(d).ok()).map(Box::new),
        });
        let begun = clock::instant(grant.lease.taken());
        let (lease, telling) = (Some(grant.lease), request.telling.clone());
        let leg = Self { lease, telling, note, begun, slow: Rc::default(), blameless: false, held_up: Duration::ZERO };
        (leg, grant.target)
    }

    fn first_token(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.first_token(clock::now());
        }
    }

    pub(super) fn succeeded(mut self, usage: Option<Usage>, now: Duration) {
        self.telling.attempt_ended(self.note, "success", Some(200), None, now);
        if let Some(lease) = self.lease.take() {
            if let Some(usage) = usage {
                lease.used(usage, self.held_up, now);
            }
            lease.finish(&Outcome::Success, now);
        }
    }

    /// Whether the backend had no fair time, since the request's own deadline ended this before, or since its client spent most
    /// of it without reading: that tells nothing about it.
    fn was_hurried(&self, failed: &Failed) -> bool {
        let Some(lease) = self.lease.as_ref().filter(|_| failed.class == Class::ProviderTimeoutTotal) else {
            return false;
        };
        let limits = &lease.handle().settings.deadlines;
        // Of a whole answer nothing is seen before its end.
        let may_be_silent = lease.time_to_first_token().is_none() && self.telling.read(|story| story.stream);
        let fair = if may_be_silent { limits.first_token_soft } else { limits.total };
        let took = clock::now().saturating_sub(lease.taken());
        took < fair.min(limits.total) || self.held_up > took / 2
    }

    pub(super) fn failed(mut self, failed: &Failed) {
        let (blameless, now) = (self.blameless || self.was_hurried(failed), clock::now());
        self.telling.attempt_ended(self.note, failed.class.as_str(), failed.status, Some(failed.message.clone()), now);
        if let Some(lease) = self.lease.take() {
            lease.finish(&if blameless { Outcome::LetGo } else { Outcome::Failed(failed) }, now);
        }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        // One that has ended has none by now.
        if let Some(lease) = self.lease.take() {
            let now = clock::now();
            // Whose end was told already was beaten by another attempt; nobody tells of a client that has left.
            let beaten = self.telling.read(|s| s.attempts.get(self.note).is_some_and(|note| note.outcome.is_some()));
            self.telling.attempt_ended(self.note, "cancelled", None, None, now);
            lease.finish(if beaten { &Outcome::LetGo } else { &Outcome::Cancelled }, now);
        }
    }
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
    watch.until_total();
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
