//! Owns refusing a request that has no story yet: its answer, log line, counts and span.

use std::{sync::Arc, time::Duration};

use super::connection::Door;
use crate::{
    clock,
    error::Error,
    exchange::{reply::Reply, response, surface::Surface},
    settings::User,
    telemetry::{
        log,
        traces::{Trace, span::Refused},
    },
};

/// Who is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    /// `x-request-id`.
    pub(super) id: &'a str,
    /// `None`: a stranger, or not known yet.
    pub(super) user: Option<&'a User>,
    /// What was asked for.
    pub(super) surface: Surface,
    /// When the request came.
    pub(super) received: Duration,
    /// Its part in a trace, if there are traces. Strangers have none, so that they cannot write into a trace.
    pub(super) trace: Option<&'a Trace>,
}

impl<'a> Asker<'a> {
    /// Somebody unknown, who has just come.
    pub(super) fn stranger(id: &'a str, surface: Surface, received: Duration) -> Self {
        Self { id, user: None, surface, received, trace: None }
    }

    /// Refuses the request; `model` is the configured model that it asked for, if that is known.
    pub(super) fn refuse(&self, door: &Door, error: &Error, model: Option<&Arc<str>>) -> Reply {
        let (ended, named) = (clock::now(), model.map(|model| &**model));
        log::refused(
            self.id,
            self.trace.and_then(Trace::told),
            self.user.map(|user| user.name.as_str()),
            named,
            error,
            ended.saturating_sub(self.received),
        );
        door.shared.counts.refused(error, model);
        if let (Some(traces), Some(trace), Some(user)) = (&door.worker.traces, self.trace, self.user) {
            let (status, class) = (error.face().status.as_u16(), error.class());
            let (id, user, received) = (self.id, &user.name, self.received);
            traces.refused(trace, &Refused { id, user, model: named, received, ended, status, class });
        }
        let mut reply = response::refused(self.id, error, self.surface.dialect());
        if self.user.is_some() {
            reply.count("x-greenroom-attempts", 0);
        }
        reply
    }
}
