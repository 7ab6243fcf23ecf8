//! Owns writing metric families in Prometheus's text format, version 0.0.4, which every scraper and promtool read.

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::backend::histogram::Snapshot;

/// Media type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A sample's labels.
pub(super) type LabelSet<'a> = Vec<(&'static str, &'a str)>;

/// The labels of a backend and a model.
pub(super) fn pair<'a>(backend: &'a str, model: &'a str) -> LabelSet<'a> {
    vec![("backend", backend), ("model", model)]
}

/// Those of a pair and one more.
pub(super) fn with<'a>(
    (backend, model): &'a (Arc<str>, Arc<str>),
    name: &'static str,
    value: &'static str,
) -> LabelSet<'a> {
    let mut labels = pair(backend, model);
    labels.push((name, value));
    labels
}

/// The value of a label that is a flag.
pub(super) fn yes(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}

/// The page being written. Families without samples are left out.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    /// Counters; `name` ends in `_total`.
    pub(super) fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (LabelSet<'l>, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        // The library adds `_total` to the samples of counters and leaves it off their type, as OpenMetrics wants it and
        // this format does not; a gauge's samples it writes as they are.
        self.family(name, help, MetricType::Counter, samples, |sample, value| sample.encode_gauge(&value))
    }

    /// Gauges.
    pub(super) fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (LabelSet<'l>, f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |sample, value| sample.encode_gauge(&value))
    }

    /// Histograms; `name` ends in its unit.
    pub(super) fn histograms<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (LabelSet<'l>, Snapshot)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, samples, |sample, snapshot| {
            let bounds = snapshot.bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(snapshot.counts.iter().copied()).collect();
            sample.encode_histogram::<NoLabelSet>(snapshot.seconds, snapshot.total(), &buckets, None)
        })
    }

    fn family<'l, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (LabelSet<'l>, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            write(&mut family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

/// Histograms with something in them.
pub(super) fn filled<'a>(
    all: impl IntoIterator<Item = (LabelSet<'a>, Snapshot)>,
) -> impl Iterator<Item = (LabelSet<'a>, Snapshot)> {
    all.into_iter().filter(|(_, snapshot)| snapshot.total() > 0)
}
