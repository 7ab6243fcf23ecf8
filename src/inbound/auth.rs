//! Owns finding the user: the whole digest of the token is looked up, and missing and unknown tokens get the same answer.

use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};

use crate::{
    error::Error,
    router::table::Table,
    settings::{TokenDigest, User, digest},
};

/// The headers that may carry a token; the first counts if there are both.
pub(super) const HEADERS: [&str; 2] = ["authorization", "x-api-key"];

/// Why a request that has one of them twice is refused. A proxy in front may have checked the other one.
pub(super) const TWICE: &str = "it has more than one 'authorization' or 'x-api-key'; send the one that counts";

/// The user whose token the request carries.
pub(super) fn user<'h>(header: impl Fn(&str) -> Option<&'h str>, table: &Table) -> Result<Arc<User>, Error> {
    user_of(&digest(token(header).ok_or(Error::InvalidKey)?), table)
}

fn user_of(digest: &TokenDigest, table: &Table) -> Result<Arc<User>, Error> {
    // The map's key is the whole digest, which tells nothing about the token, and the comparison takes the same time for all.
    let is_of = |user: &User| user.tokens.iter().fold(Choice::from(0), |found, token| found | token.ct_eq(digest));
    let user = table.users.get(digest).filter(|user| bool::from(is_of(user)));
    user.cloned().ok_or(Error::InvalidKey)
}

/// The last valid token of a connection, with its digest. Most connections bring the same token again, and on a processor
/// without SHA-256 instructions hashing it is a twentieth of the cost of a request.
#[derive(Default)]
pub(super) struct Known(Option<(Box<str>, TokenDigest)>);

impl Known {
    /// The user whose token the connection's next request carries. The user is looked up in the table in force each time.
    pub(super) fn user<'h>(
        &mut self,
        header: impl Fn(&str) -> Option<&'h str>,
        table: &Table,
    ) -> Result<Arc<User>, Error> {
        let token = token(header).ok_or(Error::InvalidKey)?;
        let is_same = |known: &&(Box<str>, TokenDigest)| bool::from(known.0.as_bytes().ct_eq(token.as_bytes()));
        if let Some((_, digest)) = self.0.as_ref().filter(is_same) {
            return user_of(digest, table);
        }
        let digest = digest(token);
        let user = user_of(&digest, table)?;
        self.0 = Some((token.into(), digest));
        Ok(user)
    }
}

/// The admin who asks, at an endpoint for operators.
pub(super) fn admin<'h>(header: impl Fn(&str) -> Option<&'h str>, table: &Table) -> Result<Arc<User>, Error> {
    let user = user(header, table)?;
    if user.admin { Ok(user) } else { Err(Error::PermissionDenied) }
}

/// `Authorization: Bearer`, the word in any case as some clients write it, or Anthropic's `x-api-key`. An empty token is none.
fn token<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<&'h str> {
    let [bearer, key] = HEADERS;
    let token = match header(bearer) {
        Some(value) => {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        }
        None => header(key),
    };
    token.map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_in_one_of_two_headers_and_an_empty_one_is_none() {
        let of = |name: &'static str, value: &'static str| token(move |asked| (asked == name).then_some(value));
        assert_eq!(of("authorization", "bearer  t "), Some("t"));
        assert_eq!(of("x-api-key", "t"), Some("t"));
        for (name, value) in [
            ("x-api-key", ""),
            ("x-api-key", " "),
            ("authorization", ""),
            ("authorization", "Bearer"),
            ("authorization", "Bearer "),
            ("authorization", "Bearer   "),
            ("authorization", "Basic t"),
            ("cookie", "t"),
        ] {
            assert_eq!(of(name, value), None, "{name}: {value:?}");
        }
    }
}
