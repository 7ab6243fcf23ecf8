//! Owns talking to backends: one client per backend and worker, prepared heads, honest errors, bodies that tell a
//! truncated end from a clean one.

mod answer;
pub mod classify;
mod endpoint;
mod head;
mod headers;
pub mod plain;
mod pool;

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Poll, ready},
};

use actix_web::http::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use bytes::Bytes;
use foldhash::HashMap;
use futures_util::future::poll_fn;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use self::{
    answer::poll_fill,
    pool::{Io, Place, Pool, Taken, Wire, io_words},
};
pub use self::{
    answer::{Answer, BrokenOff, HeaderLines},
    endpoint::Endpoint,
    headers::request_id,
};
use crate::{
    error::{Class, Failed},
    settings::{Address, Backend},
};

/// Bodies up to this size go out with the head in one write; larger ones follow it as they are, uncopied.
const INLINE: usize = 12 << 10;

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
    request: Rc<head::Request>,
}

/// What has come while a request went out.
#[derive(Default)]
struct Heard {
    /// Anything at all: the request has arrived. Sent again, it would be done, and paid for, twice.
    any: bool,
    /// The answer, ahead of the request's end.
    early: Option<Result<head::Answer, head::Garbled>>,
    /// The answer did not wait for the rest, and so the rest was kept.
    kept_rest: bool,
}

