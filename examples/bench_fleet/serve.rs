//! The fleet's front: HTTP/1.1 on a port a server, OpenAI's streamed chat out of prebuilt events.
//!
//! A request's plan (`bench_load/wire.rs`) tells how many tokens to answer; its body's bytes tell those of the prompt, four
//! to a token, as Greenroom estimates them. `GET /stats` tells what became of a fleet, any other `GET` is answered at once.

use std::{io, io::Write as _, rc::Rc, time::Duration};

use memchr::memmem;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::{
    backend::{Answer, Backend, Clock},
    fleet::Fleet,
    replay::percentiles,
    wire::{self, CYCLE, FRAME_EVENTS, MARK},
};

/// Bytes of a request to a token of its prompt.
const BYTES_PER_TOKEN: usize = 4;
/// Bytes taken by one read.
const READ: usize = 64 << 10;
const HEADERS: usize = 32;

/// A fleet, and the bytes that all of it sends.
struct Site {
    backends: Vec<Rc<Backend>>,
    opening: Vec<u8>,
    tokens: Vec<Vec<u8>>,
}

struct Head {
    path: String,
    is_chat: bool,
    /// Bytes of the head.
    end: usize,
    /// Bytes of the body.
    length: usize,
}

fn sized(status: &str, content: &str) -> Vec<u8> {
    let length = content.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{content}")
        .into_bytes()
}

fn chunked(content: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat()
}

/// The head at the beginning of `input`, once it is there as a whole.
fn head(input: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(input).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let httparse::Status::Complete(end) = status else { return Ok(None) };
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok()).unwrap_or(0);
    let path = request.path.unwrap_or_default().to_owned();
    Ok(Some(Head { is_chat: request.method == Some("POST") && path.ends_with("/chat/completions"), path, end, length }))
}

/// The tokens that a request's plan asks for.
fn tokens(body: &[u8]) -> Option<u32> {
    let start = memmem::find(body, MARK.as_bytes())? + MARK.len();
    let number = body[start..].split(|&byte| byte == b':').next()?;
    std::str::from_utf8(number).ok()?.parse().ok().filter(|&tokens| tokens > 0)
}

impl Site {
    fn new(fleet: &Fleet, span: f64, faster: f64) -> Self {
        let clock = Rc::new(Clock::new(faster));
        let opening = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n\
                       transfer-encoding: chunked\r\n\r\n";
        Self {
            backends: fleet.members.iter().map(|m| Rc::new(Backend::new(m, span, Rc::clone(&clock)))).collect(),
            opening: [opening.as_bytes(), &chunked(&wire::event(0, CYCLE))].concat(),
            tokens: (1..=CYCLE).map(|index| chunked(&wire::event(index, CYCLE))).collect(),
        }
    }

    fn stats(&self) -> String {
        let each =
            |b: &Rc<Backend>| json!({ "requests": b.requests.get(), "failed": b.failed.get(), "left": b.left.get() });
        let mut late: Vec<_> = self.backends.iter().flat_map(|backend| backend.late.borrow().clone()).collect();
        let backends: Vec<_> = self.backends.iter().map(each).collect();
        json!({ "backends": backends, "late_ms": percentiles(&mut late) }).to_string()
    }

    /// Sends the tokens as they come out, each in a chunk of its own.
    async fn stream(&self, socket: &mut TcpStream, answer: &Answer, count: usize) -> io::Result<()> {
        let mut sent = 0;
        let mut out = self.opening.clone();
        while sent < count {
            answer.more.notified().await;
            while sent < answer.tokens.get() {
                out.extend_from_slice(&self.tokens[sent % CYCLE]);
                sent += 1;
            }
            if sent == count {
                for index in count + 1..count + FRAME_EVENTS {
                    out.extend(chunked(&wire::event(index, count)));
                }
                out.extend_from_slice(b"0\r\n\r\n");
            }
            socket.write_all(&out).await?;
            out.clear();
        }
        Ok(())
    }

    async fn answer(&self, socket: &mut TcpStream, backend: &Backend, head: &Head, body: &[u8]) -> io::Result<()> {
        if !head.is_chat {
            let content = if head.path == "/stats" { self.stats() } else { "{}".to_owned() };
            return socket.write_all(&sized("200 OK", &content)).await;
        }
        let Some(count) = tokens(body) else {
            return socket.write_all(&sized("400 Bad Request", r#"{"error":{"message":"no plan"}}"#)).await;
        };
        let Some(answer) = backend.ask((body.len() / BYTES_PER_TOKEN) as u32, count) else {
            let content = r#"{"error":{"message":"out of order","type":"server_error"}}"#;
            return socket.write_all(&sized("500 Internal Server Error", content)).await;
        };
        let sent = self.stream(socket, &answer, count as usize).await;
        backend.left.set(backend.left.get() + usize::from(sent.is_err()));
        sent
    }
}

async fn connection(mut socket: TcpStream, site: Rc<Site>, backend: Rc<Backend>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(READ);
    loop {
        let head = loop {
            match head(&buffer)? {
                Some(head) if buffer.len() >= head.end + head.length => break head,
                _ => buffer.reserve(READ),
            }
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let end = head.end + head.length;
        site.answer(&mut socket, &backend, &head, &buffer[head.end..end]).await?;
        buffer.drain(..end);
    }
}

async fn accept(listener: TcpListener, site: Rc<Site>, backend: Rc<Backend>) {
    loop {
        // Out of descriptors is the one failure to expect; waiting lets some connections end.
        let Ok((socket, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (site, backend) = (Rc::clone(&site), Rc::clone(&backend));
        tokio::task::spawn_local(async move {
            // A peer that leaves is counted where it leaves an answer.
            drop(connection(socket, site, backend).await);
        });
    }
}

/// Opens all servers of `fleet`, prints their addresses, and serves until the process is ended.
pub(crate) async fn serve(fleet: &Fleet, span: f64, faster: f64) -> io::Result<()> {
    let site = Rc::new(Site::new(fleet, span, faster));
    for backend in &site.backends {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(io::stdout(), "{}", listener.local_addr()?)?;
        tokio::task::spawn_local(accept(listener, Rc::clone(&site), Rc::clone(backend)));
        let backend = Rc::clone(backend);
        tokio::task::spawn_local(async move { backend.run().await });
    }
    std::future::pending().await
}
