//! Owns halves of surrogate pairs: what cuts a text by UTF-16, as servers in JavaScript do, may cut a letter in two. Each half is an
//! escape that JSON's grammar lets pass (RFC 8259, 8.2) and that stands for no letter.

use memchr::{memchr, memmem};

/// What stands in the place of each: the replacement character.
const REPLACED: &[u8] = br"\ufffd";

/// How long an escape of a code unit is, bytes.
const ESCAPE: usize = 6;

/// The text with something legible in place of each half; `None` if there are none.
pub(in crate::wire) fn replaced(text: &[u8]) -> Option<Vec<u8>> {
    // As a rule there is nothing to look at: most texts have no such escapes at all.
    memmem::find(text, b"\\u")?;
    let (mut out, mut copied, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = text.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += found;
        at += match unit(text, at) {
            Some(0xd800..0xdc00) if matches!(unit(text, at + ESCAPE), Some(0xdc00..0xe000)) => 2 * ESCAPE,
            Some(0xd800..0xe000) => {
                out.extend_from_slice(&text[copied..at]);
                out.extend_from_slice(REPLACED);
                copied = at + ESCAPE;
                ESCAPE
            }
            // Behind a backslash another one begins no escape.
            _ => 2,
        };
    }
    (copied > 0).then(|| [&out, &text[copied..]].concat())
}

/// The code unit whose escape stands there.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + ESCAPE)?.strip_prefix(b"\\u")?;
    let all = digits.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits).ok().filter(|_| all).and_then(|digits| u16::from_str_radix(digits, 16).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn each_half_is_replaced_and_nothing_else() {
        for (text, want) in [
            (r"\ud83d", Some(r"\ufffd")),
            (r"a\uDE00b", Some(r"a\ufffdb")),
            (r"\ud83d\ud83d\ude00\ude00", Some(r"\ufffd\ud83d\ude00\ufffd")),
            (r"\ud83d\u0041", Some(r"\ufffd\u0041")),
            (r"\ud83d\ude00", None),
            (r"\\ud83d \u00e9 \n", None),
            (r"\\\ud83d", Some(r"\\\ufffd")),
            (r"\ud83", None),
            ("\\", None),
        ] {
            let replaced = replaced(text.as_bytes()).map(|out| String::from_utf8(out).expect("UTF-8"));
            assert_eq!(replaced.as_deref(), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_is_json_and_says_what_it_said(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["a", "é", r"\\", r"\n", r#"\""#, r"\u00e9", r"\ud83d", r"\ude00", r"\uDBFF", r"\uE000", "ud83d"]), 0..12,
            ),
        ) {
            let text = format!("\"{}\"", pieces.concat());
            // Read by UTF-16, as a client does.
            let units: Vec<u16> = pieces.concat().replace(r"\\", "\u{1}").replace(r"\n", "\n").replace(r#"\""#, "\"")
                .split(r"\u").enumerate().flat_map(|(at, piece)| {
                    let (unit, rest) = if at == 0 { (None, piece) } else { (u16::from_str_radix(&piece[..4], 16).ok(), &piece[4..]) };
                    unit.into_iter().chain(rest.encode_utf16()).collect::<Vec<_>>()
                }).collect();
            let want = String::from_utf16_lossy(&units).replace('\u{1}', "\\");
            let read = serde_json::from_slice::<Value>(&replaced(text.as_bytes()).unwrap_or(text.into_bytes()));
            prop_assert_eq!(read.ok(), Some(Value::from(want)));
        }
    }
}
