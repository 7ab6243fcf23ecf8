//! Owns the database: one transaction per batch, reading it back, deleting what is too old.

mod days;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    io,
    path::Path,
    time::Duration,
};

use rusqlite::{
    Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params, params, types::FromSql,
};

use super::{
    answer::{Answer, Event, Gathering},
    messages::{Ask, Untold},
    portions::{HOUR, Portion, portions},
    tables::{STEPS, TABLES, VERSION},
    tally::{Key, Tally},
};
use crate::{
    backend::{
        histogram::{FIRST_TOKEN, REQUEST},
        journal::Note,
        sketch::Sketch,
    },
    clock::timestamp,
    settings::Money,
};

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
        let mut connection = match path {
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
        // One of several processes that open it makes or changes its tables, and the others find that done.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            // Nothing is written: what is there can be read though the disk is full.
            VERSION => {}
            0 => transaction.execute_batch(TABLES)?,
            1..VERSION => STEPS[version as usize - 1..].iter().try_for_each(|step| transaction.execute_batch(step))?,
            _ => {
                let why = format!("it is of version {version}, this Greenroom writes {VERSION}");
                return Err(io::Error::other(why).into());
            }
        }
        if version != VERSION {
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
        Ok(Self(connection))
    }

    /// Writes a batch, all of it or nothing; of an empty one whether anything can be written.
    pub(super) fn write(&mut self, rows: &HashMap<Key, Tally>, events: &[Entry]) -> rusqlite::Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if rows.is_empty() && events.is_empty() {
            transaction.pragma_update(None, "user_version", VERSION)?;
        } else {
            add(&transaction, "minutes", rows)?;
            let until = hours_end(&transaction)?;
            let is_late = |key: &Key| until.is_some_and(|until| key.at < until);
            add(&transaction, "hours", &by_the_hour(rows.iter().filter(|(key, _)| is_late(key))))?;
            add_up(&transaction, until)?;
            let mut put = transaction.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for (at, backend, note) in events {
                put.execute(params![at, &**backend, note.model.as_deref(), note.event, note.state, note.text])?;
            }
        }
        transaction.commit()
    }

    /// Reads back, up to so many points as go into one answer.
    pub(super) fn ask(&self, ask: &Ask) -> Result<Answer, Untold> {
        let mut gathering = Gathering::new(ask);
        for Portion { is_hours, time } in portions(ask, hours_end(&self.0)?) {
            let mut rows = self.0.prepare_cached(&format!(
                "SELECT * FROM {} WHERE at >= :from AND at < :to
                 AND (:backend IS NULL OR backend = :backend) AND (:model IS NULL OR model = :model)",
                if is_hours { "hours" } else { "minutes" }
            ))?;
            let asked =
                named_params! {":from": time.start, ":to": time.end, ":backend": ask.backend, ":model": ask.model};
            let mut rows = rows.query(asked)?;
            while let Some(row) = rows.next()? {
                let (key, tally) = read(row)?;
                gathering.add(key, &tally)?;
            }
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
                at: timestamp(row.get("at")?),
                backend: cell(row, "backend"),
                model: cell(row, "model"),
                event: cell(row, "event"),
                state: cell(row, "state"),
                text: cell(row, "text"),
            })
        })?;
        let mut events = events.collect::<rusqlite::Result<Vec<_>>>()?;
        events.reverse();
        Ok(gathering.answer(events))
    }

    /// Deletes everything before this moment, seconds since the epoch.
    pub(super) fn forget(&self, before: i64) -> rusqlite::Result<()> {
        self.0.execute("DELETE FROM minutes WHERE at < ?1", [before])?;
        self.0.execute("DELETE FROM hours WHERE at <= ?1", [before.saturating_sub(HOUR)])?;
        self.0.execute("DELETE FROM events WHERE at < ?1", [before])?;
        // A user that is still there has one until nothing of it is used any more, however short a time is remembered.
        self.0.execute("DELETE FROM days WHERE at + used_ms / 1000 < ?1", [before])?;
        Ok(())
    }

    /// Lets the file grow to so many pages and no further.
    #[cfg(test)]
    pub(super) fn limit(&self, pages: u32) -> rusqlite::Result<()> {
        self.0.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    }
}

