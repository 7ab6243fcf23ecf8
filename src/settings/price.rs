//! Owns what tokens cost: prices as providers publish them, and the money that an attempt comes to by them.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::section::{Problems, Section};
use crate::wire::Usage;

/// An amount in whole nanodollars: sums of such are exact, in whatever order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(pub u64);

/// Nanodollars in a dollar.
const DOLLAR: f64 = 1e9;

impl Money {
    /// An amount in dollars, to the nanodollar; what is beyond all reason is as much as can be.
    pub fn of(dollars: f64) -> Self {
        Self((dollars * DOLLAR).round() as u64)
    }

    /// In dollars.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / DOLLAR
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// In dollars, as plain digits: a float is never displayed with an exponent.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dollars().fmt(f)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

/// `price` of a model's backend, in whole femtodollars a token: some cost less than a nanodollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    input: u64,
    cached: u64,
    written: u64,
    output: u64,
}

/// Femtodollars a token in a dollar a million tokens.
const RATE: f64 = 1e9;

/// Femtodollars in a nanodollar.
const NANO: u128 = 1_000_000;

impl Price {
    /// Reads the table, whose key is `path`.
    pub(super) fn read(path: &str, value: Value, problems: &Problems) -> Option<Self> {
        let mut s = Section::open(path, value, problems);
        let (input, output) = (s.required("input"), s.required("output"));
        let (cached, written) = (s.optional("cached"), s.optional("written"));
        for (key, rate) in [("input", input), ("output", output), ("cached", cached), ("written", written)] {
            if rate.is_some_and(|rate: f64| rate < 0.0) {
                s.problem(key, "must not be below 0");
            }
        }
        s.finish();
        let rate = |dollars: f64| (dollars * RATE).round() as u64;
        let (input, output) = (input?, output?);
        let [cached, written] = [cached, written].map(|own| rate(own.unwrap_or(input)));
        Some(Self { input: rate(input), cached, written, output: rate(output) })
    }

