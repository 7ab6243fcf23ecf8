//! Owns the head of a client's request: what it asks, how its body ends, and the refusal of heads that can be read in two
//! ways.

use std::{borrow::Cow, mem::MaybeUninit};

use bytes::{Buf, BytesMut};

use crate::{
    error::Error,
    inbound::auth,
    wire::http1::{Coding, Ends, Framing, LONGEST_HEAD, Lines, MOST_LINES, is_list_with},
};

/// The head of a request.
#[derive(Debug)]
pub(in crate::inbound) struct Head {
    /// The method, as it came.
    pub(super) method: Method,
    /// Path and query, as they came.
    pub(super) target: Box<str>,
    /// The header lines.
    pub(super) lines: Lines,
    /// How the body ends.
    pub(super) framing: Framing,
    /// How it is packed.
    pub(super) coding: Coding,
    /// It has an `origin`: a browser sends it for a web page.
    pub(super) has_origin: bool,
    /// The client wants to send another request on this connection.
    pub(super) keep_alive: bool,
    /// HTTP/1.1, whose clients know chunks.
    pub(super) is_1_1: bool,
    /// The client waits for permission to send the body.
    pub(super) expects: bool,
}

/// The method, as far as it matters for the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    Post,
    Get,
    /// Like `Get`, without the body.
    Head,
    Other(Box<str>),
}

impl Method {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Post => "POST",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Other(name) => name,
        }
    }
}

impl Head {
    /// Takes a head from what has been read; `None`: more has to be read.
    pub(super) fn take(from: &mut BytesMut) -> Result<Option<Self>, Error> {
        // Left uninitialised: clearing room for so many lines would cost more than reading the few usual ones.
        let mut lines = [const { MaybeUninit::uninit() }; MOST_LINES];
        let mut parsed = httparse::Request::new(&mut []);
        let end = match parsed.parse_with_uninit_headers(from, &mut lines) {
            Ok(httparse::Status::Complete(end)) if end <= LONGEST_HEAD => end,
            Ok(httparse::Status::Partial) if from.len() <= LONGEST_HEAD => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Error::HeadTooLong),
            Err(_) => return Err(Error::BadRequest("it is not HTTP/1.1")),
        };
        let is_1_1 = parsed.version == Some(1);
        let Terms { framing, coding, has_origin, keep_alive, expects } = terms(parsed.headers, is_1_1)?;
        let method = match parsed.method.unwrap_or_default() {
            "POST" => Method::Post,
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            other => Method::Other(other.into()),
        };
        let target = parsed.path.unwrap_or_default().into();
        let lines = Lines::of(&from[..end], parsed.headers);
        from.advance(end);
        Ok(Some(Self { method, target, lines, framing, coding, has_origin, keep_alive, is_1_1, expects }))
    }

    /// Whether the bytes after those `seen` before can make a head whole, or too long. Otherwise a head that comes byte by
    /// byte would be parsed from its beginning each time. The first time it is always parsed, so that bytes that are no
    /// request are refused at once.
    pub(super) fn may_end(read: &[u8], seen: usize) -> bool {
        // An empty line, by either of the two line ends.
        let is_end = |at| read[..at].ends_with(b"\n") || read[..at].ends_with(b"\n\r");
        seen == 0 || read.len() > LONGEST_HEAD || memchr::memchr_iter(b'\n', &read[seen..]).any(|at| is_end(seen + at))
    }

    /// The path, without the query, and without the host that a client may name in front of it (RFC 9112, 3.2.2).
    pub(super) fn path(&self) -> &str {
        let path = memchr::memchr(b'?', self.target.as_bytes()).map_or(&*self.target, |end| &self.target[..end]);
        if path.starts_with('/') {
            return path;
        }
        let behind_host = path.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        behind_host.unwrap_or(path)
    }

    /// The query; empty if there is none.
    pub(in crate::inbound) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether it asks for a websocket, as Codex's first request does (RFC 6455, 4.1).
    pub(super) fn wants_websocket(&self) -> bool {
        let upgrade = self.lines.get("upgrade").filter(|_| self.is_1_1 && self.method == Method::Get);
        upgrade.is_some_and(|list| is_list_with(list, b"websocket"))
    }

    /// The text of the first header of this name.
    pub(in crate::inbound) fn text(&self, name: &str) -> Option<&str> {
        self.lines.text(name)
    }

    /// The values of all lines of this name as one list, if they are text.
    pub(in crate::inbound) fn list(&self, name: &str) -> Option<Cow<'_, str>> {
        self.lines.list(name)
    }
}

