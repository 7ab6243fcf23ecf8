//! What a run counts: latencies, errors by kind, exact answers; and the JSON made of it.

use std::{collections::BTreeMap, io, time::Duration};

use serde_json::{Map, Value, json};

/// Latencies in nanoseconds, kept whole: a run is short enough, and percentiles then need no buckets.
#[derive(Default)]
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Percentiles in microseconds; null where nothing was recorded.
    pub(crate) fn summary(&mut self) -> Value {
        self.0.sort_unstable();
        let Some(last) = self.0.len().checked_sub(1) else { return Value::Null };
        let at = |q: f64| self.0[(q * last as f64).round() as usize] as f64 / 1e3;
        json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
    }
}

/// Counts of one target.
#[derive(Default)]
pub(crate) struct Tally {
    /// Exchanges that ended well.
    pub done: u64,
    /// Those whose body was the expected one to the byte.
    pub exact: u64,
    /// Body reads, to see how many events came together.
    pub reads: u64,
    /// Time of a whole exchange.
    pub latency: Latencies,
    /// Time to the first token.
    pub first_token: Latencies,
    /// Time between two arrivals of body bytes.
    pub gap: Latencies,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn error(&mut self, error: &io::Error) {
        *self.errors.entry(error.to_string()).or_default() += 1;
    }

    pub(crate) fn finished(&mut self, exact: bool) {
        self.done += 1;
        self.exact += u64::from(exact);
    }

    /// The figures as a JSON object.
    pub(crate) fn report(&mut self) -> Map<String, Value> {
        let Value::Object(map) = json!({
            "done": self.done,
            "exact": self.exact,
            "reads": self.reads,
            "errors": self.errors.values().sum::<u64>(),
            "error_kinds": self.errors,
            "latency_us": self.latency.summary(),
            "first_token_us": self.first_token.summary(),
            "gap_us": self.gap.summary(),
        }) else {
            return Map::new();
        };
        map
    }
}
