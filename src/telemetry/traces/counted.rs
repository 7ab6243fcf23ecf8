//! Owns what is counted of spans, sent or dropped, and its part of the metrics page.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::telemetry::exposition::Page;

/// Why a span never reached the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// As many as may wait were waiting already.
    QueueFull,
    /// The collector does not want it.
    Rejected,
    /// The collector could not be reached in time, or Greenroom stopped meanwhile.
    Unreachable,
    /// The exporter crashed over it, or is no more.
    Lost,
}

impl Dropped {
    const ALL: [Self; 4] = [Self::QueueFull, Self::Rejected, Self::Unreachable, Self::Lost];

    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
        }
    }
}

/// Spans by what became of them.
#[derive(Debug, Default)]
pub struct Counted {
    exported: AtomicU64,
    /// By `Dropped`.
    dropped: [AtomicU64; Dropped::ALL.len()],
}

impl Counted {
    /// The collector took so many.
    pub(super) fn exported(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Relaxed);
    }

    /// Counts spans that were dropped.
    pub(super) fn dropped(&self, why: Dropped, spans: usize) {
        self.dropped[why as usize].fetch_add(spans as u64, Relaxed);
    }

    /// Its part of the page. All are there from the start: a series that starts at zero shows its first increase as one.
    pub(in crate::telemetry) fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.counters(
            "traces_exported_spans_total",
            "Spans that the collector of traces took.",
            [(Vec::new(), self.exported.load(Relaxed))],
        )?;
        page.counters(
            "traces_dropped_spans_total",
            "Spans that the collector of traces never got, by the reason.",
            Dropped::ALL
                .into_iter()
                .zip(&self.dropped)
                .map(|(why, count)| (vec![("reason", why.as_str())], count.load(Relaxed))),
        )
    }
}
