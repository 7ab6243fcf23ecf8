//! Owns talking to backends: one client per backend and worker, prepared heads, honest errors, bodies that tell a
//! truncated end from a clean one.

mod answer;
pub mod classify;
#[cfg(test)]
mod classify_tests;
pub mod codes;
mod dial;
mod endpoint;
mod head;
mod headers;
pub mod plain;
mod pool;
mod sniff;
pub mod strange;
mod upload;

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_web::http::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use bytes::Bytes;
use foldhash::HashMap;
use futures_util::future::poll_fn;
use tokio::{io::AsyncWriteExt, time::Instant};

use self::{
    answer::poll_fill,
    dial::{Peer, reach},
    head::{NoHead, RequestHead},
    pool::{Connection, Io, Pool, io_words},
    upload::{Heard, pour},
};
pub use self::{
    answer::{Answer, BrokenOff, HeaderLines},
    endpoint::{Endpoint, percent_encoded},
    head::Along,
    headers::{UPSTREAM_REQUEST_ID, of_trial, request_id},
};
use crate::{
    error::{Class, Failed},
    settings::{Address, Backend},
    turn::INLINE,
};

/// If a kept connection was dead when its request went out, that shows within this time: the news is on its way already, or
/// comes after one round trip. A backend that closes later has had the request and may have worked on it.
const STALE_WITHIN: Duration = Duration::from_secs(1);

/// The clients of one worker, by backend.
#[derive(Default)]
pub struct Clients {
    by_id: RefCell<HashMap<u64, Rc<Client>>>,
}

impl Clients {
    /// The client for a backend; `id` is its `Handle::id`.
    pub fn get(&self, id: u64, backend: &Arc<Backend>) -> Rc<Client> {
        if let Some(client) = self.by_id.borrow().get(&id) {
            return client.clone();
        }
        let client = Rc::new(Client::new(backend.clone()));
        self.by_id.borrow_mut().insert(id, client.clone());
        client
    }

    /// Drops the clients of backends that are gone; requests that still run keep theirs.
    pub fn retain(&self, keep: impl Fn(u64) -> bool) {
        self.by_id.borrow_mut().retain(|id, _| keep(*id));
    }
}

/// Connections to one backend from one worker.
pub struct Client {
    backend: Arc<Backend>,
    pool: Rc<Pool>,
    heads: RefCell<Vec<Head>>,
}

/// A request head, built once.
struct Head {
    endpoint: Endpoint,
    model: Option<Arc<str>>,
    request: Rc<RequestHead>,
}

/// A request that got no answer.
struct Unanswered {
    failed: Failed,
    /// It went out on a reused connection that turned out to be dead: worth one silent retry.
    stale: bool,
}

impl Client {
    /// A client for `backend` on this thread.
    pub fn new(backend: Arc<Backend>) -> Self {
        let Address { host, port, secure } = backend.address.clone();
        let peer = Peer { host, port, secure, connect_within: backend.deadlines.connect };
        Self { backend, pool: Rc::new(Pool::new(peer)), heads: RefCell::default() }
    }

