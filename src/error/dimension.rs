//! Owns the closed set of a user's limits: their keys, what they count, and over which time.

use std::time::Duration;

use super::seconds;

/// A request that its user's limits do not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The limit that says no.
    pub dimension: Dimension,
    /// Its size.
    pub limit: u64,
    /// When to come back; in whole milliseconds, as clients are told it.
    pub wait: Duration,
}

/// One of a user's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Dimension {
    /// Requests at once.
    MaxInFlight,
    /// Requests a minute.
    RequestsPerMinute,
    /// Requests a day.
    RequestsPerDay,
    /// Tokens a minute, of prompts and answers.
    TokensPerMinute,
    /// Tokens a day, of prompts and answers.
    TokensPerDay,
    /// What requests cost a day, nanodollars.
    UsdPerDay,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
    /// Nanodollars.
    Dollars,
}

impl Unit {
    /// The word in headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Dollars => "dollars",
        }
    }
}

// A table indexed by dimension has a place for the last of them.
const _: () = assert!(Dimension::UsdPerDay as usize + 1 == Dimension::ALL.len());

impl Dimension {
    /// All of them, for tables indexed by dimension.
    pub const ALL: [Self; 6] = [
        Self::MaxInFlight,
        Self::RequestsPerMinute,
        Self::RequestsPerDay,
        Self::TokensPerMinute,
        Self::TokensPerDay,
        Self::UsdPerDay,
    ];

    /// The key in settings and the label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxInFlight => "max_in_flight",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::RequestsPerDay => "requests_per_day",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::TokensPerDay => "tokens_per_day",
            Self::UsdPerDay => "usd_per_day",
        }
    }

    /// What it counts.
    pub fn unit(self) -> Unit {
        match self {
            Self::MaxInFlight | Self::RequestsPerMinute | Self::RequestsPerDay => Unit::Requests,
            Self::TokensPerMinute | Self::TokensPerDay => Unit::Tokens,
            Self::UsdPerDay => Unit::Dollars,
        }
    }

    /// The time over which it counts; `None` for the limit on what is under way at once.
    pub fn window(self) -> Option<Duration> {
        match self {
            Self::MaxInFlight => None,
            Self::RequestsPerMinute | Self::TokensPerMinute => Some(Duration::from_secs(60)),
            Self::RequestsPerDay | Self::TokensPerDay | Self::UsdPerDay => Some(Duration::from_hours(24)),
        }
    }

    /// `error.code` of a request that it refuses.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::MaxInFlight => "concurrency_limit_exceeded",
            Self::UsdPerDay => "insufficient_quota",
            _ => "rate_limit_exceeded",
        }
    }

    /// The message for a client whose request it refuses: which limit, its size, and when to come back.
    pub(super) fn message(self, limit: u64, wait: Duration) -> String {
        let (key, unit) = (self.as_str(), self.unit().as_str());
        let unit = if limit == 1 { unit.trim_end_matches('s') } else { unit };
        let later = || format!("in {} s", seconds(wait));
        if self.unit() == Unit::Dollars {
            let (dollars, later) = (limit as f64 / 1e9, later());
            return format!("You have spent your budget of ${dollars} per day ({key}). There is some again {later}.");
        }
        let (pace, when) = match self {
            Self::MaxInFlight => ("at once", "when one of yours has ended".to_owned()),
            Self::RequestsPerMinute | Self::TokensPerMinute => ("per minute", later()),
            _ => ("per day", later()),
        };
        format!("This request goes beyond your limit of {limit} {unit} {pace} ({key}). Try again {when}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_indexed_by_dimension_line_up() {
        for (n, dimension) in Dimension::ALL.into_iter().enumerate() {
            assert_eq!(n, dimension as usize);
        }
    }

    #[test]
    fn a_message_names_the_limit_its_size_and_when_to_come_back() {
        let told = Dimension::TokensPerDay.message(5000, Duration::from_millis(6001));
        assert_eq!(
            told,
            "This request goes beyond your limit of 5000 tokens per day (tokens_per_day). Try again in 7 s."
        );
        let told = Dimension::UsdPerDay.message(500_000, Duration::from_secs(7));
        assert_eq!(told, "You have spent your budget of $0.0005 per day (usd_per_day). There is some again in 7 s.");
        let told = Dimension::MaxInFlight.message(1, Duration::from_secs(1));
        assert_eq!(
            told,
            "This request goes beyond your limit of 1 request at once (max_in_flight). Try again when one of yours has ended."
        );
    }
}
