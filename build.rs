//! Tells the program which commit it is built from, for `greenroom_build_info`: `GREENROOM_COMMIT` where that is set, else what git says.
//! Nothing else depends on it, and without git or a repository it is `unknown`.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=GREENROOM_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = env::var("GREENROOM_COMMIT").ok().filter(|given| !given.is_empty());
    let commit = given.or_else(of_repository).filter(|commit| commit.bytes().all(|b| b.is_ascii_graphic()));
    println!("cargo:rustc-env=GREENROOM_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The commit of the repository whose top this is: sources that lie within another one are none of its commit's.
fn of_repository() -> Option<String> {
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    // Git writes a line into this log whenever HEAD moves.
    let moves = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&moves).exists() {
        println!("cargo:rerun-if-changed={moves}");
    }
    git(&["rev-parse", "--short", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let said = Command::new("git").args(arguments).output().ok().filter(|said| said.status.success())?;
    Some(String::from_utf8(said.stdout).ok()?.trim().to_owned())
}
