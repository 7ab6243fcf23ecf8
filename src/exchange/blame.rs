//! Owns remembering which backends have just failed whose request, so that an SDK's own retry goes elsewhere.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// Failures remembered per worker.
const KEPT: usize = 256;

/// How long; the SDKs retry within seconds.
const MEMORY: Duration = Duration::from_secs(120);

/// The failures of late.
#[derive(Debug, Default)]
pub(super) struct Blame {
    recent: VecDeque<(u64, u64, Duration)>,
}

/// Tells a request from others: its user and its body.
pub(super) fn fingerprint(user: &str, body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (user, body).hash(&mut hasher);
    hasher.finish()
}

impl Blame {
    /// A backend failed a request.
    pub(super) fn remember(&mut self, request: u64, backend: u64, now: Duration) {
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back((request, backend, now));
    }

    /// The backends that have failed this request before.
    pub(super) fn of(&self, request: u64, now: Duration) -> Vec<u64> {
        let fresh = |at: Duration| now.saturating_sub(at) < MEMORY;
        self.recent.iter().filter(|(r, _, at)| *r == request && fresh(*at)).map(|(_, backend, _)| *backend).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_for_the_same_request_and_not_for_ever() {
        let mut blame = Blame::default();
        let (mine, other) = (fingerprint("u", b"x"), fingerprint("u", b"y"));
        blame.remember(mine, 7, Duration::ZERO);
        assert_eq!(blame.of(mine, Duration::from_secs(1)), [7]);
        assert!(blame.of(other, Duration::from_secs(1)).is_empty());
        assert!(blame.of(mine, MEMORY).is_empty());
    }
}
