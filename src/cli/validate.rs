//! Owns `greenroom validate`: reads settings as `serve` would, and tells all that is wrong or in doubt.

use std::{path::Path, process::ExitCode};

use super::{BAD_SETTINGS, complain, say};
use crate::settings::{self, Plan};

pub(super) fn run(file: &Path, against: Option<&Path>) -> ExitCode {
    let loaded = settings::load(file).and_then(|new| Ok((new, against.map(settings::load).transpose()?)));
    match loaded {
        Ok((found, old)) => {
            say(format_args!(
                "{}: good: {} backends, {} models, {} users",
                file.display(),
                found.backends.len(),
                found.models.len(),
                found.users.len()
            ));
            for doubt in found.doubts() {
                say(format_args!("  note: {doubt}"));
            }
            if let Some(old) = old {
                tell(&Plan::of(&old, &old, &found));
            }
            ExitCode::SUCCESS
        }
        Err(bad) => {
            complain(bad);
            ExitCode::from(BAD_SETTINGS)
        }
    }
}

/// What a reload would do, line by line.
fn tell(plan: &Plan) {
    for (what, names) in plan.lists() {
        say(format_args!("  {what}: {names}"));
    }
}
