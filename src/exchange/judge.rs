//! Owns judging an answer that is not a stream: refused, or whole and checked before anything of it goes out.

use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::{
    attempt::{Attempt, Ready},
    buffer::Buffer,
    decode,
    leg::Signs,
    retry_after::{heeded, named_in, retry_after},
    surface::Surface,
    watch::Watch,
};
use crate::{
    error::{Class, ErrorObject, Failed},
    upstream::{
        Answer,
        classify::{classify, classify_answer, fault_in_stream, own_words, reported, told},
        request_id,
        strange::{PAGE, Strange, is_page, lacks_endpoint},
    },
    wire::{Malformed, Observed, naming::renamed, sse, torn::mended, translate},
};

/// Most bytes read of an error body; a longer one is judged by its beginning.
const ERROR_BODY: usize = 1 << 20;

/// Longest time that an error body may take. What has come by then is judged: the status alone says enough to go elsewhere.
const ERROR_TAKES: Duration = Duration::from_secs(1);

/// Longest whole answer held for checking before its head goes out, bytes.
const WHOLE_BODY: usize = 64 << 20;

/// The same of embeddings: 2,048 of 3,072 numbers each, as many as can be asked for at once, are 150 MB of text. And of pictures,
/// of which ten can be.
const LONG_LIST: usize = 256 << 20;

/// An answer that is not a 2xx: reads what it says and judges it.
pub(super) async fn refused(attempt: &Attempt<'_>, mut answer: Answer, watch: &mut Watch) -> Failed {
    let (surface, target) = (attempt.request.surface, attempt.target);
    let (status, protocol) = (answer.status(), target.handle.settings.protocol);
    let (body, is_told) = said(&mut answer, watch).await;
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
    let legible = if is_json { None } else { mended(&body) };
    let legible = legible.as_deref().unwrap_or(&body);
    let fault = translate::fault(protocol, status, legible);
    // Of a body that has not come, nothing is judged but the status.
    let class = if is_told { classify_answer(&fault, &body, &target.upstream_model) } else { classify(&fault) };
    let wait = retry_after(heeded(class, |name| answer.header(name)), &fault, SystemTime::now());
    let strange = Strange::of(status, &fault, &body);
    let passes_through = is_json && attempt.way.is_native();
    let how = format!("it answered {status}");
    if is_told && surface.may_be_missing() && lacks_endpoint(status, strange, &fault, &body) {
        answer.accept();
        return no_endpoint(surface, status, &how);
    }
    let own = own_words(class, &fault, legible);
    let told = told(class, &fault, passes_through.then_some(body));
    let failed = match strange {
        Some(strange) => {
            let how = format!("{how} ({})", strange.words());
            Failed { told, turned_away: status >= 400, ..Failed::new(class, how) }
        }
        None => reported(class, &fault, &how, told),
    };
    if class != Class::ProviderInvalid {
        answer.accept();
    }
    Failed {
        status: Some(status),
        said: own,
        retry_after: wait,
        request_id: request_id(&attempt.request.headers_of(&answer, true)),
        ..failed
    }
}

/// A server that does not have this endpoint is not at fault for that, and its models are there at others: no client shuts it for
/// all by asking.
fn no_endpoint(surface: Surface, status: u16, how: &str) -> Failed {
    let path = surface.path();
    let message = format!("The backend of this model does not serve this endpoint ({path}), or not for that model.");
    let told = ErrorObject { param: Some("model".to_owned()), ..ErrorObject::ours("invalid_value", message) };
    let how = format!("{how} (nothing is served at this path; check base_url, or whether it serves this endpoint)");
    Failed { status: Some(status), told: Some(told), turned_away: true, ..Failed::new(Class::CallerUnsupported, how) }
}

/// An error body, as far as it comes in time and within the limit; and whether anything is known of it, if only that it is empty.
async fn said(answer: &mut Answer, watch: &mut Watch) -> (Bytes, bool) {
    let mut body = BytesMut::new();
    let all = async {
        while body.len() < ERROR_BODY {
            match watch.guard(pin!(answer.chunk())).await {
                Ok(Some(Ok(piece))) => body.extend_from_slice(&piece),
                Ok(None) => return true,
                Ok(Some(Err(_))) | Err(_) => return false,
            }
        }
        true
    };
    let has_ended = timeout(ERROR_TAKES, all).await.unwrap_or(false);
    let is_told = has_ended || !body.is_empty();
    (sse::unmarked(body.freeze()), is_told)
}

