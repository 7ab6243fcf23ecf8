//! Owns the closed set of failure classes and what each one means: try here again, try elsewhere, shut a gate.

use std::fmt;

/// Why an attempt or a request failed. Owner first; the set is closed, since metrics, logs and alerts rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// The request itself is wrong.
    CallerInvalid,
    /// This backend's protocol cannot express the request; another's may.
    CallerUnsupported,
    /// The request needs something that this backend does not have and another may: a file, a thread, an earlier
    /// answer, a larger limit.
    CallerMisdirected,
    /// The client left.
    CallerCancelled,
    /// No or unknown credentials of the client.
    PolicyAuth,
    /// The user may not do this.
    PolicyPermission,
    /// The user's own limit.
    PolicyRatelimit,
    /// The provider's passing rate limit.
    ProviderRatelimit,
    /// The account at the provider has no money or quota left.
    ProviderQuota,
    /// The provider does not take our credentials.
    ProviderAuth,
    /// Something on the way to the model refuses without blaming the request or our credentials: a firewall that
    /// dislikes a prompt, or a gateway that does not understand how it is asked.
    ProviderDenied,
    /// The provider says it is overloaded.
    ProviderOverloaded,
    /// The provider failed.
    ProviderServer,
    /// No connection in time.
    ProviderTimeoutConnect,
    /// No first content in time.
    ProviderTimeoutTtft,
    /// The stream stood still for too long.
    ProviderTimeoutIdle,
    /// The attempt took too long as a whole.
    ProviderTimeoutTotal,
    /// Refused, reset, unresolvable.
    ProviderTransport,
    /// The answer ended before it was complete.
    ProviderStreamCut,
    /// The answer is not what the protocol says.
    ProviderInvalid,
    /// The provider does not know the model that we are configured to ask for.
    ProviderModelMissing,
    /// Something was not found, and it is not said to be the model: a page of what is in front of the API, for example.
    ProviderNotFound,
    /// The prompt is longer than the model takes.
    ProviderContextLength,
    /// The provider refuses the content.
    ProviderContentFilter,
    /// Greenroom is full or has no backend left.
    GatewayOverload,
    /// A bug in Greenroom.
    GatewayInternal,
}

/// Whether the same backend may be asked again for this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It cannot cure this.
    Never,
    /// One more try at once.
    Once,
    /// After its `Retry-After`, or a jittered backoff.
    Later,
}

/// What a failure does to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Says nothing about the backend's health.
    None,
    /// Proves that the backend is alive, though the request failed.
    Alive,
    /// Shuts the gate of this model for a while, without counting as ill health.
    CoolDown,
    /// Feeds the breaker of this model on this backend.
    Model,
    /// Feeds the breaker of the whole backend.
    Backend,
    /// Shuts this model on this backend, for long if it was never there.
    BenchModel,
    /// Shuts the whole backend for long.
    HardDown,
}

/// Who caused a failure, for those who count failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The request's or its sender's.
    Caller,
    /// The backend's.
    Backend,
    /// Greenroom's own.
    Greenroom,
}

/// What follows from a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disposition {
    /// The same backend again?
    pub same: Again,
    /// Another backend?
    pub other: bool,
    /// The gate.
    pub weight: Weight,
}

// A table indexed by class has a place for the last of them.
const _: () = assert!(Class::GatewayInternal as usize + 1 == Class::ALL.len());

impl Class {
    /// All classes, for tables indexed by class.
    pub const ALL: [Self; 26] = [
        Self::CallerInvalid,
        Self::CallerUnsupported,
        Self::CallerMisdirected,
        Self::CallerCancelled,
        Self::PolicyAuth,
        Self::PolicyPermission,
        Self::PolicyRatelimit,
        Self::ProviderRatelimit,
        Self::ProviderQuota,
        Self::ProviderAuth,
        Self::ProviderDenied,
        Self::ProviderOverloaded,
        Self::ProviderServer,
        Self::ProviderTimeoutConnect,
        Self::ProviderTimeoutTtft,
        Self::ProviderTimeoutIdle,
        Self::ProviderTimeoutTotal,
        Self::ProviderTransport,
        Self::ProviderStreamCut,
        Self::ProviderInvalid,
        Self::ProviderModelMissing,
        Self::ProviderNotFound,
        Self::ProviderContextLength,
        Self::ProviderContentFilter,
        Self::GatewayOverload,
        Self::GatewayInternal,
    ];

