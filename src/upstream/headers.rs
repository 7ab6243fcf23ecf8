//! Owns which headers cross the proxy: those sent to a backend, and those of its answer that a client may see.

use actix_web::http::header::{HeaderName, HeaderValue};

use super::{answer::HeaderLines, head::Field};
use crate::{settings::Backend, wire::Protocol};

/// Answer headers that reach the client. Everything else, cookies and organisation names included, stays here.
const ALLOWED: [&str; 12] = [
    "content-type",
    "content-language",
    "content-encoding",
    "openai-processing-ms",
    "openai-version",
    "openai-model",
    "anthropic-version",
    "link",
    "warning",
    "deprecation",
    "sunset",
    "x-robots-tag",
];

/// The provider's own rate limits reach the client under this prefix, or they would look like Greenroom's.
const LIMITS: &str = "x-ratelimit-";
const LIMITS_PREFIX: &str = "x-greenroom-upstream-";

/// The provider's name for the request, as clients see it.
pub const UPSTREAM_REQUEST_ID: &str = "x-greenroom-upstream-request-id";

/// Longest value that is passed on, bytes, and most bytes of all such headers: proxies in front of Greenroom accept heads of
/// only a few KiB.
const LONGEST_VALUE: usize = 256;
const MOST: usize = 2 << 10;

/// Version of Anthropic's API that we speak.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// Fixed headers of requests to a backend: its key, what the operator configured, what the protocol wants.
pub(super) fn of_backend(backend: &Backend) -> Vec<Field> {
    let mut headers = Vec::new();
    let mut add = |name: &str, value: &str| {
        // Settings are checked when they are read. A header that still does not fit is left out rather than sent broken.
        if let (Ok(name), Ok(mut value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            value.set_sensitive(true);
            headers.retain(|(known, _)| *known != name);
            headers.push((name, value));
        }
    };
    add("content-type", "application/json");
    add("user-agent", concat!("greenroom/", env!("CARGO_PKG_VERSION")));
    if backend.protocol == Protocol::Anthropic {
        add("anthropic-version", ANTHROPIC_VERSION);
    }
    if let Some(key) = &backend.api_key {
        match backend.key_header() {
            name @ "authorization" => add(name, &format!("Bearer {}", key.reveal())),
            name => add(name, key.reveal()),
        }
    }
    for (name, value) in &backend.headers {
        add(name, value.reveal());
    }
    headers
}

/// The header by which a request is part of a trial of Anthropic's API, beside those that the operator configured.
pub fn of_trial(backend: &Backend, trial: &'static str) -> Option<Field> {
    const NAME: &str = "anthropic-beta";
    let ours = backend.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(NAME));
    let value = match ours {
        Some((_, others)) => HeaderValue::from_str(&format!("{},{trial}", others.reveal())).ok()?,
        None => HeaderValue::from_static(trial),
    };
    Some((HeaderName::from_static(NAME), value))
}

/// The headers of a backend's answer that its client may see, as lines; repeated ones stay repeated. The content type is left
/// out if it is ours. All but those of the content tell whose answer it is, by name or by value: for a client that `may_see` it.
pub(super) fn for_client<'a>(
    lines: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    type_is_ours: bool,
    may_see: bool,
) -> HeaderLines {
    // With room for our own.
    let mut kept = HeaderLines::with_capacity(768);
    // The parser of the head has let nothing through that could end a line.
    let mut add = |prefix: &str, name: &[u8], value: &[u8]| {
        if value.len() > LONGEST_VALUE || kept.len() + name.len() + value.len() > MOST {
            return;
        }
        kept.extend_from_slice(prefix.as_bytes());
        let from = kept.len();
        kept.extend_from_slice(name);
        kept[from..].make_ascii_lowercase();
        kept.extend_from_slice(b": ");
        kept.extend_from_slice(value);
        kept.extend_from_slice(b"\r\n");
    };
    for (name, value) in lines.filter(|(name, _)| may_see || is_of_content(name)) {
        let is = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
        if ALLOWED.iter().any(is) {
            if !(type_is_ours && is(&"content-type")) {
                add("", name, value);
            }
        } else if is_limit(name) {
            add(LIMITS_PREFIX, name, value);
        } else if is(&"x-request-id") || is(&"request-id") {
            add("", UPSTREAM_REQUEST_ID.as_bytes(), value);
        }
    }
    kept
}

/// The provider's name for the request, among lines for a client.
pub fn request_id(lines: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(lines).ok()?;
    let value = |line: &'_ str| Some(line.strip_prefix(UPSTREAM_REQUEST_ID)?.strip_prefix(": ")?.into());
    text.split("\r\n").find_map(value)
}

fn is_limit(name: &[u8]) -> bool {
    begins(name, LIMITS)
}

fn is_of_content(name: &[u8]) -> bool {
    begins(name, "content-")
}

fn begins(name: &[u8], with: &str) -> bool {
    name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
}
