//! Owns refusing a request that has no story yet: its answer, log line, counts and span.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::connection::Door;
use crate::{
    clock,
    error::Error,
    exchange::{reply::Reply, response, surface::Surface},
    settings::{OTHER, User},
    telemetry::{
        log,
        traces::{Trace, span::Refused},
    },
    wire::translate::Dialect,
};

/// Who is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    /// `x-request-id`.
    id: &'a str,
    /// `None`: a stranger, or not known yet.
    user: Option<&'a User>,
    /// What was asked for; `None`: no model endpoint.
    surface: Option<Surface>,
    /// When the request came.
    received: Duration,
    /// Its part in a trace, if there are traces. Strangers have none, so that they cannot write into a trace.
    trace: Option<&'a Trace>,
    /// It comes from a user, with a request to a model.
    asks_model: bool,
    /// The other end of a stranger's connection. The name of a user tells more, and asking the system takes time.
    peer: Option<SocketAddr>,
}

impl<'a> Asker<'a> {
    /// Somebody unknown, who has just come.
    pub(super) fn stranger(
        id: &'a str,
        surface: Option<Surface>,
        received: Duration,
        peer: Option<SocketAddr>,
    ) -> Self {
        Self { id, user: None, surface, received, trace: None, asks_model: false, peer }
    }

    /// A user, who has come with a request to a model.
    pub(super) fn user(
        id: &'a str,
        user: &'a User,
        surface: Surface,
        received: Duration,
        trace: Option<&'a Trace>,
    ) -> Self {
        Self { id, user: Some(user), surface: Some(surface), received, trace, asks_model: true, peer: None }
    }

    /// Somebody who has missed the endpoints for models: a user, if known.
    pub(super) fn astray(self, user: Option<&'a User>) -> Self {
        Self { user, ..self }
    }

    /// Refuses the request; `model` is the configured model that it asked for, if that is known.
    pub(super) fn refuse(&self, door: &Door, error: &Error, model: Option<&Arc<str>>) -> Reply {
        let (ended, named) = (clock::now(), model.map(|model| &**model));
        let line = log::Refused {
            id: self.id,
            trace: self.trace.and_then(Trace::told),
            user: self.user.map(|user| user.name.as_str()),
            model: named,
            endpoint: self.surface.map_or(OTHER, Surface::word),
            peer: self.peer,
            error,
            took: ended.saturating_sub(self.received),
        };
        line.write();
        door.shared.counts.refused(error, model);
        if let (Some(traces), Some(trace), Some(user)) = (&door.worker.traces, self.trace, self.user) {
            let (status, class) = (error.face().status.as_u16(), error.class());
            let (id, user, received) = (self.id, &user.name, self.received);
            traces.refused(trace, &Refused { id, user, model: named, received, ended, status, class });
        }
        let mut reply = response::refused(self.id, error, self.surface.map_or(Dialect::Chat, Surface::dialect));
        if self.asks_model {
            reply.count("x-greenroom-attempts", 0);
        }
        reply
    }
}
