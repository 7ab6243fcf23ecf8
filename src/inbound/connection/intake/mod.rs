//! Owns reading from a client's connection: heads and bodies within their time, and the news that the client has left.

mod packed;
#[cfg(test)]
pub(super) mod tests;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::{closing::Closing, head::Head, leaving::LEAVE};
use crate::{error::Error, inbound::auth::Known, timer::Timer, turn::Socket, wire::http1::Framing};

pub(in crate::inbound::connection) use self::packed::Share;

/// Time a client has to send the head of a request.
pub(super) const HEAD: Duration = Duration::from_secs(10);

/// Time within which the next piece of a body has to come.
const PIECE: Duration = Duration::from_secs(30);

/// While a client finishes sending what nobody reads any more, so that it can read its answer: the time without a byte that it
/// has, and the time for all of it. Both are nginx's (`lingering_timeout`, `lingering_time`).
const LINGER: Duration = Duration::from_secs(5);
const LINGER_IN_ALL: Duration = Duration::from_secs(30);

/// The most bytes that are read and dropped then: more would cost more than the answer is worth.
const LINGER_MOST: usize = 256 << 20;

/// Room for reading, bytes: enough for an ordinary request at once.
const ROOM: usize = 4 << 10;

/// Why a body is no request.
const GARBLED_CHUNKS: &str = "the chunks of its body are garbled";

/// What a client may send ahead while it waits for its answer, bytes. Its leave can be seen only after what it has sent, so a
/// client that sends more counts as gone.
const AHEAD: usize = 1 << 20;

/// The reading side of a connection.
pub(super) struct Intake {
    pub(super) socket: Socket,
    input: BytesMut,
    /// Due when the wait has been too long.
    pub(super) late: Timer,
    /// The user of earlier requests.
    pub(super) known: Known,
    /// Tells whether Greenroom stops.
    pub(super) closing: Rc<Closing>,
}

/// What came of waiting for a request.
pub(super) enum Begun {
    Head(Head),
    /// What came is not HTTP, is too long, or did not come whole in time.
    Refused(Error),
    /// The client has left, or has asked for nothing for too long.
    Over,
}

impl Intake {
    pub(super) fn new(socket: Socket, closing: Rc<Closing>) -> Self {
        let late = Timer::new(Instant::now() + HEAD);
        Self { socket, input: BytesMut::new(), late, known: Known::default(), closing }
    }

    /// Sets the time for what is waited for next.
    pub(super) fn allow(&mut self, now: Instant, time: Duration) {
        self.late.set(now, now + time);
    }

