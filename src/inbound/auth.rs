//! Owns who is asking: a token's digest looked up whole, one answer for missing and unknown.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::{
    error::Error,
    router::table::Table,
    settings::{User, digest},
};

/// The user whose token the request carries.
pub(super) fn user<'h>(header: impl Fn(&str) -> Option<&'h str>, table: &Table) -> Result<Arc<User>, Error> {
    let token = token(header).ok_or(Error::InvalidKey)?;
    let digest = digest(token);
    // The map is keyed by the whole digest, which tells nothing about the token; the comparison leaves no timing either.
    let user = table.users.get(&digest).filter(|user| bool::from(user.token.ct_eq(&digest)));
    user.cloned().ok_or(Error::InvalidKey)
}

/// An admin, for the endpoints of operators.
pub(super) fn admin<'h>(header: impl Fn(&str) -> Option<&'h str>, table: &Table) -> Result<Arc<User>, Error> {
    let user = user(header, table)?;
    if user.admin { Ok(user) } else { Err(Error::PermissionDenied) }
}

/// `Authorization: Bearer`, the word in any case as some clients write it, or Anthropic's `x-api-key`.
fn token<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<&'h str> {
    let Some(value) = header("authorization") else {
        return header("x-api-key");
    };
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
