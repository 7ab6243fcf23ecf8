//! Owns how long a request waits for backends that have failed it: before each further try, and in all.

use std::time::Duration;

use crate::{
    error::{Again, Failed},
    pause::doubled,
};

/// The longest wait within a request, at once or in all, even if a provider names the time. Beyond it the request goes
/// elsewhere or fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// First backoff where a provider names none; doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest backoff if no provider names a time, at once or in all, waits for gates included. An error that says when to
/// come back helps a client more than silence.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// How long a request may still wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// Where a provider has named the time.
    named: Duration,
    /// Where it is our own choice.
    own: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { named: LONGEST_PAUSE, own: LONGEST_BACKOFF }
    }
}

impl Patience {
    /// Whether it has so much left.
    pub(super) fn allows(mut self, wait: Duration, named: bool) -> bool {
        self.spend(wait, named)
    }

    /// Takes `wait` from it; false, and nothing is taken, if that is more than is left. `named`: a provider has asked for it.
    pub(super) fn spend(&mut self, wait: Duration, named: bool) -> bool {
        let left = if named { &mut self.named } else { &mut self.own };
        match left.checked_sub(wait) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }
}

/// How long to wait before the same backend is asked again for the same request; `None`: not at all.
pub(super) fn wait_before_retry(failed: &Failed, tries: u32, left: Duration, jitter: f64) -> Option<Duration> {
    let wait = match failed.class.disposition().same {
        Again::Never => return None,
        Again::Once if tries > 1 => return None,
        Again::Once => failed.retry_after.unwrap_or(Duration::ZERO),
        Again::Later => failed.retry_after.unwrap_or_else(|| {
            // Jitter goes down to no pause at all: of many requests that failed at once, some may well come back at once.
            doubled(FIRST_PAUSE, tries.saturating_sub(1), LONGEST_BACKOFF).mul_f64(jitter.clamp(0.0, 1.0))
        }),
    };
    (wait <= LONGEST_PAUSE && wait < left).then_some(wait)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Class;

    #[test]
    fn a_long_wait_is_never_sat_out_and_a_silent_timeout_never_repeated() {
        let mut failed = Failed::new(Class::ProviderRatelimit, "");
        failed.retry_after = Some(Duration::from_secs(61));
        assert_eq!(wait_before_retry(&failed, 1, Duration::from_secs(600), 1.0), None);
        failed.retry_after = Some(Duration::from_secs(2));
        assert_eq!(wait_before_retry(&failed, 1, Duration::from_secs(600), 0.0), Some(Duration::from_secs(2)));
        assert_eq!(wait_before_retry(&failed, 1, Duration::from_secs(1), 0.0), None, "it would outlive the deadline");
        assert_eq!(
            wait_before_retry(&Failed::new(Class::ProviderTimeoutTtft, ""), 1, Duration::from_secs(600), 1.0),
            None
        );
        assert_eq!(wait_before_retry(&Failed::new(Class::ProviderServer, ""), 2, Duration::from_secs(600), 1.0), None);
    }

    proptest! {
        #[test]
        fn the_sum_of_all_waits_is_bounded(waits in proptest::collection::vec((0..90_000_u64, any::<bool>()), 0..60)) {
            let mut patience = Patience::default();
            let (mut named, mut own) = (Duration::ZERO, Duration::ZERO);
            for (ms, is_named) in waits {
                let wait = Duration::from_millis(ms);
                if patience.spend(wait, is_named) {
                    *if is_named { &mut named } else { &mut own } += wait;
                }
            }
            prop_assert!(named <= LONGEST_PAUSE && own <= LONGEST_BACKOFF);
        }
    }
}
