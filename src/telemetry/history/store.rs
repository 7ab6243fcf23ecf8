//! Owns the database: one transaction per batch, reading it back, deleting what is too old.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, named_params, params};

use super::{
    answer::{Answer, Event, Gathering, rfc3339},
    messages::Ask,
    tables::{TABLES, VERSION},
    tally::{Key, Tally},
};
use crate::backend::{histogram::Snapshot, journal::Note};

/// How long another process that holds the file is waited for.
const BUSY: Duration = Duration::from_secs(2);

/// Most events told at a time: the latest.
const EVENTS: u32 = 1000;

/// An event to be written: when, seconds since the epoch, at which backend, what.
pub(super) type Entry = (i64, std::sync::Arc<str>, std::sync::Arc<Note>);

/// The open database.
#[derive(Debug)]
pub(super) struct Store(Connection);

impl Store {
    /// Opens or makes it; `None`: in memory.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Box<dyn std::error::Error>> {
        let connection = match path {
            None => Connection::open_in_memory()?,
            Some(path) => {
                if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                    std::fs::create_dir_all(dir)?;
                }
                Connection::open(path)?
            }
        };
        connection.busy_timeout(BUSY)?;
        // With a write-ahead log, a killed process loses at most the last batch. Syncing each one is not worth the disk's time.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != 0 && version != VERSION {
            return Err(io::Error::other(format!("it is of version {version}, this Greenroom writes {VERSION}")).into());
        }
        connection.execute_batch(TABLES)?;
        connection.pragma_update(None, "user_version", VERSION)?;
        Ok(Self(connection))
    }

    /// Writes a batch, all of it or nothing.
    pub(super) fn write(&mut self, rows: &HashMap<Key, Tally>, events: &[Entry]) -> rusqlite::Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut find = transaction
                .prepare_cached("SELECT * FROM minutes WHERE at = ?1 AND backend = ?2 AND model = ?3 AND route = ?4")?;
            let mut put = transaction.prepare_cached(
                "INSERT OR REPLACE INTO minutes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?;
            for (key, new) in rows {
                let (at, backend, model, route) = (key.at, &*key.backend, &*key.model, &*key.route);
                let known = find.query_row(params![at, backend, model, route], read).optional()?;
                let mut tally = known.map_or_else(Tally::default, |(_, tally)| tally);
                tally.merge(new);
                put.execute(params![
                    at,
                    backend,
                    model,
                    route,
                    json(&tally.outcomes),
                    json(&tally.latency.counts),
                    tally.latency.seconds,
                    json(&tally.first_token.counts),
                    tally.first_token.seconds,
                    json(&tally.tokens),
                    tally.pins.cast_signed(),
                ])?;
            }
            let mut put = transaction.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for (at, backend, note) in events {
                put.execute(params![at, &**backend, note.model.as_deref(), note.event, note.state, note.text])?;
            }
        }
        transaction.commit()
    }

    /// Reads back.
    pub(super) fn ask(&self, ask: &Ask) -> rusqlite::Result<Answer> {
        let mut gathering = Gathering::new(ask);
        let mut rows = self.0.prepare_cached(
            "SELECT * FROM minutes WHERE at >= :from AND at < :to
             AND (:backend IS NULL OR backend = :backend) AND (:model IS NULL OR model = :model)",
        )?;
        let asked = named_params! {":from": ask.from, ":to": ask.to, ":backend": ask.backend, ":model": ask.model};
        let mut rows = rows.query(asked)?;
        while let Some(row) = rows.next()? {
            let (key, tally) = read(row)?;
            gathering.add(key, &tally);
        }
        let mut events = self.0.prepare_cached(
            "SELECT at, backend, model, event, state, text FROM events WHERE at >= :from AND at < :to
             AND (:backend IS NULL OR backend = :backend) AND (:model IS NULL OR model IS NULL OR model = :model)
             ORDER BY rowid DESC LIMIT :most",
        )?;
        let asked = named_params! {
            ":from": ask.from, ":to": ask.to, ":backend": ask.backend, ":model": ask.model, ":most": EVENTS,
        };
        let events = events.query_map(asked, |row| {
            Ok(Event {
                at: rfc3339(row.get(0)?),
                backend: row.get(1)?,
                model: row.get(2)?,
                event: row.get(3)?,
                state: row.get(4)?,
                text: row.get(5)?,
            })
        })?;
        let mut events = events.collect::<rusqlite::Result<Vec<_>>>()?;
        events.reverse();
        Ok(gathering.answer(events))
    }

    /// Deletes everything before this moment, seconds since the epoch.
    pub(super) fn forget(&self, before: i64) -> rusqlite::Result<()> {
        self.0.execute("DELETE FROM minutes WHERE at < ?1", [before])?;
        self.0.execute("DELETE FROM events WHERE at < ?1", [before])?;
        Ok(())
    }

    /// Lets the file grow to so many pages and no further.
    #[cfg(test)]
    pub(super) fn limit(&self, pages: u32) -> rusqlite::Result<()> {
        self.0.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    }
}

