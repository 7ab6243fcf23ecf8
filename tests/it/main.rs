//! Owns nothing yet but the list of behaviours under test.

fn main() {}
