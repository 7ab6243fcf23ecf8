//! Owns a backend's answer: its head, and its body, whose end is told clean or truncated as far as HTTP allows.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use tokio_util::io::poll_read_buf;

use super::{
    head::AnswerHead,
    headers,
    pool::{Connection, Pool, io_words},
};
use crate::wire::http1::{Framing, Garbled};

/// Room for reading, bytes: enough for several token frames; a longer answer grows it.
const ROOM: usize = 4 << 10;

/// Buffers kept for the next reads.
const SPARES: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Header lines as they go out, each with its line end.
pub type HeaderLines = Vec<u8>;

/// An answer.
pub struct Answer {
    pub(super) head: AnswerHead,
    body: Option<Body>,
    /// Bytes that were looked at before the reader gets them. Boxed, since few answers have any.
    pub(super) seen: Option<Box<Bytes>>,
}

/// What the rest of the answer comes from.
struct Body {
    connection: Connection,
    pool: Rc<Pool>,
    /// The connection can carry another request after this one.
    reusable: bool,
}

/// The body broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenOff(pub String);

impl Answer {
    /// `sound`: the request went out whole, so that the connection can carry another.
    pub(super) fn new(head: AnswerHead, connection: Connection, pool: Rc<Pool>, sound: bool) -> Self {
        let reusable = sound && head.keep_alive;
        Self { head, body: Some(Body { connection, pool, reusable }), seen: None }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// Whether its status says that the request was served.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.head.status)
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines.text(name)
    }

    /// What is wrong with a body that came packed without being asked for.
    pub fn packed(&self) -> Option<String> {
        // Its own words are told where they are a plain name.
        let is_plain = |text: &&str| text.len() <= 16 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let coding = || self.header("content-encoding").filter(is_plain).unwrap_or("unknown");
        self.head
            .packed
            .then(|| format!("its answer is packed (content-encoding: {}), which it was not asked for", coding()))
    }

    /// The headers that the client may see, without the content type if that is ours, as for streams and translations; a client
    /// that `may_see` backends gets those that tell whose answer it is, too.
    pub fn headers_for_client(&self, type_is_ours: bool, may_see: bool) -> HeaderLines {
        headers::for_client(self.head.lines.iter(), type_is_ours, may_see)
    }

    /// Bytes of the body still to come, if the head told.
    pub fn length(&self) -> Option<u64> {
        match self.head.framing {
            Framing::Length(left) => Some(left),
            _ => None,
        }
    }

    /// The next piece of the body; `None` at its end. Dropped before it is accepted, an answer closes its connection.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if let Some(seen) = self.seen.take() {
            return Poll::Ready(Some(Ok(*seen)));
        }
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            match self.head.framing.take(&mut body.connection.buffer) {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) if self.head.framing == Framing::Ended => return Poll::Ready(None),
                Ok(None) => {}
                Err(Garbled) => return self.broken("its answer's chunks are garbled".to_owned()),
            }
            match ready!(poll_fill(&mut body.connection, cx)) {
                Ok(0) => match self.head.framing {
                    Framing::UntilClose => {
                        self.body = None;
                        return Poll::Ready(None);
                    }
                    Framing::Length(left) => return self.broken(format!("its answer broke off, {left} bytes short")),
                    _ => return self.broken("its answer broke off between two chunks".to_owned()),
                },
                Ok(_) => {}
                Err(error) => return self.broken(format!("its answer broke off ({})", io_words(&error))),
            }
        }
    }

    fn broken(&mut self, why: String) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        self.body = None;
        Poll::Ready(Some(Err(BrokenOff(why))))
    }

    /// Confirms that it can be the answer to its request: read to its end, its connection can carry another request. If it
    /// cannot, the true answer may still come, and the next request would get it.
    pub fn accept(&mut self) {
        if self.head.framing == Framing::Ended
            && let Some(Body { mut connection, pool, reusable: true }) = self.body.take()
        {
            rest(&mut connection.buffer);
            pool.give_back(connection);
        }
    }
}

/// Reads what has come; 0 bytes: the peer has closed. A connection holds no buffer while nothing comes.
pub(super) fn poll_fill(connection: &mut Connection, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let Connection { io, buffer, .. } = connection;
    if buffer.capacity() == 0 {
        *buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    }
    if buffer.capacity() - buffer.len() < ROOM / 4 {
        buffer.reserve(ROOM);
    }
    let read = poll_read_buf(Pin::new(io), cx, buffer);
    if read.is_pending() {
        rest(buffer);
    }
    read
}

/// Gives back an empty buffer, for the next connection that has something to read. So the streams of a thread share a few
/// buffers, which fit into the processor's caches.
fn rest(buffer: &mut BytesMut) {
    // Not while pieces of it are still in use.
    if buffer.is_empty() && buffer.try_reclaim(ROOM) && buffer.capacity() <= 2 * ROOM {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARES {
                spare.push(std::mem::take(buffer));
            }
        });
    }
}
