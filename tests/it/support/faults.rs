//! Owns the table of everything that can go wrong at a backend, and what each of it has to mean to a client and to the gate.

use std::time::{Duration, SystemTime};

use super::{
    script::{Answer, completion},
    sse,
};

/// What a failing stream says before it fails, where it says anything.
pub(crate) const BEFORE: &str = "Once upon ";

/// The whole text, as a backend in order says it.
pub(crate) const WHOLE: &str = "Once upon a time";

/// Long enough for the proxy to have read what was written before a reset, which throws away what was not.
const READ: Duration = Duration::from_millis(150);

/// What a fault does to the gate of its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing: it is an answer in order.
    Fine,
    /// Nothing: the request was at fault.
    Alive,
    /// One more failure in a row.
    Counts,
    /// Shut for as long as it asked for.
    AskedToWait,
    /// Shut for a backoff: it has too many requests, and named no wait.
    Crowded,
    /// Shut for long: credentials.
    HardDown,
    /// Shut for long: money.
    Spent,
    /// Shut for long, this model only.
    NoModel,
    /// Shut, this model only, and not for long: it is not said to be missing.
    NotFound,
}

/// What the client gets where no other backend is free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// The status, or that of the error frame's error.
    pub(crate) status: u16,
    /// `error.code`.
    pub(crate) code: &'static str,
    /// How often the one backend is asked.
    pub(crate) tries: usize,
    /// It fails after content.
    pub(crate) late: bool,
}

/// One fault.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// In words.
    pub(crate) name: &'static str,
    /// The backend's answer: to a request for a stream, and to one for a whole answer; `None` refuses the connection.
    pub(crate) answer: Option<fn(bool) -> Answer>,
    /// What it means for a stream.
    pub(crate) stream: Told,
    /// What it means for a whole answer.
    pub(crate) whole: Told,
    /// What it does to the gate.
    pub(crate) mark: Mark,
}

impl Fault {
    fn new(name: &'static str, answer: fn(bool) -> Answer, status: u16, code: &'static str, tries: usize) -> Self {
        let told = Told { status, code, tries, late: false };
        Self { name, answer: Some(answer), stream: told, whole: told, mark: Mark::Counts }
    }

    /// As a stream it fails after content: an error frame.
    fn late(mut self) -> Self {
        self.stream.late = true;
        self
    }

    fn mark(mut self, mark: Mark) -> Self {
        self.mark = mark;
        self
    }
}

const LOST: &str = "upstream_unreachable";
const FAILED: &str = "upstream_error";
const SENSELESS: &str = "upstream_invalid_response";
const SLOW: &str = "upstream_timeout";
const LIMITED: &str = "upstream_rate_limited";
const BUSY: &str = "upstream_overloaded";
const MASKED: &str = "upstream_auth_failed";
const NO_MODEL: &str = "upstream_model_not_found";

