//! Owns what the failure of a backend looks like from outside, where no other could help.

use actix_web::http::StatusCode;

use super::{Class, Face, Failed, SOON};

impl Failed {
    /// Status, words and headers.
    pub(super) fn face(&self) -> Face {
        let of = |status, kind: &str, code: &str, message: String| Face {
            retry_after: self.retry_after,
            ..Face::new(status, kind, code, message)
        };
        let said = self.shown.as_ref().unwrap_or(&self.message);
        let gateway =
            |code, text: &str| of(StatusCode::BAD_GATEWAY, "upstream_error", code, format!("{text}: {said}."));
        match self.class {
            Class::ProviderRatelimit => Face {
                retry_after: Some(self.retry_after.unwrap_or(SOON)),
                ..of(
                    StatusCode::TOO_MANY_REQUESTS,
                    "rate_limit_error",
                    "upstream_rate_limited",
                    format!("The backend is rate limited: {said}."),
                )
            },
            // The provider's text could tell about our account: it goes nowhere. Its type and code are in the log.
            Class::ProviderQuota | Class::ProviderAuth => Face {
                hopeless: self.hopeless,
                retry_after: None,
                ..of(
                    StatusCode::BAD_GATEWAY,
                    "upstream_error",
                    "upstream_auth_failed",
                    "The backend does not accept Greenroom's account. The operator has to look at it.".into(),
                )
            },
            // A retry would fail again, and count against the backend once more.
            Class::ProviderDenied => Face {
                hopeless: true,
                ..gateway("upstream_error", "The backend, or something in front of it, refuses what it was asked")
            },
            Class::ProviderOverloaded => Face {
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry_after: Some(self.retry_after.unwrap_or(SOON)),
                ..gateway("upstream_overloaded", "The backend is overloaded")
            },
            Class::ProviderServer | Class::ProviderStreamCut => gateway("upstream_error", "The backend failed"),
            Class::ProviderTransport | Class::ProviderTimeoutConnect => {
                gateway("upstream_unreachable", "The backend cannot be reached")
            }
            Class::GatewayOverload => Face {
                retry_after: Some(SOON),
                ..of(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "service_unavailable_error",
                    "gateway_overloaded",
                    format!("Greenroom cannot take more work: {said}."),
                )
            },
            Class::ProviderInvalid => gateway("upstream_invalid_response", "The backend's answer makes no sense"),
            Class::ProviderModelMissing | Class::ProviderNotFound => gateway(
                "upstream_model_not_found",
                "The backend does not know the model or the path it is configured for",
            ),
            Class::ProviderTimeoutTtft | Class::ProviderTimeoutIdle | Class::ProviderTimeoutTotal => of(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout_error",
                "upstream_timeout",
                format!("The backend took too long: {said}."),
            ),
            _ => self.told_face().unwrap_or_else(|| gateway("upstream_error", "The backend failed")),
        }
    }

    /// The caller's own fault, in the provider's words and with its status.
    fn told_face(&self) -> Option<Face> {
        let told = self.told.as_ref()?;
        let code = match self.class {
            // In a body of ours the code is one that programs know, whichever word the provider has for it.
            Class::ProviderContentFilter if told.code.is_empty() || told.body.is_none() => "content_filter",
            Class::ProviderContextLength if told.code.is_empty() || told.body.is_none() => "context_length_exceeded",
            _ => &told.code,
        };
        // A 403 for a prompt that is too long would have clients check their permissions.
        let misleads = match self.class {
            Class::ProviderContextLength => self.status == Some(403),
            // It lacks the endpoint, and may have said so with a 501 or a 200.
            class => class == Class::CallerUnsupported,
        };
        let status = self.status.filter(|_| !misleads).and_then(|s| StatusCode::from_u16(s).ok());
        Some(Face {
            param: told.param.clone(),
            // SDKs repeat whatever has status 429.
            hopeless: self.class == Class::CallerMisdirected,
            body: told.body.clone(),
            ..Face::new(status.unwrap_or(StatusCode::BAD_REQUEST), &told.kind, code, told.message.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_backend_that_takes_no_connection_in_time_is_as_unreachable_as_one_that_refuses_it() {
        let face = |class| Error::Upstream(Box::new(Failed::new(class, "why"))).face();
        assert_eq!(face(Class::ProviderTimeoutConnect), face(Class::ProviderTransport));
    }
}