/// A row of `minutes`. A cell that somebody else wrote something strange into reads as empty.
fn read(row: &Row<'_>) -> rusqlite::Result<(Key, Tally)> {
    let text = |name: &str| row.get::<_, String>(name);
    let key = Key {
        at: row.get("at")?,
        backend: text("backend")?.into(),
        model: text("model")?.into(),
        route: text("route")?.into(),
    };
    let mut tally = Tally::default();
    let outcomes: BTreeMap<String, u64> = serde_json::from_str(&text("outcomes")?).unwrap_or_default();
    tally.outcomes = outcomes.into_iter().map(|(outcome, count)| (Cow::Owned(outcome), count)).collect();
    let fill = |snapshot: &mut Snapshot, counts: &str, seconds: f64| {
        let counts: Vec<u64> = serde_json::from_str(counts).unwrap_or_default();
        if counts.len() == snapshot.counts.len() {
            (snapshot.counts, snapshot.seconds) = (counts, seconds);
        }
    };
    fill(&mut tally.latency, &text("latency")?, row.get("latency_s")?);
    fill(&mut tally.first_token, &text("first_token")?, row.get("first_token_s")?);
    tally.tokens = serde_json::from_str(&text("tokens")?).unwrap_or_default();
    tally.pins = row.get::<_, i64>("pins")?.max(0) as u64;
    Ok((key, tally))
}

/// Plain numbers and words always serialise.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tempfile::tempdir;

    use super::*;

    fn rows(at: i64, backend: &str, successes: u64) -> HashMap<Key, Tally> {
        let key = Key { at, backend: backend.into(), model: "m".into(), route: Cow::Borrowed("least_loaded") };
        let mut tally = Tally { tokens: [10, 5, 2, 1], pins: 1, ..Tally::default() };
        tally.outcomes.insert(Cow::Borrowed("success"), successes);
        for _ in 0..successes {
            tally.latency.add(Duration::from_millis(30));
        }
        HashMap::from([(key, tally)])
    }

    fn everything() -> Ask {
        Ask { backend: None, model: None, from: 0, to: 1_000_000, step: 60 }
    }

    #[test]
    fn batches_of_the_same_minute_add_up_across_processes() {
        let dir = tempdir().expect("a directory");
        let path = dir.path().join("made/on/the/way/history.db");
        for _ in 0..3 {
            let mut store = Store::open(Some(&path)).expect("it opens");
            store.write(&rows(60, "a", 2), &[]).expect("it writes");
        }
        let answer = Store::open(Some(&path)).expect("it opens").ask(&everything()).expect("it reads");
        assert_eq!(answer.points.len(), 1, "{answer:?}");
        let point = &answer.points[0];
        assert_eq!((point.attempts, point.success, point.pins, point.tokens_in), (6, 6, 3, 30));
        assert_eq!(point.latency_counts.iter().sum::<u64>(), 6);
        assert!(point.latency_ms.quantiles.p50.is_some_and(|p50| (20.0..=40.0).contains(&p50)), "{point:?}");
    }

    #[test]
    fn steps_gather_minutes_and_questions_narrow_them_down() {
        let mut store = Store::open(None).expect("it opens");
        for (at, backend) in [(0, "a"), (60, "a"), (120, "a"), (120, "b")] {
            store.write(&rows(at, backend, 1), &[]).expect("it writes");
        }
        let ask = |backend: &str| Ask { backend: Some(backend.to_owned()), step: 120, ..everything() };
        let of = |ask: &Ask| {
            let answer = store.ask(ask).expect("it reads");
            answer.points.iter().map(|point| (point.at.clone(), point.success)).collect::<Vec<_>>()
        };
        let text = |at: &str| format!("1970-01-01T00:0{at}:00Z");
        assert_eq!(of(&ask("a")), [(text("0"), 2), (text("2"), 1)]);
        assert_eq!(of(&ask("b")), [(text("2"), 1)]);
        assert_eq!(of(&Ask { from: 120, ..everything() }).len(), 2);
        store.forget(120).expect("it deletes");
        assert_eq!(of(&ask("a")), [(text("2"), 1)]);
    }

    #[test]
    fn a_full_disk_fails_a_whole_batch_and_harms_nothing_before() {
        let dir = tempdir().expect("a directory");
        let path = dir.path().join("history.db");
        let mut store = Store::open(Some(&path)).expect("it opens");
        store.write(&rows(0, "a", 1), &[]).expect("it writes");
        store.limit(12).expect("a limit");
        let many: HashMap<_, _> = (0..1000).flat_map(|n| rows(n * 60, "b", 1)).collect();
        assert!(store.write(&many, &[]).is_err());
        let answer = store.ask(&everything()).expect("it reads");
        assert_eq!(answer.points.iter().map(|point| &*point.backend).collect::<Vec<_>>(), ["a"]);
        let sound: String = store.0.pragma_query_value(None, "integrity_check", |row| row.get(0)).expect("it checks");
        assert_eq!(sound, "ok");
    }

    #[test]
    fn the_file_of_another_version_is_left_alone() {
        let dir = tempdir().expect("a directory");
        let path = dir.path().join("history.db");
        Connection::open(&path).and_then(|c| c.pragma_update(None, "user_version", 7)).expect("a file");
        let refused = Store::open(Some(&path)).expect_err("another version").to_string();
        assert!(refused.contains("version 7"), "{refused}");
        let tables: i64 = Connection::open(&path)
            .and_then(|c| c.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)))
            .expect("it reads");
        assert_eq!(tables, 0);
    }

    #[test]
    fn events_are_told_in_order_and_of_one_backend_if_asked_so() {
        let mut store = Store::open(None).expect("it opens");
        let note = |state| {
            Arc::new(Note { at: Duration::ZERO, model: Some("m".into()), event: "gate", state, text: "why".into() })
        };
        store
            .write(&HashMap::new(), &[(60, "a".into(), note("open")), (61, "b".into(), note("open"))])
            .and_then(|()| store.write(&HashMap::new(), &[(62, "a".into(), note("half_open"))]))
            .expect("it writes");
        let answer = store.ask(&Ask { backend: Some("a".into()), ..everything() }).expect("it reads");
        let told: Vec<_> = answer.events.iter().map(|event| (event.state.as_str(), event.text.as_str())).collect();
        assert_eq!(told, [("open", "why"), ("half_open", "why")]);
    }
}
