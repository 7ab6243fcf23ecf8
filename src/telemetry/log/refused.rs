//! Owns the log line of a request that was refused before it had a story.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use super::{TARGET, audit, json, objects, plain};
use crate::{error::Error, telemetry::story::ms, wire::trace_context::TraceId};

/// Such a request.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// `x-request-id`.
    pub id: &'a str,
    /// The trace that has its span.
    pub trace: Option<TraceId>,
    /// Its sender, if known.
    pub user: Option<&'a str>,
    /// The configured model that it names, if it got as far.
    pub model: Option<&'a str>,
    /// What was asked, in a word of a closed set.
    pub endpoint: &'static str,
    /// The other end of its connection: of a stranger's, or of one that missed the endpoints.
    pub peer: Option<SocketAddr>,
    /// Why.
    pub error: &'a Error,
    /// How long that took.
    pub took: Duration,
}

impl Refused<'_> {
    /// Writes the line.
    pub fn write(&self) {
        let Self { id, user, model, endpoint, error, .. } = *self;
        if error.is_bad_pin() {
            audit::bad_pin(id, user, error);
        }
        if !::log::log_enabled!(target: TARGET, ::log::Level::Info) {
            return;
        }
        if let Some(buffer) = objects() {
            return buffer.add(false, |lines| json::refused(lines, self));
        }
        let mut more = String::new();
        // Writing to a string cannot fail.
        if let Some(peer) = self.peer {
            let _ = write!(more, " peer={peer}");
        }
        if let Some((method, path)) = self.missed() {
            let _ = write!(more, " method={method} path={}", path.as_deref().unwrap_or("-"));
        }
        let (status, class, took) = (error.face().status.as_u16(), error.class(), ms(self.took));
        ::log::info!(
            target: TARGET,
            "id={id} user={} model={} endpoint={endpoint} backend=- route=- attempts=0 status={status} class={class} \
             total_ms={took:.1} stream=- pinned=-{more}",
            user.unwrap_or("-"),
            model.unwrap_or("-"),
        );
    }

    /// How it missed the endpoints: by its method, and by its path, which is no name of ours.
    pub(super) fn missed(&self) -> Option<(String, Option<String>)> {
        let written = |text: &str| {
            let mut written = String::new();
            plain(text, &mut written);
            written
        };
        match self.error {
            Error::NoEndpoint { method, path, .. } => Some((written(method), Some(written(path)))),
            Error::WrongMethod { method, .. } => Some((written(method), None)),
            _ => None,
        }
    }
}
