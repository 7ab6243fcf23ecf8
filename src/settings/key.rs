//! Owns a backend's key: written into the settings or read from a file of its own, and the header that it goes out in.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    Backend, Secret, Style,
    headers::is_header_value,
    official::is_vertex,
    secret::miswritten,
    section::{Problem, Section},
};
use crate::wire::Protocol;

/// Most that is read of a file with a key, bytes: more than servers take in a header.
const LARGEST: u64 = 16 << 10;

/// Takes the key, and the file that it stands in, if it does.
pub(super) fn read_key(s: &mut Section<'_>) -> (Option<Secret>, Option<PathBuf>) {
    // A backend's own outranks a default, whichever of the two that is.
    let own = [s.has_own("api_key"), s.has_own("api_key_file")];
    let key = s.optional::<Secret>("api_key").filter(|_| own != [false, true]);
    if let Some(why) = key.as_ref().and_then(|key| unusable(key.reveal())) {
        s.problem("api_key", why);
    }
    let file = s.optional::<String>("api_key_file").filter(|_| own != [true, false]).map(PathBuf::from);
    let found = match &file {
        Some(_) if key.is_some() => {
            s.clash("api_key", &["api_key", "api_key_file"], "stands beside api_key_file; keep one of the two");
            key
        }
        Some(file) => key_in(file).map_err(|why| s.problem("api_key_file", why)).ok(),
        None => key,
    };
    (found, file)
}

impl Backend {
    /// The header that this key goes out in, among those that the backend has of its own: only one of the two could be sent.
    pub(super) fn header_beside<'h>(headers: &'h BTreeMap<String, Secret>, own: &str) -> Option<&'h String> {
        headers.keys().find(|name| name.eq_ignore_ascii_case(own))
    }

    /// The next key of this backend, from its file, or why it cannot be used, as `key_in` says it.
    pub fn accept(&self, key: Secret) -> Result<Secret, String> {
        let own = key_header(self.protocol, self.style, &self.address.host, key.reveal());
        match Self::header_beside(&self.headers, own) {
            Some(name) => Err(format!(
                "names a file whose key goes out as '{name}', which stands in headers, too; keep one of the two"
            )),
            None => Ok(key),
        }
    }
}

/// The key that stands in a file, or why there is none: words that show neither the file's name, which may be a key in the wrong
/// place, nor anything that is in it.
pub fn key_in(file: &Path) -> Result<Secret, String> {
    if file.as_os_str().is_empty() {
        return Err("is empty; name a file with the key, or leave it out".to_owned());
    }
    let mut bytes = Vec::new();
    // Opening what is no regular file, such as a pipe, may block forever.
    if fs::metadata(file).is_ok_and(|seen| !seen.is_file()) {
        return Err("has to name a regular file; write the key into one".to_owned());
    }
    let read = File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(format!("names a file that cannot be read ({error}); write the key into it, or another path"));
    }
    if bytes.len() as u64 > LARGEST {
        return Err(format!("names a file of more than {} KiB; write the key alone into it", LARGEST >> 10));
    }
    // What is no text has characters then that no header may carry.
    let text = String::from_utf8_lossy(&bytes);
    let key = text.trim_start_matches('\u{feff}').trim();
    if key.is_empty() {
        return Err("names an empty file; write the key into it".to_owned());
    }
    if key.contains(['\r', '\n']) {
        return Err("names a file of several lines; write the key alone into it".to_owned());
    }
    unusable(key).map_or_else(|| Ok(Secret::new(key.to_owned())), |why| Err(format!("names a file whose key {why}")))
}

/// Whether this is a problem of what stands in the file, as `key_in` says it: another writes that, and may do so any moment.
pub(super) fn is_of_file(problem: &Problem) -> bool {
    problem.key.ends_with(".api_key_file") && problem.text.starts_with("names ")
}

/// Why a key cannot be sent, or would not be taken for what it is.
fn unusable(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("is empty; leave it out for a backend that takes none");
    }
    if !is_header_value(key) {
        return Some("has a character that no HTTP header may carry; check for a stray line end");
    }
    if key.trim_matches(' ').len() < key.len() {
        return Some("begins or ends with a blank, which would be sent as part of it; take it away");
    }
    miswritten(key)
}

