//! Owns the table of users' days.

use std::{num::NonZeroU64, time::Duration};

use rusqlite::{TransactionBehavior, params};

use super::{Store, cell};
use crate::{clock, error::Dimension, limits::Day};

impl Store {
    /// Writes how these limits stand `now`.
    pub(in super::super) fn keep(&mut self, days: &[Day], now: Duration) -> rusqlite::Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO days VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let at = millis(now) / 1000;
        for Day { user, dimension, size, whole_at } in days {
            let used = whole_at.saturating_sub(now).as_millis().saturating_add((millis(now) % 1000).into());
            let (size, used) = (i64::try_from(size.get()), i64::try_from(used));
            let (size, used) = (size.unwrap_or(i64::MAX), used.unwrap_or(i64::MAX));
            put.execute(params![user, dimension.as_str(), size, used, at.cast_signed()])?;
        }
        drop(put);
        transaction.commit()
    }

    /// How they stand `now`, given how they stood when they were written. A wall clock that went back has let no time pass, and
    /// what somebody else wrote counts for nothing if it makes no sense.
    pub(in super::super) fn days(&self, now: Duration) -> rusqlite::Result<Vec<Day>> {
        let mut rows = self.0.prepare_cached("SELECT * FROM days")?;
        let days = rows.query_map([], |row| {
            let word: String = cell(row, "dimension");
            let at = cell::<i64>(row, "at").max(0).cast_unsigned();
            let since = millis(now).saturating_sub(at.saturating_mul(1000));
            let left = cell::<i64>(row, "used_ms").max(0).cast_unsigned().saturating_sub(since);
            Ok(Dimension::ALL.into_iter().find(|known| known.as_str() == word).zip(size(cell(row, "size"))).map(
                |(dimension, size)| Day {
                    user: cell(row, "user"),
                    dimension,
                    size,
                    whole_at: now.saturating_add(Duration::from_millis(left)),
                },
            ))
        })?;
        days.filter_map(Result::transpose).collect()
    }
}

/// A moment on the process's clock as milliseconds from the epoch.
fn millis(at: Duration) -> u64 {
    clock::unix_nanos(at) / 1_000_000
}

fn size(cell: i64) -> Option<NonZeroU64> {
    u64::try_from(cell).ok().and_then(NonZeroU64::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_users_day_stands_is_read_as_it_stands_by_then_and_forgotten_once_nothing_of_it_is_used() {
        let day = |user: &str, seconds| Day {
            user: user.to_owned(),
            dimension: Dimension::UsdPerDay,
            size: NonZeroU64::new(20_000_000_000).expect("not zero"),
            whole_at: clock::now() + Duration::from_secs(seconds),
        };
        let mut store = Store::open(None).expect("it opens");
        store.keep(&[day("gone", 3600), day("there", 10)], clock::now()).expect("it writes");
        store.keep(&[day("there", 7200)], clock::now()).expect("it writes again");
        let left = |store: &Store, later: Duration| {
            let now = clock::now() + later;
            let days = store.days(now).expect("it reads");
            days.into_iter()
                .map(|day| (day.user, day.whole_at.saturating_sub(now).as_secs().div_ceil(60)))
                .collect::<Vec<_>>()
        };
        let told = |gone, there| vec![("gone".to_owned(), gone), ("there".to_owned(), there)];
        assert_eq!(left(&store, Duration::ZERO), told(60, 120));
        assert_eq!(left(&store, Duration::from_mins(45)), told(15, 75));
        assert_eq!(left(&store, Duration::from_hours(9)), told(0, 0));
        store.0.execute("UPDATE days SET at = at + 1000000", []).expect("the clock goes back");
        assert_eq!(left(&store, Duration::ZERO), told(60, 120));
        store.0.execute("UPDATE days SET at = at - 1000000", []).expect("the clock goes on");
        let now = clock::unix_at(clock::now());
        for (before, names) in [(now + 3500, 2), (now + 3700, 1), (now + 7300, 0)] {
            store.forget(before).expect("it forgets");
            assert_eq!(left(&store, Duration::ZERO).len(), names);
        }
    }

    #[test]
    fn what_a_stranger_wrote_of_a_day_that_makes_no_sense_is_left_out() {
        let mut store = Store::open(None).expect("it opens");
        let day = Day {
            user: "a".to_owned(),
            dimension: Dimension::TokensPerDay,
            size: NonZeroU64::MAX,
            whole_at: Duration::from_nanos(u64::MAX),
        };
        store.keep(&[day], clock::now()).expect("it writes");
        assert_eq!(store.days(clock::now()).expect("it reads").len(), 1);
        for (set, known) in
            [("used_ms = 'x'", 1), ("at = x'ff'", 1), ("used_ms = -1", 1), ("size = -1", 0), ("dimension = 'weeks'", 0)]
        {
            store.0.execute(&format!("UPDATE days SET {set}"), []).expect("a stranger writes");
            assert_eq!(store.days(clock::now()).expect("it reads").len(), known, "{set}");
        }
    }
}
