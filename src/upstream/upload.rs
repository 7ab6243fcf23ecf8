//! Owns sending a large body, and noticing an answer that comes before the backend has read all of it.

use std::{
    io,
    pin::Pin,
    task::{Poll, ready},
};

use futures_util::future::poll_fn;
use tokio::io::AsyncWrite;

use super::{
    answer::poll_fill,
    head::{AnswerHead, NoHead},
    pool::Connection,
};
use crate::wire::http1::Framing;

/// How many bytes of an answer are read while its request goes out. A longer one is still being written by a backend that may
/// still read.
const EARLY: usize = 16 << 10;

/// What has come while a request went out.
#[derive(Default)]
pub(super) struct Heard {
    /// Anything at all has come, so the request has arrived: sent again, it would be done, and paid for, twice.
    pub(super) any: bool,
    /// The answer, ahead of the request's end.
    pub(super) early: Option<Result<AnswerHead, NoHead>>,
    /// The answer did not wait for the rest of the request, so the rest was not sent.
    pub(super) kept_rest: bool,
}

impl Heard {
    /// The head of the answer, if it has come; interim responses in front of it are skipped.
    pub(super) fn head(&mut self, connection: &mut Connection) -> Result<Option<AnswerHead>, NoHead> {
        loop {
            match AnswerHead::take(&mut connection.buffer)? {
                Some(head) if (100..200).contains(&head.status) => self.any = true,
                found => return Ok(found),
            }
        }
    }

    /// Looks at what has come, to see whether the rest of the request is still of use.
    fn look(&mut self, connection: &mut Connection) {
        if self.early.is_none() {
            self.early = self.head(connection).transpose();
        }
        self.kept_rest |= match &self.early {
            Some(Ok(head)) => head.status >= 300 || is_whole(head, connection),
            Some(Err(_)) => true,
            None => false,
        };
    }
}

/// Whether an answer has been read to its end.
fn is_whole(head: &AnswerHead, connection: &Connection) -> bool {
    // Tried on a copy: the reader of the answer takes the original.
    let (mut framing, mut read) = (head.framing.clone(), connection.buffer.clone());
    while let Ok(Some(_)) = framing.take(&mut read) {}
    framing == Framing::Ended
}

/// Writes a part of a large body. A backend that takes no more of it may have answered already: that it is too large, that
/// there are too many requests, or with its whole answer. Then the rest is not sent. A backend whose good answer goes on is
/// still reading.
pub(super) async fn pour(connection: &mut Connection, part: &[u8], heard: &mut Heard) -> io::Result<()> {
    let mut left = part;
    while !left.is_empty() && !heard.kept_rest {
        let written = poll_fn(|cx| {
            if let Poll::Ready(done) = Pin::new(&mut connection.io).poll_write(cx, left) {
                return Poll::Ready(Some(
                    done.and_then(|n| if n > 0 { Ok(n) } else { Err(io::ErrorKind::WriteZero.into()) }),
                ));
            }
            if heard.early.is_some() && connection.buffer.len() >= EARLY {
                return Poll::Pending;
            }
            match ready!(poll_fill(connection, cx)) {
                // A backend that has closed after an answer has no use for more. Its reader will see whether the answer was
                // complete.
                Ok(0) if heard.early.is_some() => {
                    heard.kept_rest = true;
                    Poll::Ready(None)
                }
                Ok(0) => Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into()))),
                read => Poll::Ready(read.err().map(Err)),
            }
        });
        match written.await {
            Some(done) => left = &left[done?..],
            None => heard.look(connection),
        }
    }
    Ok(())
}
