//! Owns the words of `content-encoding` on requests: in which coding a body is packed, of those that are taken.

/// How a body is packed (RFC 9110, 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// gzip (RFC 1952).
    Gzip,
    /// zlib (RFC 1950), which HTTP calls deflate.
    Deflate,
    /// Zstandard (RFC 8878).
    Zstd,
    /// In another way, or more than once.
    Other,
}

impl Coding {
    /// Those that are taken, as `accept-encoding` tells them.
    pub const TAKEN: &'static str = "gzip, deflate, zstd";

    /// With what one more line says.
    #[must_use]
    pub fn and(self, line: &[u8]) -> Self {
        line.split(|b| *b == b',').fold(self, |before, word| match (before, Self::named(word.trim_ascii())) {
            (before, Self::Identity) => before,
            (Self::Identity, coding) => coding,
            // Nobody packs twice, and undoing each for as long as a head names more would be work without a bound.
            _ => Self::Other,
        })
    }

    fn named(word: &[u8]) -> Self {
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
        match word {
            // Not codings, but what some clients write of a body that is not packed.
            _ if is(&["", "identity", "none", "utf-8", "utf8"]) => Self::Identity,
            _ if is(&["gzip", "x-gzip"]) => Self::Gzip,
            _ if is(&["deflate"]) => Self::Deflate,
            _ if is(&["zstd"]) => Self::Zstd,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_one_coding_that_is_taken_none_or_what_is_not_taken() {
        let of = |lines: &[&str]| lines.iter().fold(Coding::Identity, |coding, line| coding.and(line.as_bytes()));
        for lines in [&["identity"][..], &[""], &[" , "], &["None"], &["UTF-8"], &["identity", "none"]] {
            assert_eq!(of(lines), Coding::Identity, "{lines:?}");
        }
        assert_eq!((of(&["GZip "]), of(&["x-gzip"])), (Coding::Gzip, Coding::Gzip));
        assert_eq!((of(&["identity, deflate"]), of(&["zstd", "identity"])), (Coding::Deflate, Coding::Zstd));
        for lines in [&["br"][..], &["gzip, gzip"], &["zstd", "gzip"], &["compress"], &["gzip;q=1"], &["br, gzip"]] {
            assert_eq!(of(lines), Coding::Other, "{lines:?}");
        }
        for taken in Coding::TAKEN.split(", ") {
            assert!(!matches!(of(&[taken]), Coding::Identity | Coding::Other), "{taken}");
        }
    }
}