    /// The label in metrics, logs and ledgers.
    pub fn as_str(self) -> &'static str {
        match self {
            // A request that one backend cannot serve is a fault of the request; the closed set has no other word.
            Self::CallerInvalid | Self::CallerUnsupported | Self::CallerMisdirected => "caller_invalid",
            Self::CallerCancelled => "caller_cancelled",
            Self::PolicyAuth => "policy_auth",
            Self::PolicyPermission => "policy_permission",
            Self::PolicyRatelimit => "policy_ratelimit",
            Self::ProviderRatelimit => "provider_ratelimit",
            Self::ProviderQuota => "provider_quota",
            Self::ProviderAuth => "provider_auth",
            Self::ProviderOverloaded => "provider_overloaded",
            Self::ProviderServer => "provider_server",
            Self::ProviderTimeoutConnect => "provider_timeout_connect",
            Self::ProviderTimeoutTtft => "provider_timeout_ttft",
            Self::ProviderTimeoutIdle => "provider_timeout_idle",
            Self::ProviderTimeoutTotal => "provider_timeout_total",
            Self::ProviderTransport => "provider_transport",
            Self::ProviderStreamCut => "provider_stream_cut",
            // Each is a wrong answer to a right question; the closed set of labels has none of its own for them.
            Self::ProviderInvalid | Self::ProviderModelMissing | Self::ProviderNotFound | Self::ProviderDenied => {
                "provider_invalid"
            }
            Self::ProviderContextLength => "provider_context_length",
            Self::ProviderContentFilter => "provider_content_filter",
            Self::GatewayOverload => "gateway_overload",
            Self::GatewayInternal => "gateway_internal",
        }
    }

    /// Who caused it. All classes that share a label have the same owner.
    pub fn owner(self) -> Owner {
        match self {
            Self::CallerInvalid
            | Self::CallerUnsupported
            | Self::CallerMisdirected
            | Self::CallerCancelled
            | Self::PolicyAuth
            | Self::PolicyPermission
            | Self::PolicyRatelimit
            | Self::ProviderContextLength
            | Self::ProviderContentFilter => Owner::Caller,
            Self::GatewayOverload | Self::GatewayInternal => Owner::Greenroom,
            Self::ProviderRatelimit
            | Self::ProviderQuota
            | Self::ProviderAuth
            | Self::ProviderDenied
            | Self::ProviderOverloaded
            | Self::ProviderServer
            | Self::ProviderTimeoutConnect
            | Self::ProviderTimeoutTtft
            | Self::ProviderTimeoutIdle
            | Self::ProviderTimeoutTotal
            | Self::ProviderTransport
            | Self::ProviderStreamCut
            | Self::ProviderInvalid
            | Self::ProviderModelMissing
            | Self::ProviderNotFound => Owner::Backend,
        }
    }

    /// The one table of what a class decides.
    pub fn disposition(self) -> Disposition {
        let of = |same, other, weight| Disposition { same, other, weight };
        match self {
            Self::CallerInvalid | Self::ProviderContentFilter => of(Again::Never, false, Weight::Alive),
            // Another backend may have a larger context; whether one has is the caller's to check.
            Self::ProviderContextLength | Self::CallerMisdirected => of(Again::Never, true, Weight::Alive),
            Self::CallerUnsupported => of(Again::Never, true, Weight::None),
            Self::CallerCancelled
            | Self::PolicyAuth
            | Self::PolicyPermission
            | Self::PolicyRatelimit
            | Self::GatewayOverload
            | Self::GatewayInternal => of(Again::Never, false, Weight::None),
            Self::ProviderRatelimit => of(Again::Later, true, Weight::CoolDown),
            Self::ProviderQuota | Self::ProviderAuth => of(Again::Never, true, Weight::HardDown),
            // Not asked twice: one prompt must not shut a gate by itself.
            Self::ProviderDenied => of(Again::Never, true, Weight::Model),
            Self::ProviderOverloaded => of(Again::Later, true, Weight::Model),
            Self::ProviderServer | Self::ProviderInvalid | Self::ProviderStreamCut => {
                of(Again::Once, true, Weight::Model)
            }
            Self::ProviderTransport => of(Again::Once, true, Weight::Backend),
            Self::ProviderTimeoutConnect => of(Again::Never, true, Weight::Backend),
            Self::ProviderTimeoutTtft | Self::ProviderTimeoutIdle | Self::ProviderTimeoutTotal => {
                of(Again::Never, true, Weight::Model)
            }
            Self::ProviderModelMissing | Self::ProviderNotFound => of(Again::Never, true, Weight::BenchModel),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_indexed_by_class_line_up() {
        for (n, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(n, class as usize);
        }
    }

    #[test]
    fn a_callers_fault_never_hurts_a_backend() {
        for class in
            [Class::CallerInvalid, Class::CallerMisdirected, Class::ProviderContentFilter, Class::ProviderContextLength]
        {
            assert_eq!(class.disposition().weight, Weight::Alive);
        }
    }

    #[test]
    fn what_is_counted_as_a_backends_fault_is_what_weighs_on_it() {
        for class in Class::ALL {
            let weighs = !matches!(class.disposition().weight, Weight::None | Weight::Alive);
            assert_eq!(class.owner() == Owner::Backend, weighs, "{class:?}");
        }
    }

    #[test]
    fn classes_that_share_a_label_are_counted_alike() {
        for (one, other) in Class::ALL.into_iter().flat_map(|one| Class::ALL.map(|other| (one, other))) {
            assert!(one.as_str() != other.as_str() || one.owner() == other.owner(), "{one:?}, {other:?}");
        }
    }
}
