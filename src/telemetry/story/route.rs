//! Owns the words for how a request went: why a backend was chosen, and what became of a broken stream's rescue.

use serde::{Serialize, Serializer};

/// Why this backend: the token in `x-greenroom-route`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteReason {
    /// It had the lowest cost of several.
    LeastLoaded,
    /// It had requests with the same beginning, and was not the cheapest.
    Affinity,
    /// There was no other.
    OnlyCandidate,
    /// The client named it.
    Pinned,
    /// Another failed before.
    Failover,
    /// Another was too slow.
    Hedged,
}

impl RouteReason {
    /// The token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least_loaded",
            Self::Affinity => "affinity",
            Self::OnlyCandidate => "only_candidate",
            Self::Pinned => "pinned",
            Self::Failover => "failover",
            Self::Hedged => "hedged",
        }
    }
}

impl Serialize for RouteReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What became of a broken stream's rescue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RescueOutcome {
    /// Another backend went on from its last word.
    Continued,
    /// Another backend said all of it again, and more.
    Replayed,
    /// Nobody could take over, or who did broke off or said something else.
    Failed,
    /// The client left.
    Cancelled,
}

impl RescueOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Continued, Self::Replayed, Self::Failed, Self::Cancelled];

    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continued => "continued",
            Self::Replayed => "replayed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
