//! Owns a map that grows with the names it meets. Lookups take no lock, and need no owned key.

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};

/// A map that grows as names come: entries are found without a lock, and the rare first of its kind copies the map.
#[derive(Debug)]
pub(super) struct Grown<K, V>(ArcSwap<HashMap<K, Arc<V>, RandomState>>);

impl<K, V> Default for Grown<K, V> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(HashMap::default()))
    }
}

impl<K: Clone + Eq + Hash, V: Default> Grown<K, V> {
    /// Shows `count` the entry of this key; `own` makes the key of the first of its kind.
    pub(super) fn of<Q: Hash + Equivalent<K>>(&self, key: &Q, own: impl FnOnce() -> K, count: impl FnOnce(&V)) {
        if let Some(found) = self.0.load().get(key) {
            return count(found);
        }
        let own = own();
        self.0.rcu(|map| {
            let mut map = HashMap::clone(map);
            map.entry(own.clone()).or_default();
            map
        });
        if let Some(found) = self.0.load().get(key) {
            count(found);
        }
    }

    /// Forgets the entries of all other keys. Each key is checked after the map was read, so that a check against the
    /// settings in force never forgets what came in under a new name.
    pub(super) fn keep(&self, is_wanted: impl Fn(&K) -> bool) {
        if self.0.load().keys().all(&is_wanted) {
            return;
        }
        self.0.rcu(|map| {
            let mut map = HashMap::clone(map);
            map.retain(|key, _| is_wanted(key));
            map
        });
    }

    /// All entries in an order that stays the same.
    pub(super) fn sorted(&self) -> Vec<(K, Arc<V>)>
    where
        K: Ord,
    {
        let mut all: Vec<_> = self.0.load().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

impl<K: Clone + Eq + Hash> Grown<K, AtomicU64> {
    /// Counts one more of this key.
    pub(super) fn add_one(&self, key: &K) {
        self.of(
            key,
            || key.clone(),
            |count| {
                count.fetch_add(1, Relaxed);
            },
        );
    }
}

/// A backend and a model, or a user and a model.
pub(super) type Pair = (Arc<str>, Arc<str>);

impl<V: Default> Grown<Pair, V> {
    /// Shows `count` the entry of a backend and a model.
    pub(super) fn of_pair(&self, backend: &Arc<str>, model: &Arc<str>, count: impl FnOnce(&V)) {
        self.of(&Names(backend, model), || (backend.clone(), model.clone()), count);
    }
}

/// What a pair is found by.
#[derive(Hash)]
pub(super) struct Names<'a>(pub(super) &'a str, pub(super) &'a str);

impl Equivalent<Pair> for Names<'_> {
    fn equivalent(&self, (first, model): &Pair) -> bool {
        *self.0 == **first && *self.1 == **model
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_takes_nothing_of_others_counts_along() {
        let grown = Grown::<&str, AtomicU64>::default();
        for key in ["gone", "kept", "kept"] {
            grown.add_one(&key);
        }
        grown.keep(|key| *key != "gone");
        let left: Vec<_> = grown.sorted().iter().map(|(key, count)| (*key, count.load(Relaxed))).collect();
        assert_eq!(left, [("kept", 2)]);
    }
}
