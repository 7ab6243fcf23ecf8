//! A mock LLM backend for `scripts/bench.sh`: prebuilt answers over raw HTTP/1.1, so that it is never what is measured.
//!
//! Each `--listen` is a backend of its own; the addresses bound are printed, one a line. A request's plan (see `wire`)
//! tells whether it is answered plain or as a stream, how long that takes, and in how many events. `GET /stats` answers
//! with the counters.

#[path = "bench_load/wire.rs"]
mod wire;

use std::{cell::Cell, io, io::Write as _, net::SocketAddr, rc::Rc, time::Duration};

use clap::Parser;
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::LocalSet,
    time::{Instant, sleep, sleep_until},
};
use wire::{CYCLE, FRAME_EVENTS, MARK, Plan};

/// Enough for a request head and a 1 KB prompt; connections that carry longer ones grow to `LARGE` once.
const SMALL: usize = 16 << 10;
/// Bytes taken by one read of a long prompt.
const LARGE: usize = 512 << 10;

#[derive(Parser)]
struct Options {
    /// Address to serve on; repeat for several backends
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    /// The key every request must carry; any is taken without it
    #[arg(long)]
    key: Option<String>,
}

#[derive(Default)]
struct Counters {
    connections: Cell<u64>,
    answers: Cell<u64>,
    streams: Cell<u64>,
    cut_streams: Cell<u64>,
    bad_keys: Cell<u64>,
    bad_requests: Cell<u64>,
}

/// What is sent, built once, and what was counted.
struct Backend {
    authorization: Option<Vec<u8>>,
    plain: Vec<u8>,
    opening: Vec<u8>,
    tokens: Vec<Vec<u8>>,
    counters: Counters,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

fn sized(status: &str, content: &[u8]) -> Vec<u8> {
    let mut reply = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: req-bench\r\ncontent-length: {}\r\n\r\n",
        content.len()
    )
    .into_bytes();
    reply.extend_from_slice(content);
    reply
}

fn chunked(content: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", content.len()).into_bytes();
    chunk.extend_from_slice(content);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

impl Backend {
    fn new(key: Option<&str>) -> Self {
        let mut opening = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
            cache-control: no-cache\r\nx-request-id: req-bench\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
        opening.extend(chunked(&wire::event(0, CYCLE)));
        Self {
            authorization: key.map(|key| format!("Bearer {key}").into_bytes()),
            plain: sized("200 OK", &wire::answer()),
            opening,
            tokens: (1..=CYCLE).map(|i| chunked(&wire::event(i, CYCLE))).collect(),
            counters: Counters::default(),
        }
    }

    fn stats(&self) -> Vec<u8> {
        let c = &self.counters;
        let value = serde_json::json!({
            "connections": c.connections.get(), "answers": c.answers.get(), "streams": c.streams.get(),
            "cut_streams": c.cut_streams.get(), "bad_keys": c.bad_keys.get(), "bad_requests": c.bad_requests.get(),
        });
        sized("200 OK", value.to_string().as_bytes())
    }

    async fn stream(&self, socket: &mut TcpStream, plan: Plan) -> io::Result<()> {
        let mut first = self.opening.clone();
        if plan.delay_us > 0 {
            socket.write_all(&first).await?;
            first.clear();
            sleep(Duration::from_micros(plan.delay_us)).await;
        }
        first.extend_from_slice(&self.tokens[0]);
        socket.write_all(&first).await?;
        let mut due = Instant::now();
        for i in 1..plan.chunks {
            if plan.interval_us > 0 {
                // From the last due time, not from now: a late write must not slow the whole stream.
                due += Duration::from_micros(plan.interval_us);
                sleep_until(due).await;
            }
            socket.write_all(&self.tokens[i % CYCLE]).await?;
        }
        let mut tail = Vec::new();
        for index in plan.chunks + 1..plan.chunks + FRAME_EVENTS {
            tail.extend(chunked(&wire::event(index, plan.chunks)));
        }
        tail.extend_from_slice(b"0\r\n\r\n");
        socket.write_all(&tail).await
    }

    async fn answer(&self, socket: &mut TcpStream, head: &Head, plan: Option<Plan>) -> io::Result<()> {
        if head.stats {
            return socket.write_all(&self.stats()).await;
        }
        if self.authorization.is_some() && head.authorization != self.authorization {
            count(&self.counters.bad_keys);
            return socket.write_all(&sized("401 Unauthorized", b"{\"error\":{\"message\":\"bad key\"}}")).await;
        }
        match plan {
            Some(plan) if plan.chunks > 0 => {
                let done = self.stream(socket, plan).await;
                count(if done.is_ok() { &self.counters.streams } else { &self.counters.cut_streams });
                done
            }
            Some(plan) if head.chat => {
                if plan.delay_us > 0 {
                    sleep(Duration::from_micros(plan.delay_us)).await;
                }
                count(&self.counters.answers);
                socket.write_all(&self.plain).await
            }
            _ => {
                count(&self.counters.bad_requests);
                socket.write_all(&sized("400 Bad Request", b"{\"error\":{\"message\":\"no plan\"}}")).await
            }
        }
    }
}

/// Finds the plan in the first bytes of a request body.
fn find_plan(body: &[u8]) -> Option<Plan> {
    let start = memmem::find(body, MARK.as_bytes())? + MARK.len();
    let mut numbers = body[start..].split(|&b| b == b':');
    let mut next = || std::str::from_utf8(numbers.next()?).ok()?.parse::<u64>().ok();
    Some(Plan { chunks: usize::try_from(next()?).ok()?, interval_us: next()?, delay_us: next()? })
}

struct Head {
    chat: bool,
    stats: bool,
    length: usize,
    authorization: Option<Vec<u8>>,
}

impl Head {
    fn parse(head: &[u8]) -> Self {
        let mut parsed = Self {
            chat: head.starts_with(b"POST ") && memmem::find(head, b"/chat/completions HTTP/1.1\r\n").is_some(),
            stats: head.starts_with(b"GET /stats "),
            length: 0,
            authorization: None,
        };
        for line in head.split(|&b| b == b'\n').skip(1) {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let value = line[colon + 1..].trim_ascii();
            match colon {
                14 if line[..14].eq_ignore_ascii_case(b"content-length") => {
                    parsed.length = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()).unwrap_or(0);
                }
                13 if line[..13].eq_ignore_ascii_case(b"authorization") => {
                    parsed.authorization = Some(value.to_vec());
                }
                _ => {}
            }
        }
        parsed
    }
}

