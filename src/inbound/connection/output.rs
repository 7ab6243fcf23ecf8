//! Owns what goes out on a client's connection: heads, bodies, chunks.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{io::AsyncWrite, time::Instant};

use super::{
    chunked::{chunk, last},
    intake::Intake,
    taking::{poll_stuck, taken},
};
use crate::{
    exchange::{reply::Reply, stream_body::Piece},
    turn::INLINE,
};

/// How a body is framed, and what becomes of the connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// The connection ends with this answer.
    pub(super) close: bool,
    /// The client speaks HTTP/1.0: no chunks, and a kept connection has to be told.
    pub(super) is_1_0: bool,
    /// The client asked for the head alone. Nobody does for a stream.
    pub(super) head_only: bool,
}

/// Writes a head; `length` of the body, `None` if it is a stream.
fn head(reply: &Reply, length: Option<usize>, manner: Manner, now: Instant, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(reply.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reply.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&reply.lines);
    match length {
        Some(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        None if !manner.is_1_0 => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        None => {}
    }
    if manner.close {
        out.extend_from_slice(b"connection: close\r\n");
    } else if manner.is_1_0 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    date(now, out);
    out.extend_from_slice(b"\r\n");
}

/// The date line, rendered once a second on each thread.
fn date(now: Instant, out: &mut Vec<u8>) {
    thread_local! {
        static LINE: RefCell<Option<(Instant, String)>> = const { RefCell::new(None) };
    }
    LINE.with_borrow_mut(|line| {
        if line.as_ref().is_none_or(|(until, _)| now >= *until) {
            let wall = SystemTime::now();
            let within = wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
            let until = now + Duration::from_secs(1) - Duration::from_nanos(u64::from(within));
            *line = Some((until, format!("date: {}\r\n", httpdate::fmt_http_date(wall))));
        }
        out.extend_from_slice(line.as_ref().map_or("", |(_, text)| text).as_bytes());
    });
}

/// Writes an answer in one piece; tells when that was done.
pub(super) async fn whole(
    intake: &mut Intake,
    reply: &Reply,
    body: &Bytes,
    manner: Manner,
    now: Instant,
) -> io::Result<Instant> {
    if !intake.socket.is_drained() {
        taken(intake, |socket, cx| socket.poll_room(cx)).await?;
    }
    let length = Some(body.len());
    let body: &[u8] = if manner.head_only { &[] } else { body };
    let inline = body.len() <= INLINE;
    intake.socket.hold(|out| {
        head(reply, length, manner, now, out);
        if inline {
            out.extend_from_slice(body);
        }
    });
    if inline {
        return Ok(now);
    }
    let mut rest = body;
    while !rest.is_empty() {
        match taken(intake, |socket, cx| Pin::new(socket).poll_write(cx, rest)).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => rest = &rest[n..],
        }
    }
    Ok(Instant::now())
}