/// Faults of the transport and of the answer's form.
pub(crate) fn of_transport() -> Vec<Fault> {
    vec![
        Fault { answer: None, ..Fault::new("refused", |_| Answer::new(), 502, LOST, 2) },
        Fault::new("reset before the head", |_| Answer::new().reset(), 502, LOST, 2),
        Fault::new("closed before the head", |_| Answer::new().close(), 502, LOST, 2),
        Fault::new("reset after the head", |stream| head(stream).work(READ).reset(), 502, FAILED, 2),
        Fault::new("reset mid-body", |stream| begun(stream).work(READ).reset(), 502, FAILED, 2).late(),
        Fault::new("hang before the head", |_| Answer::new().hang(), 504, SLOW, 1),
        Fault::new("hang after the head", |stream| head(stream).hang(), 504, SLOW, 1),
        Fault::new("hang mid-body", |stream| begun(stream).hang(), 504, SLOW, 1).late(),
        Fault::new("drip without end", |stream| drip(begun(stream), stream, 200), 504, SLOW, 1).late(),
        Fault::new("slow drip", slow, 200, "-", 1).mark(Mark::Fine),
        Fault::new("early close with a length", |stream| sized(stream).work(READ).close(), 502, FAILED, 2).late(),
        Fault {
            // Without a length the end of the connection is the end of the body: a body that stops within its JSON.
            whole: Told { status: 502, code: SENSELESS, tries: 2, late: false },
            ..Fault::new(
                "early close without a length",
                |stream| unsized_body(stream).work(READ).close(),
                502,
                FAILED,
                2,
            )
            .late()
        },
        Fault::new("truncated chunk", |stream| begun(stream).raw("ff\r\n{\"a").work(READ).close(), 502, FAILED, 2)
            .late(),
        Fault::new("garbage", |_| Answer::new().raw("SSH-2.0-OpenSSH_9.6\r\n\r\n").close(), 502, SENSELESS, 2),
        Fault::new("invalid JSON", invalid, 502, SENSELESS, 2),
        Fault::new("a web page", |_| page(), 502, SENSELESS, 2),
        Fault::new("empty 200", empty, 502, SENSELESS, 2),
        Fault::new("error in 200", |s| error_in_200(s, "server_error"), 502, FAILED, 2),
        Fault::new("limit in 200", |s| error_in_200(s, "rate_limit_error"), 429, LIMITED, 3).mark(Mark::Crowded),
    ]
}

/// Faults that a backend admits with a status.
pub(crate) fn of_status() -> Vec<Fault> {
    vec![
        Fault::new("400", |_| Answer::json(400, CALLER), 400, "bad_value", 1).mark(Mark::Alive),
        Fault::new("413", |_| Answer::json(413, CALLER), 413, "bad_value", 1).mark(Mark::Alive),
        Fault::new("422", |_| Answer::json(422, CALLER), 422, "bad_value", 1).mark(Mark::Alive),
        Fault::new("401", |_| Answer::json(401, PLAIN), 502, MASKED, 1).mark(Mark::HardDown),
        Fault::new("402", |_| Answer::json(402, PLAIN), 502, MASKED, 1).mark(Mark::Spent),
        Fault::new("403", |_| Answer::json(403, RIGHTS), 502, MASKED, 1).mark(Mark::HardDown),
        Fault::new("403 without a reason", |_| Answer::json(403, PLAIN), 502, FAILED, 1),
        Fault::new("404", |_| Answer::json(404, MODEL), 502, NO_MODEL, 1).mark(Mark::NoModel),
        Fault::new("404 of something", |_| Answer::json(404, PLAIN), 502, NO_MODEL, 1).mark(Mark::NotFound),
        Fault::new("408", |_| Answer::json(408, PLAIN), 502, FAILED, 2),
        Fault::new("500", |_| Answer::json(500, PLAIN), 502, FAILED, 2),
        Fault::new("502", |_| Answer::json(502, PLAIN), 502, FAILED, 2),
        Fault::new("503", |_| Answer::json(503, PLAIN), 503, BUSY, 3),
        Fault::new("504", |_| Answer::json(504, PLAIN), 502, FAILED, 2),
        Fault::new("529", |_| Answer::json(529, PLAIN), 503, BUSY, 3),
        Fault::new("429 without money", |_| Answer::json(429, MONEY), 502, MASKED, 1).mark(Mark::Spent),
        limited("429", |_| Answer::json(429, PLAIN)).mark(Mark::Crowded),
        limited("429, seconds", |_| Answer::json_with(429, "retry-after: 1\r\n", PLAIN)),
        limited("429, a fraction", |_| Answer::json_with(429, "retry-after: 0.2\r\n", PLAIN)),
        limited("429, milliseconds", |_| Answer::json_with(429, "retry-after-ms: 150\r\n", PLAIN)),
        limited("429, Azure's milliseconds", |_| Answer::json_with(429, "x-ms-retry-after-ms: 150\r\n", PLAIN)),
        limited("429, a date", |_| {
            let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
            Answer::json_with(429, &format!("retry-after: {date}\r\n"), PLAIN)
        }),
        limited("429, requests used up", |_| {
            let lines = "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 150ms\r\n";
            Answer::json_with(429, lines, PLAIN)
        }),
        limited("429, tokens used up", |_| {
            let at = humantime::format_rfc3339_millis(SystemTime::now() + Duration::from_millis(300));
            let lines = "anthropic-ratelimit-tokens-remaining: 0\r\nanthropic-ratelimit-tokens-reset: ";
            Answer::json_with(429, &format!("{lines}{at}\r\n"), PLAIN)
        }),
        Fault::new("429, an hour", |_| Answer::json_with(429, "retry-after: 3600\r\n", PLAIN), 429, LIMITED, 1)
            .mark(Mark::AskedToWait),
    ]
}

