//! Owns how many extra attempts a worker may make: a share of its recent requests.

use std::{cell::RefCell, rc::Rc};

/// A share of recent requests that may be spent on extra attempts, so that an outage does not multiply load.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    share: f64,
    tokens: f64,
    most: f64,
}

impl Budget {
    /// A budget that starts with `floor` attempts, so that rare requests can be helped too.
    pub(super) fn new(share: f64, floor: f64) -> Self {
        let floor = if share > 0.0 { floor } else { 0.0 };
        Self { share, tokens: floor, most: floor.max(share * 1000.0) }
    }

    /// One more request came in.
    pub(super) fn earn(&mut self) {
        self.tokens = (self.tokens + self.share).min(self.most);
    }

    /// Takes one extra attempt, if there is one left.
    fn spend(&mut self) -> bool {
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

/// An extra attempt that is paid for: given back on every path on which it is not made.
#[derive(Debug)]
pub(super) struct Extra(Option<Rc<RefCell<Budget>>>);

impl Extra {
    /// Pays for one, if there is one left.
    pub(super) fn of(budget: &Rc<RefCell<Budget>>) -> Option<Self> {
        budget.borrow_mut().spend().then(|| Self(Some(budget.clone())))
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

    #[test]
    fn a_budget_allows_its_share_and_no_more() {
        let mut budget = Budget::new(0.2, 2.0);
        let mut spent = 0;
        for _ in 0..1000 {
            budget.earn();
            spent += u32::from(budget.spend());
        }
        assert!((200..=203).contains(&spent), "{spent}");
        assert!(!Budget::new(0.0, 5.0).spend());
    }

    #[test]
    fn an_attempt_that_is_not_made_costs_nothing() {
        let budget = Rc::new(RefCell::new(Budget::new(0.2, 1.0)));
        drop(Extra::of(&budget));
        let extra = Extra::of(&budget).expect("the first was given back");
        assert!(Extra::of(&budget).is_none());
        extra.made();
        assert!(Extra::of(&budget).is_none());
    }
}
