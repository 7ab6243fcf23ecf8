//! Owns the name by which a provider knows a client's end user: the client's own, or its digest if the provider would
//! refuse that. A user always has the same digest, so that abuse can be told apart.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Longest that OpenAI takes, characters (API reference of `safety_identifier`, which follows `user`; maximhq/bifrost#1000).
/// Claude Code's are three times as long.
const LONGEST: usize = 64;

/// For OpenAI.
pub(crate) fn for_openai(name: &str) -> String {
    if name.chars().count() > LONGEST { digest(name) } else { name.to_owned() }
}

/// Longest that Anthropic takes, characters (API reference of `metadata.user_id`).
const LONGEST_ID: usize = 256;

/// For Anthropic, which refuses what looks like an e-mail address or a telephone number and asks for a hash instead
/// (BerriAI/litellm#10106).
pub(crate) fn for_anthropic(name: &str) -> String {
    if name.chars().count() > LONGEST_ID || is_address(name) || is_telephone(name) {
        digest(name)
    } else {
        name.to_owned()
    }
}

/// Loosely: a digest in place of a name that would have been taken costs nothing.
fn is_address(name: &str) -> bool {
    name.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'))
}

fn is_telephone(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    digits >= 7 && name.bytes().all(|b| b.is_ascii_digit() || b" +-.()/".contains(&b))
}

/// SHA-256 in 64 hexadecimal digits.
pub(crate) fn digest(name: &str) -> String {
    hex(&Sha256::digest(name.as_bytes()))
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A string takes every write.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_too_long_for_openai_is_told_by_its_digest() {
        let long = "u".repeat(65);
        assert_eq!(for_openai(&long[..64]), &long[..64]);
        assert_eq!(for_openai(&long).len(), 64);
        assert_eq!(for_openai(&long), for_openai(&long));
        assert_ne!(for_openai(&long), for_openai(&"v".repeat(65)));
        assert_eq!(for_openai(&"é".repeat(64)), "é".repeat(64));
    }

    #[test]
    fn addresses_telephone_numbers_and_long_names_are_told_to_anthropic_by_their_digests() {
        assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(for_anthropic(&"é".repeat(256)), "é".repeat(256));
        for name in [
            "u".repeat(257).as_str(),
            "ann@example.org",
            "team ann@mail.example.org",
            "+49 (170) 123-4567",
            "01701234567",
        ] {
            assert_eq!(for_anthropic(name), digest(name), "{name}");
        }
        for name in ["user-17", "a@b", "2f1c9d4e-0000-4000-8000-123456789abc", "", "123456"] {
            assert_eq!(for_anthropic(name), name);
        }
    }
}
