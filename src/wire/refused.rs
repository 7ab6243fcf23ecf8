//! Owns why a request cannot be translated, and the code by which a client is told so.

use super::{anthropic::request_in::THREAD, translate::Dialect};

/// What Anthropic's SDKs look for in `error.details.error_code`.
pub const THREAD_UNSUPPORTED: &str = "thread_unsupported_request";

/// Why a request cannot be translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It is not what the client's own dialect allows.
    Invalid {
        /// The field.
        param: Option<String>,
        /// What is wrong.
        message: String,
    },
    /// The provider has nothing like it.
    Unsupported {
        /// The field, if it is one.
        param: Option<String>,
        /// What is wrong.
        message: String,
    },
}

impl Refused {
    /// Its code for a client of this dialect. A conversation that its provider was to keep has one of its own, at which
    /// Anthropic's SDKs send all of it again (guide to message threads).
    pub fn code(&self, from: Dialect) -> &'static str {
        match self {
            Self::Invalid { param: None, .. } => "invalid_json",
            Self::Invalid { .. } => "invalid_value",
            Self::Unsupported { param: Some(param), .. } if from == Dialect::Messages && param == THREAD => {
                THREAD_UNSUPPORTED
            }
            Self::Unsupported { .. } => "unsupported_parameter",
        }
    }
}
