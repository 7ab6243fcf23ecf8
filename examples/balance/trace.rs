//! The requests to replay: read from a trace, or made up where none is given, then paced to the fleet.
//!
//! A trace is a CSV file with a heading line; its first three columns are the arrival (seconds, or a date and time
//! `YYYY-MM-DD hh:mm:ss[.fraction]`), the tokens of the prompt, and the tokens generated. Further columns are ignored.

use std::{fs, io, path::Path};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// Requests made up where no trace is given.
const SYNTHETIC: usize = 6000;
/// Share of a prompt that it has in common with others of its group, where a fleet is asked to share prompts.
pub(crate) const SHARED: f64 = 0.7;

/// One request of the trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Seconds since the trace began.
    pub arrival: f64,
    /// Prompt tokens.
    pub prompt: u32,
    /// Tokens generated, at least one.
    pub answer: u32,
    /// Which other requests begin with the same prompt: those of the same group.
    pub group: u32,
}

/// A date and time, or a number, as seconds.
fn seconds(text: &str) -> Option<f64> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let (date, time) = text.trim().split_once([' ', 'T'])?;
    let whole = humantime::parse_rfc3339_weak(&format!("{date} {}", time.get(..8)?)).ok()?;
    let fraction: f64 = match time.get(8..).map(|rest| rest.trim_end_matches('Z')) {
        Some(rest) if rest.starts_with('.') => rest.parse().ok()?,
        _ => 0.0,
    };
    Some(whole.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64() + fraction)
}

fn row(line: &str) -> Option<Request> {
    let mut columns = line.split(',').map(str::trim);
    let arrival = seconds(columns.next()?)?;
    let mut tokens = || columns.next()?.parse::<f64>().ok().map(|n| n.max(1.0) as u32);
    Some(Request { arrival, prompt: tokens()?, answer: tokens()?, group: 0 })
}

/// Reads a trace; a line that is not a request is an error that names it.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Request>> {
    let text = fs::read_to_string(path)?;
    let mut requests = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let request = row(line).ok_or_else(|| {
            let why = format!("{}:{}: not an arrival and two counts: {line}", path.display(), number + 1);
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        requests.push(request);
    }
    requests.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
    let Some(begin) = requests.first().map(|first| first.arrival) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: no requests", path.display())));
    };
    for request in &mut requests {
        request.arrival -= begin;
    }
    group(&mut requests);
    Ok(requests)
}

/// Poisson arrivals with log-normal lengths: a chat service without a trace of its own.
pub(crate) fn synthetic(seed: u64) -> Vec<Request> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut arrival = 0.0;
    let mut requests: Vec<_> = (0..SYNTHETIC)
        .map(|_| {
            arrival += exponential(&mut rng);
            let prompt = (6.5 + 1.1 * normal(&mut rng)).exp().clamp(10.0, 16_000.0) as u32;
            let answer = (5.0 + 0.8 * normal(&mut rng)).exp().clamp(2.0, 2_000.0) as u32;
            Request { arrival, prompt, answer, group: 0 }
        })
        .collect();
    group(&mut requests);
    requests
}

/// Deals requests into groups of a common prompt, few of them large and many small, as sessions and system prompts are.
fn group(requests: &mut [Request]) {
    let mut rng = StdRng::seed_from_u64(1);
    let mut groups = 1_u32;
    for request in requests {
        // A newcomer opens a group, or joins one; early groups had more time to grow.
        request.group = if rng.random_bool(0.15) {
            groups += 1;
            groups
        } else {
            let draw: f64 = rng.random();
            (draw * draw * f64::from(groups)) as u32
        };
    }
}

fn exponential(rng: &mut impl Rng) -> f64 {
    -rng.random_range(f64::MIN_POSITIVE..1.0).ln()
}

/// A standard normal number, by Box and Muller.
fn normal(rng: &mut impl Rng) -> f64 {
    (2.0 * exponential(rng)).sqrt() * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// Stretches time so that the requests last for `span` seconds.
pub(crate) fn paced(requests: &[Request], span: f64) -> Vec<Request> {
    let end = requests.last().map_or(1.0, |last| last.arrival.max(1e-9));
    requests.iter().map(|request| Request { arrival: request.arrival / end * span, ..*request }).collect()
}

/// Crowds the arrivals of each `period` seconds into the first `share` of it.
pub(crate) fn bursty(requests: &mut [Request], period: f64, share: f64) {
    for request in requests {
        let begin = (request.arrival / period).floor() * period;
        request.arrival = begin + (request.arrival - begin) * share;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_a_number_or_a_date() {
        let at = |line| row(line).expect("a request").arrival;
        let (a, b) = (at("2023-11-16 18:17:03.9799600,4808,10"), at("2023-11-16 18:17:04,3180,8"));
        assert!((b - a - 0.020_04).abs() < 1e-6, "{a} {b}");
        assert!((at("12.5, 7, 1, further") - 12.5).abs() < 1e-9);
        assert!(row("yesterday,1,2").is_none());
    }

    #[test]
    fn crowded_arrivals_keep_their_order_and_their_period() {
        let mut requests = synthetic(3);
        bursty(&mut requests, 60.0, 0.25);
        assert!(requests.windows(2).all(|pair| pair[0].arrival <= pair[1].arrival));
        assert!(requests.iter().all(|request| request.arrival % 60.0 <= 15.0 + 1e-6));
    }
}