/// Adds rows to what a table has of the same time, backend, model and route.
fn add(transaction: &Transaction<'_>, table: &str, rows: &HashMap<Key, Tally>) -> rusqlite::Result<()> {
    let mut find = transaction.prepare_cached(&format!(
        "SELECT * FROM {table} WHERE at = ?1 AND backend = ?2 AND model = ?3 AND route = ?4"
    ))?;
    let mut put = transaction.prepare_cached(&format!(
        "INSERT OR REPLACE INTO {table} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
    ))?;
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
            json(&tally.latency.parts()),
            tally.latency.seconds(),
            json(&tally.first_token.parts()),
            tally.first_token.seconds(),
            json(&tally.tokens),
            tally.pins.cast_signed(),
            tally.cost.map(|cost| i64::try_from(cost.0).unwrap_or(i64::MAX)),
            tally.rescued.cast_signed(),
        ])?;
    }
    Ok(())
}

/// The end of the last hour that has been added up; all before it have been, and what comes late is added to both tables.
fn hours_end(file: &Connection) -> rusqlite::Result<Option<i64>> {
    let last: Option<i64> = file.query_row("SELECT max(at) FROM hours", [], |row| row.get(0))?;
    Ok(last.map(|at| at + HOUR))
}

/// Adds up the next hour, if it is over: one for each batch, since of an earlier Greenroom's file none has been.
fn add_up(transaction: &Transaction<'_>, until: Option<i64>) -> rusqlite::Result<()> {
    let ends = "SELECT (SELECT min(at) FROM minutes WHERE at >= ?1), (SELECT max(at) FROM minutes)";
    let (next, last): (Option<i64>, Option<i64>) =
        transaction.query_row(ends, [until.unwrap_or(i64::MIN)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(hour) = next.map(hour_of).filter(|hour| last >= Some(hour + HOUR)) else { return Ok(()) };
    let mut minutes = transaction.prepare_cached("SELECT * FROM minutes WHERE at >= ?1 AND at < ?2")?;
    let minutes = minutes.query_map([hour, hour + HOUR], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    add(transaction, "hours", &by_the_hour(minutes.iter().map(|(key, tally)| (key, tally))))
}

fn hour_of(at: i64) -> i64 {
    at.div_euclid(HOUR) * HOUR
}

/// Rows of minutes, added up.
fn by_the_hour<'a>(minutes: impl Iterator<Item = (&'a Key, &'a Tally)>) -> HashMap<Key, Tally> {
    let mut hours: HashMap<Key, Tally> = HashMap::new();
    for (key, tally) in minutes {
        let key = Key { at: hour_of(key.at), ..key.clone() };
        hours.entry(key).or_default().merge(tally);
    }
    hours
}

/// A row of `minutes` or `hours`. A cell that somebody else wrote something strange into reads as empty.
fn read(row: &Row<'_>) -> rusqlite::Result<(Key, Tally)> {
    let text = |name| cell::<String>(row, name);
    let key = Key {
        at: row.get("at")?,
        backend: text("backend").into(),
        model: text("model").into(),
        route: text("route").into(),
    };
    let mut tally = Tally::default();
    let outcomes: BTreeMap<String, u64> = serde_json::from_str(&text("outcomes")).unwrap_or_default();
    tally.outcomes = outcomes.into_iter().map(|(outcome, count)| (Cow::Owned(outcome), count)).collect();
    tally.latency = sketch(REQUEST, &text("latency"), cell(row, "latency_s"));
    tally.first_token = sketch(FIRST_TOKEN, &text("first_token"), cell(row, "first_token_s"));
    tally.tokens = serde_json::from_str(&text("tokens")).unwrap_or_default();
    tally.pins = cell::<i64>(row, "pins").max(0) as u64;
    tally.rescued = cell::<i64>(row, "rescued").max(0) as u64;
    tally.cost = cell::<Option<i64>>(row, "cost").map(|nanos| Money(nanos.max(0) as u64));
    Ok((key, tally))
}

fn cell<T: FromSql + Default>(row: &Row<'_>, name: &str) -> T {
    row.get(name).unwrap_or_default()
}

/// Durations as they were written down, or of an earlier Greenroom the counts of whole buckets.
fn sketch(bounds: &'static [f64], cell: &str, seconds: f64) -> Sketch {
    let read = match serde_json::from_str(cell) {
        Ok(parts) => Sketch::of_parts(bounds, parts),
        Err(_) => {
            serde_json::from_str(cell).ok().and_then(|counts: Vec<u64>| Sketch::of_counts(bounds, &counts, seconds))
        }
    };
    read.unwrap_or_else(|| Sketch::empty(bounds))
}

/// Plain numbers and words always serialise.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
