//! Owns what comes in on a client's connection: heads and bodies within their time, and the news that the client has left.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::{
    closing::Closing,
    head::{Head, Unfit},
};
use crate::{error::Error, timer::Timer, turn::Socket, wire::http1::Framing};

/// Time a client has to send the head of a request.
pub(super) const HEAD: Duration = Duration::from_secs(10);

/// Time within which the next piece of a body has to come.
const PIECE: Duration = Duration::from_secs(30);

/// Room for reading, bytes: an ordinary request at once.
const ROOM: usize = 4 << 10;

/// What a client may send ahead while it waits for its answer, bytes. That it has left is seen only behind what it has sent, so
/// one that sends more counts as gone.
const AHEAD: usize = 1 << 20;

/// The reading side of a connection.
pub(super) struct Intake {
    pub(super) socket: Socket,
    input: BytesMut,
    /// Due when what is waited for comes too late.
    pub(super) late: Timer,
}

/// What came of waiting for a request.
pub(super) enum Begun {
    Head(Head),
    Unfit(Unfit),
    /// It began and did not come whole in time.
    Late,
    /// The client has left, or has asked for nothing for too long.
    Over,
}

impl Intake {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, input: BytesMut::new(), late: Timer::new(Instant::now() + HEAD) }
    }

    /// From now on so much time is left.
    pub(super) fn allow(&mut self, now: Instant, time: Duration) {
        self.late.set(now, now + time);
    }

    /// Reads what has come; 0 bytes: the client has closed.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Asked first, so that a connection on which nothing comes needs no buffer.
        ready!(self.socket.poll_read_ready(cx))?;
        if self.input.capacity() - self.input.len() < ROOM / 2 {
            self.input.reserve(ROOM);
        }
        poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.input)
    }

    /// Nothing of a request has come. Line ends in front of one are passed over, and begin none (RFC 9112, 2.2).
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
    pub(super) async fn head(&mut self, closing: &Closing, mut begun: bool) -> Begun {
        poll_fn(|cx| {
            loop {
                if self.is_blank() {
                    if closing.is_closed() {
                        return Poll::Ready(Begun::Over);
                    }
                } else {
                    match Head::take(&mut self.input) {
                        Ok(Some(head)) => return Poll::Ready(Begun::Head(head)),
                        Ok(None) => {}
                        Err(unfit) => return Poll::Ready(Begun::Unfit(unfit)),
                    }
                    if !std::mem::replace(&mut begun, true) {
                        self.allow(Instant::now(), HEAD);
                    }
                }
                match self.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(Begun::Over),
                    Poll::Pending => {
                        let late = if self.is_blank() { Begun::Over } else { Begun::Late };
                        return self.late.poll(cx).map(|()| late);
                    }
                }
            }
        })
        .await
    }

    /// Reads on, within the time for a piece.
    async fn fill(&mut self) -> Result<(), Error> {
        self.allow(Instant::now(), PIECE);
        poll_fn(|cx| match self.poll_fill(cx) {
            Poll::Ready(Ok(1..)) => Poll::Ready(Ok(())),
            Poll::Ready(_) => Poll::Ready(Err(Error::CutShort)),
            Poll::Pending => self.late.poll(cx).map(|()| Err(Error::Slow)),
        })
        .await
    }

    /// Whether the body of a request has come whole, so that it is not waited for.
    pub(super) fn has(&self, framing: &Framing) -> bool {
        matches!(*framing, Framing::Length(length) if self.input.len() as u64 >= length)
    }

    /// The body of a request, in one piece; as it came where it came at once, else in a buffer of its own.
    pub(super) async fn body(&mut self, framing: &mut Framing, limit: usize) -> Result<Bytes, Error> {
        match *framing {
            Framing::Length(length) => {
                let length = usize::try_from(length).ok().filter(|length| *length <= limit);
                let length = length.ok_or(Error::TooLarge(limit))?;
                if self.input.len() < length {
                    // What is read beyond the body is the beginning of the next request.
                    self.input.reserve(length - self.input.len() + 1);
                    while self.input.len() < length {
                        self.fill().await?;
                    }
                }
                *framing = Framing::Ended;
                Ok(self.input.split_to(length).freeze())
            }
            Framing::Chunked(_) => {
                let mut whole = BytesMut::new();
                loop {
                    match framing.take(&mut self.input) {
                        Ok(Some(piece)) if whole.len() + piece.len() > limit => return Err(Error::TooLarge(limit)),
                        Ok(Some(piece)) => whole.extend_from_slice(&piece),
                        Ok(None) if *framing == Framing::Ended => return Ok(whole.freeze()),
                        Ok(None) => self.fill().await?,
                        Err(_) => return Err(Error::BadRequest("the chunks of its body are garbled")),
                    }
                }
            }
            Framing::UntilClose | Framing::Ended => Ok(Bytes::new()),
        }
    }

    /// Ready when the client has left; what it sends ahead is kept for later.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.input.len() < AHEAD {
            match ready!(self.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    /// Gives back memory that a long wait does not need.
    pub(super) fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// Takes in and drops what still comes: a connection closed before that is reset, and its client may not see the answer.
    pub(super) async fn drain(&mut self) {
        poll_fn(|cx| {
            loop {
                self.input.clear();
                match ready!(self.poll_fill(cx)) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
        time::{pause, resume},
    };

    use super::*;

    async fn pair() -> (TcpStream, Intake) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let (server, _) = listener.accept().await.expect("a client");
        (client, Intake::new(Socket::new(server)))
    }

    /// What comes of a client that sends `bytes` and then nothing, and how long that took. The clock runs ahead while nothing
    /// happens, so the bytes are waited for first.
    async fn after(bytes: &[u8], begun: bool) -> (Begun, Duration) {
        let (mut client, mut intake) = pair().await;
        client.write_all(bytes).await.expect("it reads");
        if !bytes.is_empty() {
            poll_fn(|cx| intake.poll_fill(cx)).await.expect("bytes");
        }
        pause();
        let now = Instant::now();
        intake.allow(now, if begun { HEAD } else { Duration::from_secs(75) });
        let came = intake.head(&Closing::default(), begun).await;
        let took = now.elapsed();
        resume();
        (came, took)
    }

    #[tokio::test]
    async fn a_head_has_ten_seconds_from_its_first_byte() {
        let (came, took) = after(b"POST / HTTP/1.1\r\nhost:", false).await;
        assert!(matches!(came, Begun::Late) && took.abs_diff(HEAD) < Duration::from_millis(5), "{took:?}");
        // A new connection on which nothing comes is no request that came too late.
        let (came, took) = after(b"", true).await;
        assert!(matches!(came, Begun::Over) && took.abs_diff(HEAD) < Duration::from_millis(5), "{took:?}");
    }

    #[tokio::test]
    async fn line_ends_in_front_of_a_request_begin_none() {
        for blank in ["\r\n", "\n", "\r\n\r\n\r"] {
            let (came, took) = after(blank.as_bytes(), false).await;
            let idle = Duration::from_secs(75);
            assert!(
                matches!(came, Begun::Over) && took.abs_diff(idle) < Duration::from_millis(5),
                "{blank:?} {took:?}"
            );
            let (came, _) = after(format!("{blank}\nGET /x HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes(), false).await;
            assert!(matches!(came, Begun::Head(head) if head.path() == "/x"), "{blank:?}");
        }
    }

    #[tokio::test]
    async fn a_body_has_time_for_each_piece() {
        let (mut client, mut intake) = pair().await;
        client.write_all(b"abc").await.expect("it reads");
        poll_fn(|cx| intake.poll_fill(cx)).await.expect("bytes");
        pause();
        let now = Instant::now();
        let came = intake.body(&mut Framing::Length(4), 10).await;
        assert_eq!(came, Err(Error::Slow));
        assert!(now.elapsed().abs_diff(PIECE) < Duration::from_millis(5), "{:?}", now.elapsed());
    }

    #[tokio::test]
    async fn that_a_client_has_left_is_seen_behind_all_that_it_sent_ahead() {
        let (mut client, mut intake) = pair().await;
        let ahead = async {
            client.write_all(&vec![b'x'; 300 << 10]).await.expect("it reads");
            drop(client);
        };
        let gone = async { tokio::join!(ahead, poll_fn(|cx| intake.poll_gone(cx))) };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it has left");
    }

    #[tokio::test]
    async fn a_client_that_sends_ahead_without_end_counts_as_gone() {
        let (mut client, mut intake) = pair().await;
        let flood = async { while client.write_all(&[b'x'; 4096]).await.is_ok() {} };
        let gone = poll_fn(|cx| intake.poll_gone(cx));
        let first = async {
            tokio::select! { () = flood => panic!("it was cut off"), () = gone => {} }
        };
        tokio::time::timeout(Duration::from_secs(20), first).await.expect("it is gone");
    }

    #[tokio::test]
    async fn what_follows_a_body_is_kept_for_the_next_request() {
        let (mut client, mut intake) = pair().await;
        client.write_all(b"abcGET /x HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("it reads");
        assert_eq!(intake.body(&mut Framing::Length(3), 10).await, Ok(Bytes::from_static(b"abc")));
        let Begun::Head(head) = intake.head(&Closing::default(), false).await else { panic!("no head") };
        assert_eq!(head.path(), "/x");
    }
}