async fn connection(mut socket: TcpStream, backend: Rc<Backend>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = vec![0; SMALL];
    let mut filled = 0;
    loop {
        let head_end = loop {
            if let Some(at) = memmem::find(&buffer[..filled], b"\r\n\r\n") {
                break at + 4;
            }
            match socket.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                n => filled += n,
            }
        };
        let head = Head::parse(&buffer[..head_end]);
        let total = head_end + head.length;
        if total > buffer.len() {
            buffer.resize(LARGE, 0);
        }
        // The plan is at the body's head; what does not fit is read and let go.
        let kept = total.min(buffer.len());
        while filled < kept {
            match socket.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                n => filled += n,
            }
        }
        let plan = find_plan(&buffer[head_end..kept]);
        let mut left = total - kept;
        while left > 0 {
            let most = left.min(buffer.len());
            match socket.read(&mut buffer[..most]).await? {
                0 => return Ok(()),
                n => left -= n,
            }
        }
        backend.answer(&mut socket, &head, plan).await?;
        buffer.copy_within(kept..filled, 0);
        filled -= kept;
    }
}

async fn accept(listener: TcpListener, backend: Rc<Backend>) {
    loop {
        // Out of descriptors is the one failure to expect; waiting lets some connections end.
        let Ok((socket, _)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        count(&backend.counters.connections);
        let backend = Rc::clone(&backend);
        tokio::task::spawn_local(async move {
            // A peer that leaves is part of the benchmark; streams it cuts are counted above.
            drop(connection(socket, backend).await);
        });
    }
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let backend = Rc::new(Backend::new(options.key.as_deref()));
    LocalSet::new().block_on(&runtime, async {
        let mut last = None;
        for address in &options.listen {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(*address)?;
            let listener = socket.listen(8192)?;
            writeln!(io::stdout(), "{}", listener.local_addr()?)?;
            last = Some(tokio::task::spawn_local(accept(listener, Rc::clone(&backend))));
        }
        if let Some(task) = last {
            task.await?;
        }
        Ok(())
    })
}