impl Heard {
    /// The head of the answer, if it has come; what is said ahead of it is passed over.
    fn head(&mut self, wire: &mut Wire) -> Result<Option<head::Answer>, head::Garbled> {
        loop {
            match head::Answer::take(&mut wire.buffer)? {
                Some(head) if (100..200).contains(&head.status) => self.any = true,
                found => return Ok(found),
            }
        }
    }
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
        let place = Place { host, port, secure, connect_within: backend.deadlines.connect };
        Self { backend, pool: Rc::new(Pool::new(place)), heads: RefCell::default() }
    }

    /// Opens a connection, TLS included, and closes it again.
    pub async fn connect(&self) -> Result<(), Failed> {
        self.pool.take(true).await.map(|_| ())
    }

    fn head(&self, endpoint: Endpoint, model: &Arc<str>) -> Result<Rc<head::Request>, Failed> {
        let model = self.backend.names_model_in_urls().then(|| model.clone());
        let known = |head: &&Head| head.endpoint == endpoint && head.model == model;
        if let Some(head) = self.heads.borrow().iter().find(known) {
            return Ok(head.request.clone());
        }
        let url = endpoint.url(&self.backend, model.as_deref().unwrap_or_default());
        // Where the model is part of the URL another model's may be sound.
        let class = if model.is_some() { Class::ProviderModelMissing } else { Class::ProviderTransport };
        let unusable = |why: String| Failed::new(class, format!("its URL cannot be used ({why})"));
        let uri: Uri = url.parse().map_err(|error| unusable(format!("{error}")))?;
        let host = uri.authority().ok_or_else(|| unusable("it has no host".to_owned()))?.as_str();
        let host = HeaderValue::from_str(host).map_err(|error| unusable(error.to_string()))?;
        let accept = if endpoint == Endpoint::ChatStream { "text/event-stream" } else { "application/json" };
        let mut fixed = vec![
            (HeaderName::from_static("host"), host),
            (HeaderName::from_static("accept"), HeaderValue::from_static(accept)),
        ];
        for (name, value) in headers::of_backend(&self.backend) {
            fixed.retain(|(known, _)| *known != name);
            fixed.push((name, value));
        }
        let request = Rc::new(head::Request::new(&endpoint.method(), &uri, fixed));
        self.heads.borrow_mut().push(Head { endpoint, model, request: request.clone() });
        Ok(request)
    }

    /// Sends a request and waits for the head of the answer; once more, on a new connection, if the one taken from the pool
    /// turned out to be dead. The caller sets the deadline.
    pub async fn send(
        &self,
        endpoint: Endpoint,
        model: &Arc<str>,
        extra: &[(HeaderName, HeaderValue)],
        body: Vec<Bytes>,
    ) -> Result<Answer, Failed> {
        let head = self.head(endpoint, model)?;
        let taken = self.pool.take(false).await?;
        match self.ask(taken, head.clone(), extra, &body).await {
            Err(Unanswered { stale: true, .. }) => {
                let taken = self.pool.take(true).await?;
                self.ask(taken, head, extra, &body).await.map_err(|second| second.failed)
            }
            answer => answer.map_err(|first| first.failed),
        }
    }

    async fn ask(
        &self,
        taken: Taken,
        head: Rc<head::Request>,
        extra: &[(HeaderName, HeaderValue)],
        body: &[Bytes],
    ) -> Result<Answer, Unanswered> {
        let Taken { mut wire, opened, reused } = taken;
        let mut heard = Heard::default();
        let written = self.write(&mut wire, &head, extra, body, &mut heard).await;
        loop {
            // Whatever became of the writing: a backend may have answered before it had read all of a request.
            match heard.early.take().map_or_else(|| heard.head(&mut wire), |early| early.map(Some)) {
                Ok(Some(head)) => {
                    let sound = written.is_ok() && !heard.kept_rest;
                    return Ok(Answer::new(head, wire, opened, self.pool.clone(), sound));
                }
                Ok(None) => {}
                Err(head::Garbled(why)) => {
                    return Err(Unanswered { failed: Failed::new(Class::ProviderInvalid, why), stale: false });
                }
            }
            let ended = match (poll_fn(|cx| poll_fill(&mut wire, cx)).await, &written) {
                (Ok(1..), _) => continue,
                (_, Err(error)) => io_words(error),
                (Err(error), _) => io_words(&error),
                (Ok(0), Ok(())) if wire.buffer.is_empty() => "it closed the connection without an answer".to_owned(),
                (Ok(0), Ok(())) => "it closed the connection within the head of its answer".to_owned(),
            };
            let stale = reused && !heard.any && wire.buffer.is_empty();
            return Err(Unanswered { failed: Failed::new(Class::ProviderTransport, ended), stale });
        }
    }

    async fn write(
        &self,
        wire: &mut Wire,
        head: &head::Request,
        extra: &[(HeaderName, HeaderValue)],
        body: &[Bytes],
        heard: &mut Heard,
    ) -> io::Result<()> {
        let size: usize = body.iter().map(Bytes::len).sum();
        let inline = size <= INLINE;
        let begin = |out: &mut Vec<u8>| {
            head.render(extra, size, out);
            for part in body.iter().filter(|_| inline) {
                out.extend_from_slice(part);
            }
        };
        match &mut wire.io {
            // Goes out at the end of the turn; what comes of that is seen when the answer is read.
            Io::Plain(socket) => socket.hold(begin),
            Io::Secure(io) => {
                let mut out = Vec::with_capacity(size.min(INLINE) + 512);
                begin(&mut out);
                io.write_all(&out).await?;
            }
        }
        for part in body.iter().filter(|_| !inline) {
            pour(wire, part, heard).await?;
        }
        match &mut wire.io {
            Io::Secure(io) if !heard.kept_rest => io.flush().await,
            _ => Ok(()),
        }
    }
}

/// Writes a part of a large body. A backend that takes no more of it may have answered already: that it is too large, that
/// there are too many requests. Then the rest is kept; an answer that goes on is one that still reads.
async fn pour(wire: &mut Wire, part: &[u8], heard: &mut Heard) -> io::Result<()> {
    let mut left = part;
    while !left.is_empty() && !heard.kept_rest {
        let written = poll_fn(|cx| {
            if let Poll::Ready(done) = Pin::new(&mut wire.io).poll_write(cx, left) {
                return Poll::Ready(Some(
                    done.and_then(|n| if n > 0 { Ok(n) } else { Err(io::ErrorKind::WriteZero.into()) }),
                ));
            }
            if heard.early.is_some() {
                return Poll::Pending;
            }
            match ready!(poll_fill(wire, cx)) {
                Ok(0) => Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into()))),
                read => Poll::Ready(read.err().map(Err)),
            }
        });
        if let Some(done) = written.await {
            left = &left[done?..];
        } else {
            heard.early = heard.head(wire).transpose();
            let goes_on = |head: &head::Answer| head.status < 300;
            heard.kept_rest = heard.early.as_ref().is_some_and(|early| !early.as_ref().is_ok_and(goes_on));
        }
    }
    Ok(())
}
