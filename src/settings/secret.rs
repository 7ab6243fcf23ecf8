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
