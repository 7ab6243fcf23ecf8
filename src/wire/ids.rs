//! Owns the ids that replies carry in a client's dialect: the provider's own, under the dialect's prefix.

/// An id with a dialect's prefix.
pub(crate) fn prefixed(prefix: &str, id: &str) -> String {
    if id.starts_with(prefix) { id.to_owned() } else { format!("{prefix}{id}") }
}

/// An id of a tool call in the letters that Anthropic takes: others are refused (BerriAI/litellm, `_sanitize_anthropic_tool_use_id`).
pub(crate) fn plain(id: &str) -> String {
    id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}

/// Whether Anthropic takes a letter in an id.
pub(crate) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// The id of a tool call that came without one: the same whenever the same reply is translated.
pub(crate) fn call(given: Option<&str>, reply: &str, index: u32) -> String {
    match given {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => {
            let plain: String = reply.chars().filter(|c| is_plain(*c)).collect();
            // Some servers take forty characters.
            let tail = plain.len().saturating_sub(28);
            format!("call_{}_{index}", &plain[tail..])
        }
    }
}