/// Writes an answer piece by piece as it comes, and notices when the client leaves. `Err`: it broke off, and so must the
/// connection.
pub(super) async fn stream(
    intake: &mut Intake,
    reply: &Reply,
    mut poll_piece: impl FnMut(&mut Context<'_>) -> Poll<Piece>,
    manner: Manner,
    now: Instant,
) -> Result<(), ()> {
    intake.socket.hold(|out| head(reply, None, manner, now, out));
    let mut full = None;
    loop {
        let next = poll_fn(|cx| {
            // A client that does not read slows its backend: no piece is taken meanwhile.
            let mut room = intake.socket.poll_room(cx);
            if room.is_pending() && full.is_none() {
                // The kernel may take it at once; only after that is the client the one to wait for.
                let _ = Pin::new(&mut intake.socket).poll_flush(cx);
                room = intake.socket.poll_room(cx);
            }
            let next = match room {
                Poll::Ready(Ok(())) => {
                    full = None;
                    poll_piece(cx)
                }
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending if poll_stuck(&mut full, intake, cx).is_ready() => return Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            };
            match next {
                Poll::Ready(piece) => Poll::Ready(Some(piece)),
                Poll::Pending => {
                    ready!(intake.poll_gone(cx));
                    Poll::Ready(None)
                }
            }
        });
        match next.await {
            Some(Piece::Bytes(bytes)) => chunk(&bytes, manner, &intake.socket),
            Some(Piece::End(bytes)) => {
                chunk(&bytes, manner, &intake.socket);
                last(manner, &intake.socket);
                return Ok(());
            }
            Some(Piece::Broken(bytes)) => {
                chunk(&bytes, manner, &intake.socket);
                return Err(());
            }
            None => return Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::{pause, resume},
    };

    use super::{
        super::{
            intake::tests::pair,
            taking::{TAKE, TAKE_AT_LAST},
        },
        *,
    };

    /// A client and the other end of its connection; from then on time goes by only where somebody waits.
    async fn connected() -> (TcpStream, Intake) {
        let connected = pair().await;
        pause();
        connected
    }

    #[actix::test]
    async fn a_client_that_takes_nothing_is_given_up_after_its_time() {
        let (client, mut intake) = connected().await;
        let now = Instant::now();
        let body = Bytes::from(vec![b'x'; 64 << 20]);
        let reply = Reply::new(StatusCode::OK, Vec::new());
        let written = whole(&mut intake, &reply, &body, Manner::default(), now).await;
        assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert!(now.elapsed().abs_diff(TAKE) < Duration::from_millis(50), "{:?}", now.elapsed());
        drop(client);
    }

    #[actix::test]
    async fn a_client_that_takes_nothing_of_a_stream_is_given_up_after_its_time_which_is_short_while_greenroom_stops() {
        for (stops, after) in [(2 * TAKE, TAKE), (TAKE / 3, TAKE / 3 + TAKE_AT_LAST)] {
            let (client, mut intake) = connected().await;
            let (now, closing) = (Instant::now(), intake.closing.clone());
            let piece = Bytes::from(vec![b'x'; 64 << 10]);
            let mut given = 0;
            let reply = Reply::new(StatusCode::OK, Vec::new());
            let pieces = |_: &mut Context<'_>| {
                given += piece.len();
                Poll::Ready(Piece::Bytes(piece.clone()))
            };
            let streaming = stream(&mut intake, &reply, pieces, Manner::default(), now);
            let stopping = async {
                tokio::time::sleep(stops).await;
                closing.close();
                std::future::pending::<()>().await;
            };
            // First that it stops, then what becomes of the stream: nothing but time wakes them here.
            tokio::select! { biased; () = stopping => {}, streamed = streaming => assert_eq!(streamed, Err(())) }
            assert!(now.elapsed().abs_diff(after) < Duration::from_millis(50), "{:?}", now.elapsed());
            // What the kernel holds for a client that does not read, and no more of the backend's.
            assert!(given < 64 << 20, "{given}");
            drop(client);
            resume();
        }
    }

    #[actix::test]
    async fn a_client_that_takes_a_long_piece_slowly_gets_it_whole() {
        let (mut client, mut intake) = connected().await;
        let mut pieces = [Piece::End(Bytes::new()), Piece::Bytes(Bytes::from(vec![b'x'; 64 << 20]))].into_iter().rev();
        let reply = Reply::new(StatusCode::OK, Vec::new());
        let poll_piece = |_: &mut Context<'_>| Poll::Ready(pieces.next().expect("asked no more after the end"));
        let now = Instant::now();
        let send = async {
            let streamed = stream(&mut intake, &reply, poll_piece, Manner::default(), now).await;
            intake.socket.flush().await.expect("the client is there");
            streamed
        };
        let take = async {
            let mut some = vec![0; 4 << 20];
            for _ in 0..16 {
                tokio::time::sleep(TAKE / 4).await;
                client.read_exact(&mut some).await.expect("not given up");
            }
            // The end, and what was left of the chunks' frame.
            while let Ok(1..) = tokio::time::timeout(TAKE, client.read(&mut some)).await.unwrap_or(Ok(0)) {}
        };
        let (streamed, ()) = futures_util::future::join(send, take).await;
        assert_eq!(streamed, Ok(()));
        assert!(now.elapsed() > 3 * TAKE, "{:?}", now.elapsed());
    }
}
