//! Owns a backend's answer: its head, and its body with a truncated end told from a clean one as far as HTTP can.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_codec::FramedParts;
use actix_http::ResponseHead;
use actix_web::http::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};
use bytes::{Bytes, BytesMut};
use futures_util::future::poll_fn;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::{
    body::{Framing, Garbled},
    headers,
    pool::{Io, Pool, Wire, io_words},
};

/// Room for reading, bytes: several token frames; a longer answer grows it.
const ROOM: usize = 4 << 10;

/// An answer.
pub struct Answer {
    head: ResponseHead,
    framing: Framing,
    body: Option<Body>,
}

/// What the rest of the answer comes from.
struct Body {
    io: Io,
    buffer: BytesMut,
    opened: Instant,
    pool: Rc<Pool>,
    /// The connection can carry another request after this one.
    reusable: bool,
}

/// The body broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenOff(pub String);

impl Answer {
    /// `sound`: the request went out whole, so that the connection can carry another.
    pub(super) fn new(head: ResponseHead, wire: Wire, opened: Instant, pool: Rc<Pool>, sound: bool) -> Self {
        // By RFC 9112, 6.3; the framework takes a body without a length for no body.
        let has_body = !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let reusable = sound && wire.codec_ref().keep_alive();
        let length = head.headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        let framing = if has_body { Framing::of(length, is_chunked(&head)) } else { Framing::Ended };
        let FramedParts { io, read_buf, .. } = wire.into_parts();
        let body = Body { io, buffer: read_buf, opened, pool, reusable };
        let mut answer = Self { head, framing, body: Some(body) };
        if answer.framing == Framing::Ended {
            answer.release();
        }
        answer
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// Whether the body is a stream of server-sent events.
    pub fn is_event_stream(&self) -> bool {
        const TYPE: &str = "text/event-stream";
        let found = self.header("content-type").and_then(|text| text.trim_start().get(..TYPE.len()));
        found.is_some_and(|text| text.eq_ignore_ascii_case(TYPE))
    }

    /// The headers that the client may see.
    pub fn headers_for_client(&self) -> Vec<(HeaderName, HeaderValue)> {
        headers::for_client(&self.head.headers)
    }

    /// Bytes of the body still to come, if the head told.
    pub fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(left) => Some(left),
            _ => None,
        }
    }

    /// The next piece of the body; `None` at its end. Dropping an answer before its end closes the connection.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            match self.framing.take(&mut body.buffer) {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) if self.framing == Framing::Ended => {
                    self.release();
                    return Poll::Ready(None);
                }
                Ok(None) => {}
                Err(Garbled) => return self.broken("its answer's chunks are garbled".to_owned()),
            }
            if body.buffer.capacity() - body.buffer.len() < ROOM / 4 {
                body.buffer.reserve(ROOM);
            }
            match ready!(poll_read_buf(Pin::new(&mut body.io), cx, &mut body.buffer)) {
                Ok(0) => match self.framing {
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

    /// The body has been read to its end: the connection can carry another request.
    fn release(&mut self) {
        if let Some(Body { io, buffer, opened, pool, reusable: true }) = self.body.take() {
            pool.give_back(io, buffer, opened);
        }
    }
}

fn is_chunked(head: &ResponseHead) -> bool {
    let encoding = head.headers.get("transfer-encoding").and_then(|value| value.to_str().ok());
    encoding.is_some_and(|encoding| encoding.trim().to_ascii_lowercase().ends_with("chunked"))
}
