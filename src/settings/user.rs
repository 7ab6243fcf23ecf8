//! Owns the settings of one user: the digest of the token, and what the token may do.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Secret,
    section::{Problems, Section},
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
    /// Digest of the token.
    pub token: TokenDigest,
    /// Models the user may ask for.
    pub models: Allowed,
    /// Backends that may serve the user.
    pub backends: Allowed,
    /// May name a backend in the body.
    pub may_pin: bool,
    /// May ask for the routing decision with `x-greenroom-explain`.
    pub may_explain: bool,
    /// May use the admin endpoints.
    pub admin: bool,
}

impl User {
    /// Reads `[users.NAME]`.
    pub(super) fn read(name: &str, value: Value, problems: &Problems) -> Option<Self> {
        let mut s = Section::open(format!("users.{name}"), value, problems);
        let plain: Option<Secret> = s.optional("token");
        let hashed: Option<String> = s.optional("token_sha256");
        let token = match (plain, hashed) {
            (Some(plain), None) if plain.reveal().is_empty() => {
                s.problem("token", "is empty; an empty token would let everybody in");
                None
            }
            (Some(plain), None) => Some(digest(plain.reveal())),
            (None, Some(hex)) => {
                let digest = parse_hex(&hex);
                if digest.is_none() {
                    s.problem("token_sha256", "must be 64 hexadecimal digits, as `greenroom hash-token` prints them");
                }
                digest
            }
            (Some(_), Some(_)) => {
                s.problem("token", "stands beside token_sha256; keep one of the two");
                None
            }
            (None, None) => {
                s.problem("token", "is missing; set token = \"${VARIABLE}\" or token_sha256 = \"…\"");
                None
            }
        };
        let models = read_allowed(&mut s, "models");
        let backends = read_allowed(&mut s, "backends");
        let may_pin = s.optional("may_pin").unwrap_or(false);
        let may_explain = s.optional("may_explain").unwrap_or(false);
        let admin = s.optional("admin").unwrap_or(false);
        s.finish();
        Some(Self {
            name: name.to_owned(),
            token: token?,
            models: models?,
            backends: backends?,
            may_pin,
            may_explain,
            admin,
        })
    }
}

fn read_allowed(s: &mut Section<'_>, key: &'static str) -> Option<Allowed> {
    let names: Vec<String> = s.required(key)?;
    if names.is_empty() {
        s.problem(key, "is empty, which would allow nothing; write [\"*\"] for all, or name them");
        return None;
    }
    if names.iter().any(|name| name == "*") {
        if names.len() > 1 {
            s.problem(key, "mixes \"*\" with names; keep one or the other");
        }
        return Some(Allowed::All);
    }
    Some(Allowed::Only(names))
}

fn parse_hex(hex: &str) -> Option<TokenDigest> {
    let hex = hex.as_bytes();
    if hex.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}
