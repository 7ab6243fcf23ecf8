//! Owns the counts behind percentiles: durations by parts of the metrics' buckets, each part with its sum.
//!
//! A percentile is the mean of the part that it falls into: never beyond the longest or the shortest time there was, and just
//! right where times lie close together.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::histogram::{Snapshot, bucket};

/// Parts of a bucket. Those of a bucket that ends at twice or two and a half times its beginning, as most do, end at most a
/// quarter further than they begin.
const PARTS: usize = 6;

/// A sketch that many threads record into without a lock.
#[derive(Debug)]
pub struct SketchCell {
    bounds: &'static [f64],
    cells: Box<[Cell]>,
}

#[derive(Debug, Default)]
struct Cell {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl SketchCell {
    /// An empty one, over the buckets with these upper bounds.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, cells: (0..places(bounds)).map(|_| Cell::default()).collect() }
    }

    /// Records one duration.
    pub fn record(&self, time: Duration) {
        let cell = &self.cells[place(self.bounds, time.as_secs_f64())];
        cell.count.fetch_add(1, Relaxed);
        cell.nanos.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// What was recorded so far.
    pub fn read(&self) -> Sketch {
        let part = |(place, cell): (usize, &Cell)| {
            let count = cell.count.load(Relaxed);
            (count > 0).then(|| Part(place, count, cell.nanos.load(Relaxed) as f64 / 1e9))
        };
        Sketch { bounds: self.bounds, parts: self.cells.iter().enumerate().filter_map(part).collect() }
    }
}

/// Durations at one moment, in a form that adds up.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    bounds: &'static [f64],
    /// Parts with something in them, by place.
    parts: Vec<Part>,
}

/// A part of a bucket: its place, how many durations it has, and their sum, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Part(usize, u64, f64);

impl Sketch {
    /// Nothing recorded.
    pub fn empty(bounds: &'static [f64]) -> Self {
        Self { bounds, parts: Vec::new() }
    }

    /// The sketch of parts that were written down; `None` if they cannot be of these bounds.
    pub fn of_parts(bounds: &'static [f64], parts: Vec<Part>) -> Option<Self> {
        let in_order = parts.is_sorted_by(|a, b| a.0 < b.0);
        let sound = |part: &Part| part.0 < places(bounds) && part.1 > 0 && part.2.is_finite() && part.2 >= 0.0;
        (in_order && parts.iter().all(sound)).then_some(Self { bounds, parts })
    }

    /// The sketch of a histogram's counts and their sum, seconds; `None` if they are not of these bounds. Each bucket's
    /// durations are taken for equal, and for as far from its middle as the sum says.
    pub fn of_counts(bounds: &'static [f64], counts: &[u64], seconds: f64) -> Option<Self> {
        (counts.len() == bounds.len() + 1).then_some(())?;
        let middle = |n: usize| {
            let Range { start, end } = extent(bounds, n);
            if end.is_finite() { f64::midpoint(start, end) } else { start }
        };
        let guess: f64 = counts.iter().enumerate().map(|(n, count)| *count as f64 * middle(n)).sum();
        let scale = if guess > 0.0 { seconds / guess } else { 1.0 };
        let part = |(n, count): (usize, &u64)| {
            let Range { start, end } = extent(bounds, n);
            let each = (middle(n) * scale).clamp(start, end);
            (*count > 0).then(|| Part(n * PARTS + within(bounds, n, each), *count, each * *count as f64))
        };
        scale.is_finite().then(|| Self { bounds, parts: counts.iter().enumerate().filter_map(part).collect() })
    }

    /// What to write down.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Adds one duration.
    pub fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        self.put(Part(place(self.bounds, seconds), 1, seconds));
    }

    /// Adds another one of the same bounds.
    pub fn merge(&mut self, other: &Self) {
        for part in &other.parts {
            self.put(*part);
        }
    }

    fn put(&mut self, part: Part) {
        match self.parts.binary_search_by_key(&part.0, |known| known.0) {
            Ok(n) => {
                let known = &mut self.parts[n];
                *known = Part(known.0, known.1.saturating_add(part.1), known.2 + part.2);
            }
            Err(n) => self.parts.insert(n, part),
        }
    }

    /// How many were recorded.
    pub fn total(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.1))
    }

    /// Their sum, seconds.
    pub fn seconds(&self) -> f64 {
        self.parts.iter().map(|part| part.2).sum()
    }

    /// The quantile `q`, seconds; `None` while empty.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q * self.total() as f64;
        let mut below = 0.0;
        let reaches = |part: &&Part| {
            below += part.1 as f64;
            below >= rank
        };
        let Part(place, count, seconds) = *self.parts.iter().find(reaches).or(self.parts.last())?;
        // Count and sum are read while others add to them, one behind the other.
        let Range { start, end } = extent(self.bounds, place / PARTS);
        Some((seconds / count as f64).clamp(start, end))
    }

    /// As the metrics have it.
    pub fn histogram(&self) -> Snapshot {
        let mut counts = vec![0; self.bounds.len() + 1];
        for Part(place, count, _) in &self.parts {
            let all: &mut u64 = &mut counts[place / PARTS];
            *all = all.saturating_add(*count);
        }
        Snapshot { bounds: self.bounds, counts, seconds: self.seconds() }
    }
}

/// How many places there are: what lies above the bounds has no parts.
fn places(bounds: &[f64]) -> usize {
    bounds.len() * PARTS + 1
}

/// Where a duration is counted.
fn place(bounds: &[f64], seconds: f64) -> usize {
    let n = bucket(bounds, seconds);
    n * PARTS + within(bounds, n, seconds)
}

