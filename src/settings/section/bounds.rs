//! Owns taking values with bounds: a time, a count or a share beyond them is a problem, and a schema knows them, too.

use std::time::Duration;

use super::{Kind, Section};

/// Shortest pause between two rounds of some work: shorter ones would be most of what a quiet process, or a stream, costs.
pub(in super::super) const LEAST_PAUSE: Duration = Duration::from_millis(10);

impl Section<'_> {
    /// Takes a time that must not be nought.
    pub(in super::super) fn time(&mut self, key: &'static str) -> Duration {
        let time: Duration = self.value(key);
        if time.is_zero() {
            self.problem(key, "must be longer than 0");
        }
        time
    }

    /// Takes a time between two rounds of some work.
    pub(in super::super) fn pause(&mut self, key: &'static str) -> Duration {
        let pause: Duration = self.value(key);
        if pause < LEAST_PAUSE {
            self.problem(key, "must be at least \"10ms\"");
        }
        pause
    }

    /// Takes a count that must not be nought.
    pub(in super::super) fn at_least_one(&mut self, key: &'static str) -> u32 {
        let count = self.value(key);
        self.refine(|known| known.kind = Kind::Whole { least: 1, most: None });
        if count == 0 {
            self.problem(key, "must be at least 1");
        }
        count
    }

    /// Takes a count from 1 to `most`, which must be one of its type.
    pub(in super::super) fn count<T: TryFrom<u64> + Default>(&mut self, key: &'static str, most: u64) -> T {
        let count: u64 = self.value(key);
        self.refine(|known| known.kind = Kind::Whole { least: 1, most: Some(most) });
        if !(1..=most).contains(&count) {
            self.problem(key, format!("must be from 1 to {most}"));
        }
        T::try_from(count).unwrap_or_default()
    }

    /// Takes a share of something.
    pub(in super::super) fn share(&mut self, key: &'static str) -> f64 {
        let share = self.value(key);
        self.refine(|known| known.kind = Kind::Share);
        if !(0.0..=1.0).contains(&share) {
            self.problem(key, "must be a share from 0 to 1");
        }
        share
    }

    /// Takes the weight of a backend.
    pub(in super::super) fn weight(&mut self) -> f64 {
        let weight = self.value_or("weight", 1.0);
        if weight <= 0.0 {
            self.problem("weight", "must be above 0; leave the backend out of the model to give it nothing");
        }
        weight
    }
}
