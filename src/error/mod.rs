//! Owns every failure a client can see, and its class; `face` tells what it looks like.

mod class;
mod dimension;
mod face;
mod failed;

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;

pub use self::{
    class::{Again, Class, Disposition, Owner, Weight},
    dimension::{Dimension, Refused, Unit},
    face::{Face, SDKS_WAIT, SOON},
};

/// A failure as the client will see it.
#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    /// The body is not JSON, or not an object.
    InvalidJson(String),
    /// The body is not a form; why.
    InvalidForm(&'static str),
    /// A required member is missing.
    Missing(&'static str),
    /// A member has a value we cannot take.
    Invalid {
        /// The member.
        param: String,
        /// What is wrong and what to send instead.
        message: String,
    },
    /// A header has a value we cannot take.
    InvalidHeader(&'static str, &'static str),
    /// What came is no request; why.
    BadRequest(&'static str),
    /// The head of a request is too long.
    HeadTooLong,
    /// The client took too long to send its request.
    Slow,
    /// The client left before it had sent all of its request.
    CutShort,
    /// The body is larger than the limit in bytes.
    TooLarge(usize),
    /// The body is packed in a way that is not taken.
    UnknownCoding {
        /// The codings that are.
        taken: &'static str,
    },
    /// No token, or not one of ours: one wording for both.
    InvalidKey,
    /// The model does not exist or is not this user's: one wording for both.
    ModelNotFound(String),
    /// `backend` is not a non-empty string.
    BackendInvalid,
    /// No such backend.
    BackendNotFound(String),
    /// The user may not pin, or not to this backend.
    BackendNotAllowed(String),
    /// The backend exists and does not serve the model, or not at this endpoint.
    ModelNotOnBackend {
        /// The pinned backend.
        backend: String,
        /// The public model.
        model: String,
        /// It serves the model at other endpoints.
        elsewhere: bool,
    },
    /// The user may not use this endpoint.
    PermissionDenied,
    /// The request goes beyond one of its user's own limits.
    Limited(Refused),
    /// Nothing of this name; which, and where to look.
    NotFound(String),
    /// No such endpoint.
    NoEndpoint {
        /// The method.
        method: String,
        /// The path.
        path: String,
        /// Where to ask, in words.
        instead: String,
    },
    /// A websocket is asked for.
    NoWebsocket,
    /// The endpoint is not asked this way.
    WrongMethod {
        /// The method.
        method: String,
        /// The methods it has.
        allow: &'static str,
    },
    /// An admin action that cannot be done as asked.
    Conflict(String),
    /// History cannot be read now; why, and where to look.
    HistoryUnavailable(String),
    /// The pinned backend takes nothing now.
    PinUnavailable {
        /// The pinned backend.
        backend: String,
        /// Why, in words.
        reason: String,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// The pinned backend is full.
    PinOverloaded {
        /// The pinned backend.
        backend: String,
    },
    /// No backend of the model takes requests now.
    NoHealthyBackend {
        /// The public model.
        model: String,
        /// When the first of them may again.
        retry_after: Option<Duration>,
        /// An account has no money or quota left, and the settings let no other stand in for that.
        spent: bool,
        /// The backends that are out, and why, as far as the user may know them.
        out: Box<[(Arc<str>, &'static str)]>,
    },
    /// Packed bodies take as much memory as they may.
    Unpacking,
    /// There is no memory for the body of the request.
    NoMemory,
    /// All backends of the model are full.
    Overloaded {
        /// The public model.
        model: String,
        /// How long those take who wait for a place already, where that is known.
        retry_after: Option<Duration>,
    },
    /// Greenroom is stopping.
    ShuttingDown,
    /// A backend failed, and no other could help.
    Upstream(Box<Failed>),
    /// A bug, contained.
    Internal,
}

/// How an attempt at a backend failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// What kind of failure; decides everything else.
    pub class: Class,
    /// The backend's status, if it sent one.
    pub status: Option<u16>,
    /// What happened, for the client, the log and the operator. Never the provider's text where that could tell secrets.
    pub message: String,
    /// What the client reads in its place, where only operators may read all of it.
    pub shown: Option<String>,
    /// What the provider says of a failure of its own, for operators only.
    pub said: Option<String>,
    /// When the provider wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The error where the fault is the caller's: in the provider's own words, where they may be shown.
    pub told: Option<ErrorObject>,
    /// The provider's name for the request, if it told one.
    pub request_id: Option<Box<str>>,
    /// Trying again cannot help: nobody else could have served it either, nor will anybody soon.
    pub hopeless: bool,
    /// The backend has not worked on the request: it never had it, or refused it.
    pub turned_away: bool,
}

/// An error that is the caller's to read.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorObject {
    /// Error type.
    pub kind: String,
    /// Error code, if any.
    pub code: String,
    /// Message.
    pub message: String,
    /// Offending member, if named.
    pub param: Option<String>,
    /// The body as sent, where client and backend speak the same protocol.
    pub body: Option<Bytes>,
}

impl ErrorObject {
    /// What is wrong with a request, in words of ours.
    pub fn ours(code: impl Into<String>, message: impl Into<String>) -> Self {
        let kind = "invalid_request_error".to_owned();
        Self { kind, code: code.into(), message: message.into(), param: None, body: None }
    }
}

impl Failed {
    /// A failure without a provider's answer.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            message: message.into(),
            shown: None,
            said: None,
            retry_after: None,
            told: None,
            request_id: None,
            hopeless: false,
            turned_away: false,
        }
    }

    /// The same, before the request was sent.
    #[must_use]
    pub fn unsent(self) -> Self {
        Self { turned_away: true, ..self }
    }
}

impl Error {
    /// A member `param` with a value we cannot take; `message`: what is wrong and what to send instead.
    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self::Invalid { param: param.to_owned(), message: message.into() }
    }

    /// Whether the request has a pin that names no backend, in whichever way.
    pub fn is_bad_pin(&self) -> bool {
        matches!(self, Self::BackendInvalid) || matches!(self, Self::Invalid { param, .. } if param == "backend")
    }

    /// The class for metrics and logs.
    pub fn class(&self) -> Class {
        match self {
            Self::InvalidJson(_)
            | Self::InvalidForm(_)
            | Self::Missing(_)
            | Self::Invalid { .. }
            | Self::InvalidHeader(..)
            | Self::BadRequest(_)
            | Self::HeadTooLong
            | Self::Slow
            | Self::TooLarge(_)
            | Self::UnknownCoding { .. }
            | Self::ModelNotFound(_)
            | Self::BackendInvalid
            | Self::BackendNotFound(_)
            | Self::ModelNotOnBackend { .. }
            | Self::NotFound(_)
            | Self::NoEndpoint { .. }
            | Self::NoWebsocket
            | Self::WrongMethod { .. }
            | Self::Conflict(_) => Class::CallerInvalid,
            Self::CutShort => Class::CallerCancelled,
            Self::InvalidKey => Class::PolicyAuth,
            Self::BackendNotAllowed(_) | Self::PermissionDenied => Class::PolicyPermission,
            Self::Limited(_) => Class::PolicyRatelimit,
            Self::PinUnavailable { .. }
            | Self::PinOverloaded { .. }
            | Self::NoHealthyBackend { .. }
            | Self::Overloaded { .. }
            | Self::Unpacking
            | Self::NoMemory
            | Self::ShuttingDown => Class::GatewayOverload,
            Self::Upstream(failed) => failed.class,
            Self::HistoryUnavailable(_) | Self::Internal => Class::GatewayInternal,
        }
    }
}

/// A wait in whole milliseconds, as `retry-after-ms` tells it: rounded up, so that nobody comes too early, and at least one.
pub fn millis(wait: Duration) -> u64 {
    wait.as_nanos().div_ceil(1_000_000).max(1) as u64
}

/// The same in whole seconds, as `retry-after` tells it.
pub fn seconds(wait: Duration) -> u64 {
    millis(wait).div_ceil(1000)
}

/// The text of a panic.
pub fn panic_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_told_rounded_up_and_alike_in_both_units() {
        for (nanos, told) in [(0, (1, 1)), (1, (1, 1)), (79_000_000_000, (79_000, 79)), (79_000_000_001, (79_001, 80))]
        {
            let wait = Duration::from_nanos(nanos);
            assert_eq!((millis(wait), seconds(wait)), told, "{wait:?}");
        }
    }
}
