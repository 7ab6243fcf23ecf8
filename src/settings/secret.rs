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
