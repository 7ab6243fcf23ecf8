//! Owns server-sent events: cutting a byte stream into whole frames without copying, and reading a frame's fields.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr2, memchr2_iter};
use serde::Serialize;

use super::json::push;

/// Largest frame held while it is incomplete, bytes: a bound on memory.
pub const MAX_FRAME: usize = 16 << 20;

/// The same of frames with sound or whole pictures in them. One of 3,840 x 2,160 pixels, which is the most that gpt-image-2 draws,
/// takes 44 MB at most in base64.
pub const MAX_MEDIA_FRAME: usize = 64 << 20;

/// What some servers put in front of UTF-8. It is no part of a stream, nor of JSON.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Without a byte order mark at its beginning.
#[must_use]
pub fn unmarked(mut bytes: Bytes) -> Bytes {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.advance(BYTE_ORDER_MARK.len());
    }
    bytes
}

/// A frame grew past the limit without ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTooLong {
    /// Bytes.
    pub limit: usize,
}

/// Cuts chunks, split anywhere, into runs of whole frames.
#[derive(Debug)]
pub struct Splitter {
    /// Largest frame held while it is incomplete, bytes.
    limit: usize,
    /// The frame under way.
    tail: BytesMut,
    state: Scan,
    /// The beginning of the stream was given.
    begun: bool,
}

/// How far the search for a blank line has come.
#[derive(Debug, Default, Clone, Copy)]
struct Scan {
    /// Bytes already looked at.
    seen: usize,
    /// Whether the line under way has bytes in it.
    in_line: bool,
    /// Whether the last byte seen was a carriage return, of which a line feed may be the second half.
    after_cr: bool,
}

impl Scan {
    /// Looks at the bytes not yet seen; returns the end of the last whole frame, if one ended.
    fn last_end(&mut self, bytes: &[u8]) -> Option<usize> {
        // A blank line that lacks only its line feed is waited for. By itself the line feed would be an empty frame,
        // and lost where those are dropped.
        let bytes = if bytes.ends_with(b"\r\n\r") { &bytes[..bytes.len() - 1] } else { bytes };
        let mut end = None;
        let mut line_start = self.seen;
        for at in memchr2_iter(b'\n', b'\r', &bytes[self.seen..]) {
            let at = at + self.seen;
            let second_half = bytes[at] == b'\n' && self.after_cr && at == line_start;
            let empty = at == line_start && !self.in_line;
            self.after_cr = bytes[at] == b'\r';
            self.in_line = false;
            line_start = at + 1;
            if second_half {
                // The line ended at the carriage return; a frame that did takes its line feed along.
                if end == Some(at) {
                    end = Some(at + 1);
                }
            } else if empty {
                end = Some(at + 1);
            }
        }
        if line_start < bytes.len() {
            self.in_line = true;
            self.after_cr = false;
        }
        self.seen = bytes.len();
        end
    }
}

impl Default for Splitter {
    fn default() -> Self {
        Self::up_to(MAX_FRAME)
    }
}

impl Splitter {
    /// One that holds a frame up to this limit, bytes.
    pub fn up_to(limit: usize) -> Self {
        Self { limit, tail: BytesMut::new(), state: Scan::default(), begun: false }
    }

    /// Takes the next chunk; returns all frames that are whole now, as one run of the upstream's own bytes.
    pub fn push(&mut self, mut chunk: Bytes) -> Result<Bytes, FrameTooLong> {
        if self.tail.is_empty() {
            self.state.seen = 0;
            let Some(end) = self.state.last_end(&chunk) else {
                self.tail.extend_from_slice(&chunk);
                return self.within_limit(Bytes::new());
            };
            let whole = chunk.split_to(end);
            self.tail.extend_from_slice(&chunk);
            self.state.seen -= end;
            return Ok(self.first(whole));
        }
        self.tail.extend_from_slice(&chunk);
        let Some(end) = self.state.last_end(&self.tail) else {
            return self.within_limit(Bytes::new());
        };
        let whole = self.tail.split_to(end).freeze();
        self.state.seen -= end;
        Ok(self.first(whole))
    }

    /// What is left of an unfinished frame when the stream ends.
    pub fn rest(&mut self) -> Bytes {
        self.state = Scan::default();
        let rest = self.tail.split().freeze();
        self.first(rest)
    }

    /// What is given first has a mark in front of it if the stream has one.
    fn first(&mut self, run: Bytes) -> Bytes {
        if std::mem::replace(&mut self.begun, true) { run } else { unmarked(run) }
    }

    fn within_limit(&self, whole: Bytes) -> Result<Bytes, FrameTooLong> {
        if self.tail.len() > self.limit { Err(FrameTooLong { limit: self.limit }) } else { Ok(whole) }
    }
}

/// Appends an event and its data.
pub(super) fn write<T: Serialize + ?Sized>(event: &str, data: &T, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    push(out, data);
    out.extend_from_slice(b"\n\n");
}

/// One frame of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its bytes, the blank line included.
    pub raw: &'a [u8],
    /// The `event` field; `error` where a field of that name stands in place of `data`.
    pub event: Option<&'a str>,
    /// The `data` fields, joined by line feeds; `None` for a comment or an empty frame, and where they say nothing: the standard
    /// has such an event told to nobody.
    pub data: Option<Cow<'a, [u8]>>,
}

/// The frames of a run that `Splitter` gave, or of a stream's unterminated rest.
pub fn frames(run: &[u8]) -> Frames<'_> {
    Frames { run }
}

/// Iterator over frames.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    run: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        if self.run.is_empty() {
            return None;
        }
        let mut frame = Frame { raw: self.run, event: None, data: None };
        let mut at = 0;
        while at < self.run.len() {
            let line_end = memchr2(b'\n', b'\r', &self.run[at..]).map_or(self.run.len(), |n| at + n);
            let line = &self.run[at..line_end];
            at = match &self.run[line_end..] {
                [b'\r', b'\n', ..] => line_end + 2,
                [] => line_end,
                _ => line_end + 1,
            };
            if line.is_empty() {
                break;
            }
            frame.field(line);
        }
        frame.data.take_if(|data| data.is_empty());
        let (raw, rest) = self.run.split_at(at);
        frame.raw = raw;
        self.run = rest;
        Some(frame)
    }
}

impl<'a> Frame<'a> {
    /// Whether it begins with a comment, or has no line at all, and carries no data.
    pub fn is_comment(&self) -> bool {
        self.data.is_none() && matches!(self.raw.first(), Some(b':' | b'\n' | b'\r'))
    }

    /// Appends it with other data.
    pub fn write_with(&self, data: &[u8], out: &mut BytesMut) {
        if let Some(event) = self.event {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(event.as_bytes());
            out.extend_from_slice(b"\n");
        }
        for line in data.split(|byte| *byte == b'\n') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line);
            out.extend_from_slice(b"\n");
        }
        out.extend_from_slice(b"\n");
    }

    fn field(&mut self, line: &'a [u8]) {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
            None => (line, &[][..]),
        };
        match name {
            b"data" => match &mut self.data {
                None => self.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"event" => self.event = std::str::from_utf8(value).ok(),
            // No field of the standard's: older servers of llama.cpp tell their errors in it.
            b"error" => {
                self.event = Some("error");
                self.data.get_or_insert(Cow::Borrowed(value));
            }
            _ => {}
        }
    }
}
