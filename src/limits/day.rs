//! Owns what is kept of users' accounts over a restart: how far each limit of a day that counts tokens or money is used up.

use std::{num::NonZeroU64, time::Duration};

use crate::error::Dimension;

/// How one limit of one user stands, in a form that stays true while nothing more is taken: it refills without a pause.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Day {
    /// The user's name.
    pub user: String,
    /// The limit.
    pub dimension: Dimension,
    /// Its size.
    pub size: NonZeroU64,
    /// When all of it is there again, on the process's clock.
    pub whole_at: Duration,
}

impl Day {
    /// Whether this limit is kept: requests come back soon enough, and so does what counts by the minute.
    pub(super) fn is_kept(dimension: Dimension) -> bool {
        matches!(dimension, Dimension::TokensPerDay | Dimension::UsdPerDay)
    }
}
