//! Owns removing a backend's secrets from its error messages: some quote the key that they refuse, or name the account.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{error::Failed, settings::Backend, telemetry::story::shortened};

/// Most bytes that are kept of what a provider says of a failure of its own.
const LONGEST_SAID: usize = 200;

/// The failure without this backend's secrets.
#[cold]
pub(super) fn redacted(backend: &Backend, mut failed: Failed) -> Failed {
    let mut quoted = false;
    for said in [&mut failed.message].into_iter().chain(&mut failed.shown).chain(&mut failed.said) {
        quoted |= backend.redact(said);
    }
    // Not before: the beginning of a secret that is cut in two would be left.
    failed.said = failed.said.map(|said| shortened(&said, LONGEST_SAID).into_owned());
    if let Some(told) = &mut failed.told {
        for said in [&mut told.kind, &mut told.code, &mut told.message].into_iter().chain(&mut told.param) {
            quoted |= backend.redact(said);
        }
        told.body.take_if(|body| quoted || quotes_secret_in(backend, body));
        told.body = told.body.take().map(anonymous);
    }
    failed
}

/// Beside its errors `OpenRouter` names the account's owner.
const OWNER: &str = "user_id";

/// The body without that member.
fn anonymous(body: Bytes) -> Bytes {
    let members = serde_json::from_slice::<Map<String, Value>>(&body).ok();
    let without = members.and_then(|mut members| members.shift_remove(OWNER).map(|_| Value::Object(members)));
    without.map_or(body, |members| members.to_string().into())
}

/// Whether a JSON body contains one of the secrets, even if some letters of it are written as escapes.
fn quotes_secret_in(backend: &Backend, body: &[u8]) -> bool {
    let plain = || serde_json::from_slice(body).map(|value: Value| value.to_string()).unwrap_or_default();
    backend.quotes_secret(body) || (body.contains(&b'\\') && backend.quotes_secret(plain().as_bytes()))
}