/// The header that carries this key. Where keys have a header of their own, access tokens still go out as bearer tokens: those of
/// Entra ID at Azure, which are JWTs ("Azure OpenAI REST API reference", Authentication), and at Google its own, which begin with
/// `ya29.`, and the JWTs of service accounts.
pub(super) fn key_header(protocol: Protocol, style: Style, host: &str, key: &str) -> &'static str {
    let is_jwt = key.starts_with("eyJ");
    match protocol {
        Protocol::Anthropic => "x-api-key",
        Protocol::Gemini if key.starts_with("ya29.") || (is_jwt && is_vertex(host)) => "authorization",
        Protocol::Gemini => "x-goog-api-key",
        Protocol::Openai if style == Style::Azure && !is_jwt => "api-key",
        Protocol::Openai => "authorization",
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{SMALL, parse},
        *,
    };

    /// What becomes of settings whose backend has these lines.
    fn told(lines: &str) -> String {
        let text = SMALL.replace("[models.m]", &format!("{lines}\n[models.m]"));
        parse("test", &text).map_or_else(|bad| bad.to_string(), |_| String::new())
    }

    #[test]
    fn a_key_stands_alone_in_its_file_whatever_blanks_are_around_it() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let file = dir.path().join("token");
        for (text, key) in [("k-1", "k-1"), ("\u{feff}k-1\n", "k-1"), (" \n\tk-1 \r\n\n", "k-1"), ("k 1\n", "k 1")] {
            fs::write(&file, text).expect("a temporary file can be written");
            assert_eq!(key_in(&file).expect(text).reveal(), key);
        }
        fs::write(&file, "k".repeat(16 << 10)).expect("a temporary file can be written");
        assert!(key_in(&file).is_ok());
    }

    #[test]
    fn a_file_without_a_sound_key_is_a_problem_of_its_setting_that_shows_neither_path_nor_content() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let file = dir.path().join("SECRETPATH");
        let line = format!("api_key_file = \"{}\"", file.display());
        let large = "SECRET".repeat(16 << 10);
        for (text, word) in [
            (None, "cannot be read"),
            (Some(""), "empty"),
            (Some(" \n\n"), "empty"),
            (Some("SECRET\nSECRET"), "several lines"),
            (Some("SECRET\rSECRET"), "several lines"),
            (Some(&*large), "16 KiB"),
            (Some("SECRET\u{e9}"), "no HTTP header"),
            (Some("SECRET\0"), "no HTTP header"),
            (Some("Bearer SECRET"), "no part of it"),
            (Some("\"SECRET\""), "quotes"),
        ] {
            if let Some(text) = text {
                fs::write(&file, text).expect("a temporary file can be written");
            }
            let told = told(&line);
            assert!(told.contains("1 problem ") && told.contains("\n  backends.a.api_key_file: names a"), "{told}");
            assert!(told.contains(word) && !told.contains("SECRET"), "{word}: {told}");
        }
        fs::write(&file, b"SECRET\xff").expect("a temporary file can be written");
        assert!(told(&line).contains("no HTTP header"));
        assert!(told("api_key_file = \"\"").contains("is empty; name a file"));
        assert!(told(&format!("api_key_file = \"{}\"", dir.path().display())).contains("a regular file"));
        fs::write(&file, "SECRET").expect("a temporary file can be written");
        assert_eq!(told(&line), "");
        let both = told(&format!("{line}\napi_key = \"SECRET\""));
        assert!(both.contains("backends.a.api_key: stands beside api_key_file") && !both.contains("SECRET"), "{both}");
    }

    #[test]
    fn a_token_goes_out_as_one_where_keys_have_a_header_of_their_own() {
        use Protocol::{Anthropic, Gemini, Openai};
        let (google, vertex) = ("generativelanguage.googleapis.com", "us-central1-aiplatform.googleapis.com");
        for (protocol, style, host, key, header) in [
            (Openai, Style::Openai, "h", "sk-1", "authorization"),
            (Openai, Style::Azure, "h", "0123456789abcdef", "api-key"),
            (Openai, Style::Azure, "h", "eyJ0eXAi.eyJhdWQi.c2ln", "authorization"),
            (Anthropic, Style::Openai, "h", "sk-ant-1", "x-api-key"),
            (Gemini, Style::Openai, google, "AIzaSy-1", "x-goog-api-key"),
            (Gemini, Style::Openai, google, "AQ.Ab8-1", "x-goog-api-key"),
            (Gemini, Style::Openai, google, "ya29.a0-1", "authorization"),
            (Gemini, Style::Openai, "h", "any", "x-goog-api-key"),
            (Gemini, Style::Openai, vertex, "ya29.a0-1", "authorization"),
            (Gemini, Style::Openai, vertex, "eyJ0eXAi.eyJhdWQi.c2ln", "authorization"),
            (Gemini, Style::Openai, "h", "eyJ0eXAi.eyJhdWQi.c2ln", "x-goog-api-key"),
            (Gemini, Style::Openai, vertex, "any", "x-goog-api-key"),
            (Gemini, Style::Openai, vertex, "AIzaSy-1", "x-goog-api-key"),
            (Gemini, Style::Openai, "aiplatform.googleapis.com", "AQ.Ab8-1", "x-goog-api-key"),
        ] {
            assert_eq!(key_header(protocol, style, host, key), header, "{protocol:?} {host} {key}");
        }
    }
}
