//! Owns the estimate of a prompt's tokens, by the bytes of its body without those of its media.

use memchr::{memchr, memmem, memrchr};

/// Bytes of a request body, or of an answer's text, that make one token, near enough.
pub const BYTES_PER_TOKEN: u64 = 4;

/// Tokens that a picture, a recording or a file stands for, however many bytes it has. Providers count pictures by their size in
/// pixels, mostly from 250 to 1,600 tokens.
pub const MEDIUM: usize = 1000;

/// Smaller bodies are not searched: what media they may hold is no long prompt either way.
const SEARCHED: usize = 64 << 10;

/// Media are looked for at steps of so many bytes, and so found if they are a little longer than that. A search for their names
/// would read all of the body.
const STEP: usize = 4 << 10;

/// As many bytes in a row of base64 are no prose.
const PROOF: usize = 64;

/// Whether a file counts as a medium: nothing counts for more than its bytes.
pub fn is_medium(file: &[u8]) -> bool {
    file.len() as u64 >= MEDIUM as u64 * BYTES_PER_TOKEN
}

/// The prompt tokens in a body, estimated.
pub fn tokens(body: &[u8]) -> u64 {
    if body.len() < SEARCHED {
        return body.len() as u64 / BYTES_PER_TOKEN;
    }
    let (bytes, media) = media(body);
    (body.len() - bytes) as u64 / BYTES_PER_TOKEN + (media * MEDIUM) as u64
}

/// Bytes of the media in a body, and how many there are.
fn media(body: &[u8]) -> (usize, usize) {
    let (mut bytes, mut count, mut at) = (0, 0, STEP);
    while at < body.len() {
        match medium(body, at) {
            Some((length, end)) => {
                (bytes, count, at) = (bytes + length, count + 1, end + STEP);
            }
            None => at += STEP,
        }
    }
    (bytes, count)
}

/// The length of the string around `at`, if it is base64, and its end.
fn medium(body: &[u8], at: usize) -> Option<(usize, usize)> {
    if !is_base64(&body[at..]) {
        return None;
    }
    // It began behind the step before the last, or it would have been found there.
    let from = at.saturating_sub(2 * STEP);
    let start = from + memrchr(b'"', &body[from..at])? + 1;
    let head = &body[start..body.len().min(start + 2 * PROOF)];
    // Of a data URL what follows its type.
    let data = memmem::find(head, b"base64,").map_or(start, |name| start + name + b"base64,".len());
    if !is_base64(&body[data..]) {
        return None;
    }
    let end = at + memchr(b'"', &body[at..])?;
    let length = end - start;
    (length >= STEP && is_base64(&body[end - PROOF..end])).then_some((length, end))
}

/// Whether bytes begin as base64 does: either alphabet of it (RFC 4648), slashes escaped or not, or lines.
fn is_base64(bytes: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=\\".contains(byte);
    bytes.len() >= PROOF && bytes[..PROOF].iter().all(is_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// So many bytes of base64 without a pattern.
    fn base64(bytes: usize) -> String {
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..bytes).map(|n| digits[(n * n + n / 7) % 64] as char).collect()
    }

    fn body(parts: &[String]) -> Vec<u8> {
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{}]}}]}}"#, parts.join(",")).into_bytes()
    }

    fn prose(bytes: usize) -> String {
        format!(r#"{{"type":"text","text":"{}"}}"#, "It was a dark and stormy night. ".repeat(bytes / 32))
    }

    #[test]
    fn a_picture_counts_as_one_whatever_its_bytes_and_in_whichever_way_it_is_sent() {
        let data = base64(1_400_000);
        for part in [
            format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}"#),
            format!(
                r#"{{"type":"image_url","image_url":{{"url":"data:image\/png;base64,{}"}}}}"#,
                data.replace('/', r"\/")
            ),
            format!(r#"{{"type":"image","source":{{"data": "{data}","media_type":"image/png","type":"base64"}}}}"#),
            format!(r#"{{"type":"input_audio","input_audio":{{"format":"wav","data":"{data}"}}}}"#),
        ] {
            let tokens = tokens(&body(&[prose(100), part]));
            assert!((1000..1200).contains(&tokens), "{tokens}");
        }
    }

    #[test]
    fn each_of_several_pictures_counts_and_so_does_the_text_around_them() {
        let picture = |bytes| {
            format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{}"}}}}"#, base64(bytes))
        };
        let tokens = tokens(&body(&[picture(90_000), prose(40_000), picture(30_000), picture(200_000), prose(400)]));
        assert!((12_900..13_400).contains(&tokens), "{tokens}");
    }

    #[test]
    fn text_is_text_however_long_its_words_are() {
        let hash = base64(300);
        let text =
            format!(r#"{{"type":"text","text":"{}"}}"#, format!("see {hash} and \\\"{hash}\\\", then ").repeat(400));
        let body = body(&[prose(100_000), text]);
        assert_eq!(tokens(&body), (body.len() / 4) as u64);
        let pasted = format!(r#"{{"type":"text","text":"Here it is: {}"}}"#, base64(9000));
        let pasted = self::body(&[prose(100_000), pasted]);
        assert_eq!(tokens(&pasted), (pasted.len() / 4) as u64);
        assert_eq!(tokens(base64(8000).as_bytes()), 2000);
    }

    proptest! {
        #[test]
        fn nothing_whatever_counts_for_more_than_its_bytes(
            parts in proptest::collection::vec((any::<bool>(), 0..40_000_usize, "[ -~]{0,30}"), 0..8),
        ) {
            let parts: Vec<_> = parts
                .iter()
                .map(|(is_data, bytes, between)| if *is_data { format!("\"{}\"{between}", base64(*bytes)) } else { between.repeat(*bytes / 10) })
                .collect();
            let text = parts.concat();
            prop_assert!(tokens(text.as_bytes()) <= (text.len() / 4) as u64);
        }
    }
}
