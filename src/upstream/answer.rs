//! Owns a backend's answer: its head, and its body with a truncated end told from a clean one as far as HTTP can.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_codec::Framed;
use actix_http::{ResponseHead, h1::ClientPayloadCodec};
use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::future::poll_fn;
use tokio::time::Instant;

use super::{
    headers,
    pool::{Io, Pool, Wire},
};

/// An answer.
pub struct Answer {
    head: ResponseHead,
    body: Option<Body>,
    /// Bytes still to come by the answer's own word.
    missing: Option<u64>,
    /// Nothing but the end of the connection ends the body.
    until_close: bool,
}

struct Body {
    wire: Framed<Io, ClientPayloadCodec>,
    opened: Instant,
    pool: Rc<Pool>,
    /// The request went out whole, so that the connection can carry another.
    sound: bool,
}

/// The body broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenOff(pub String);

impl Answer {
    pub(super) fn new(
        head: ResponseHead,
        wire: Wire,
        opened: Instant,
        pool: Rc<Pool>,
        has_body: bool,
        sound: bool,
    ) -> Self {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let missing = header("content-length").and_then(|text| text.parse().ok());
        let until_close = missing.is_none() && header("transfer-encoding").is_none();
        let body = if has_body {
            let wire = wire.into_map_codec(actix_http::h1::ClientCodec::into_payload_codec);
            Some(Body { wire, opened, pool, sound })
        } else {
            if sound && wire.codec_ref().keep_alive() {
                pool.give_back(wire, opened);
            }
            None
        };
        Self { head, body, missing, until_close }
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
        self.missing
    }

    /// The next piece of the body; `None` at its end. Dropping an answer before its end closes the connection.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let next = ready!(Pin::new(&mut body.wire).next_item(cx));
        Poll::Ready(match next {
            Some(Ok(Some(bytes))) => {
                if let Some(missing) = &mut self.missing {
                    *missing = missing.saturating_sub(bytes.len() as u64);
                }
                Some(Ok(bytes))
            }
            Some(Ok(None)) => {
                self.release();
                None
            }
            Some(Err(error)) => {
                self.body = None;
                Some(Err(BrokenOff(format!("its answer broke off ({error})"))))
            }
            None => {
                self.body = None;
                match self.missing {
                    // The end that HTTP/1.0 knows; whether it is the true one, the content has to tell.
                    None if self.until_close => None,
                    Some(missing) if missing > 0 => {
                        Some(Err(BrokenOff(format!("its answer broke off, {missing} bytes short"))))
                    }
                    Some(_) => None,
                    None => Some(Err(BrokenOff("its answer broke off between two chunks".to_owned()))),
                }
            }
        })
    }

    /// The body has been read to its end: the connection can carry another request.
    fn release(&mut self) {
        if let Some(Body { wire, opened, pool, sound }) = self.body.take()
            && sound
            && wire.codec_ref().keep_alive()
        {
            pool.give_back(wire.into_map_codec(ClientPayloadCodec::into_message_codec), opened);
        }
    }
}