/// A whole answer, checked before anything of it goes out.
pub(super) async fn whole(
    attempt: &Attempt<'_>,
    mut answer: Answer,
    watch: &mut Watch,
    signs: &Signs,
) -> Result<Ready, Failed> {
    // A translation is ours, and so is its type.
    let ours = !attempt.way.is_native();
    let mut headers = attempt.request.headers_of(&answer, ours);
    if ours {
        headers.extend_from_slice(b"content-type: application/json\r\n");
    }
    match check(attempt, &mut answer, watch, signs).await {
        Ok(body) => Ok(Ready::Whole { headers, body }),
        Err(failed) => Err(Failed { request_id: request_id(&headers), ..failed }),
    }
}

async fn check(attempt: &Attempt<'_>, answer: &mut Answer, watch: &mut Watch, signs: &Signs) -> Result<Bytes, Failed> {
    let Attempt { request, target, .. } = attempt;
    let idle = target.handle.settings.deadlines.idle;
    let is_long = request.surface == Surface::Embeddings || request.surface.draws();
    let most = if is_long { LONG_LIST } else { WHOLE_BODY };
    let body = collect(answer, watch, idle, most).await?;
    let is_words = request.surface.hears() && answer.is_text();
    // Of a recording of silence the text is without a letter.
    if body.is_empty() && is_words {
        answer.accept();
        return Ok(body);
    }
    let streams = request.stream && !request.surface.is_medium();
    let (translated, seen) = match decode::whole(attempt, &body) {
        // Words may begin as JSON does.
        Err(_) if is_words && !is_page(&body) => (None, Observed::default()),
        read => read.map_err(|why| Failed::new(Class::ProviderInvalid, unreadable(&body, &why)))?,
    };
    signs.usage.set(seen.usage);
    if seen.fault.is_some() || !streams {
        answer.accept();
    }
    if let Some(fault) = &seen.fault {
        if request.surface.may_be_missing() && lacks_endpoint(answer.status(), None, fault, &body) {
            return Err(no_endpoint(request.surface, answer.status(), "it answered 200 with an error"));
        }
        return Err(named_in(fault_in_stream(fault), |name| answer.header(name), SystemTime::now()));
    }
    if request.surface == Surface::Speech {
        return Err(no_endpoint(request.surface, answer.status(), "it answered with JSON in place of sound"));
    }
    if streams {
        return Err(Failed::new(Class::ProviderInvalid, "it answered a stream request without a stream"));
    }
    let body = translated.map_or_else(|| body.clone(), Bytes::from);
    Ok(match request.shown_model().and_then(|name| renamed(&body, &name)) {
        Some(named) => named.into(),
        None => body,
    })
}

/// Why a whole answer cannot be read.
fn unreadable(body: &[u8], why: &Malformed) -> String {
    if is_page(body) { PAGE.to_owned() } else { format!("its answer cannot be read ({})", why.0) }
}

/// An end marker behind nothing: no answer, whatever it claims.
pub(super) fn empty() -> Failed {
    Failed::new(Class::ProviderInvalid, "its stream ended without content and without a reason")
}

/// What is asked for is more than can be held: another backend would be worked as hard, and say as much.
fn too_long(most: usize) -> Failed {
    let held = format!("longer than {} MiB, the most that is held of a whole answer here", most >> 20);
    let told = ErrorObject::ours("answer_too_long", format!("The answer is {held}. Ask for less at a time."));
    Failed { told: Some(told), ..Failed::new(Class::CallerInvalid, format!("its answer is {held}")) }
}

/// Reads a body whole, with at most `idle` between two pieces of it. An answer in one piece, the usual case, is not copied; a
/// byte order mark in front of it, which JSON must not have (RFC 8259, 8.1), is taken off.
async fn collect(answer: &mut Answer, watch: &mut Watch, idle: Duration, most: usize) -> Result<Bytes, Failed> {
    let mut held = Buffer::up_to(most, too_long);
    // A head is no answer yet: to the first piece the limit of a first token holds.
    let mut between = None;
    loop {
        let next = watch.guard_within(between, pin!(answer.chunk())).await?;
        let Some(chunk) = next else { break };
        between = Some(idle);
        let chunk = chunk.map_err(|broken| Failed::new(Class::ProviderStreamCut, broken.0))?;
        // Some send blanks until they have an answer.
        if !chunk.trim_ascii_start().is_empty() {
            watch.answered();
        }
        held.add(chunk, answer.length().unwrap_or(0))?;
    }
    Ok(sse::unmarked(held.take()))
}
