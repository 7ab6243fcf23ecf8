//! Owns `greenroom hash-token`: the digest of a token, so that settings need not hold the token itself.

use std::{
    io::{self, Read},
    process::ExitCode,
};

use super::{complain, say};
use crate::{settings, wire::end_user::hex};

pub(super) fn run() -> ExitCode {
    let mut token = String::new();
    if let Err(error) = io::stdin().read_to_string(&mut token) {
        complain(format_args!("standard input cannot be read: {error}"));
        return ExitCode::FAILURE;
    }
    let token = token.trim_end_matches(['\r', '\n']);
    if token.is_empty() {
        complain("no token on standard input; try: printf %s \"$TOKEN\" | greenroom hash-token");
        return ExitCode::FAILURE;
    }
    // A digest of what no request can carry would lock its user out.
    if let Err(why) = settings::check_token(token) {
        complain(format_args!("the token {why}"));
        return ExitCode::FAILURE;
    }
    say(hex(&settings::digest(token)));
    ExitCode::SUCCESS
}
