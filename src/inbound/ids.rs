//! Owns the ids of requests: a known client's own id if it is a plain one, else a new one.

use std::sync::Arc;

use super::auth;
use crate::{exchange::reply::REQUEST_ID, router::table::Table};

/// The id of a request outside the model endpoints. A stranger's own id is not accepted, so that strangers cannot write other
/// clients' ids into logs.
pub(super) fn id_of<'h>(header: impl Fn(&str) -> Option<&'h str>, table: &Table) -> Arc<str> {
    let given = header(REQUEST_ID);
    request_id(given.filter(|_| auth::user(header, table).is_ok()))
}

/// A known client's own id of a request if it is a plain one, else a new one.
pub(super) fn request_id(given: Option<&str>) -> Arc<str> {
    let plain = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    given.filter(plain).map_or_else(new_id, Arc::from)
}

/// A new id.
pub(super) fn new_id() -> Arc<str> {
    let mut id = *b"req_00000000000000000000000000000000";
    let mut rest = rand::random::<u128>();
    for digit in id[4..].iter_mut().rev() {
        *digit = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
    std::str::from_utf8(&id).expect("digits are ASCII").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_id_is_taken_over_and_any_other_replaced_by_a_new_one() {
        assert_eq!(&*request_id(Some("a.b_C-7")), "a.b_C-7");
        for odd in ["", "a b", "a\n", "é", &"a".repeat(129)] {
            let (id, next) = (request_id(Some(odd)), request_id(None));
            assert!(id.starts_with("req_") && id.len() == 36 && id != next, "{odd:?}: {id}");
        }
    }
}
