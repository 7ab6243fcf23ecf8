//! Owns the memory of which backends have just failed which request, so that an SDK's own retry goes elsewhere.

use std::{collections::VecDeque, hash::BuildHasher, time::Duration};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// Failures remembered.
const KEPT: usize = 1024;

/// How long a failure is remembered; SDKs retry within seconds.
const MEMORY: Duration = Duration::from_secs(120);

/// Recent failures, shared by all workers because a retry may come on another connection. Only failures and retries lock it.
#[derive(Debug, Default)]
pub struct Blame {
    recent: Mutex<VecDeque<Failure>>,
    /// Tells requests apart, each by its user and its body.
    print: RandomState,
}

/// A request, and a backend that failed it.
#[derive(Debug)]
struct Failure {
    /// The request's `print`.
    request: u64,
    backend: u64,
    at: Duration,
}

impl Blame {
    /// Remembers that these backends failed a request.
    pub(super) fn remember(&self, (user, body): (&str, &[u8]), backends: impl Iterator<Item = u64>, now: Duration) {
        let request = self.print.hash_one((user, body));
        let mut recent = self.recent.lock();
        for backend in backends {
            if recent.len() == KEPT {
                recent.pop_front();
            }
            recent.push_back(Failure { request, backend, at: now });
        }
    }

    /// The backends that have failed this request before.
    pub(super) fn of(&self, (user, body): (&str, &[u8]), now: Duration) -> Vec<u64> {
        let fresh = |failure: &Failure| now.saturating_sub(failure.at) < MEMORY;
        // A large body is hashed only if there is something to find, and never under the lock.
        if !self.recent.lock().back().is_some_and(fresh) {
            return Vec::new();
        }
        let request = self.print.hash_one((user, body));
        let recent = self.recent.lock();
        let its = recent.iter().filter(|failure| failure.request == request && fresh(failure));
        its.map(|failure| failure.backend).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_for_the_same_request_and_not_for_ever() {
        let blame = Blame::default();
        let [mine, body, user]: [(&str, &[u8]); 3] = [("u", b"x"), ("u", b"y"), ("v", b"x")];
        blame.remember(mine, [7, 8].into_iter(), Duration::ZERO);
        for (now, found) in [(Duration::from_secs(1), &[7, 8][..]), (MEMORY, &[])] {
            assert_eq!(blame.of(mine, now), found);
            assert!(blame.of(body, now).is_empty() && blame.of(user, now).is_empty());
        }
        // What is forgotten stays so when something else is remembered.
        blame.remember(body, [9].into_iter(), MEMORY);
        assert_eq!((blame.of(mine, MEMORY), blame.of(body, MEMORY)), (Vec::new(), vec![9]));
        blame.remember(user, 0..KEPT as u64, MEMORY);
        assert!(blame.of(body, MEMORY).is_empty());
    }
}
