//! Owns how many extra attempts a worker may make: a share of its recent requests.

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
    pub(super) fn spend(&mut self) -> bool {
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
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
}
