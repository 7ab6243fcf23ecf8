//! Owns sending a large body, and hearing what a backend says before it has read all of it.

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

/// Of an answer that comes while its request goes out so many bytes are read: one that is longer is still being written, by
/// somebody who may still read.
const EARLY: usize = 16 << 10;

/// What has come while a request went out.
#[derive(Default)]
pub(super) struct Heard {
    /// Anything at all: the request has arrived. Sent again, it would be done, and paid for, twice.
    pub(super) any: bool,
    /// The answer, ahead of the request's end.
    pub(super) early: Option<Result<AnswerHead, NoHead>>,
    /// The answer did not wait for the rest, and so the rest was kept.
    pub(super) kept_rest: bool,
}

impl Heard {
    /// The head of the answer, if it has come; what is said ahead of it is passed over.
    pub(super) fn head(&mut self, connection: &mut Connection) -> Result<Option<AnswerHead>, NoHead> {
        loop {
            match AnswerHead::take(&mut connection.buffer)? {
                Some(head) if (100..200).contains(&head.status) => self.any = true,
                found => return Ok(found),
            }
        }
    }

    /// Something more has come: is the rest of the request still of use?
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
    // Tried on a copy: it is taken by whoever reads the answer.
    let (mut framing, mut read) = (head.framing.clone(), connection.buffer.clone());
    while let Ok(Some(_)) = framing.take(&mut read) {}
    framing == Framing::Ended
}

/// Writes a part of a large body. A backend that takes no more of it may have answered already: that it is too large, that
/// there are too many requests, or all that it has to say. Then the rest is kept; a good answer that goes on is one that still
/// reads.
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
                // Who has closed behind an answer has no use for more; whether that was the answer's end, its reader will see.
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
