//! Owns the ids that replies carry in a client's dialect: the provider's own, under the dialect's prefix.

/// An id with a dialect's prefix.
pub(crate) fn prefixed(prefix: &str, id: &str) -> String {
    if id.starts_with(prefix) { id.to_owned() } else { format!("{prefix}{id}") }
}

/// The id of a tool call that came without one: the same whenever the same reply is translated.
pub(crate) fn call(given: Option<&str>, reply: &str, index: u32) -> String {
    match given {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => {
            let plain: String = reply.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
            // Some servers take forty characters.
            let tail = plain.len().saturating_sub(28);
            format!("call_{}_{index}", &plain[tail..])
        }
    }
}