    /// What this much costs, rounded to the nanodollar; `None` where nothing was counted, or more than any model can have used.
    pub fn of(&self, usage: Usage) -> Option<Money> {
        usage.total()?;
        // Both are part of the prompt, whatever else a provider counts of them.
        let cached = usage.cached.min(usage.input);
        let written = usage.written.min(usage.input - cached);
        let rest = usage.input - cached - written;
        let parts = [(rest, self.input), (cached, self.cached), (written, self.written), (usage.output, self.output)];
        let parts = parts.map(|(tokens, rate)| u128::from(tokens) * u128::from(rate));
        let sum = parts.into_iter().fold(NANO / 2, u128::saturating_add) / NANO;
        Some(Money(u64::try_from(sum).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::SMALL, *};

    /// The price of the only backend with these lines, or the problems with them.
    fn read(lines: &str) -> Result<Option<Price>, String> {
        let text = SMALL.replace("{ backend = \"a\" }", &format!("{{ backend = \"a\", {lines} }}"));
        let settings = super::super::parse("test", &text);
        let told = |bad: super::super::BadSettings| bad.problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        settings.map(|settings| settings.models["m"].targets[0].price).map_err(|bad| told(bad).join("\n"))
    }

    fn price(lines: &str) -> Price {
        read(&format!("price = {{ {lines} }}")).expect("good").expect("a price")
    }

    const CLAUDE: Usage = Usage { input: 1700, output: 200, cached: 1000, written: 500, reasoning: 50 };

    #[test]
    fn each_kind_of_token_costs_its_own_price_and_without_one_that_of_the_prompt() {
        let all = price("input = 3, output = 15, cached = 0.3, written = 3.75");
        assert_eq!(all.of(CLAUDE).map(|money| money.to_string()), Some("0.005775".to_owned()));
        let plain = price("input = \"3\", output = 15");
        assert_eq!(plain.of(CLAUDE), Some(Money(1700 * 3000 + 200 * 15_000)));
        assert_eq!(price("input = 0, output = 0").of(CLAUDE), Some(Money(0)));
        // Less than a nanodollar a token.
        assert_eq!(price("input = 0.0001, output = 0").of(Usage { input: 30, ..Usage::default() }), Some(Money(3)));
    }

    #[test]
    fn what_nobody_counted_has_no_cost_and_what_no_model_can_have_used_neither() {
        let it = price("input = 1, output = 1");
        assert_eq!(it.of(Usage::default()), None);
        assert_eq!(it.of(Usage { input: u64::MAX, ..CLAUDE }), None);
        assert_eq!(
            it.of(Usage { cached: u64::MAX, written: u64::MAX, ..CLAUDE }),
            Some(Money(1_900_000)),
            "part of the prompt"
        );
    }

    #[test]
    fn a_price_that_is_none_is_refused_by_its_key() {
        for (lines, key, word) in [
            ("price = { input = 1 }", "models.m.backends[0].price.output: ", "is missing"),
            ("price = { output = 1 }", "models.m.backends[0].price.input: ", "is missing"),
            ("price = { input = -1, output = 1 }", "models.m.backends[0].price.input: ", "below 0"),
            ("price = { input = 1, output = 1, cached = -0.1 }", "models.m.backends[0].price.cached: ", "below 0"),
            ("price = { input = nan, output = 1 }", "models.m.backends[0].price.input: ", "must be a number"),
            ("price = { input = 1, output = inf }", "models.m.backends[0].price.output: ", "must be a number"),
            (
                "price = { input = 1, output = 1, cache = 1 }",
                "models.m.backends[0].price.cache: ",
                "did you mean `cached`",
            ),
            ("price = 1", "models.m.backends[0].price: ", "is not a table"),
        ] {
            let told = read(lines).expect_err("bad");
            assert!(told.starts_with(key) && told.contains(word) && !told.contains('\n'), "{lines}: {told}");
        }
        assert_eq!(read("weight = 1"), Ok(None));
    }

    proptest! {
        #[test]
        fn a_cost_is_the_sum_of_its_parts_to_half_a_nanodollar(
            rates in prop::array::uniform4(0.0..1000.0_f64), parts in prop::array::uniform4(0..1_000_000_u64),
        ) {
            let [input, cached, written, output] = rates;
            let it = price(&format!("input = {input:?}, cached = {cached:?}, written = {written:?}, output = {output:?}"));
            let [fresh, read, kept, answer] = parts;
            let usage = Usage { input: fresh + read + kept, cached: read, written: kept, output: answer, reasoning: 0 };
            let told = it.of(usage).map_or(0.0, Money::dollars);
            let sum: f64 = rates.iter().zip(parts).map(|(rate, tokens)| rate * tokens as f64 / 1e6).sum();
            prop_assert!((told - sum).abs() <= 0.5e-9 + 1e-12 * sum + 4e6 * 0.5e-15, "{told} {sum}");
        }

        #[test]
        fn costs_add_up_to_the_same_in_whatever_order(amounts in prop::collection::vec(any::<u64>(), 0..20)) {
            let sum = |amounts: &mut dyn Iterator<Item = u64>| amounts.map(Money).reduce(Money::plus);
            prop_assert_eq!(sum(&mut amounts.iter().copied()), sum(&mut amounts.iter().rev().copied()));
        }

        #[test]
        fn an_amount_is_shown_in_plain_digits_and_reads_as_it_was(nanos in 0..1_000_000_000_000_000_u64) {
            let shown = Money(nanos).to_string();
            prop_assert!(shown.bytes().all(|b| b.is_ascii_digit() || b == b'.'), "{shown}");
            prop_assert_eq!(shown.parse().map(Money::of), Ok(Money(nanos)));
        }

        #[test]
        fn no_count_and_no_price_is_too_large(counts in prop::array::uniform4(any::<u64>()), rate in 0.0..f64::MAX) {
            let it = price(&format!("input = {rate:?}, output = {rate:?}"));
            let [input, output, cached, written] = counts;
            let _ = it.of(Usage { input, output, cached, written, reasoning: 0 });
            let _ = it.of(Usage { input: input % 1000, output: output % 1000, cached, written, reasoning: 0 });
        }
    }
}