fn limited(name: &'static str, answer: fn(bool) -> Answer) -> Fault {
    Fault::new(name, answer, 429, LIMITED, 3).mark(Mark::AskedToWait)
}

const PLAIN: &str = r#"{"error":{"message":"a secret of it","type":"x","param":null,"code":null}}"#;
const RIGHTS: &str = r#"{"error":{"message":"a secret of the key","type":"permission_error","code":null}}"#;
const CALLER: &str =
    r#"{"error":{"message":"no such value","type":"invalid_request_error","param":"n","code":"bad_value"}}"#;
const MODEL: &str = r#"{"error":{"message":"a secret model","type":"x","param":null,"code":"model_not_found"}}"#;
const MONEY: &str =
    r#"{"error":{"message":"pay","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;

const CHUNKED_JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

fn head(stream: bool) -> Answer {
    if stream { Answer::stream() } else { Answer::new().raw(CHUNKED_JSON) }
}

fn halves() -> (String, String) {
    let json = completion(WHOLE);
    let (start, rest) = json.split_at(json.len() / 2);
    (start.to_owned(), rest.to_owned())
}

/// Head and a part of the body: of a stream its role frame and `BEFORE`.
fn begun(stream: bool) -> Answer {
    let piece = if stream { sse::role() + &sse::text(BEFORE) } else { halves().0 };
    head(stream).chunk(piece)
}

/// Pieces without meaning, every 20 ms.
fn drip(answer: Answer, stream: bool, pieces: usize) -> Answer {
    let piece = if stream { ": still there\n\n" } else { " " };
    (0..pieces).fold(answer, |answer, _| answer.work(Duration::from_millis(20)).chunk(piece)).hang()
}

fn slow(stream: bool) -> Answer {
    let pause = Duration::from_millis(20);
    if stream {
        let words = WHOLE.split_inclusive(' ');
        return words.fold(Answer::stream(), |answer, word| answer.work(pause).chunk(sse::text(word))).finished();
    }
    let json = completion(WHOLE);
    json.as_bytes().chunks(40).fold(head(false), |answer, piece| answer.work(pause).chunk(piece)).end()
}

fn sized(stream: bool) -> Answer {
    let (kind, body) = if stream { ("text/event-stream", sse::text(BEFORE)) } else { ("application/json", halves().0) };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len() + 90);
    Answer::new().raw(head + &body)
}

fn unsized_body(stream: bool) -> Answer {
    let (kind, body) = if stream { ("text/event-stream", sse::text(BEFORE)) } else { ("application/json", halves().0) };
    Answer::new().raw(format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: {kind}\r\n\r\n{body}"))
}

fn invalid(stream: bool) -> Answer {
    // One malformed frame is forgiven, a second is not.
    if stream {
        Answer::stream().chunk("data: {nope\n\ndata: {nope\n\n").end()
    } else {
        Answer::json(200, "{\"choices\":")
    }
}

fn page() -> Answer {
    Answer::new().raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n<html>hi</html>")
}

fn empty(stream: bool) -> Answer {
    if stream { Answer::stream().end() } else { Answer::json(200, "") }
}

fn error_in_200(stream: bool, kind: &str) -> Answer {
    let body = format!(r#"{{"error":{{"message":"a secret of the account","type":"{kind}","code":null}}}}"#);
    if stream { Answer::stream().chunk(format!("data: {body}\n\n")).end() } else { Answer::json(200, &body) }
}