/// The part of its bucket that a duration falls into.
fn within(bounds: &[f64], n: usize, seconds: f64) -> usize {
    let Range { start, end } = extent(bounds, n);
    (((seconds - start) / (end - start) * PARTS as f64) as usize).min(PARTS - 1)
}

/// From where to where a bucket goes.
fn extent(bounds: &[f64], n: usize) -> Range<f64> {
    let start = n.checked_sub(1).map_or(0.0, |before| bounds[before]);
    start..bounds.get(n).copied().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backend::histogram::{FIRST_TOKEN, Histogram, REQUEST};

    const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

    fn recorded(bounds: &'static [f64], times: &[Duration]) -> Sketch {
        let cell = SketchCell::new(bounds);
        for time in times {
            cell.record(*time);
        }
        cell.read()
    }

    fn nearest_rank(times: &[Duration], q: f64) -> f64 {
        times[((q * times.len() as f64).ceil() as usize).max(1) - 1].as_secs_f64()
    }

    #[test]
    fn times_that_lie_close_together_are_shown_as_they_are() {
        for ms in [1, 90, 170, 330, 21_000, 200_000] {
            let times: Vec<_> = (0..40).map(|n| Duration::from_micros(ms * 1000 + n)).collect();
            for bounds in [REQUEST, FIRST_TOKEN] {
                for q in QUANTILES {
                    let shown = recorded(bounds, &times).quantile(q).expect("filled");
                    assert!((shown * 1e3 - ms as f64).abs() < 0.05, "{ms} ms, {q}: {shown}");
                }
            }
        }
        assert_eq!(Sketch::empty(REQUEST).quantile(0.5), None);
    }

    #[test]
    fn percentiles_of_times_that_lie_far_apart_are_within_an_eighth() {
        for (from, to) in [(20, 60), (90, 330), (1000, 2600), (700, 30_000)] {
            let times: Vec<_> = (0..=1000).map(|n| Duration::from_micros((from * 1000) + (to - from) * n)).collect();
            for bounds in [REQUEST, FIRST_TOKEN] {
                for q in QUANTILES {
                    let (shown, is) = (recorded(bounds, &times).quantile(q).expect("filled"), nearest_rank(&times, q));
                    assert!((shown / is - 1.0).abs() < 0.125, "{from} to {to} ms, {q}: {shown} for {is}");
                }
            }
        }
    }

    #[test]
    fn counts_of_whole_buckets_become_a_sketch_with_the_same_buckets_and_the_same_sum() {
        let mut counts = [0; REQUEST.len() + 1];
        counts[4] = 40;
        let sketch = Sketch::of_counts(REQUEST, &counts, 40.0 * 0.09).expect("it fits");
        assert_eq!((sketch.histogram().counts.as_slice(), sketch.total()), (&counts[..], 40));
        assert!((sketch.quantile(0.99).expect("filled") - 0.09).abs() < 1e-9, "{sketch:?}");
        assert_eq!([&counts[1..], &[1; REQUEST.len() + 2]].map(|c| Sketch::of_counts(REQUEST, c, 1.0)), [None, None]);
        assert_eq!(Sketch::of_counts(REQUEST, &counts, f64::NAN), None);
    }

    #[test]
    fn what_is_no_sketch_is_not_taken_for_one() {
        let [first, second] = [Part(3, 1, 0.1), Part(4, 1, 0.1)];
        assert!(Sketch::of_parts(REQUEST, vec![first, second]).is_some());
        for parts in [
            vec![second, first],
            vec![first, first],
            vec![Part(places(REQUEST), 1, 0.1)],
            vec![Part(3, 0, 0.1)],
            vec![Part(3, 1, f64::INFINITY)],
            vec![Part(3, 1, -0.1)],
        ] {
            assert_eq!(Sketch::of_parts(REQUEST, parts.clone()), None, "{parts:?}");
        }
    }

    proptest! {
        #[test]
        fn percentiles_keep_within_what_was_measured_and_buckets_are_the_metrics_own(
            nanos in prop::collection::vec(prop_oneof![1..10_000_000_u64, 1..1_000_000_000_u64, 1..1_000_000_000_000_u64], 1..60),
            cut in 0..60_usize,
        ) {
            let mut times: Vec<_> = nanos.into_iter().map(Duration::from_nanos).collect();
            times.sort();
            let [least, most] = [times[0], times[times.len() - 1]].map(|time| time.as_secs_f64());
            for bounds in [REQUEST, FIRST_TOKEN] {
                let sketch = recorded(bounds, &times);
                let mut last = 0.0;
                for q in QUANTILES {
                    let shown = sketch.quantile(q).expect("filled");
                    prop_assert!(least - 1e-9 <= shown && shown <= most + 1e-9 && last <= shown, "{shown}");
                    let is = nearest_rank(&times, q);
                    prop_assert!(is < bounds[1] || is > bounds[bounds.len() - 1] || (shown / is - 1.0).abs() <= 0.26, "{shown} for {is}");
                    last = shown;
                }
                let plain = Histogram::new(bounds);
                for time in &times {
                    plain.record(*time);
                }
                prop_assert_eq!(sketch.histogram().counts, plain.snapshot().counts);
                // Whatever way it comes together, it is the same.
                let (some, rest) = times.split_at(cut.min(times.len()));
                let mut merged = recorded(bounds, some);
                merged.merge(&recorded(bounds, rest));
                let mut added = Sketch::empty(bounds);
                for time in &times {
                    added.add(*time);
                }
                for other in [merged, added] {
                    prop_assert_eq!(other.total(), sketch.total());
                    prop_assert!((other.seconds() - sketch.seconds()).abs() < 1e-6);
                    prop_assert_eq!(other.histogram().counts, sketch.histogram().counts);
                }
            }
        }
    }
}
