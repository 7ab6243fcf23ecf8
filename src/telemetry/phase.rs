//! Owns the phases of a request in which Greenroom itself works.

/// What Greenroom itself spends time on, beside waiting for a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Who asks?
    Auth,
    /// Which backend?
    Route,
    /// Reading the request, writing it anew for a backend.
    Translate,
}

// A table indexed by phase has a place for the last of them.
const _: () = assert!(Phase::Translate as usize + 1 == Phase::ALL.len());

impl Phase {
    /// All phases, for tables indexed by phase.
    pub const ALL: [Self; 3] = [Self::Auth, Self::Route, Self::Translate];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Route => "route",
            Self::Translate => "translate",
        }
    }
}