    /// Reads what has come; 0 bytes: the client has closed.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Checked first, so that a connection needs no buffer while nothing comes.
        ready!(self.socket.poll_read_ready(cx))?;
        if self.input.capacity() - self.input.len() < ROOM / 2 {
            self.input.reserve(ROOM);
        }
        poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.input)
    }

    /// Whether nothing of a request has come. Line ends in front of a request are skipped and do not begin one (RFC 9112,
    /// 2.2).
    fn is_blank(&mut self) -> bool {
        loop {
            match &self.input[..] {
                [] | [b'\r'] => return true,
                [b'\n', ..] => self.input.advance(1),
                [b'\r', b'\n', ..] => self.input.advance(2),
                _ => return false,
            }
        }
    }

    /// The next request's head.
    pub(super) async fn head(&mut self, mut begun: bool) -> Begun {
        let mut seen = 0;
        poll_fn(|cx| {
            loop {
                if self.is_blank() {
                    if self.closing.is_closed() {
                        return Poll::Ready(Begun::Over);
                    }
                } else {
                    if Head::may_end(&self.input, seen) {
                        match Head::take(&mut self.input) {
                            Ok(Some(head)) => return Poll::Ready(Begun::Head(head)),
                            Ok(None) => {}
                            Err(error) => return Poll::Ready(Begun::Refused(error)),
                        }
                    }
                    seen = self.input.len();
                    if !std::mem::replace(&mut begun, true) {
                        self.allow(Instant::now(), HEAD);
                    }
                }
                match self.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(Begun::Over),
                    Poll::Pending => {
                        let late = if self.is_blank() { Begun::Over } else { Begun::Refused(Error::Slow) };
                        return self.late.poll(cx).map(|()| late);
                    }
                }
            }
        })
        .await
    }

    /// Reads on, within the time for a piece, and `until` at the latest.
    async fn fill(&mut self, until: Instant) -> Result<(), Error> {
        let now = Instant::now();
        self.late.set(now, until.min(now + PIECE));
        poll_fn(|cx| match self.poll_fill(cx) {
            Poll::Ready(Ok(1..)) => Poll::Ready(Ok(())),
            Poll::Ready(_) => Poll::Ready(Err(Error::CutShort)),
            Poll::Pending => self.late.poll(cx).map(|()| Err(Error::Slow)),
        })
        .await
    }

    /// Whether the body of a request has come whole already.
    pub(super) fn has(&self, framing: &Framing) -> bool {
        matches!(*framing, Framing::Length(length) if self.input.len() as u64 >= length)
    }

    /// The body of a request in one piece: as it was read if it came at once, else in a buffer of its own. All of it has to
    /// come by `until`, or a client that sends a byte now and then would hold its connection for ever.
    pub(super) async fn body(&mut self, framing: &mut Framing, limit: usize, until: Instant) -> Result<Bytes, Error> {
        match *framing {
            Framing::Length(length) => {
                let length = usize::try_from(length).ok().filter(|length| *length <= limit);
                let length = length.ok_or(Error::TooLarge(limit))?;
                if self.input.len() < length {
                    // Bytes read beyond the body begin the next request. There is room for them, so that the buffer does not
                    // grow for the last piece of the body.
                    self.make_room(length + ROOM / 2)?;
                    while self.input.len() < length {
                        self.fill(until).await?;
                    }
                }
                *framing = Framing::Ended;
                let body = self.input.split_to(length).freeze();
                if length > ROOM {
                    self.shrink();
                }
                Ok(body)
            }
            Framing::Chunked(_) => {
                let mut whole = Vec::new();
                loop {
                    match framing.take(&mut self.input) {
                        Ok(Some(piece)) if whole.len() + piece.len() > limit => return Err(Error::TooLarge(limit)),
                        Ok(Some(piece)) => {
                            whole.try_reserve(piece.len()).map_err(|_| Error::NoMemory)?;
                            whole.extend_from_slice(&piece);
                        }
                        Ok(None) if *framing == Framing::Ended => return Ok(whole.into()),
                        Ok(None) => self.fill(until).await?,
                        Err(_) => return Err(Error::BadRequest(GARBLED_CHUNKS)),
                    }
                }
            }
            Framing::UntilClose | Framing::Ended => Ok(Bytes::new()),
        }
    }

    /// Makes room for so many bytes, counted from the first that was read. They are only declared so far: if the system has no
    /// memory for them, this request fails and not the whole process.
    fn make_room(&mut self, bytes: usize) -> Result<(), Error> {
        let mut room = Vec::new();
        room.try_reserve_exact(bytes).map_err(|_| Error::NoMemory)?;
        room.extend_from_slice(&self.input);
        self.input = Bytes::from(room).into();
        Ok(())
    }

    /// More has been sent ahead than is kept.
    pub(super) fn is_full(&self) -> bool {
        self.input.len() >= AHEAD
    }

    /// Ready when the client has left. What it sends ahead is kept for later.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_full() {
            match ready!(self.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    /// Frees memory that a long wait does not need: all but the bytes sent ahead.
    pub(super) fn shrink(&mut self) {
        self.input = BytesMut::from(&self.input[..]);
    }

    /// Reads and drops what still comes. A connection closed earlier is reset, and its client may not see the answer.
    pub(super) async fn drain(&mut self) {
        let now = Instant::now();
        let (end, mut stopping, mut left) = (now + LINGER_IN_ALL, false, LINGER_MOST);
        self.allow(now, LINGER);
        poll_fn(|cx| {
            loop {
                self.input.clear();
                // While Greenroom stops, it does not wait for clients that linger.
                if self.closing.is_closed() && !std::mem::replace(&mut stopping, true) {
                    self.allow(Instant::now(), LEAVE);
                }
                match self.poll_fill(cx) {
                    Poll::Ready(Ok(came @ 1..)) if came < left => {
                        left -= came;
                        if !stopping {
                            let now = Instant::now();
                            self.late.set(now, end.min(now + LINGER));
                        }
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.late.poll(cx),
                }
            }
        })
        .await;
    }
}
