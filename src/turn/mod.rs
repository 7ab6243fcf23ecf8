//! Owns sending at the end of a turn: what the tasks of a thread write in one turn of its event loop goes out together.
//!
//! A send to a sleeping peer wakes it, and the sender pays for that in the kernel. Sent one after the other, the messages of a
//! turn find their readers awake, and the sending code stays in the processor's cache.

mod ending;
#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use actix_rt::net::TcpStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    task::coop::has_budget_remaining,
};

use self::ending::{TURN, Turn};

/// What a socket holds back before its writer has to wait, bytes.
const HIGH_WATER: usize = 16 << 10;

/// Bodies up to this size go out with their head, in one write; larger ones follow it uncopied. Head and body must fit into
/// the held-back buffer, which is reused.
pub const INLINE: usize = 12 << 10;

/// A socket that writes at the end of the turn. If it is dropped, it still sends what it holds, as far as its peer takes it at
/// once.
pub struct Socket(Rc<Outbox>);

struct Outbox {
    io: RefCell<TcpStream>,
    out: RefCell<Vec<u8>>,
    /// It stands in the turn's list.
    listed: Cell<bool>,
    /// A task waits until its peer reads again.
    stuck: Cell<bool>,
    /// Why a write at the end of a turn failed; the next writer is told.
    broken: Cell<Option<io::ErrorKind>>,
    /// The task that waits for something to read, and whether the runtime knows of it.
    reader: RefCell<Option<Waker>>,
    reader_waits: Cell<bool>,
    /// The task that waits for room.
    writer: Cell<Option<Waker>>,
    /// The task that waits until the peer reads again.
    sender: Cell<Option<Waker>>,
    /// Its owner has dropped it.
    gone: Cell<bool>,
}

impl Socket {
    /// Takes over a socket. Must be called on a thread that runs actix.
    pub fn new(io: TcpStream) -> Self {
        Self(Rc::new(Outbox {
            io: RefCell::new(io),
            out: RefCell::default(),
            listed: Cell::new(false),
            stuck: Cell::new(false),
            broken: Cell::new(None),
            reader: RefCell::default(),
            reader_waits: Cell::new(false),
            writer: Cell::new(None),
            sender: Cell::new(None),
            gone: Cell::new(false),
        }))
    }

    /// Ready when there may be something to read, or its peer has closed.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(cx)
    }

    /// Whether there may be something to read, or its peer has closed, as far as the runtime knows.
    pub fn is_readable(&self) -> bool {
        is_readable(&self.0.io.borrow())
    }

    /// Whether everything written has been taken over by the kernel.
    pub fn is_drained(&self) -> bool {
        self.held() == 0
    }

    /// Bytes written that the kernel has not taken over.
    pub fn held(&self) -> usize {
        self.0.out.borrow().len()
    }

    /// Ready when it holds little enough to take more.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_below(HIGH_WATER, cx)
    }

    fn poll_below(&self, limit: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.0.broken.get() {
            return Poll::Ready(Err(kind.into()));
        }
        if self.0.out.borrow().len() < limit {
            return Poll::Ready(Ok(()));
        }
        self.0.writer.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// The other end, as the system knows it while there is one.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.io.borrow().peer_addr().ok()
    }

    /// Makes the connection end with a reset rather than in order: what the kernel has not sent by then is lost.
    pub fn reset_at_end(&self) {
        if let Err(error) = self.0.io.borrow().set_zero_linger() {
            log::debug!("a connection will end in order: {error}");
        }
    }

    /// Holds what `write` adds until the end of the turn, however much is held: code that may write much asks for room first.
    pub fn hold(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let inner = &self.0;
        let mut out = inner.out.borrow_mut();
        if out.capacity() == 0 {
            *out = TURN.with(Turn::buffer);
        }
        write(&mut out);
        drop(out);
        if !inner.stuck.get() && !inner.listed.replace(true) {
            TURN.with(|turn| turn.list(inner));
        }
    }
}

/// Whether there may be something to read, or the peer has closed, as far as the runtime knows. Does not register a waker.
pub fn is_readable(io: &TcpStream) -> bool {
    io.try_io(Interest::READABLE, || Ok(())).is_ok()
}

impl Outbox {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.io.borrow();
        let mut reader = self.reader.borrow_mut();
        let known = reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        // A task that waits for other things too asks each time it is woken. The runtime takes a lock to register a waker, and
        // keeps it until there is something to read, so it is told only once.
        if known && self.reader_waits.get() && !is_readable(&io) {
            return Poll::Pending;
        }
        let ready = io.poll_read_ready(cx);
        // A task that has used up its budget is told to wait without its waker being registered.
        self.reader_waits.set(ready.is_pending() && has_budget_remaining());
        if ready.is_pending() && !known {
            *reader = Some(cx.waker().clone());
        }
        ready
    }

    /// Sends what its peer takes.
    fn send(self: &Rc<Self>, turn: &Turn) {
        let mut out = self.out.borrow_mut();
        let io = self.io.borrow();
        let mut sent = 0;
        while sent < out.len() {
            match io.try_write(&out[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.broken.set(Some(error.kind()));
                    sent = out.len();
                }
            }
        }
        if sent < out.len() {
            out.drain(..sent);
            if !self.stuck.replace(true) {
                actix_rt::spawn(send_when_read(self.clone()));
            }
        } else {
            turn.take_back(&mut out);
        }
        if out.len() < HIGH_WATER
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
    }
}

/// Sends the rest once its peer reads again; ends with the socket's owner.
async fn send_when_read(outbox: Rc<Outbox>) {
    let reads = poll_fn(|cx| {
        if outbox.gone.get() {
            return Poll::Ready(false);
        }
        outbox.sender.set(Some(cx.waker().clone()));
        outbox.io.borrow().poll_write_ready(cx).map(|_| true)
    });
    if reads.await {
        outbox.stuck.set(false);
        TURN.with(|turn| outbox.send(turn));
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.gone.set(true);
        if let Some(sender) = self.0.sender.take() {
            sender.wake();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // This may register another waker.
        self.0.reader_waits.set(false);
        Pin::new(&mut *self.0.io.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    /// Holds small writes until the end of the turn. Large ones go out at once, after what is held.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_room(cx))?;
        if buf.len() < HIGH_WATER {
            self.hold(|out| out.extend_from_slice(buf));
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.as_ref().poll_drained(cx))?;
        Pin::new(&mut *self.0.io.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.as_ref().poll_drained(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_ref().poll_drained(cx))?;
        Pin::new(&mut *self.0.io.borrow_mut()).poll_shutdown(cx)
    }
}

impl Socket {
    /// Ready when nothing is held any more; does not wait for the end of the turn.
    fn poll_drained(self: Pin<&Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.0.stuck.get() {
            TURN.with(|turn| self.0.send(turn));
        }
        self.poll_below(1, cx)
    }
}
