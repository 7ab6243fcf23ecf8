//! The replay of requests through a proxy in open loop: each is sent when it is due, whatever became of those before it,
//! and is timed from then, so that a stall is charged to all that were due during it.

use std::{cell::RefCell, collections::BTreeMap, io, net::SocketAddr, rc::Rc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    client::{Check, Client},
    request::{self, Api},
    trace::Request,
    wire::{self, CYCLE, FRAME_EVENTS, Plan},
};

/// Real time after which a request counts as failed: longer than any queue of a run.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a request to a token of its prompt, as `serve` counts them.
const BYTES_PER_TOKEN: usize = 4;
/// Real time in which all requests are set up, before the first is due.
const LEAD: Duration = Duration::from_millis(200);

/// What was measured so far, times in the model's seconds.
#[derive(Default)]
struct Tally {
    first_token: Vec<f64>,
    total: Vec<f64>,
    failures: BTreeMap<String, usize>,
}

/// The proxy, and what all requests to it share.
struct Target {
    address: SocketAddr,
    faster: f64,
    tokens: Vec<Vec<u8>>,
    idle: RefCell<Vec<Client>>,
    tally: RefCell<Tally>,
}

/// One request, built beforehand.
struct Call {
    due: Instant,
    bytes: Vec<u8>,
    tokens: usize,
}

/// Percentiles, to a tenth of a thousandth; null where there is nothing.
pub(crate) fn percentiles(values: &mut [f64]) -> Value {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return Value::Null };
    let at = |q: f64| (values[(q * last as f64).round() as usize] * 1e4).round() / 1e4;
    json!({ "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "max": at(1.0) })
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

impl Target {
    /// The whole answer of so many tokens, and where its first token ends.
    fn expected(&self, tokens: usize) -> (Vec<u8>, usize) {
        let mut all = wire::event(0, tokens);
        let first = all.len() + self.tokens[0].len();
        for index in 0..tokens {
            all.extend_from_slice(&self.tokens[index % CYCLE]);
        }
        for index in tokens + 1..tokens + FRAME_EVENTS {
            all.extend(wire::event(index, tokens));
        }
        (all, first)
    }

    /// One exchange; gives when its first token came. An answer that is not exact to the byte is an error.
    async fn exchange(&self, call: &Call) -> io::Result<Instant> {
        let idle = self.idle.borrow_mut().pop();
        let mut client = match idle {
            Some(client) => client,
            None => Client::connect(self.address).await?,
        };
        let (expected, first_end) = self.expected(call.tokens);
        client.ask(&call.bytes).await?;
        let mut check = Check::new(&expected);
        let mut first = None;
        while !client.more(&mut check).await? {
            if check.at >= first_end {
                first.get_or_insert_with(Instant::now);
            }
        }
        if !check.exact() {
            return Err(broken(if check.same { "ended early" } else { "wrong content" }));
        }
        self.idle.borrow_mut().push(client);
        Ok(first.unwrap_or_else(Instant::now))
    }

    async fn run(&self, call: Call) {
        sleep_until(call.due).await;
        let outcome = timeout(PATIENCE, self.exchange(&call)).await;
        let end = Instant::now();
        let seconds = |at: Instant| (at - call.due).as_secs_f64() * self.faster;
        let mut tally = self.tally.borrow_mut();
        match outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(first) => {
                tally.first_token.push(seconds(first));
                tally.total.push(seconds(end));
            }
            Err(error) => *tally.failures.entry(error.to_string()).or_default() += 1,
        }
    }
}

/// Sends all of `requests` to `address` and tells what became of them.
pub(crate) async fn replay(requests: &[Request], address: SocketAddr, key: &str, faster: f64) -> Value {
    let build = |request: &Request| {
        let plan = Plan { chunks: request.answer as usize, interval_us: 0, delay_us: 0 };
        request::request(Api::Chat, address, key, plan, request.prompt as usize * BYTES_PER_TOKEN)
    };
    let built: Vec<_> = requests.iter().map(build).collect();
    let target = Rc::new(Target {
        address,
        faster,
        tokens: (1..=CYCLE).map(|index| wire::event(index, CYCLE)).collect(),
        idle: RefCell::default(),
        tally: RefCell::default(),
    });
    let begin = Instant::now() + LEAD;
    let mut tasks = JoinSet::new();
    for (request, bytes) in requests.iter().zip(built) {
        let due = begin + Duration::from_secs_f64(request.arrival / faster);
        let (target, call) = (Rc::clone(&target), Call { due, bytes, tokens: request.answer as usize });
        tasks.spawn_local(async move { target.run(call).await });
    }
    while tasks.join_next().await.is_some() {}
    let mut tally = target.tally.take();
    json!({
        "count": requests.len(),
        "prompt_tokens": requests.iter().map(|request| u64::from(request.prompt)).sum::<u64>(),
        "answer_tokens": requests.iter().map(|request| u64::from(request.answer)).sum::<u64>(),
        "failures": tally.failures.values().sum::<usize>(),
        "failure_kinds": tally.failures,
        "first_token_s": percentiles(&mut tally.first_token),
        "total_s": percentiles(&mut tally.total),
    })
}
