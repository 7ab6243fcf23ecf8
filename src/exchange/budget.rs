//! Owns how many extra attempts a worker may make: a share of its recent successes, and a reserve.

use std::{cell::RefCell, rc::Rc, time::Duration};

use crate::clock;

/// Extra attempts that need not be earned: after a fresh start, or from few requests, hardly any are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reserve {
    /// The most at once.
    most: f64,
    /// How many come back each second.
    per_second: f64,
}

/// The values of Finagle and linkerd (`RetryBudget`: 10 retries a second over a `ttl` of 10 s beside 20 % of the requests),
/// but for each worker, not for each process: all requests at a backend that dies may be on one worker.
pub(super) const RETRIES: Reserve = Reserve { most: 100.0, per_second: 10.0 };

/// A hedge is a luxury: a few until some are earned.
pub(super) const HEDGES: Reserve = Reserve { most: 3.0, per_second: 0.0 };

/// A share of recent requests that may be spent on extra attempts. Only requests that end well earn it, so that an outage does
/// not multiply load.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    share: f64,
    reserve: Reserve,
    tokens: f64,
    most: f64,
    /// When the reserve was last refilled. The clock is read only when an attempt is spent.
    filled: Duration,
}

impl Budget {
    /// A budget with a full reserve; with a share of 0 there is no reserve either.
    pub(super) fn new(share: f64, reserve: Reserve) -> Self {
        let reserve = if share > 0.0 { reserve } else { Reserve { most: 0.0, per_second: 0.0 } };
        Self { share, reserve, tokens: reserve.most, most: reserve.most + share * 1000.0, filled: Duration::ZERO }
    }

    /// One more request has ended well.
    pub(super) fn earn(&mut self) {
        self.tokens = (self.tokens + self.share).min(self.most);
    }

    /// Takes one extra attempt, if there is one left.
    fn spend(&mut self, now: Duration) -> bool {
        let back = now.saturating_sub(self.filled).as_secs_f64() * self.reserve.per_second;
        self.filled = now;
        if self.tokens < self.reserve.most {
            self.tokens = (self.tokens + back).min(self.reserve.most);
        }
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

/// An extra attempt that is paid for. Dropped before it is made, it is given back.
#[derive(Debug)]
pub(super) struct Extra(Option<Rc<RefCell<Budget>>>);

impl Extra {
    /// Pays for one, if there is one left.
    pub(super) fn of(budget: &Rc<RefCell<Budget>>) -> Option<Self> {
        budget.borrow_mut().spend(clock::now()).then(|| Self(Some(budget.clone())))
    }

    /// It is being made.
    pub(super) fn made(mut self) {
        self.0 = None;
    }
}

impl Drop for Extra {
    fn drop(&mut self) {
        if let Some(budget) = &self.0 {
            let mut budget = budget.borrow_mut();
            budget.tokens = (budget.tokens + 1.0).min(budget.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Reserve = Reserve { most: 2.0, per_second: 1.0 };

    #[test]
    fn a_budget_allows_its_share_and_no_more() {
        let mut budget = Budget::new(0.2, FEW);
        let mut spent = 0;
        for _ in 0..1000 {
            budget.earn();
            spent += u32::from(budget.spend(Duration::ZERO));
        }
        assert!((200..=203).contains(&spent), "{spent}");
        assert!(!Budget::new(0.0, FEW).spend(Duration::from_secs(60)));
    }

    #[test]
    fn a_reserve_comes_back_with_time_and_no_fuller_than_it_was() {
        let mut budget = Budget::new(0.001, FEW);
        let mut spend = |second| (0..10).filter(|_| budget.spend(Duration::from_secs(second))).count();
        assert_eq!([spend(100), spend(101), spend(101), spend(200)], [2, 1, 0, 2]);
    }

    #[test]
    fn an_attempt_that_is_not_made_costs_nothing() {
        let budget = Rc::new(RefCell::new(Budget::new(0.2, Reserve { most: 1.0, per_second: 0.0 })));
        drop(Extra::of(&budget));
        let extra = Extra::of(&budget).expect("the first was given back");
        assert!(Extra::of(&budget).is_none());
        extra.made();
        assert!(Extra::of(&budget).is_none());
    }
}
