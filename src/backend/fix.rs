//! Owns the advice for a failure that a diagnosis has found.

use std::borrow::Cow;

use super::diagnose::{ONE_TOKEN, TLS};
use crate::error::Class;

/// What to do about a failure at step number `at`. Its class decides; `own` is the step's own advice for all other
/// classes.
pub(super) fn likely(class: Class, at: usize, own: &'static str) -> &'static str {
    match class {
        Class::ProviderAuth => {
            "check api_key, or what api_key_file names; the provider does not take it, or not for this"
        }
        Class::ProviderQuota => "the account has no money or quota left; pay, or have its limit raised",
        Class::ProviderRatelimit => "the account is over its rate limit; wait, or have it raised",
        Class::ProviderModelMissing | Class::ProviderNotFound => {
            "check the model's name under [models] and, if that is right, base_url and api_version"
        }
        Class::ProviderDenied => {
            "something in front of the model refuses, such as a firewall, a proxy or a gateway; see what that lets \
             through, and check base_url and api_version"
        }
        Class::ProviderOverloaded => "the server is overloaded, or still loads its model; wait, or give it less to do",
        Class::ProviderServer => "the server itself fails; look at its logs or status page",
        Class::ProviderStreamCut | Class::ProviderTimeoutIdle => {
            "the server stops in the middle of its answer; look at its load and logs, and at what stands in front of it \
             and may cut it off"
        }
        Class::ProviderTransport | Class::ProviderTimeoutConnect if at > TLS => {
            "the server breaks the connection off; check http:// or https:// and the port in base_url, whether it wants \
             a client's certificate, and its logs"
        }
        // Later on the server has shown that it speaks its protocol.
        Class::ProviderInvalid if at <= ONE_TOKEN => {
            "what answers does not speak this protocol; check base_url and protocol, and what may change answers on \
             their way"
        }
        Class::GatewayOverload => "Greenroom has no file descriptor left; raise its limit of open files",
        _ => own,
    }
}

/// What to do where nothing was found at an address that may lack this path; `usual`: what to do otherwise.
pub(super) fn missing(path: Option<&'static str>, usual: &'static str) -> Cow<'static, str> {
    path.map_or(usual.into(), |path| {
        format!("base_url has no path; most such servers begin at {path}. Else {usual}").into()
    })
}

/// Whether a provider's answer may only mean that it was asked in another's protocol.
pub(super) fn may_be_foreign(class: Class) -> bool {
    use Class::{CallerInvalid, ProviderAuth, ProviderDenied, ProviderInvalid, ProviderModelMissing, ProviderNotFound};
    matches!(
        class,
        CallerInvalid | ProviderAuth | ProviderDenied | ProviderInvalid | ProviderModelMissing | ProviderNotFound
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_failure_tells_the_fix_and_the_step_only_what_that_cannot() {
        for (class, at, word) in [
            (Class::ProviderAuth, 4, "api_key"),
            (Class::ProviderQuota, 4, "money"),
            (Class::ProviderRatelimit, 5, "wait"),
            (Class::ProviderModelMissing, 4, "[models]"),
            (Class::ProviderDenied, 3, "in front"),
            (Class::ProviderServer, 6, "logs"),
            (Class::ProviderTransport, 1, "own"),
            (Class::ProviderTransport, 3, "http://"),
            (Class::ProviderStreamCut, 4, "in the middle"),
            (Class::ProviderTimeoutIdle, 5, "in the middle"),
            (Class::ProviderInvalid, 4, "protocol"),
            (Class::ProviderInvalid, 5, "own"),
            (Class::CallerInvalid, 4, "own"),
        ] {
            assert!(likely(class, at, "own").contains(word), "{class} at {at}");
        }
    }
}
