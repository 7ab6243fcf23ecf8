//! Owns making a client's request fit a backend of another protocol.

use bytes::Bytes;

use super::request::Request;
use crate::{
    error::{Class, Failed, Told},
    router::table::Target,
    wire::{
        envelope::Change,
        translate::{self, Refused},
    },
};

/// The request in the backend's own protocol.
pub(super) fn translated(request: &Request, target: &Target, change: Change<'_>) -> Result<Vec<Bytes>, Failed> {
    let backend = &target.handle.settings;
    let body = request.envelope.edit(&request.body, Change { model: None, ask_usage: false, ..change }).concat();
    let into = translate::Target {
        protocol: backend.protocol,
        model: &target.upstream_model,
        max_tokens: backend.max_tokens,
        refuse_unsupported: backend.refuse_unsupported,
    };
    match translate::request(request.surface.dialect(), &body, &into) {
        Ok(made) => {
            if !made.dropped.is_empty() {
                log::debug!("not expressible for {}, dropped: {}", target.handle.name(), made.dropped.join(", "));
            }
            Ok(vec![made.body.into()])
        }
        Err(refused) => {
            let (class, param, message) = match refused {
                Refused::Invalid { param, message } => (Class::CallerInvalid, param, message),
                Refused::Unsupported { param, message } => (Class::CallerUnsupported, Some(param), message),
            };
            let told = Told {
                kind: "invalid_request_error".to_owned(),
                code: "unsupported_parameter".to_owned(),
                message: message.clone(),
                param,
                body: None,
            };
            Err(Failed { status: Some(400), told: Some(told), ..Failed::new(class, message) })
        }
    }
}
