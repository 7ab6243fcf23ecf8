//! Owns a fixed-bucket histogram of durations that many threads record into without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of time to first token, seconds: OpenTelemetry's server set, with edges for reasoning models.
pub const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0,
    120.0,
];

/// Upper bounds of a whole request, seconds: OpenTelemetry's, doubled on to the longest total timeout in use.
pub const REQUEST: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36];

/// Upper bounds of time per output token, seconds: OpenTelemetry's, with finer ones for fast providers.
pub const PER_TOKEN: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

/// Upper bounds of time that Greenroom itself spends on a request, seconds.
pub const OVERHEAD: &[f64] = &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];

/// Counts per bucket, the last one for everything above the bounds, and the sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), nanos: AtomicU64::new(0) }
    }

    /// Records one duration.
    pub fn record(&self, time: Duration) {
        self.counts[bucket(self.bounds, time.as_secs_f64())].fetch_add(1, Relaxed);
        self.nanos.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// What was recorded so far.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            seconds: self.nanos.load(Relaxed) as f64 / 1e9,
        }
    }
}

/// Where a duration is counted: its bucket takes its upper bound.
pub(super) fn bucket(bounds: &[f64], seconds: f64) -> usize {
    bounds.partition_point(|bound| *bound < seconds)
}

/// A histogram's counts at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Upper bounds, seconds.
    pub bounds: &'static [f64],
    /// Counts, one more than bounds.
    pub counts: Vec<u64>,
    /// Sum, seconds.
    pub seconds: f64,
}

impl Snapshot {
    /// How many were recorded.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}
