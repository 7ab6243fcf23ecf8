//! Owns the settings of one user: the digest of the token, and what the token may do.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Limits, Secret,
    secret::{is_placeholder, miswritten},
    section::{Problems, Section},
    value::OneOrMore,
};

/// SHA-256 of a bearer token.
pub type TokenDigest = [u8; 32];

/// Digest under which a token is stored and looked up.
pub fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

/// A list of names, or everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// `["*"]`.
    All,
    /// These names only.
    Only(Vec<String>),
}

impl Allowed {
    /// Takes names, or `*` for all.
    pub(super) fn read(s: &mut Section<'_>, key: &'static str) -> Self {
        let names: Vec<String> = s.value(key);
        if !names.iter().any(|name| name == "*") {
            return Self::Only(names);
        }
        if names.len() > 1 {
            s.problem(key, "mixes \"*\" with others; keep one or the other");
        }
        Self::All
    }

    /// Whether `name` is on the list.
    pub fn allows(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|n| n == name),
        }
    }
}

/// One user of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Configured name.
    pub name: String,
    /// Digests of the tokens, each as good as another: while one replaces another there are two.
    pub tokens: Box<[TokenDigest]>,
    /// One of the tokens is what manuals write where one's own belongs.
    pub has_placeholder: bool,
    /// Models the user may ask for.
    pub models: Allowed,
    /// Backends that may serve the user.
    pub backends: Allowed,
    /// May name a backend in the body.
    pub may_pin: bool,
    /// May ask for the routing decision with `x-greenroom-explain`.
    pub may_explain: bool,
    /// Is told which backend answered, and under what name of the model.
    pub may_see_backends: bool,
    /// May use the admin endpoints.
    pub admin: bool,
    /// How much the user may ask for; `None`: as much as the backends take.
    pub limits: Option<Limits>,
}

impl User {
    /// Reads `[users.NAME]`, whose key is `path`.
    pub(super) fn read(path: &str, name: &str, value: Value, problems: &Problems) -> Self {
        let mut s = Section::open(path, value, problems);
        let (tokens, has_placeholder) = read_tokens(&mut s).unwrap_or_default();
        let models = read_allowed(&mut s, "models");
        let backends = read_allowed(&mut s, "backends");
        let may_pin = s.value_or("may_pin", false);
        let may_explain = s.value_or("may_explain", false);
        let may_see_backends = s.value_or("may_see_backends", true);
        if may_explain && !may_see_backends {
            s.problem(
                "may_see_backends",
                "is false beside may_explain = true, whose explanations name backends; set one of them otherwise",
            );
        }
        let admin = s.value_or("admin", false);
        let limits = s.within("limits", Limits::read);
        s.finish();
        let name = name.to_owned();
        Self { name, tokens, has_placeholder, models, backends, may_pin, may_explain, may_see_backends, admin, limits }
    }
}

/// The digests of `token`, and whether one of those is a placeholder; or `token_sha256` itself.
fn read_tokens(s: &mut Section<'_>) -> Option<(Box<[TokenDigest]>, bool)> {
    match (s.has("token"), s.has("token_sha256")) {
        (true, true) => s.problem("token", "stands beside token_sha256; keep one of the two"),
        (false, false) => s.problem("token", "is missing; set token = \"${VARIABLE}\" or token_sha256 = \"…\""),
        _ => {}
    }
    let plain: Option<OneOrMore<Secret>> = s.optional("token");
    let hashed: Option<OneOrMore<String>> = s.optional("token_sha256");
    let (key, read) = match (plain, hashed) {
        (Some(OneOrMore(plain)), None) => {
            let plain = || plain.iter().map(Secret::reveal);
            let digests = plain().map(|token| check_token(token).map(|()| digest(token))).collect();
            ("token", all_of(digests).map(|digests| (digests, plain().any(is_placeholder))))
        }
        (None, Some(OneOrMore(hashed))) => {
            let digests = hashed.iter().map(|hex| parse_hex(hex)).collect();
            ("token_sha256", all_of(digests).map(|digests| (digests, false)))
        }
        _ => return None,
    };
    read.map_err(|why| s.problem(key, why)).ok()
}