    /// The addresses of its host, in the order in which they are tried.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, Failed> {
        self.pool.peer.resolve().await
    }

    /// Connects to the first of `addresses` that answers, and closes the connection again. Returns which that was, if the
    /// system tells.
    pub async fn reach(&self, addresses: Vec<SocketAddr>) -> Result<Option<SocketAddr>, Failed> {
        reach(addresses).await.map(|tcp| tcp.peer_addr().ok())
    }

    /// Opens a connection, TLS included, and closes it again.
    pub async fn connect(&self) -> Result<(), Failed> {
        self.pool.open().await.map(|_| ())
    }

    fn head(&self, endpoint: Endpoint, model: &Arc<str>) -> Result<Rc<RequestHead>, Failed> {
        let model = self.backend.names_model_in_urls().then(|| model.clone());
        let known = |head: &&Head| head.endpoint == endpoint && head.model == model;
        if let Some(head) = self.heads.borrow().iter().find(known) {
            return Ok(head.request.clone());
        }
        let url = endpoint.url(&self.backend, model.as_deref().unwrap_or_default());
        // If the model is part of the URL, the URL of another model may be sound.
        let class = if model.is_some() { Class::ProviderModelMissing } else { Class::ProviderTransport };
        let unusable = |why: String| Failed::new(class, format!("its URL cannot be used ({why})"));
        let uri: Uri = url.parse().map_err(|error| unusable(format!("{error}")))?;
        let host = uri.authority().ok_or_else(|| unusable("it has no host".to_owned()))?.as_str();
        let host = HeaderValue::from_str(host).map_err(|error| unusable(error.to_string()))?;
        let accept = match endpoint {
            Endpoint::ChatStream => "text/event-stream",
            Endpoint::Speech | Endpoint::Transcriptions | Endpoint::Translations => "*/*",
            _ => "application/json",
        };
        let mut fixed = vec![
            (HeaderName::from_static("host"), host),
            (HeaderName::from_static("accept"), HeaderValue::from_static(accept)),
            // Without it an answer may come in any coding (RFC 9110, 12.5.3), and none is unpacked here.
            (HeaderName::from_static("accept-encoding"), HeaderValue::from_static("identity")),
        ];
        for (name, value) in headers::of_backend(&self.backend) {
            fixed.retain(|(known, _)| *known != name);
            fixed.push((name, value));
        }
        let request = Rc::new(RequestHead::new(&endpoint.method(), &uri, fixed));
        self.heads.borrow_mut().push(Head { endpoint, model, request: request.clone() });
        Ok(request)
    }

    /// Sends a request and waits for the head of the answer. If the connection taken from the pool turns out to be dead, it sends
    /// the request once more, on a new one. `now` is the time, or a moment before; the deadline is the caller's.
    pub async fn send(
        &self,
        now: Instant,
        endpoint: Endpoint,
        model: &Arc<str>,
        along: Along<'_>,
        body: Vec<Bytes>,
    ) -> Result<Answer, Failed> {
        let head = self.head(endpoint, model).map_err(Failed::unsent)?;
        let request = WireRequest { head: &head, along, body: &body };
        let connection = self.pool.take().await.map_err(Failed::unsent)?;
        match self.ask(now, connection, &request).await {
            Err(Unanswered { stale: true, .. }) => {
                let connection = self.pool.open().await.map_err(Failed::unsent)?;
                self.ask(now, connection, &request).await.map_err(|second| second.failed)
            }
            answer => answer.map_err(|first| first.failed),
        }
    }

    async fn ask(
        &self,
        begun: Instant,
        mut connection: Connection,
        request: &WireRequest<'_>,
    ) -> Result<Answer, Unanswered> {
        let mut heard = Heard::default();
        let written = request.write(&mut connection, &mut heard).await;
        // What goes out in one write is out at once.
        let sent = if request.is_inline() { begun } else { Instant::now() };
        loop {
            // Even if writing failed: a backend may have answered before it had read all of the request.
            match heard.early.take().map_or_else(|| heard.head(&mut connection), |early| early.map(Some)) {
                Ok(Some(head)) => {
                    let sound = written.is_ok() && !heard.kept_rest;
                    return Ok(Answer::new(head, connection, self.pool.clone(), sound));
                }
                Ok(None) => {}
                Err(NoHead(why)) => {
                    return Err(Unanswered { failed: Failed::new(Class::ProviderInvalid, why), stale: false });
                }
            }
            let is_empty = connection.buffer.is_empty();
            let ended = match (poll_fn(|cx| poll_fill(&mut connection, cx)).await, &written) {
                (Ok(1..), _) => continue,
                (_, Err(error)) => io_words(error),
                (Err(error), _) => io_words(&error),
                (Ok(0), Ok(())) if is_empty => "it closed the connection without an answer".to_owned(),
                (Ok(0), Ok(())) => "it closed the connection within the head of its answer".to_owned(),
            };
            let in_time = written.is_err() || sent.elapsed() < STALE_WITHIN;
            let untouched = in_time && !heard.any && is_empty;
            let failed = Failed { turned_away: untouched, ..Failed::new(Class::ProviderTransport, ended) };
            return Err(Unanswered { failed, stale: connection.reused && untouched });
        }
    }
}

/// A request on its way out.
struct WireRequest<'a> {
    head: &'a RequestHead,
    along: Along<'a>,
    /// The parts of the body, in order.
    body: &'a [Bytes],
}

impl WireRequest<'_> {
    fn size(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// Whether the body goes out with the head, in one write.
    fn is_inline(&self) -> bool {
        self.size() <= INLINE
    }

    async fn write(&self, connection: &mut Connection, heard: &mut Heard) -> io::Result<()> {
        let (size, is_inline) = (self.size(), self.is_inline());
        let begin = |out: &mut Vec<u8>| {
            self.head.render(self.along, size, out);
            for part in self.body.iter().filter(|_| is_inline) {
                out.extend_from_slice(part);
            }
        };
        match &mut connection.io {
            // Goes out at the end of the turn; a failure shows when the answer is read.
            Io::Plain(socket) => socket.hold(begin),
            Io::Secure(io) => {
                let mut out = Vec::with_capacity(size.min(INLINE) + 512);
                begin(&mut out);
                io.write_all(&out).await?;
            }
        }
        for part in self.body.iter().filter(|_| !is_inline) {
            pour(connection, part, heard).await?;
        }
        match &mut connection.io {
            Io::Secure(io) if !heard.kept_rest => io.flush().await,
            _ => Ok(()),
        }
    }
}
