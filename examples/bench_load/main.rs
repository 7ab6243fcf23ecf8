//! The load generator of `scripts/bench.sh`: plain requests in closed or open loop, streams, and held streams.
//!
//! Each mode prints one JSON object. Answers are compared byte for byte with what `bench_upstream` sends.

mod client;
mod plain;
mod request;
mod streams;
mod tally;
mod wire;

use std::{io, io::Write as _, net::SocketAddr, rc::Rc, time::Duration};

use clap::{Args, Parser, Subcommand};
use futures_util::future::join_all;
use plain::{Target, Until};
use request::Api;
use serde_json::{Map, Value, json};
use tally::Tally;
use tokio::{task::LocalSet, time::Instant};
use wire::Plan;

/// How long one answer, or the next bytes of a stream, may take before it counts as an error.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
    #[command(flatten)]
    request: Request,
}

#[derive(Args)]
struct Request {
    /// Address of the proxy; rate and streams send to several at once, and report each
    #[arg(long, global = true, required = false)]
    to: Vec<SocketAddr>,
    /// Bearer token sent with each request
    #[arg(long, global = true, default_value = "none")]
    key: String,
    /// Bytes of the request body
    #[arg(long, global = true, default_value_t = 1024)]
    size: usize,
    /// Connections, each with one request in flight
    #[arg(long, global = true, default_value_t = 64)]
    connections: usize,
    /// Microseconds the backend waits before its answer or first token
    #[arg(long, global = true, default_value_t = 0)]
    delay_us: u64,
    /// Speak Anthropic Messages, so that streams have to be translated
    #[arg(long, global = true)]
    messages: bool,
}

#[derive(Subcommand)]
enum Mode {
    /// As fast as answers come
    Closed {
        /// Seconds to run
        #[arg(long, default_value_t = 3.0)]
        secs: f64,
        /// Requests to send, instead of a time
        #[arg(long)]
        total: Option<u64>,
    },
    /// On a schedule, whether or not answers come
    Rate {
        /// Requests a second to each target
        #[arg(long, default_value_t = 500.0)]
        per_second: f64,
        /// Seconds to measure
        #[arg(long, default_value_t = 4.0)]
        secs: f64,
        /// Seconds to run before that
        #[arg(long, default_value_t = 0.5)]
        warm: f64,
    },
    /// Streams to their end
    Streams {
        /// Streams in all
        #[arg(long, default_value_t = 100)]
        total: u64,
        /// Tokens of each
        #[arg(long, default_value_t = 200)]
        chunks: usize,
        /// Microseconds between two tokens
        #[arg(long, default_value_t = 10_000)]
        interval_us: u64,
    },
    /// Streams held open at a slow pace; `--connections` of them
    Hold {
        /// Seconds to hold them once all are open
        #[arg(long, default_value_t = 4.0)]
        secs: f64,
        /// Streams opened a second
        #[arg(long, default_value_t = 1000.0)]
        per_second: f64,
        /// Microseconds between two tokens
        #[arg(long, default_value_t = 1_000_000)]
        interval_us: u64,
    },
}

impl Request {
    fn targets(&self, chunks: usize, interval_us: u64) -> Vec<Rc<Target>> {
        let plan = Plan { chunks, interval_us, delay_us: self.delay_us };
        let api = if self.messages { Api::Messages } else { Api::Chat };
        let (expected, first_token_end) = match api {
            _ if chunks == 0 => (wire::answer(), 0),
            Api::Chat => streams::chat(chunks),
            Api::Messages => streams::messages(chunks),
        };
        let target = |&address: &SocketAddr| {
            let request = request::request(api, address, &self.key, plan, self.size);
            Rc::new(Target { address, request, expected: expected.clone(), first_token_end })
        };
        self.to.iter().map(target).collect()
    }
}

fn by_target(mut tallies: Vec<Tally>) -> Map<String, Value> {
    let reports = tallies.iter_mut().map(|tally| Value::Object(tally.report())).collect();
    [("targets".to_owned(), Value::Array(reports))].into_iter().collect()
}

async fn run(options: &Options) -> io::Result<Value> {
    let request = &options.request;
    let (chunks, interval_us) = match options.mode {
        Mode::Closed { .. } | Mode::Rate { .. } => (0, 0),
        Mode::Streams { chunks, interval_us, .. } => (chunks.max(1), interval_us),
        // As a rule an hour of tokens: longer than any hold.
        Mode::Hold { interval_us, .. } => (3600, interval_us),
    };
    let targets = request.targets(chunks, interval_us);
    let Some(target) = targets.first().cloned() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "--to ADDRESS is missing"));
    };
    let begin = Instant::now();
    let mut report = match options.mode {
        Mode::Closed { secs, total } => {
            let end = begin + Duration::from_secs_f64(secs);
            plain::closed(target, request.connections, total.map_or(Until::Time(end), Until::Total)).await.report()
        }
        Mode::Rate { per_second, secs, warm } => {
            let (span, warm) = (Duration::from_secs_f64(secs), Duration::from_secs_f64(warm));
            by_target(plain::rate(targets, per_second, span, warm).await)
        }
        Mode::Streams { total, .. } => {
            let spread = Duration::from_micros(interval_us);
            let all = targets.into_iter().map(|target| streams::rounds(target, request.connections, total, spread));
            by_target(join_all(all).await)
        }
        Mode::Hold { secs, per_second, interval_us } => {
            let (span, pace) = (Duration::from_secs_f64(secs), Duration::from_micros(interval_us));
            let (held, mut tally) = streams::hold(target, request.connections, per_second, pace, span).await;
            let mut report = tally.report();
            report.insert("open".to_owned(), json!(held.open));
            report.insert("lost".to_owned(), json!(held.lost));
            report.insert("stalled".to_owned(), json!(held.stalled));
            report
        }
    };
    report.insert("secs".to_owned(), json!(begin.elapsed().as_secs_f64()));
    Ok(Value::Object(report))
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = LocalSet::new().block_on(&runtime, run(&options))?;
    writeln!(io::stdout(), "{report}")
}
