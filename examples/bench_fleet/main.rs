//! The two ends of `scripts/bench.sh balance`: a fleet of simulated LLM servers on real sockets, and the replay of
//! requests through a proxy before them.
//!
//! Fleets, servers and requests are those of `examples/balance`, whose time runs `--faster` times as fast here. All
//! figures are in the model's seconds.

mod backend;
#[path = "../bench_load/client.rs"]
#[expect(dead_code, reason = "bench_load has plain exchanges too")]
mod client;
#[path = "../balance/fleet.rs"]
#[expect(dead_code, reason = "the simulation paces otherwise, and tells its policies what is known of a fleet")]
mod fleet;
mod replay;
#[path = "../bench_load/request.rs"]
#[expect(dead_code, reason = "bench_load speaks Messages too")]
mod request;
mod serve;
#[path = "../balance/server.rs"]
#[expect(dead_code, reason = "the simulation's oracle looks ahead")]
mod server;
#[path = "../balance/trace.rs"]
mod trace;
#[path = "../bench_load/wire.rs"]
#[expect(dead_code, reason = "bench_load has plain answers too")]
mod wire;

use std::{io, io::Write as _, net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use fleet::Fleet;
use server::Model;
use tokio::task::LocalSet;
use trace::Request;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
    /// A fleet of examples/balance/fleet.rs, by its whole name
    #[arg(long, global = true, default_value = "four equal")]
    fleet: String,
    /// Seconds of the run, in the model's time
    #[arg(long, global = true, default_value_t = 180.0)]
    span: f64,
    /// How many times as fast as the model's own time runs
    #[arg(long, global = true, default_value_t = 6.0)]
    faster: f64,
}

#[derive(Subcommand)]
enum Mode {
    /// Open the fleet's servers and print their addresses, one a line; their time begins with the first chat
    Serve,
    /// Send the requests when they are due, whether or not answers come, and print what became of them as JSON
    Replay {
        /// Trace to replay; without one, Poisson arrivals with log-normal lengths
        trace: Option<PathBuf>,
        /// Address of the proxy
        #[arg(long)]
        to: SocketAddr,
        /// Bearer token sent with each request
        #[arg(long, default_value = "none")]
        key: String,
        /// Share of its time for which the fleet is busy
        #[arg(long, default_value_t = 0.7)]
        load: f64,
        /// Which synthetic requests
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// As many of the first requests as keep `fleet` busy for `load` of `span`, spread over it.
fn excerpt(fleet: &Fleet, requests: &[Request], load: f64, span: f64) -> io::Result<Vec<Request>> {
    let most = fleet.power() * load * span;
    let mut work = 0.0;
    let count = requests.iter().position(|request| {
        work += Model::LARGE.work(request);
        work > most
    });
    let count = count.ok_or_else(|| wrong(format!("{} requests do not last {span} s at {load}", requests.len())))?;
    Ok(fleet.spread(&requests[..count], span))
}

async fn run(options: Options) -> io::Result<()> {
    let Options { mode, fleet: name, span, faster } = options;
    let fleets = fleet::fleets();
    let fleet = fleets.iter().find(|fleet| fleet.name == name).ok_or_else(|| {
        let names: Vec<_> = fleets.iter().map(|fleet| fleet.name).collect();
        wrong(format!("no fleet is named {name}; there are: {}", names.join(", ")))
    })?;
    match mode {
        Mode::Serve => serve::serve(fleet, span, faster).await,
        Mode::Replay { trace, to, key, load, seed } => {
            let all = match trace {
                Some(path) => trace::read(&path)?,
                None => trace::synthetic(seed),
            };
            let requests = excerpt(fleet, &all, load, span)?;
            let report = replay::replay(&requests, to, &key, faster).await;
            writeln!(io::stdout(), "{report}")
        }
    }
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(options))
}
