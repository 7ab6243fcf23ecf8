//! Owns the limits of one user, as the operator wrote them.

use std::num::NonZeroU64;

use serde_json::Value;

use super::{
    Money,
    section::{Problems, Section},
};
use crate::error::{Dimension, Unit};

/// `[users.NAME.limits]`: at least one of them is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits([Option<NonZeroU64>; Dimension::ALL.len()]);

impl Limits {
    /// Reads the table, whose key is `path`.
    pub(super) fn read(path: &str, value: Value, problems: &Problems) -> Option<Self> {
        let mut s = Section::open(path, value, problems);
        let is_empty = s.is_empty();
        let limits = Dimension::ALL.map(|dimension| match dimension.unit() {
            Unit::Dollars => dollars(&mut s, dimension.as_str()),
            Unit::Requests | Unit::Tokens => s.optional(dimension.as_str()),
        });
        s.finish();
        if is_empty {
            // What is no table at all has been told of.
            let keys = Dimension::ALL.map(Dimension::as_str).join(", ");
            problems
                .add(path, format!("is empty, which would limit nothing; set one of {keys}, or leave the table out"));
        }
        (!is_empty).then_some(Self::new(limits))
    }

    /// Limits of these sizes, in the order of `Dimension::ALL`.
    pub fn new(sizes: [Option<NonZeroU64>; Dimension::ALL.len()]) -> Self {
        Self(sizes)
    }

    /// How much of this there may be, money in nanodollars; `None`: as much as you like.
    pub fn of(&self, dimension: Dimension) -> Option<NonZeroU64> {
        self.0[dimension as usize]
    }
}

/// Takes an amount of dollars, in whole nanodollars.
fn dollars(s: &mut Section<'_>, key: &'static str) -> Option<NonZeroU64> {
    let size = NonZeroU64::new(Money::of(s.optional(key)?).0);
    if size.is_none() {
        s.problem(key, "must be above 0");
    }
    size
}

#[cfg(test)]
mod tests {
    use super::{super::SMALL, *};

    /// The limits of a user with these lines, or the problems with them.
    fn read(lines: &str) -> Result<Option<Limits>, String> {
        let settings = super::super::parse("test", &format!("{SMALL}{lines}\n"));
        let problems =
            |bad: super::super::BadSettings| bad.problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        settings.map(|settings| settings.users["u"].limits.clone()).map_err(|bad| problems(bad).join("\n"))
    }

    #[test]
    fn a_table_and_an_inline_table_say_the_same_and_what_is_not_there_is_no_limit() {
        let table =
            read("[users.u.limits]\nmax_in_flight = 3\ntokens_per_day = \"5\"\nusd_per_day = \"0.5\"").expect("good");
        assert_eq!(Ok(table.clone()), read("limits = { max_in_flight = 3, tokens_per_day = 5, usd_per_day = 0.5 }"));
        let limits = table.expect("limits");
        let told = Dimension::ALL.map(|dimension| limits.of(dimension).map(NonZeroU64::get));
        assert_eq!(told, [Some(3), None, None, None, Some(5), Some(500_000_000)]);
        assert_eq!(read(""), Ok(None));
    }

    #[test]
    fn what_limits_nothing_or_everything_is_refused_with_the_fix() {
        for (lines, key, word) in [
            ("limits = {}", "users.u.limits: ", "set one of max_in_flight, requests_per_minute"),
            ("[users.u.limits]", "users.u.limits: ", "leave the table out"),
            ("limits = 7", "users.u.limits: ", "is not a table"),
            ("limits = { max_in_flight = 0 }", "users.u.limits.max_in_flight: ", "at least 1"),
            ("limits = { requests_per_day = -1 }", "users.u.limits.requests_per_day: ", "whole number"),
            ("limits = { requests_per_day = 1.5 }", "users.u.limits.requests_per_day: ", "whole number"),
            ("limits = { usd_per_day = 0 }", "users.u.limits.usd_per_day: ", "above 0"),
            ("limits = { usd_per_day = -2.5 }", "users.u.limits.usd_per_day: ", "above 0"),
            ("limits = { usd_per_day = inf }", "users.u.limits.usd_per_day: ", "must be a number"),
            ("limits = { request_per_day = 1 }", "users.u.limits.request_per_day: ", "did you mean `requests_per_day`"),
        ] {
            let told = read(lines).expect_err("bad");
            assert!(told.starts_with(key) && told.contains(word) && !told.contains('\n'), "{lines}: {told}");
        }
    }
}
