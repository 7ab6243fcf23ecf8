//! Owns the heads of HTTP/1 messages: of requests, rendered once and sent as bytes, and of answers, read without a map.
//!
//! The framework's codec builds a header map for each answer and renders each request's head anew.

use std::mem::MaybeUninit;

use actix_web::http::{
    Method, Uri,
    header::{HeaderName, HeaderValue},
};
use bytes::{Buf, BytesMut};

use crate::wire::http1::{Ends, Framing, LONGEST_HEAD, Lines, MOST_LINES, is_list_with};

/// A header and its value.
pub(super) type Field = (HeaderName, HeaderValue);

/// What a single request adds to the head that is prepared for all of its kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Along<'a> {
    /// Query parameters, for a URL that has none of its own.
    pub query: &'a str,
    /// Headers, which replace prepared ones of the same name.
    pub fields: &'a [(HeaderName, HeaderValue)],
}

/// The head of a request, without its length and what single requests add.
pub(super) struct RequestHead {
    /// Up to the end of the last line of `fixed`.
    bytes: Vec<u8>,
    /// Ends of the path and of the first line.
    path: usize,
    first_line: usize,
    fixed: Vec<Field>,
}

impl RequestHead {
    /// `uri` is absolute; `fixed` goes out with every request.
    pub(super) fn new(method: &Method, uri: &Uri, fixed: Vec<Field>) -> Self {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut bytes = format!("{method} {path}").into_bytes();
        let path = bytes.len();
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        let first_line = bytes.len();
        for (name, value) in &fixed {
            line(name, value, &mut bytes);
        }
        Self { bytes, path, first_line, fixed }
    }

