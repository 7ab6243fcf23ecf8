//! Owns which shut gates the answer to a probe opens: a function of (what was shown, gate, now).

use std::time::Duration;

use super::gate::{Gate, Why};

/// What a probe that was not refused has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// A model has answered, and not with an error inside of a 200: connection, account and that model are in order.
    Completion,
    /// The provider works. Its models list is free, and given to those who have no money or are over a limit, too.
    List,
    /// Somebody answers there, but has no models list.
    Reachable,
}

/// Whose gate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The whole backend's, which is shut by what is wrong with the connection or the account.
    Backend,
    /// The gate of the model that was asked.
    Asked,
    /// The gate of another model.
    Other,
}

impl Shown {
    /// Whether this opens `gate` at `now`.
    pub(super) fn opens(self, whose: Whose, gate: Gate, now: Duration) -> bool {
        let Gate::Shut(until, why) = gate else {
            // One that ramps up goes on by this as by any success.
            return matches!(gate, Gate::Ramp(_)) && self == Self::Completion && whose != Whose::Other;
        };
        match (self, whose) {
            // Nobody comes back earlier than asked, whatever a probe shows.
            (Self::Completion, Whose::Backend | Whose::Asked) => why != Why::RateLimit || now >= until,
            (Self::Completion | Self::List, _) | (Self::Reachable, Whose::Backend) => why == Why::Failures,
            // The gate of a model is shut by answers, and this was none.
            (Self::Reachable, Whose::Asked | Whose::Other) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);
    const LATER: Duration = Duration::from_secs(9);

    #[test]
    fn a_free_answer_opens_what_failures_have_shut_and_nothing_else() {
        for whose in [Whose::Backend, Whose::Asked, Whose::Other] {
            assert!(Shown::List.opens(whose, Gate::Shut(LATER, Why::Failures), NOW));
            assert_eq!(Shown::Reachable.opens(whose, Gate::Shut(LATER, Why::Failures), NOW), whose == Whose::Backend);
            for why in [Why::RateLimit, Why::Crowded, Why::BadCredentials, Why::NoQuota, Why::ModelMissing] {
                let gate = Gate::Shut(LATER, why);
                assert!(!Shown::List.opens(whose, gate, NOW) && !Shown::Reachable.opens(whose, gate, NOW), "{why:?}");
            }
        }
    }

    #[test]
    fn a_model_that_answers_opens_its_own_gates_but_for_a_limit_before_its_time() {
        for whose in [Whose::Backend, Whose::Asked] {
            assert!(Shown::Completion.opens(whose, Gate::Shut(LATER, Why::BadCredentials), NOW));
            assert!(!Shown::Completion.opens(whose, Gate::Shut(LATER, Why::RateLimit), NOW));
            assert!(Shown::Completion.opens(whose, Gate::Shut(LATER, Why::RateLimit), LATER));
        }
        assert!(!Shown::Completion.opens(Whose::Other, Gate::Shut(LATER, Why::ModelMissing), NOW));
        assert!(Shown::Completion.opens(Whose::Other, Gate::Shut(LATER, Why::Failures), NOW));
    }
}
