//! Owns the answer to a client before it becomes bytes on a connection: a status, header lines, a body.

use actix_web::http::StatusCode;
use bytes::Bytes;
use tokio::time::Instant;

use super::{admission::Admission, stream_body::StreamBody};

/// The header that names a request.
pub const REQUEST_ID: &str = "x-request-id";

/// An answer to a client.
pub struct Reply {
    /// HTTP status.
    pub status: StatusCode,
    /// Header lines, each with its line end; length, date and connection are the connection's own.
    pub lines: Vec<u8>,
    /// The body.
    pub body: Body,
    /// When it was ready to be sent, if the clock was read then. No time has passed since.
    pub at: Option<Instant>,
    /// The admission of a limited user's request, which lasts until this has been sent.
    pub admission: Option<Box<Admission>>,
}

/// The body of an answer.
pub enum Body {
    /// In one piece.
    Whole(Bytes),
    /// As it comes.
    Stream(Box<StreamBody>),
}

impl Reply {
    /// An answer without a body; `lines` go out first.
    pub fn new(status: StatusCode, lines: Vec<u8>) -> Self {
        Self { status, lines, body: Body::Whole(Bytes::new()), at: None, admission: None }
    }

    /// Adds a header. Bytes that may not stand in a header's value go out as `_`, so that no value can end its line.
    pub fn line(&mut self, name: &str, value: &str) {
        self.lines.extend_from_slice(name.as_bytes());
        self.lines.extend_from_slice(b": ");
        let from = self.lines.len();
        self.lines.extend_from_slice(value.as_bytes());
        for byte in &mut self.lines[from..] {
            // Every byte is written: without a branch, many are done at once.
            *byte = if matches!(*byte, b' '..=b'~' | b'\t') { *byte } else { b'_' };
        }
        self.lines.extend_from_slice(b"\r\n");
    }

    /// Adds a header whose value is a number.
    pub fn count(&mut self, name: &str, value: u64) {
        self.line(name, itoa::Buffer::new().format(value));
    }

    /// Gives it a body in one piece.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: Body::Whole(body.into()), ..self }
    }

    /// The answer to a limited user's request.
    #[must_use]
    pub fn during(self, mut admission: Admission) -> Self {
        if let Body::Whole(_) = self.body {
            admission.settle();
        }
        Self { admission: Some(Box::new(admission)), ..self }
    }

    pub(super) fn stream(self, body: StreamBody) -> Self {
        Self { body: Body::Stream(Box::new(body)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_ends_its_line() {
        let mut reply = Reply::new(StatusCode::OK, Vec::new());
        reply.line("a", "1\r\nevil: é\0");
        assert_eq!(reply.lines, b"a: 1__evil: ___\r\n");
    }
}
