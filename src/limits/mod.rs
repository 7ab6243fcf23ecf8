//! Owns what limited users may use and have used: an account each, shared by all workers and carried over a reload.

mod account;
mod bucket;
mod day;
mod headers;

use std::time::Duration;

use parking_lot::Mutex;

use self::account::Account;
pub use self::{
    account::{Need, Use},
    day::Day,
};
use crate::{
    error::{Refused, Unit},
    settings::{Limits, Money},
};

/// The account of one limited user. Its lock is held for a few sums; other users have none.
#[derive(Debug)]
pub struct Allowance(Mutex<Account>);

impl Allowance {
    /// An account of which nothing was used.
    pub fn new(limits: &Limits) -> Self {
        Self(Mutex::new(Account::new(limits)))
    }

    /// From `now` on it has these limits; what was used stays used.
    pub fn adopt(&self, limits: &Limits, now: Duration) {
        let mut account = self.0.lock();
        *account = account.under(limits, now);
    }

    /// How many requests are under way, and how all limits stand.
    pub fn uses(&self, now: Duration) -> (u64, Vec<Use>) {
        let account = self.0.lock();
        (account.in_flight(), account.uses(now))
    }

    /// How the limits stand that are kept over a restart, of a user of this name.
    pub fn days(&self, user: &str) -> Vec<Day> {
        let day = |(dimension, (size, whole_at))| Day { user: user.to_owned(), dimension, size, whole_at };
        self.0.lock().days().map(day).collect()
    }

    /// A limit goes on from where it stood before a restart. For an account of which nothing was used yet.
    pub fn restore(&self, day: &Day, now: Duration) {
        self.0.lock().restore(day, now);
    }

    /// Lets a request in, or says which limit keeps it out. Returns how many tokens were set aside for it. A request that was
    /// let in has to `leave`, and to `settle` if it uses tokens.
    pub fn admit(&self, need: Option<Need>, now: Duration) -> Result<u64, Refused> {
        self.0.lock().admit(need, now)
    }

    /// Counts the tokens that a request has used in place of those set aside for it, and what it cost, if that is known.
    pub fn settle(&self, aside: u64, used: u64, cost: Option<Money>, now: Duration) {
        let mut account = self.0.lock();
        account.settle(aside, used, now);
        if let Some(cost) = cost {
            account.pay(cost, now);
        }
    }

    /// A request that was let in has ended.
    pub fn leave(&self) {
        self.0.lock().leave();
    }

    /// Adds the header lines that tell the user what is left; with `as_anthropic` also under that provider's names.
    pub fn tell(&self, as_anthropic: bool, now: Duration, out: &mut Vec<u8>) {
        // Clients know no header for what is left of money.
        let units = [Unit::Requests, Unit::Tokens];
        let standings = {
            let account = self.0.lock();
            units.map(|unit| account.standing(unit, now))
        };
        for (unit, standing) in units.into_iter().zip(standings) {
            let Some(standing) = standing else { continue };
            headers::openai(unit, &standing, out);
            if as_anthropic {
                headers::anthropic(unit, &standing, now, out);
            }
        }
    }
}