/// Digests that were read, at least one, each once.
fn all_of(read: Result<Vec<TokenDigest>, &'static str>) -> Result<Box<[TokenDigest]>, &'static str> {
    let digests = read?;
    if digests.is_empty() {
        return Err("is an empty list, which would let nobody in; write one, or two while one replaces another");
    }
    if (1..digests.len()).any(|n| digests[..n].contains(&digests[n])) {
        return Err("lists the same one twice; keep one");
    }
    Ok(digests.into())
}

/// Whether a request can carry this token at all, and only by who knows it.
pub fn check_token(token: &str) -> Result<(), &'static str> {
    if token.is_empty() {
        return Err("is empty; an empty token would let everybody in");
    }
    if token.trim() != token {
        return Err("begins or ends with a blank or a line end, which no request carries; take it away");
    }
    if !token.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err("has a character that no HTTP header may carry; use letters, digits and signs of ASCII");
    }
    miswritten(token).map_or(Ok(()), Err)
}

fn read_allowed(s: &mut Section<'_>, key: &'static str) -> Allowed {
    let allowed = Allowed::read(s, key);
    if allowed == Allowed::Only(Vec::new()) {
        s.problem(key, "is empty, which would allow nothing; write [\"*\"] for all, or name them");
    }
    allowed
}

fn parse_hex(hex: &str) -> Result<TokenDigest, &'static str> {
    const WANT: &str = "must be 64 hexadecimal digits, as `greenroom hash-token` prints them";
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(WANT);
    }
    let mut found = [0; 32];
    for (n, byte) in found.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).map_err(|_| WANT)?;
    }
    if found == digest("") {
        return Err("is the digest of the empty token, which would let everybody in; hash the token itself");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    fn problem(line: &str) -> String {
        let text = format!(
            "[backends.a]\nprotocol = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
             [models.m]\nbackends = [{{ backend = \"a\" }}]\n[users.u]\nmodels = [\"*\"]\nbackends = [\"*\"]\n{line}\n"
        );
        let told = super::super::parse("test", &text).map_or_else(|bad| bad.problems, |_| Vec::new());
        told.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_digest_of_the_empty_token_is_refused_as_the_empty_token_is() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for hex in [empty.to_owned(), empty.to_uppercase()] {
            let told = problem(&format!("token_sha256 = \"{hex}\""));
            assert!(told.starts_with("users.u.token_sha256: ") && told.contains("empty token"), "{told}");
        }
        assert!(problem("token = \"\"").contains("let everybody in"));
    }

    #[test]
    fn a_token_that_no_request_could_carry_is_refused_with_the_fix() {
        for (token, word) in [
            (r"secret\n", "line end"),
            (" secret", "blank"),
            (r"secret\r\n", "line end"),
            (r"sec\u0000ret", "ASCII"),
            (r"sec\nret", "ASCII"),
            ("sécret", "ASCII"),
        ] {
            let told = problem(&format!("token = \"{token}\""));
            assert!(told.starts_with("users.u.token: ") && told.contains(word), "{token}: {told}");
            assert!(!told.contains("ret"), "{told}");
        }
        assert_eq!(problem("token = \"sk-A.b_c/d+e= f~\""), "");
    }

    #[test]
    fn a_token_and_its_digest_are_one_too_many_and_neither_is_one_too_few() {
        let hex = "a".repeat(64);
        assert!(problem(&format!("token = \"t\"\ntoken_sha256 = \"{hex}\"")).contains("keep one"));
        assert!(problem("").contains("is missing"));
        assert_eq!(problem(&format!("token_sha256 = \"{hex}\"")), "");
        assert_eq!(problem("token_sha256 = 7"), "users.u.token_sha256: must be a string, or a list of strings");
    }

    #[test]
    fn tokens_may_be_listed_each_once_and_each_as_good_as_a_single_one() {
        let (one, other) = ("a".repeat(64), "b".repeat(64));
        assert_eq!(problem("token = [\"next\", \"last\"]"), "");
        assert_eq!(problem(&format!("token_sha256 = [\"{one}\", \"{other}\"]")), "");
        for (line, word) in [
            ("token = []".to_owned(), "nobody"),
            ("token = [\"t\", \"t\"]".to_owned(), "twice"),
            ("token = [\"t\", \"\"]".to_owned(), "let everybody in"),
            ("token = [\"t\", \" u\"]".to_owned(), "blank"),
            ("token = [\"t\", 7]".to_owned(), "must be"),
            (format!("token_sha256 = [\"{one}\", \"{}\"]", one.to_uppercase()), "twice"),
            (format!("token_sha256 = [\"{one}\", \"b\"]"), "64 hexadecimal"),
        ] {
            let told = problem(&line);
            assert!(told.starts_with("users.u.token") && told.contains(word), "{line}: {told}");
        }
    }
}
