//! Owns a client's request on its way through the exchange.

use std::{cell::Cell, sync::Arc, time::Duration};

use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use tokio::time::Instant;

use super::{blame::Blame, surface::Surface};
use crate::{
    clock,
    router::table::{Route, Target},
    settings::{Failover, Rescue},
    telemetry::story::Telling,
    upstream::{Answer, HeaderLines},
    wire::{
        embed,
        envelope::Envelope,
        translate::{Dialect, ReplyContext, asked},
    },
};

/// A request that was read, authenticated and found to be in order.
pub struct Request {
    /// Its story.
    pub telling: Telling,
    /// The backend named in the body.
    pub pin: Option<Arc<str>>,
    /// What the client asks for.
    pub surface: Surface,
    /// Streamed?
    pub stream: bool,
    /// The body's top level.
    pub envelope: Envelope,
    /// The body.
    pub body: Bytes,
    /// Parameters of its URL that go along to a backend of the same protocol, at endpoints whose URLs have none there.
    pub query: Box<str>,
    /// Headers that go along to a backend of the same protocol.
    pub extra: Vec<(HeaderName, HeaderValue)>,
    /// Headers that go along to a backend that is told of traces; without `traceparent` where each attempt has its own.
    pub trace: Vec<(HeaderName, HeaderValue)>,
    /// When its check ended. The first step after that takes it as its own time: none has passed.
    pub checked: Cell<Option<Duration>>,
    /// When the client gives up.
    pub deadline: Instant,
    /// The client asked how the decision came about, and may.
    pub explain: bool,
    /// Estimated prompt tokens.
    pub prompt_tokens: u64,
    /// Hash of the prompt's head, where the model asks for prefix affinity.
    pub affinity: Option<u64>,
    /// The model's route, as it stood when the request came.
    pub route: Option<Arc<Route>>,
    /// An SDK says that it has sent this before.
    pub is_retry: bool,
    /// Rules for trying again.
    pub failover: Failover,
}

impl Request {
    /// What to do with a stream that breaks.
    pub(super) fn rescue(&self) -> Rescue {
        // Only chunks with one text can be sewn together.
        let sewable = self.surface.has_choices();
        let route = self.route.as_ref().filter(|_| sewable);
        route.map_or(Rescue::Off, |route| route.settings.rescue)
    }

    /// How many choices its answer has.
    pub(super) fn choices(&self) -> u32 {
        if self.surface.has_choices() { self.envelope.choices(&self.body) } else { 1 }
    }

    /// What a translated answer says where the backend's own says nothing.
    pub(super) fn context(&self, target: &Target) -> ReplyContext {
        let named = self.route.as_ref().filter(|_| self.surface.dialect() == Dialect::Messages);
        ReplyContext {
            id: self.telling.read(|story| story.id.trim_start_matches("req_").to_owned()),
            created: clock::unix(),
            model: target.upstream_model.to_string(),
            public: named.map(|route| route.model.to_string()),
            asked: match self.surface {
                Surface::Embeddings => embed::asked(&self.body),
                surface => asked(surface.dialect(), &self.body),
            },
        }
    }

    /// Public name to put into the answer's `model`, where the settings want that.
    pub(super) fn shown_model(&self) -> Option<Arc<str>> {
        self.route.as_ref().filter(|route| route.settings.rewrite_model).map(|route| route.model.clone())
    }

    /// What its client may see of an answer's head, without the content type if that is ours.
    pub(super) fn headers_of(&self, answer: &Answer, type_is_ours: bool) -> HeaderLines {
        answer.headers_for_client(type_is_ours, self.telling.read(|story| story.user.may_see_backends))
    }

    /// The headers that tell a backend where in a trace it is asked, by the attempt of this number in the story.
    pub(super) fn trace_context(&self, note: usize) -> Vec<(HeaderName, HeaderValue)> {
        let own = self.telling.read(|story| {
            let (trace, hop) = (story.trace.as_ref()?, story.attempts.get(note)?.hop.as_ref()?);
            HeaderValue::try_from(hop.parent(trace).to_string()).ok()
        });
        let own = own.map(|parent| (HeaderName::from_static("traceparent"), parent));
        own.into_iter().chain(self.trace.iter().cloned()).collect()
    }

    /// The backends that failed this request before, if this is a retry.
    pub(super) fn blamed(&self, blame: &Blame) -> Vec<u64> {
        if !self.is_retry {
            return Vec::new();
        }
        self.telling.read(|story| blame.of((&story.user.name, &self.body), clock::now()))
    }

    /// Remembers that these backends failed it, in case it is sent again.
    pub(super) fn blame(&self, blame: &Blame, backends: impl Iterator<Item = u64>) {
        self.telling.read(|story| blame.remember((&story.user.name, &self.body), backends, clock::now()));
    }

    /// Time until the deadline.
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
