//! Owns the counts of requests that a user's limit has refused, and their part of the metrics page.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::exposition::Page;
use crate::error::Dimension;

/// By `Dimension`. No user is named: `user` is a label only where the operator wants that.
#[derive(Debug, Default)]
pub struct Limited([AtomicU64; Dimension::ALL.len()]);

impl Limited {
    /// A limit has refused a request.
    pub fn refused(&self, dimension: Dimension) {
        self.0[dimension as usize].fetch_add(1, Relaxed);
    }

    /// Its part of the page. All are there from the start: a series that starts at zero shows its first increase as one.
    pub(super) fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.counters(
            "ratelimit_rejections_total",
            "Requests that a limit of their user's has refused, by the limit.",
            Dimension::ALL
                .into_iter()
                .zip(&self.0)
                .map(|(dimension, count)| (vec![("dimension", dimension.as_str())], count.load(Relaxed))),
        )
    }
}
