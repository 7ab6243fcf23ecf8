//! Owns one attempt at one backend: send, wait for the first content or the whole answer, judge what came.

use std::{
    borrow::Cow,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::{
    adapt::{Outgoing, learn, lower_limit, native, translated},
    buffer::Buffer,
    debt::{Debt, Owed},
    decode::Decoder,
    judge::{empty, refused, whole},
    leg::{Leg, Signs, Unseen},
    redact::redacted,
    relay::{Reader, Step, Terms},
    request::Request,
    retry_after::named_in,
    seam::Seam,
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
    upstream::{Along, Answer, BrokenOff, HeaderLines, of_trial, request_id},
    wire::{Protocol, Usage, envelope::Change, thoughts},
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

/// A running stream, with its leg and its backend.
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
}

/// How an attempt ends.
pub(super) type Ended = Result<Opened, FailedAttempt>;

/// An attempt that failed, and at which backend.
pub(super) struct FailedAttempt {
    pub(super) target: Arc<Target>,
    pub(super) failed: Failed,
}

/// Makes one attempt, up to the first content or the whole answer.
pub(super) async fn open(worker: &Worker, request: &Request, mut leg: Leg, target: Arc<Target>, owed: Owed) -> Ended {
    match try_open(worker, request, &mut leg, &target, owed.as_deref()).await {
        Ok(Ready::Whole { headers, body }) => {
            let (note, usage, at) = (leg.note, leg.signs.usage.get(), clock::now());
            leg.succeeded(at);
            Ok(Opened::Whole(Whole { headers, body, usage, note, at }))
        }
        Ok(Ready::Live(streaming)) => Ok(Opened::Live(Box::new(Live { leg, target, streaming }))),
        Err(failed) => {
            let failed = redacted(&target.handle.settings, failed);
            // The message of a refused translation quotes the client, so it is written with escapes.
            log::debug!("attempt failed: backend={} class={} {:?}", target.handle.name(), failed.class, failed.message);
            leg.failed(&failed);
            Err(FailedAttempt { target, failed })
        }
    }
}

/// A backend's answer, as far as it has to come before the client is sent anything.
pub(super) enum Ready {
    Whole { headers: HeaderLines, body: Bytes },
    Live(Streaming),
}

/// What the steps of an attempt have in common.
pub(super) struct Attempt<'a> {
    pub(super) worker: &'a Worker,
    pub(super) request: &'a Request,
    pub(super) target: &'a Target,
    /// How the backend serves it.
    pub(super) way: Way,
    /// What the client has of a broken answer that this attempt is to complete.
    pub(super) debt: Option<&'a Debt>,
}

async fn try_open(
    worker: &Worker,
    request: &Request,
    leg: &mut Leg,
    target: &Target,
    debt: Option<&Debt>,
) -> Result<Ready, Failed> {
    let backend = &target.handle.settings;
    let left = request.deadline.saturating_duration_since(leg.begun);
    let mut watch = Watch::new(&worker.timers, leg.begun, &backend.deadlines, left, leg.signs.clone());
    let way = request
        .surface
        .way(backend, request.stream)
        .ok_or_else(|| Failed::new(Class::CallerUnsupported, "its protocol has no such endpoint").unsent())?;
    let attempt = Attempt { worker, request, target, way, debt };
    let change = attempt.change();
    let outgoing = if way.is_native() {
        native(&attempt, change)
    } else {
        let began = clock::now();
        let outgoing = translated(&attempt, change, None);
        request.telling.phase_ended(Phase::Translate, began);
        outgoing.map_err(Failed::unsent)?
    };
    let mut answer = send(&attempt, outgoing, leg, &mut watch).await?;
    leg.status = Some(answer.status());
    if !answer.is_good() {
        answer = Box::pin(ask_for_less(&attempt, answer, change, leg, &mut watch)).await?;
    }
    if let Some(why) = answer.packed() {
        return Err(Failed::new(Class::ProviderInvalid, why));
    }
    let is_speech = request.surface == Surface::Speech;
    let streams = request.stream && is_stream(&mut answer, is_speech, &mut watch).await?;
    if !streams {
        return whole(&attempt, answer, &mut watch, &leg.signs).await;
    }
    let headers = request.headers_of(&answer, !request.surface.is_raw());
    let mut reader = Box::new(attempt.reader(answer, change, leg.signs.clone()));
    let first = first_content(&mut reader, &mut watch).await;
    leg.blameless = reader.differs;
    let held = first.map_err(|failed| {
        let failed = named_in(failed, |name| reader.header(name), SystemTime::now());
        let failed = Failed { request_id: request_id(&headers), ..failed };
        match debt {
            Some(debt) if reader.resumes() && reader.differs => unable(debt, leg, target, failed),
            _ => failed,
        }
    })?;
    // An answer that is plain text from the start shows no reasoning.
    leg.unseen = Unseen::of(request.surface, reader.intricate && thoughts::shows(&held));
    leg.first_token();
    watch.answered();
    Ok(Ready::Live(Streaming { reader, watch, headers, held }))
}

