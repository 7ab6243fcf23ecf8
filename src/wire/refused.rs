//! Owns why a request cannot be translated, and the code by which a client is told so.

use super::{
    Protocol,
    anthropic::request_in::THREAD,
    chat::{Loss, Weight},
    openai::request_out::{NO_TOOLS, TOOLS},
    responses::request_in::{KEPT, REFERENCE},
    translate::{Dialect, Target},
};

/// What helps where a conversation goes on from what a provider was to keep.
const SEND_ALL: &str = ": nothing is kept of earlier turns. Send them along (in SDKs with 'store': false), or ask for a model \
                        whose backend has native_responses = true";

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
    /// The first of these losses that is refused rather than left out.
    pub(crate) fn of(losses: &[Loss], target: &Target<'_>) -> Option<Self> {
        let refused = losses.iter().find(|loss| match loss.weight {
            Weight::Note => false,
            Weight::Hint => target.refuse_unsupported,
            Weight::Answer => true,
        });
        refused.map(|loss| Self::loss(&loss.field, target.protocol))
    }

    /// The provider has nothing like this field; with what helps, where something does.
    pub(crate) fn loss(field: &str, protocol: Protocol) -> Self {
        let way_out = match field {
            TOOLS if protocol == Protocol::Openai => NO_TOOLS,
            REFERENCE => SEND_ALL,
            kept if KEPT.contains(&kept) => SEND_ALL,
            _ => "",
        };
        let message = format!("'{field}' cannot be served by this backend ({}){way_out}", protocol.as_str());
        Self::Unsupported { param: Some(field.to_owned()), message }
    }

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
