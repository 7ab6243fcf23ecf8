//! Owns what a head's lines say of where its body ends and whether its connection is kept, alike for requests and answers.

use super::{is_list_with, length};

/// What the lines have said so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The body's length, bytes.
    pub length: Option<u64>,
    stays: bool,
    closes: bool,
}

impl Ends {
    /// Before the first line: HTTP/1.1 keeps its connections, older clients and servers ask for it.
    pub fn new(is_1_1: bool) -> Self {
        Self { length: None, stays: is_1_1, closes: false }
    }

    /// Hears a line; those that say nothing of this are passed over. `Err`: why its length can be read in two ways.
    #[inline]
    pub fn hear(&mut self, name: &str, value: &[u8]) -> Result<(), &'static str> {
        // The first letter rules out most lines.
        if !matches!(name.as_bytes().first(), Some(b'c' | b'C')) {
            return Ok(());
        }
        if name.eq_ignore_ascii_case("content-length") {
            let told = length(value).ok_or("its content-length is not a number")?;
            if self.length.replace(told).is_some_and(|before| before != told) {
                return Err("it has two different lengths");
            }
        } else if name.eq_ignore_ascii_case("connection") {
            self.stays |= is_list_with(value, b"keep-alive");
            self.closes |= is_list_with(value, b"close");
        }
        Ok(())
    }

    /// Whether the connection may carry another message. Who says both, in whatever order, closes (RFC 9112, 9.3).
    pub fn keep_alive(&self) -> bool {
        self.stays && !self.closes
    }
}
