//! Owns making a client's request fit its backend: translated into its protocol, or in the client's own bytes without what it would
//! refuse, and with no higher answer limit than it allows.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::{attempt::Attempt, surface::Surface};
use crate::{
    error::{Class, ErrorObject, Failed},
    router::table::Target,
    telemetry::log::plain,
    wire::{
        Protocol,
        answer_limit::{self, AnswerLimit},
        count, embed,
        envelope::Change,
        foreign,
        translate::{self, Refused},
    },
};

/// What is sent to a backend.
pub(super) struct Outgoing {
    pub(super) body: Vec<Bytes>,
    /// Trials of its protocol that the body is part of.
    pub(super) trials: Option<&'static str>,
}

/// The request in the client's own bytes, less what other providers' answers left in its history and this one would refuse.
pub(super) fn native(attempt: &Attempt<'_>, change: Change<'_>) -> Outgoing {
    Outgoing { body: own_bytes(attempt, change), trials: None }
}

fn own_bytes(Attempt { request, target, .. }: &Attempt<'_>, change: Change<'_>) -> Vec<Bytes> {
    let parts = request.envelope.edit(&request.body, change);
    if request.envelope.is_form {
        return parts;
    }
    let dialect = request.surface.dialect();
    // Most servers of OpenAI's protocol pass over members that they do not know, and some of them want these back.
    // Where no backend of the model adds anything there is nothing of another's in a history, but by way of another model.
    let strict = target.handle.settings.is_strict();
    let is_mixed = request.route.as_ref().is_some_and(|route| route.adds);
    let added = if is_mixed || strict { foreign::refused(strict, &target.upstream_model) } else { &[] };
    if !foreign::suspected(dialect, added, &request.body) {
        return parts;
    }
    let cleared = match parts.as_slice() {
        [whole] => foreign::cleared(dialect, added, whole),
        pieces => foreign::cleared(dialect, added, &pieces.concat()),
    };
    match cleared {
        Some(cleared) => {
            log::debug!("what other providers made is not for {}, dropped", target.handle.name());
            vec![cleared.into()]
        }
        None => parts,
    }
}

/// The answer limit that the backend says it allows, if it refused a higher one that the client had to name, or that was ours.
pub(super) fn lower_limit(attempt: &Attempt<'_>, failed: &Failed) -> Option<AnswerLimit> {
    let Attempt { request, target, way, .. } = attempt;
    let is_ours = !way.is_native() && matches!(failed.status, Some(400 | 422));
    let told = failed.told.as_ref().filter(|_| is_ours)?;
    let asked = match (request.surface, request.envelope.max_tokens) {
        (Surface::Messages, Some(asked)) => asked,
        // Then it was ours, since this protocol requires one.
        (Surface::Chat | Surface::Responses, None) if target.handle.settings.protocol == Protocol::Anthropic => {
            u64::MAX
        }
        _ => return None,
    };
    answer_limit::said(&told.message, asked)
}

/// Remembers a model's own answer limit once the model has answered within it. A refusal alone proves nothing: it may quote a prompt.
pub(super) fn learn(target: &Target, limit: AnswerLimit) {
    if let AnswerLimit::Model(most) = limit {
        target.lane.most_tokens.store(most, Relaxed);
        log::info!("{} gives answers of {most} tokens at most as {}", target.handle.name(), target.upstream_model);
    }
}

/// The request in the backend's own protocol; `at_most`: the answer limit to ask for where the client had to name one, or it is ours.
pub(super) fn translated(
    Attempt { request, target, .. }: &Attempt<'_>,
    change: Change<'_>,
    at_most: Option<u64>,
) -> Result<Outgoing, Failed> {
    let backend = &target.handle.settings;
    // A translation writes all else anew.
    let begun = change
        .partial
        .is_some()
        .then(|| request.envelope.edit(&request.body, Change { model: None, ask_usage: false, ..change }).concat());
    let body = begun.as_deref().unwrap_or(&request.body);
    let into = translate::Target {
        protocol: backend.protocol,
        model: &target.upstream_model,
        max_tokens: backend.max_tokens,
        at_most: at_most.or_else(|| Some(target.lane.most_tokens.load(Relaxed)).filter(|most| *most > 0)),
        refuse_unsupported: backend.refuse_unsupported,
        ask_usage: backend.asks_usage(),
        host: backend.host(),
    };
    let made = match request.surface {
        Surface::CountTokens => count::request(body, &into, backend.is_vertex()),
        Surface::Embeddings => embed::request(body, &into),
        surface => translate::request(surface.dialect(), body, &into),
    };
    match made {
        Ok(made) => {
            if !made.dropped.is_empty() {
                let (count, to) = (made.dropped.len(), target.handle.name());
                log::debug!("not expressible for {to}, {count} dropped:{}", first_of(&made.dropped));
            }
            Ok(Outgoing { body: vec![made.body.into()], trials: made.trials })
        }
        Err(refused) => {
            let code = refused.code(request.surface.dialect()).to_owned();
            let (class, param, message) = match refused {
                Refused::Invalid { param, message } => (Class::CallerInvalid, param, message),
                Refused::Unsupported { param, message } => (Class::CallerUnsupported, param, message),
            };
            let told = ErrorObject { param, ..ErrorObject::ours(code, &*message) };
            Err(Failed { status: Some(400), told: Some(told), ..Failed::new(class, message) })
        }
    }
}

/// The first of these members, which clients name as they like, each behind a blank.
fn first_of(members: &[String]) -> String {
    const MOST: usize = 8;
    let mut line = String::new();
    for member in members.iter().take(MOST) {
        line.push(' ');
        plain(member, &mut line);
    }
    line
}