impl Attempt<'_> {
    /// Whether we ask for token counts in chunks although the client has not.
    fn asks_usage(&self) -> bool {
        let backend = &self.target.handle.settings;
        let native_chat = self.request.surface.has_choices() && backend.protocol == Protocol::Openai;
        native_chat && backend.asks_usage() && self.request.envelope.usage_can_be_asked()
    }

    /// What is changed in the client's own bytes.
    fn change(&self) -> Change<'_> {
        let Self { target, debt, .. } = self;
        Change {
            model: target.renamed.then_some(&*target.upstream_model),
            ask_usage: self.asks_usage(),
            partial: debt.and_then(|debt| debt.begun(self)),
        }
    }

    /// The reader of the stream that answers the request with this change.
    fn reader(&self, answer: Answer, change: Change<'_>, signs: Rc<Signs>) -> Reader {
        let Self { request, target, .. } = self;
        let terms = Terms {
            idle: request.surface.idle(&target.handle.settings.deadlines),
            choices: if self.way.is_native() { request.choices() } else { 1 },
            strip_usage: change.ask_usage,
            rename: request.shown_model(),
        };
        let text = (request.rescue() != Rescue::Off).then(String::new);
        let decoder = Decoder::new(self, &answer);
        let mut reader = Reader::new(answer, decoder, terms, text, signs);
        if let Some(debt) = self.debt {
            let seam = if change.partial.is_some() { Seam::gone_on_with } else { Seam::repeated };
            reader.seam = Some(seam(debt.text().to_owned()));
        }
        reader
    }
}

/// Asks again for a shorter answer if the refusal says how much the backend gives; otherwise the attempt has failed.
async fn ask_for_less(
    attempt: &Attempt<'_>,
    refusal: Answer,
    change: Change<'_>,
    leg: &mut Leg,
    watch: &mut Watch,
) -> Result<Answer, Failed> {
    let failed = refused(attempt, refusal, watch).await;
    let goes_on = change.partial.is_some() && failed.class == Class::CallerInvalid;
    if let Some(debt) = attempt.debt.filter(|_| goes_on) {
        return Err(unable(debt, leg, attempt.target, failed));
    }
    let Some(limit) = lower_limit(attempt, &failed) else { return Err(failed) };
    let outgoing = translated(attempt, change, Some(limit.tokens()))?;
    leg.status = None;
    let answer = send(attempt, outgoing, leg, watch).await?;
    leg.status = Some(answer.status());
    if !answer.is_good() {
        return Err(refused(attempt, answer, watch).await);
    }
    learn(attempt.target, limit);
    Ok(answer)
}

/// A backend refused to continue a text, or began with something else. That is no fault of its own, and it may still repeat
/// all of the text.
#[cold]
fn unable(debt: &Debt, leg: &mut Leg, target: &Target, failed: Failed) -> Failed {
    debt.mark_unable(target.handle.id);
    leg.blameless = true;
    Failed { class: Class::CallerUnsupported, told: None, ..failed }
}

/// Sends, within the watch's limit.
async fn send(attempt: &Attempt<'_>, outgoing: Outgoing, leg: &Leg, watch: &mut Watch) -> Result<Answer, Failed> {
    let Attempt { worker, request, target, way, .. } = attempt;
    let backend = &target.handle.settings;
    let client = worker.clients.get(target.handle.id, backend);
    // What the client says to a provider's own API is for backends of that protocol only.
    let (query, own): (_, &[_]) = if way.is_native() { (&*request.query, &request.extra) } else { ("", &[]) };
    let trace = if backend.trace_context { request.trace_context(leg.note) } else { Vec::new() };
    let mut fields = if trace.is_empty() { Cow::Borrowed(own) } else { Cow::Owned([own, &trace].concat()) };
    if let Some(trials) = outgoing.trials {
        fields.to_mut().extend(of_trial(backend, trials));
    }
    let along = Along { query, fields: &fields };
    watch.guard(pin!(client.send(leg.begun, way.endpoint(), &target.upstream_model, along, outgoing.body))).await?
}

/// Whether the answer to a request for a stream is one; `is_speech`: a stream of sound. If only the first bytes tell, waits for
/// them as for a first token.
async fn is_stream(answer: &mut Answer, is_speech: bool, watch: &mut Watch) -> Result<bool, Failed> {
    if let (false, Some(told)) = (is_speech, answer.is_event_stream()) {
        return Ok(told);
    }
    let begins = async { if is_speech { answer.may_be_sound().await } else { answer.begins_events().await } };
    // Boxed: most streams do not need it, and all would carry it.
    let begins = Box::pin(async { watch.guard(pin!(begins)).await }).await?;
    begins.map_err(|BrokenOff(why)| Failed::new(Class::ProviderStreamCut, why))
}

/// Reads until the first content. A stream that ends without content is no answer, unless it said that it was finished. A
/// stream that was to continue a text must also have shown whether it does, and content with a failure right behind it does
/// not count.
async fn first_content(reader: &mut Reader, watch: &mut Watch) -> Result<Bytes, Failed> {
    let mut held = Buffer::up_to(reader.max_frame(), without_content);
    loop {
        match reader.step(watch).await? {
            Step::Frames(frames) => held.add(frames, 0)?,
            Step::End(tail) => {
                held.add(tail, 0)?;
                let is_answer = reader.course.has_finish() || reader.has_no_finish() && reader.content;
                return if is_answer { Ok(held.take()) } else { Err(empty()) };
            }
        }
        if reader.content && !reader.has_failed() && reader.is_clear() {
            return Ok(held.take());
        }
    }
}

/// All that is held for a first content may be as long as a single frame.
fn without_content(most: usize) -> Failed {
    Failed::new(Class::ProviderInvalid, format!("it sent more than {most} bytes without any content"))
}
