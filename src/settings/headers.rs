//! Owns the headers that the operator adds to what Greenroom asks of others: of a backend, of a collector of traces.

use std::collections::BTreeMap;

use actix_web::http::header::HeaderName;
use serde_json::Value;

use super::{
    Secret,
    section::{Problems, Section},
};

/// Takes the table `headers`, whose values are secrets.
pub(super) fn read_headers(s: &mut Section<'_>, problems: &Problems) -> BTreeMap<String, Secret> {
    let path = s.key("headers");
    let mut headers = BTreeMap::new();
    match s.raw("headers") {
        Value::Object(map) => {
            // Sorted, so that of two names that differ in capitals only the same one is told of each time.
            for (name, value) in map.into_iter().collect::<BTreeMap<_, _>>() {
                let key = format!("{path}.{name}");
                let Value::String(text) = value else {
                    problems.add(key, "must be a string");
                    continue;
                };
                if HeaderName::from_bytes(name.as_bytes()).is_err() || !is_header_value(&text) {
                    problems.add(
                        key,
                        "is not a valid HTTP header; write a name without blanks, and a value of plain ASCII",
                    );
                } else if matches!(
                    name.to_ascii_lowercase().as_str(),
                    "host" | "content-length" | "transfer-encoding" | "connection" | "content-type"
                ) {
                    problems.add(key, "is set by Greenroom itself; leave it out");
                } else if name.eq_ignore_ascii_case("accept-encoding") && !text.trim().eq_ignore_ascii_case("identity")
                {
                    problems.add(key, "asks for compressed answers, which Greenroom does not read; leave it out");
                } else if headers.keys().any(|known: &String| known.eq_ignore_ascii_case(&name)) {
                    problems.add(key, "stands here a second time in other capitals; keep one of the two");
                } else {
                    headers.insert(name, Secret::new(text));
                }
            }
        }
        Value::Null => {}
        _ => problems.add(path, "must be a table such as { \"x-team\" = \"blue\" }"),
    }
    headers
}

/// Whether a header may carry it.
pub(super) fn is_header_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}
