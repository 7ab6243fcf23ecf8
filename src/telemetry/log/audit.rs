//! Owns the audit line of pinned requests: who pinned where, and what came of it.

use serde::Serialize;

use super::{json, objects, plain};
use crate::{
    error::{Class, Error},
    telemetry::story::Story,
};

/// Log target of the audit line.
pub(super) const TARGET: &str = "greenroom::pin";

/// Who pinned where, and what came of it.
#[derive(Serialize)]
pub(super) struct Audit<'a> {
    event: &'static str,
    id: &'a str,
    user: &'a str,
    /// None where what the request names is no name.
    backend: Option<&'a str>,
    status: u16,
    outcome: &'a str,
    said: Option<&'a str>,
}

/// Writes the line of a request that has ended.
pub(super) fn pin(story: &Story) {
    write(&Audit {
        event: "pin",
        id: &story.id,
        user: &story.user.name,
        backend: story.pin.as_deref(),
        status: story.status,
        outcome: story.class.map_or("served", Class::as_str),
        // Once a provider was asked, the words may be its own, about the prompt: those appear in no log.
        said: story.message.as_deref().filter(|_| story.attempts.is_empty()),
    });
}

/// Writes the line of a request that was refused for its pin before it had a story.
pub(super) fn bad_pin(id: &str, user: Option<&str>, error: &Error) {
    let (face, outcome) = (error.face(), error.class().as_str());
    // A request is read this far only once its sender is known.
    let user = user.unwrap_or_default();
    let (status, said) = (face.status.as_u16(), Some(face.message.as_str()));
    write(&Audit { event: "pin", id, user, backend: None, status, outcome, said });
}

fn write(audit: &Audit<'_>) {
    if let Some(buffer) = objects() {
        if ::log::log_enabled!(target: TARGET, ::log::Level::Info) {
            buffer.add(false, |lines| json::pin(lines, audit));
        }
        return;
    }
    let Audit { event, id, user, backend, status, outcome, said } = *audit;
    let mut name = String::new();
    plain(backend.unwrap_or("-"), &mut name);
    let said = said.unwrap_or_default();
    ::log::info!(
        target: TARGET,
        "event={event} id={id} user={user} backend={name} status={status} outcome={outcome} said={said:?}",
    );
}
