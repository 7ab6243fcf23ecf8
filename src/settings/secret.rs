//! Owns `Secret`: a string that can be used and cannot be printed.

use std::fmt;

/// A credential. `Debug` and `Display` show stars, so that it cannot reach logs, errors or admin output by accident.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a credential.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The credential itself: only for the header or digest it is meant for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// What names of credentials have in them (`key`, `api_key`, `access_token`, `X-Amz-Signature`).
const CREDENTIALS: [&str; 9] = ["key", "token", "auth", "secret", "pass", "cred", "sig", "session", "cookie"];

/// Whether what has this name, of a header or a parameter, is a credential by it.
pub fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIALS.iter().any(|word| name.contains(word))
}

/// What is wrong with a credential that is written as other tools want it: it would be sent, or asked for, as it stands.
pub(super) fn miswritten(text: &str) -> Option<&'static str> {
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    if text.strip_prefix('$').is_some_and(is_name) {
        return Some("is a variable's name without braces, which stands for itself; write \"${VARIABLE}\"");
    }
    if text.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case("bearer ")) {
        return Some("begins with \"Bearer\", which is no part of it; write what stands behind that");
    }
    let is_quoted = |mark| text.len() > 1 && text.starts_with(mark) && text.ends_with(mark);
    (is_quoted('"') || is_quoted('\'')).then_some("stands in quotes twice; take the inner ones away")
}

/// Whether a credential is one that manuals and examples write where the reader's own belongs.
pub(super) fn is_placeholder(text: &str) -> bool {
    const WORDS: [&str; 5] = ["your", "changeme", "change-me", "change_me", "replace"];
    let text = text.to_ascii_lowercase();
    let is_blank = ["xxx", "...", "***"].iter().any(|end| text.ends_with(end));
    is_blank || (text.starts_with('<') && text.ends_with('>')) || WORDS.iter().any(|word| text.contains(word))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{SMALL, parse},
        *,
    };

    #[test]
    fn a_key_and_a_token_that_are_miswritten_are_refused_with_the_fix_and_not_shown() {
        let told = |line: &str, other: &str| {
            parse("test", &SMALL.replace(line, other)).map_or_else(|bad| bad.to_string(), |_| String::new())
        };
        for (written, word) in [("", "empty"), ("$SECRETKEY", "braces"), ("Bearer SECRETKEY", "no part of it")] {
            let key = told("[models.m]", &format!("api_key = \"{written}\"\n[models.m]"));
            let token = told("\"t\"", &format!("\"{written}\""));
            for (told, at) in [(key, "backends.a.api_key: "), (token, "users.u.token: ")] {
                assert!(told.contains(at) && told.contains(word) && !told.contains("SECRETKEY"), "{told}");
            }
        }
    }

    #[test]
    fn a_credential_as_other_tools_want_it_is_told_from_one_that_looks_odd() {
        for (text, word) in [
            ("$OPENAI_API_KEY", "braces"),
            ("$_KEY2", "braces"),
            ("Bearer sk-1", "Bearer"),
            ("bearer sk-1", "Bearer"),
            ("\"sk-1\"", "quotes"),
            ("'sk-1'", "quotes"),
        ] {
            assert!(miswritten(text).is_some_and(|why| why.contains(word)), "{text}");
        }
        for text in ["sk-1", "$", "$x1", "$1", "$A-b", "Bearer", "a b", "\"", "'a", "sk-$KEY"] {
            assert_eq!(miswritten(text), None, "{text}");
        }
    }

    #[test]
    fn what_stands_for_a_credential_in_manuals_is_told_from_one_and_from_what_servers_take_that_want_none() {
        for text in
            ["YOUR_API_KEY", "your-token", "<key>", "sk-xxx", "sk-ant-...", "xxxxxxxx", "changeme", "Change_Me!"]
        {
            assert!(is_placeholder(text), "{text}");
        }
        for text in
            ["sk-proj-xxxA1b2", "guest-token", "EMPTY", "none", "ollama", "sk-no-key-required", "dummy", "<", ""]
        {
            assert!(!is_placeholder(text), "{text}");
        }
    }
}
