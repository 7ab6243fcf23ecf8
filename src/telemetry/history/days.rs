//! Owns which users' days are written: those that have changed since they last were.

use std::collections::HashSet;

use crate::limits::Day;

/// How the users' limits of a day stand at any moment.
pub(super) type Accounts = Box<dyn Fn() -> Vec<Day> + Send>;

/// The users' days as they are, and as they were last written.
pub(super) struct Days {
    accounts: Accounts,
    written: HashSet<Day>,
}

impl Days {
    pub(super) fn of(accounts: Accounts) -> Self {
        Self { accounts, written: HashSet::new() }
    }

    /// All of them, and those to be written. One that is the same was not used in between: it says when all is there again.
    pub(super) fn changed(&self) -> (HashSet<Day>, Vec<Day>) {
        let all: HashSet<_> = (self.accounts)().into_iter().collect();
        let changed = all.difference(&self.written).cloned().collect();
        (all, changed)
    }

    /// These are now in the file.
    pub(super) fn are_written(&mut self, all: HashSet<Day>) {
        self.written = all;
    }
}
