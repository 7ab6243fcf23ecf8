//! Owns `greenroom validate`: reads settings as `serve` would, and tells all that is wrong.

use std::{path::Path, process::ExitCode};

use super::{BAD_SETTINGS, complain, say};
use crate::settings;

pub(super) fn run(file: &Path) -> ExitCode {
    match settings::load(file) {
        Ok(found) => {
            say(format_args!(
                "{}: good: {} backends, {} models, {} users",
                file.display(),
                found.backends.len(),
                found.models.len(),
                found.users.len()
            ));
            ExitCode::SUCCESS
        }
        Err(bad) => {
            complain(bad);
            ExitCode::from(BAD_SETTINGS)
        }
    }
}
