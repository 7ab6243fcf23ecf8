//! Owns who is asking: a token's digest looked up whole, one answer for missing and unknown.

use std::sync::Arc;

use actix_web::{HttpRequest, http::header};
use subtle::ConstantTimeEq;

use crate::{
    error::Error,
    router::table::Table,
    settings::{User, digest},
};

/// The user whose token the request carries.
pub(super) fn user(request: &HttpRequest, table: &Table) -> Result<Arc<User>, Error> {
    let token = token(request).ok_or(Error::InvalidKey)?;
    let digest = digest(token);
    // The map is keyed by the whole digest, which tells nothing about the token; the comparison leaves no timing either.
    let user = table.users.get(&digest).filter(|user| bool::from(user.token.ct_eq(&digest)));
    user.cloned().ok_or(Error::InvalidKey)
}

/// An admin, for the endpoints of operators.
pub(super) fn admin(request: &HttpRequest, table: &Table) -> Result<Arc<User>, Error> {
    let user = user(request, table)?;
    if user.admin { Ok(user) } else { Err(Error::PermissionDenied) }
}

/// `Authorization: Bearer`, the word in any case as some clients write it, or Anthropic's `x-api-key`.
fn token(request: &HttpRequest) -> Option<&str> {
    let headers = request.headers();
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return headers.get("x-api-key")?.to_str().ok();
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