/// What the lines of a head say of the request's body and connection.
struct Terms {
    framing: Framing,
    coding: Coding,
    has_origin: bool,
    keep_alive: bool,
    expects: bool,
}

/// How the body ends, by RFC 9112, 6.3. Two lengths, a length beside chunks, and codings other than chunks are refused: a
/// proxy in front of this one may read them differently, and then one client's body becomes the next one's request.
fn terms(headers: &[httparse::Header<'_>], is_1_1: bool) -> Result<Terms, Error> {
    let (mut ends, mut coding) = (Ends::new(is_1_1), Coding::Identity);
    let (mut chunked, mut expects, mut has_origin) = (false, false, false);
    let (mut hosts, mut tokens) = (0, [0; auth::HEADERS.len()]);
    for line in headers {
        // The first letter rules out most lines.
        match line.name.as_bytes().first().map(u8::to_ascii_lowercase) {
            Some(b'a' | b'x') => {
                for (header, count) in auth::HEADERS.iter().zip(&mut tokens) {
                    *count += u8::from(line.name.eq_ignore_ascii_case(header));
                }
            }
            Some(b'c') if line.name.eq_ignore_ascii_case("content-encoding") => coding = coding.and(line.value),
            Some(b'c') => ends.hear(line.name, line.value).map_err(Error::BadRequest)?,
            Some(b't') if line.name.eq_ignore_ascii_case("transfer-encoding") => {
                if chunked || !is_1_1 || !line.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Error::BadRequest("its transfer-encoding is not 'chunked' and nothing else"));
                }
                chunked = true;
            }
            Some(b'e') if line.name.eq_ignore_ascii_case("expect") => {
                // It is ignored from older clients (RFC 9110, 10.1.1).
                expects = is_1_1 && is_list_with(line.value, b"100-continue");
            }
            Some(b'h') if line.name.eq_ignore_ascii_case("host") => hosts += 1,
            Some(b'o') => has_origin |= line.name.eq_ignore_ascii_case("origin"),
            _ => {}
        }
    }
    // RFC 9112, 3.2: a proxy in front may have gone by the other one.
    if hosts > 1 || is_1_1 && hosts == 0 {
        return Err(Error::BadRequest("it names no host, or more than one"));
    }
    if tokens.iter().any(|count| *count > 1) {
        return Err(Error::BadRequest(auth::TWICE));
    }
    if chunked && ends.length.is_some() {
        return Err(Error::BadRequest("it has a content-length beside its transfer-encoding"));
    }
    // A request that has neither has no body.
    let framing = Framing::of(ends.length.or((!chunked).then_some(0)), chunked);
    Ok(Terms { framing, coding, has_origin, keep_alive: ends.keep_alive(), expects })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::http1::Chunk;

    fn take(lines: &str) -> Result<Option<Head>, Error> {
        Head::take(&mut BytesMut::from(&*format!("POST /v1/x?y=z HTTP/1.1\r\nhost: h\r\n{lines}\r\n")))
    }

    fn framed(lines: &str) -> Framing {
        take(lines).expect("sound").expect("whole").framing
    }

    #[test]
    fn the_end_of_a_body_is_found_by_its_heads_words() {
        assert_eq!(framed("Content-Length: 7\r\n"), Framing::Length(7));
        assert_eq!(framed("Transfer-Encoding: Chunked\r\n"), Framing::Chunked(Chunk::Size));
        assert_eq!(framed("x: y\r\n"), Framing::Ended);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for lines in [
            "content-length: 1\r\ncontent-length: 2\r\n",
            "content-length: +1\r\n",
            "content-length:\r\n",
            "content-length: 1, 1\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 1\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "x: a\r\n b\r\n",
            "x : a\r\n",
            "x: a\rb\r\n",
            "HOST: h\r\n",
            "authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
            "x-api-key: a\r\nX-Api-Key: b\r\n",
        ] {
            assert!(matches!(take(lines), Err(Error::BadRequest(_))), "{lines:?}");
        }
        assert!(matches!(Head::take(&mut BytesMut::from("GET / HTTP/1.1\r\n\r\n")), Err(Error::BadRequest(_))));
        assert!(matches!(Head::take(&mut BytesMut::from("GET / HTTP/1.0\r\n\r\n")), Ok(Some(_))));
        let old = "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(matches!(Head::take(&mut BytesMut::from(old)), Err(Error::BadRequest(_))));
        assert!(matches!(take(&format!("x: {}\r\n", "y".repeat(LONGEST_HEAD))), Err(Error::HeadTooLong)));
        assert!(matches!(take(&"x: y\r\n".repeat(MOST_LINES + 1)), Err(Error::HeadTooLong)));
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_read_at_its_beginning_and_its_end() {
        for end in ["\n", "\r\n"] {
            let head = format!("GET / HTTP/1.1{end}host: h{end}x: y\r{end}{end}");
            let read: Vec<_> =
                (1..=head.len()).filter(|len| Head::may_end(&head.as_bytes()[..*len], len - 1)).collect();
            assert_eq!(read, [1, head.len()], "{end:?}");
        }
        assert!(Head::may_end(&vec![b'x'; LONGEST_HEAD + 1], LONGEST_HEAD));
    }

    #[test]
    fn leave_to_send_is_given_to_those_who_know_it() {
        let expects = |version: &str| {
            let head = format!("POST / HTTP/{version}\r\nhost: h\r\nexpect: 100-continue\r\n\r\n");
            Head::take(&mut BytesMut::from(&*head)).expect("sound").expect("whole").expects
        };
        assert_eq!((expects("1.1"), expects("1.0")), (true, false));
    }

    #[test]
    fn a_connection_is_kept_as_its_version_and_client_want() {
        let kept = |version: &str, lines: &str| {
            let head = format!("GET / HTTP/{version}\r\nhost: h\r\n{lines}\r\n");
            Head::take(&mut BytesMut::from(&*head)).expect("sound").expect("whole").keep_alive
        };
        assert!(kept("1.1", "") && kept("1.0", "connection: Keep-Alive\r\n"));
        assert!(!kept("1.0", "") && !kept("1.1", "connection: x, Close\r\n"));
        for both in ["connection: close\r\nconnection: keep-alive\r\n", "connection: close, keep-alive\r\n"] {
            assert!(!kept("1.0", both) && !kept("1.1", both), "{both:?}");
        }
    }

    proptest! {
        #[test]
        fn a_head_cut_anywhere_waits_for_the_rest(cut in 0_usize..58) {
            let whole = "GET /a?b=c HTTP/1.1\r\nHost: h\r\nexpect: 100-continue\r\n\r\nrest";
            let mut buffer = BytesMut::from(&whole[..cut.min(whole.len() - 5)]);
            prop_assert!(Head::take(&mut buffer).expect("sound so far").is_none());
            buffer.extend_from_slice(&whole.as_bytes()[buffer.len()..]);
            let head = Head::take(&mut buffer).expect("sound").expect("whole");
            prop_assert_eq!((head.path(), head.text("HOST"), head.expects), ("/a", Some("h"), true));
            prop_assert_eq!(&buffer[..], b"rest");
        }

        #[test]
        fn no_bytes_that_make_a_head_whole_are_passed_over(rest in "([a:]|\r?\n){0,12}", cuts in [0..40_usize, 0..40]) {
            let whole = format!("GET / HTTP/1.0\n{rest}\n\n");
            let read = |cut: usize| &whole.as_bytes()[..cut.min(whole.len())];
            let [seen, now] = [cuts[0].min(cuts[1]), cuts[0].max(cuts[1])].map(read);
            let take = |read: &[u8]| Head::take(&mut BytesMut::from(read));
            if matches!((take(seen), take(now)), (Ok(None), Ok(Some(_)))) {
                prop_assert!(Head::may_end(now, seen.len()), "{seen:?} {now:?}");
            }
        }

        #[test]
        fn any_bytes_whatever_are_a_head_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Head::take(&mut BytesMut::from(&bytes[..]));
            let mut bytes = [b"POST / HTTP/1.1\r\n".to_vec(), bytes].concat();
            bytes.extend_from_slice(b"\r\n\r\n");
            let _ = Head::take(&mut BytesMut::from(&bytes[..]));
        }
    }
}