    /// Renders the whole head.
    pub(super) fn render(&self, along: Along<'_>, length: usize, out: &mut Vec<u8>) {
        let Along { query, fields } = along;
        let rest = if query.is_empty() {
            0
        } else {
            out.extend_from_slice(&self.bytes[..self.path]);
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
            self.path
        };
        if fields.is_empty() {
            out.extend_from_slice(&self.bytes[rest..]);
        } else {
            out.extend_from_slice(&self.bytes[rest..self.first_line]);
            let kept = self.fixed.iter().filter(|(name, _)| fields.iter().all(|(other, _)| name != other));
            for (name, value) in kept.chain(fields) {
                line(name, value, out);
            }
        }
        if length > 0 {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn line(name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct AnswerHead {
    /// HTTP status.
    pub(super) status: u16,
    /// How the body ends.
    pub(super) framing: Framing,
    /// The connection may carry another request.
    pub(super) keep_alive: bool,
    /// The body is packed, which we never ask for.
    pub(super) packed: bool,
    /// The header lines.
    pub(super) lines: Lines,
}

/// The bytes are not the head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoHead(pub(super) &'static str);

impl AnswerHead {
    /// Takes a head from what has been read; `None`: more has to be read.
    pub(super) fn take(from: &mut BytesMut) -> Result<Option<Self>, NoHead> {
        // Left uninitialised: clearing room for so many lines would cost more than reading the few usual ones.
        let mut lines = [const { MaybeUninit::uninit() }; MOST_LINES];
        let mut parsed = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        let end = match parser.parse_response_with_uninit_headers(&mut parsed, from, &mut lines) {
            Ok(httparse::Status::Complete(end)) if end <= LONGEST_HEAD => end,
            Ok(httparse::Status::Partial) if from.len() <= LONGEST_HEAD => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(NoHead("its head is too long")),
            Err(_) => return Err(NoHead("its answer is not HTTP")),
        };
        let status = parsed.code.ok_or(NoHead("it has no status"))?;
        let Terms { framing, keep_alive, packed } = terms(&parsed, status)?;
        let lines = Lines::of(&from[..end], parsed.headers);
        from.advance(end);
        Ok(Some(Self { status, framing, keep_alive, packed, lines }))
    }
}

/// Codings that pack (RFC 9110, 8.4.1, and zstd). Some servers send other words, such as `none` or a charset, and pack
/// nothing.
const PACKS: [&[u8]; 7] = [b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"compress", b"x-compress"];

/// What the lines of a head say of the answer's body and connection.
struct Terms {
    framing: Framing,
    keep_alive: bool,
    packed: bool,
}

/// How the body ends, by RFC 9112, 6.3, and whether the connection can be used after it. A head that can be read in two ways
/// is refused: a proxy that reads it differently from its backend gives one client's answer to the next.
fn terms(head: &httparse::Response<'_, '_>, status: u16) -> Result<Terms, NoHead> {
    if status == 101 {
        return Err(NoHead("it switches to a protocol that nobody has asked for"));
    }
    let mut ends = Ends::new(head.version == Some(1));
    let mut coding: Option<&[u8]> = None;
    let mut chunked = 0;
    let mut packed = false;
    for line in &*head.headers {
        ends.hear(line.name, line.value).map_err(NoHead)?;
        if line.name.eq_ignore_ascii_case("transfer-encoding") {
            coding = Some(line.value);
            chunked += line.value.split(|b| *b == b',').filter(|coding| is_chunked(coding)).count();
        } else if line.name.eq_ignore_ascii_case("content-encoding") {
            packed |= PACKS.iter().any(|coding| is_list_with(line.value, coding));
        }
    }
    // RFC 9112, 6.1. Decoded once or twice, the body has different ends.
    if chunked > 1 {
        return Err(NoHead("its answer is chunked twice over"));
    }
    let keep_alive = ends.keep_alive();
    if matches!(status, 100..200 | 204 | 304) {
        return Ok(Terms { framing: Framing::Ended, keep_alive, packed });
    }
    let Some(coding) = coding else {
        return Ok(Terms { framing: Framing::of(ends.length, false), keep_alive, packed });
    };
    let chunked = is_chunked(coding.rsplit(|b| *b == b',').next().unwrap_or_default());
    // With a length as well it may be an attempt at smuggling: this answer is read, but the connection is not used again.
    Ok(Terms { framing: Framing::of(None, chunked), keep_alive: keep_alive && ends.length.is_none(), packed })
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::http1::Chunk;

    fn take(head: &str) -> Result<Option<AnswerHead>, NoHead> {
        AnswerHead::take(&mut BytesMut::from(head))
    }

    fn framed(lines: &str) -> (Framing, bool) {
        let head = take(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")).expect("sound").expect("whole");
        (head.framing, head.keep_alive)
    }

    #[test]
    fn the_end_of_a_body_is_found_by_its_heads_words() {
        assert_eq!(framed("content-length: 7"), (Framing::Length(7), true));
        assert_eq!(framed("Content-Length: 7\r\nConnection: Close"), (Framing::Length(7), false));
        assert_eq!(framed("Transfer-Encoding: gzip, Chunked"), (Framing::Chunked(Chunk::Size), true));
        assert_eq!(framed("transfer-encoding: chunked\r\ncontent-length: 7"), (Framing::Chunked(Chunk::Size), false));
        assert_eq!(framed("x: y"), (Framing::UntilClose, true));
        let none = take("HTTP/1.1 204 No\r\ncontent-length: 9\r\n\r\n").expect("sound").expect("whole");
        assert_eq!(none.framing, Framing::Ended);
    }

    #[test]
    fn a_connection_is_kept_where_its_version_or_its_server_says_so_and_nobody_closes() {
        let kept = |version: &str, lines: &str| {
            let head = format!("HTTP/{version} 200 OK\r\ncontent-length: 1\r\n{lines}\r\n");
            take(&head).expect("sound").expect("whole").keep_alive
        };
        assert!(kept("1.1", "") && kept("1.0", "connection: Keep-Alive\r\n"));
        for both in ["connection: close\r\nconnection: keep-alive\r\n", "connection: keep-alive, close\r\n"] {
            assert!(!kept("1.0", both) && !kept("1.1", both), "{both:?}");
        }
        assert!(!kept("1.0", ""));
    }

    #[test]
    fn a_packed_body_is_one_whose_coding_packs() {
        let packed =
            |lines: &str| take(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")).expect("sound").expect("whole").packed;
        assert!(packed("Content-Encoding: gzip") && packed("content-encoding: identity\r\ncontent-encoding: br"));
        assert!(packed("content-encoding: identity, GZIP"));
        for harmless in ["content-encoding: Identity ", "content-encoding:", "content-encoding: none", "x: gzip"] {
            assert!(!packed(harmless), "{harmless}");
        }
    }

    #[test]
    fn a_head_that_can_be_read_in_two_ways_is_refused() {
        for lines in
            ["content-length: 1\r\ncontent-length: 2", "content-length: 1, 2", "content-length: +1", "content-length: "]
        {
            assert!(take(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")).is_err(), "{lines}");
        }
        assert!(take("220 smtp ready\r\n\r\n").is_err());
        assert!(take("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n").is_err());
        for twice in ["chunked, Chunked", "chunked\r\nTransfer-Encoding: chunked"] {
            assert!(take(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {twice}\r\n\r\n")).is_err(), "{twice}");
        }
        assert!(take(&format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(LONGEST_HEAD))).is_err());
    }

    #[test]
    fn an_extra_header_takes_the_place_of_a_fixed_one() {
        let field =
            |name: &'static str, value: &'static str| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let uri = "http://h/v1/x?y=z".parse().expect("a URI");
        let head = RequestHead::new(&Method::POST, &uri, vec![field("a", "1"), field("b", "2")]);
        let rendered = |fields: &[Field], length| {
            let mut out = Vec::new();
            head.render(Along { query: "", fields }, length, &mut out);
            String::from_utf8(out).expect("ASCII")
        };
        assert_eq!(rendered(&[], 3), "POST /v1/x?y=z HTTP/1.1\r\na: 1\r\nb: 2\r\ncontent-length: 3\r\n\r\n");
        assert_eq!(rendered(&[field("a", "9")], 0), "POST /v1/x?y=z HTTP/1.1\r\nb: 2\r\na: 9\r\n\r\n");
    }

    proptest! {
        #[test]
        fn a_head_cut_anywhere_waits_for_the_rest(cut in 0_usize..62) {
            let whole = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi";
            let mut buffer = BytesMut::from(&whole[..cut]);
            prop_assert!(AnswerHead::take(&mut buffer).expect("sound so far").is_none());
            buffer.extend_from_slice(&whole.as_bytes()[cut..]);
            let head = AnswerHead::take(&mut buffer).expect("sound").expect("whole");
            prop_assert_eq!(head.lines.text("Content-Type"), Some("text/plain"));
            prop_assert_eq!(&buffer[..], b"hi");
        }

        #[test]
        fn any_bytes_whatever_are_a_head_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = AnswerHead::take(&mut BytesMut::from(&bytes[..]));
            let mut bytes = [b"HTTP/1.1 200 OK\r\n".to_vec(), bytes].concat();
            bytes.extend_from_slice(b"\r\n\r\n");
            let _ = AnswerHead::take(&mut BytesMut::from(&bytes[..]));
        }
    }
}
