//! Owns the head of a form's part: its name, and whether what is in it is plain text.
//!
//! Servers read heads in different ways: some decode names, trim them, or take a word with a filename for a file. What all of
//! them take alike is read; all else is refused.

/// Longest head there may be, bytes; a filename is the longest thing in one.
const LONGEST: usize = 8 << 10;

/// The head of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    /// No file, nor text in a coding of its own.
    pub(super) is_plain: bool,
    /// How long what is in it is said to be.
    pub(super) length: Option<&'a str>,
}

/// Reads a head, without its last end of line; `None`: two readers could take it in two ways.
pub(super) fn read(head: &[u8]) -> Option<Head<'_>> {
    let head = str::from_utf8(head).ok().filter(|head| head.len() <= LONGEST)?;
    let (mut named, mut length, mut is_plain) = (None, None, true);
    for line in head.split("\r\n") {
        let (key, value) = line.split_once(':').filter(|(key, _)| is_token(key))?;
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return None;
        }
        let value = value.trim_matches([' ', '\t']);
        match &*key.to_ascii_lowercase() {
            "content-disposition" => {
                let (name, is_file) = disposition(value)?;
                is_plain &= !is_file;
                if named.replace(name).is_some() {
                    return None;
                }
            }
            "content-length" if length.replace(value).is_some() => return None,
            "content-type" => is_plain &= is_plain_text(value),
            "content-transfer-encoding" => {
                is_plain &= ["7bit", "8bit", "binary"].iter().any(|known| value.eq_ignore_ascii_case(known));
            }
            _ => {}
        }
    }
    Some(Head { name: named?, is_plain, length })
}

/// The name that a disposition gives, and whether it is a file's.
fn disposition(value: &str) -> Option<(&str, bool)> {
    let (kind, mut rest) = value.split_once(';')?;
    let (mut named, mut is_file) = (None, false);
    if !kind.trim_matches([' ', '\t']).eq_ignore_ascii_case("form-data") {
        return None;
    }
    loop {
        let (key, behind) = rest.split_once('=')?;
        let (value, behind) = parameter(behind)?;
        match &*key.trim_matches([' ', '\t']).to_ascii_lowercase() {
            "name" if named.replace(value).is_none() => {}
            // As browsers and RFC 5987 write it. Behind the name, as clients have it: multer takes the first name that it finds
            // anywhere, cpp-httplib (in llama.cpp and whisper.cpp) that of the first piece, wherever it cuts them.
            "filename" | "filename*" if named.is_some() && !has_name(value) => is_file = true,
            _ => return None,
        }
        match behind.trim_matches([' ', '\t']) {
            "" => break,
            more => rest = more.strip_prefix(';')?,
        }
    }
    // Brackets are for lists, as in `timestamp_granularities[]`.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-[]".contains(&byte);
    let name = named.filter(|name| !name.is_empty() && name.bytes().all(is_plain))?;
    Some((name, is_file))
}

/// The value of a parameter, and what is behind it.
fn parameter(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, behind) = text.split_at(text.find([';', ' ', '\t']).unwrap_or(text.len()));
        return is_token(value).then_some((value, behind));
    };
    // Go, curl with `--form-escape` and others write a quote within it behind a backslash. Whether one behind two ends it, not all
    // agree.
    let mut quotes = quoted.match_indices('"').map(|(at, _)| quoted.split_at(at));
    let (value, behind) = quotes.find(|(value, _)| !value.ends_with('\\'))?;
    (!value.contains("\\\\\"")).then(|| (value, &behind[1..]))
}

/// Whether a reader for which quotes end elsewhere, or are nothing, could find a part's name in a file's.
fn has_name(file: &str) -> bool {
    file.split(';').skip(1).any(|piece| {
        let key = piece.split('=').next().unwrap_or_default().replace(['"', '\\', '*'], "");
        key.trim().eq_ignore_ascii_case("name")
    })
}

/// Whether text of this type is as it stands.
fn is_plain_text(kind: &str) -> bool {
    let (kind, charset) = kind.split_once(';').unwrap_or((kind, "charset=utf-8"));
    kind.trim().eq_ignore_ascii_case("text/plain") && is_utf8(charset)
}

