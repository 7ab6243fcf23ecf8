//! Compares ways to choose a backend: replays a trace of LLM requests against simulated fleets of continuous-batching
//! servers, under Greenroom's own code, its rivals, and an oracle that knows everything.
//!
//!     cargo run --release --example balance -- TRACE.csv --markdown out.md --svg out.svg
//!
//! The trace's format stands in `trace.rs`, the servers' figures in `server.rs`. Time is stretched so that each fleet is
//! busy for `--load` of its time.

mod fleet;
mod greenroom;
mod policies;
mod replay;
mod report;
mod server;
mod trace;

use std::{fs, io, io::Write as _, path::PathBuf};

use clap::Parser;
use policies::Policy;
use report::{Figures, Section};

#[derive(Parser)]
struct Options {
    /// Trace to replay; without one, Poisson arrivals with log-normal lengths
    trace: Option<PathBuf>,
    /// Share of its time for which a fleet is busy
    #[arg(long, default_value_t = 0.7)]
    load: f64,
    /// Runs of each policy, with different random numbers
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Only fleets whose name contains this
    #[arg(long, default_value = "")]
    fleet: String,
    /// Write the tables here rather than to the screen
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Write the plot here
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let requests = match &options.trace {
        Some(path) => trace::read(path)?,
        None => trace::synthetic(1),
    };
    let mut policies = policies::rivals();
    for affinity in [false, true] {
        let own: Box<dyn Policy> = Box::new(greenroom::Greenroom::new(affinity));
        policies.insert(policies.len() - 1, own);
    }
    let mut sections = Vec::new();
    for fleet in fleet::fleets().iter().filter(|fleet| fleet.name.contains(&options.fleet)) {
        let paced = fleet.pace(&requests, options.load);
        let mut figures = Vec::new();
        for policy in &mut policies {
            let outcomes: Vec<_> =
                (0..options.seeds).flat_map(|seed| fleet.replay(&paced, &mut **policy, seed)).collect();
            figures.push(Figures::new(policy.name(), &outcomes));
        }
        writeln!(io::stderr(), "{} done", fleet.name)?;
        sections.push(Section { fleet: fleet.name, shares_prompts: fleet.shares_prompts(), figures });
    }
    let name = options.trace.as_ref().and_then(|path| path.file_name());
    let about = format!(
        "{} requests of {}, each fleet busy for {} of its time, {} runs.",
        requests.len(),
        name.map_or_else(|| "a synthetic trace".into(), |name| name.to_string_lossy()),
        options.load,
        options.seeds
    );
    let tables = report::markdown(&sections, &about);
    match &options.markdown {
        Some(path) => fs::write(path, tables)?,
        None => write!(io::stdout(), "{tables}")?,
    }
    options.svg.as_ref().map_or(Ok(()), |path| fs::write(path, report::svg(&sections)))
}