/// Whether a parameter, the only one, names the character set that all read alike.
pub(super) fn is_utf8(parameter: &str) -> bool {
    let lower = parameter.trim_matches([' ', '\t']).to_ascii_lowercase();
    ["charset=utf-8", "charset=\"utf-8\"", "charset=us-ascii"].contains(&&*lower)
}

/// A token of HTTP (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The names that a reader finds who cuts at semicolons, within quotes as well or not, and knows of no backslashes.
    fn names(disposition: &str, within_quotes: bool) -> Vec<&str> {
        let mut quoted = false;
        let pieces = disposition.split(|c| {
            quoted ^= c == '"';
            c == ';' && (within_quotes || !quoted)
        });
        let bare = |text: &'_ str| text.trim().trim_matches('"').trim().to_ascii_lowercase();
        let pairs = pieces.filter_map(|piece| piece.split_once('='));
        pairs.filter(|(key, _)| bare(key) == "name").map(|(_, value)| value.trim().trim_matches('"')).collect()
    }

    /// The first name anywhere behind a blank or a semicolon.
    fn found(disposition: &str) -> Option<&str> {
        let (at, _) =
            disposition.match_indices("name").find(|(at, _)| disposition[..*at].ends_with([' ', '\t', ';']))?;
        let value = disposition[at + 4..].trim_start().strip_prefix('=')?.trim_start();
        value.trim_start_matches('"').split(['"', ';', ' ', '\t']).next()
    }

    proptest! {
        #[test]
        fn whoever_cuts_a_disposition_elsewhere_finds_no_other_name(
            before in ".{0}|; filename=\"",
            pieces in proptest::collection::vec("; ?|\"|\\\\\"|\\\\\\\\|=|x| name|; Name[*]?=model|;name=\\\\\"model", 0..6),
            after in ".{0}|\"|\\\\\"\"",
            is_first in any::<bool>(),
        ) {
            let named = "; name=\"file\"";
            let rest = [before, pieces.concat(), after].concat();
            let written = if is_first { format!("form-data{named}{rest}") } else { format!("form-data{rest}{named}") };
            if let Some((name, _)) = disposition(&written) {
                prop_assert_eq!(names(&written, true), vec![name]);
                prop_assert_eq!(names(&written, false), vec![name]);
                prop_assert_eq!(found(&written), Some(name));
            }
        }
    }

    #[test]
    fn heads_as_clients_write_them_give_their_name() {
        for (head, name, is_plain) in [
            ("Content-Disposition: form-data; name=\"model\"", "model", true),
            ("content-disposition:form-data;name=model", "model", true),
            ("Content-Disposition: form-data; NAME = model ; filename=x", "model", false),
            ("Content-Disposition: form-data; name=\"a[]\"\r\nContent-Length: 5", "a[]", true),
            ("Content-Disposition: form-data; name=m\r\nContent-Type: text/plain; charset=UTF-8", "m", true),
            ("Content-Disposition: form-data; name=m\r\nContent-Type: text/plain; charset=utf-16le", "m", false),
            ("Content-Disposition: form-data; name=m\r\nContent-Type: application/octet-stream", "m", false),
            ("Content-Disposition: form-data; name=m\r\nContent-Transfer-Encoding: base64", "m", false),
            ("Content-Disposition: form-data; name=m\r\nContent-Transfer-Encoding: binary", "m", true),
            ("Content-Disposition: form-data; name=\"file\"; filename=\"a; b=c ü.wav\"", "file", false),
            // A quote as most clients write it, and as Go's do.
            ("Content-Disposition: form-data; name=\"file\"; filename=\"a%22b\\c.wav\"", "file", false),
            ("Content-Disposition: form-data; name=\"file\"; filename=\"a\\\"b\\\\c\\\".wav\"", "file", false),
            ("Content-Disposition: form-data; name=f; filename=a; filename*=utf-8''%c3%bc.wav", "f", false),
        ] {
            let length = head.ends_with("Length: 5").then_some("5");
            assert_eq!(read(head.as_bytes()), Some(Head { name, is_plain, length }), "{head}");
        }
        let long = format!("Content-Disposition: form-data; name=f; filename=\"{}\"", "x".repeat(LONGEST));
        assert_eq!(read(long.as_bytes()), None);
    }
}
