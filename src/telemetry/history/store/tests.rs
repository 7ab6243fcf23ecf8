//! Owns the tests of the database: what is written is read back, whoever wrote it.

use std::sync::Arc;

use tempfile::tempdir;

use super::*;
use crate::telemetry::history::answer::Point;

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
    assert!(point.latency_ms.quantiles.p50 == Some(30.0), "{point:?}");
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

/// What a store says that has no hours of what it has written.
fn by_the_minute(store: &Store, ask: &Ask) -> Vec<(String, u64, u64, u64, Vec<u64>)> {
    let hours = "CREATE TABLE aside AS SELECT * FROM hours; DELETE FROM hours";
    store.0.execute_batch(hours).expect("a stranger writes");
    let told = points(store, ask);
    store.0.execute_batch("INSERT INTO hours SELECT * FROM aside; DROP TABLE aside").expect("and puts them back");
    told
}

fn points(store: &Store, ask: &Ask) -> Vec<(String, u64, u64, u64, Vec<u64>)> {
    let point = |point: Point| (point.at, point.success, point.pins, point.tokens_in, point.latency_counts);
    store.ask(ask).expect("it reads").points.into_iter().map(point).collect()
}

#[test]
fn hours_say_what_their_minutes_say_whatever_is_asked() {
    let mut store = Store::open(None).expect("it opens");
    // Not in order: much comes after its hour has been added up.
    for n in (0..200).map(|n| n * 37 % 200) {
        store
            .write(&rows(n * 11 * 60, if n % 3 == 0 { "a" } else { "b" }, 1 + n.cast_unsigned() % 3), &[])
            .expect("it writes");
    }
    for from in [0, 60, HOUR, 5 * HOUR - 60, 7 * HOUR + 120] {
        for to in [8 * HOUR, 9 * HOUR + 60, 35 * HOUR - 60, 40 * HOUR] {
            for step in [60, 3000, HOUR, 90 * 60, 3 * HOUR, 24 * HOUR, 10_000 * HOUR] {
                let ask = Ask { from, to, step, ..everything() };
                assert_eq!(points(&store, &ask), by_the_minute(&store, &ask), "{ask:?}");
            }
        }
    }
}

#[test]
fn a_long_question_is_answered_from_hours_and_these_are_forgotten_in_time() {
    let mut store = Store::open(None).expect("it opens");
    (0..48).for_each(|n| store.write(&rows(n * 1800, "a", 1), &[]).expect("it writes"));
    // The last hour is not over, and is written to once.
    assert_eq!(hours_end(&store.0), Ok(Some(23 * HOUR)));
    store.0.execute("DELETE FROM minutes WHERE at < ?1", [23 * HOUR]).expect("a stranger writes");
    let ask = Ask { to: 24 * HOUR, step: 24 * HOUR, ..everything() };
    assert_eq!(points(&store, &ask)[0].1, 48);
    let first = |store: &Store| store.0.query_row("SELECT min(at) FROM hours", [], |row| row.get::<_, i64>(0));
    for (before, left) in [(12 * HOUR, 12), (12 * HOUR + 1800, 12), (13 * HOUR, 13)] {
        store.forget(before).expect("it deletes");
        assert_eq!(first(&store), Ok(left * HOUR));
    }
    assert_eq!(points(&store, &ask)[0].1, 22);
}

#[test]
fn a_file_from_before_there_were_hours_gets_them_one_by_one() {
    let mut store = Store::open(None).expect("it opens");
    for hour in 0..4 {
        store.write(&rows(hour * HOUR, "a", 1), &[]).expect("it writes");
    }
    store.0.execute("DELETE FROM hours", []).expect("as it was");
    let ask = Ask { to: 24 * HOUR, step: HOUR, ..everything() };
    for hours in 1..=3 {
        store.write(&rows(3 * HOUR, "a", 1), &[]).expect("it writes");
        assert_eq!(hours_end(&store.0), Ok(Some(hours * HOUR)));
        let told: Vec<_> = points(&store, &ask).iter().map(|point| point.1).collect();
        assert_eq!(told, [1, 1, 1, 1 + hours.cast_unsigned()]);
    }
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
fn a_file_that_is_up_to_date_is_opened_without_a_write_since_what_is_on_a_full_disk_can_still_be_read() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    drop(Store::open(Some(&path)).expect("it is made"));
    // As long as somebody has it open, its log of writes is kept.
    let witness = Connection::open(&path).expect("it opens");
    let tables = |file: &Connection| file.query_row("SELECT count(*) FROM minutes", [], |row| row.get::<_, i64>(0));
    assert_eq!(tables(&witness), Ok(0));
    let written = || std::fs::metadata(dir.path().join("history.db-wal")).expect("a log of writes").len();
    let mut store = Store::open(Some(&path)).expect("it opens again");
    assert_eq!((written(), store.ask(&everything()).expect("it reads").points.len()), (0, 0));
    store.write(&HashMap::new(), &[]).expect("it writes");
    assert!(written() > 0, "a batch of nothing tells whether anything can be written");
}

#[test]
fn a_file_of_any_version_before_keeps_its_rows_and_takes_costs_and_rescues() {
    for version in 1..VERSION {
        upgraded(version);
    }
}

fn upgraded(version: i64) {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    // As Greenroom wrote it before there were prices.
    let before = "
        CREATE TABLE minutes (at INTEGER NOT NULL, backend TEXT NOT NULL, model TEXT NOT NULL, route TEXT NOT NULL,
            outcomes TEXT NOT NULL, latency TEXT NOT NULL, latency_s REAL NOT NULL, first_token TEXT NOT NULL,
            first_token_s REAL NOT NULL, tokens TEXT NOT NULL, pins INTEGER NOT NULL,
            PRIMARY KEY (at, backend, model, route)) WITHOUT ROWID;
        CREATE TABLE events (at INTEGER NOT NULL, backend TEXT NOT NULL, model TEXT, event TEXT NOT NULL,
            state TEXT NOT NULL, text TEXT NOT NULL);
        INSERT INTO minutes VALUES (60, 'a', 'm', 'least_loaded', '{\"success\":3}', '[]', 0, '[]', 0, '[1,2,3,4]', 1);";
    let then = STEPS[..version as usize - 1].join(";");
    let before = format!("{before} {then}; PRAGMA user_version = {version};");
    Connection::open(&path).and_then(|file| file.execute_batch(&before)).expect("a file");
    let told = |store: &Store| {
        let answer = store.ask(&everything()).expect("it reads");
        let point = |point: &Point| (point.attempts, point.tokens_in, point.cost_usd, point.rescued);
        answer.points.iter().map(point).collect::<Vec<_>>()
    };
    assert_eq!(told(&Store::open(Some(&path)).expect("it opens")), [(3, 1, None, 0)]);
    let mut store = Store::open(Some(&path)).expect("it opens again");
    for (at, backend) in [(60, "a"), (60, "a"), (120, "b")] {
        let mut rows = rows(at, backend, 1);
        for tally in rows.values_mut() {
            (tally.cost, tally.rescued) = (Some(Money(7)), 1);
        }
        store.write(&rows, &[]).expect("it writes");
    }
    assert_eq!(told(&store), [(5, 21, Some(Money(14)), 2), (1, 10, Some(Money(7)), 1)]);
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
fn rows_of_whole_buckets_as_they_once_were_are_read_and_added_to() {
    let mut store = Store::open(None).expect("it opens");
    let row = "INSERT INTO minutes VALUES (60, 'a', 'm', 'least_loaded', '{\"success\": 2}',
               '[0,2,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]', 0.03, 'strange', 0.0, '[1,2,3,4]', 0, NULL, 0)";
    store.0.execute(row, []).expect("it writes");
    let told = |store: &Store| store.ask(&everything()).expect("it reads").points.remove(0);
    let latency = |point: &Point| (point.latency_ms.mean, point.latency_ms.quantiles.p99, point.latency_counts[1]);
    assert_eq!(latency(&told(&store)), (Some(15.0), Some(15.0), 2));
    store.write(&rows(60, "a", 2), &[]).expect("it writes");
    let point = told(&store);
    assert_eq!((point.success, latency(&point)), (4, (Some(22.5), Some(30.0), 2)), "{point:?}");
    assert_eq!(point.first_token_ms.mean, None);
}

#[test]
fn a_cell_of_another_kind_reads_as_empty_and_fails_neither_a_question_nor_a_batch() {
    for cell in
        ["outcomes", "latency", "latency_s", "first_token", "first_token_s", "tokens", "pins", "cost", "rescued"]
    {
        let mut store = Store::open(None).expect("it opens");
        store.write(&rows(60, "a", 2), &[]).expect("it writes");
        store.0.execute(&format!("UPDATE minutes SET {cell} = x'ff'"), []).expect("a stranger writes");
        assert_eq!(store.ask(&everything()).expect("it reads").points.len(), 1, "{cell}");
        store.write(&rows(60, "a", 2), &[]).expect("it writes again");
        let point = store.ask(&everything()).expect("it reads").points.remove(0);
        assert_eq!(point.success, if cell == "outcomes" { 2 } else { 4 }, "{cell}");
    }
    let mut store = Store::open(None).expect("it opens");
    store.write(&rows(60, "a", 2), &[]).expect("it writes");
    store.0.execute("UPDATE minutes SET pins = -1, cost = -1, rescued = -1", []).expect("a stranger writes");
    let point = store.ask(&everything()).expect("it reads").points.remove(0);
    assert_eq!((point.pins, point.cost_usd, point.rescued), (0, Some(Money(0)), 0));
    let note = Note { at: Duration::ZERO, model: Some("m".into()), event: "gate", state: "open", text: "why".into() };
    store.write(&HashMap::new(), &[(60, "a".into(), Arc::new(note))]).expect("it writes");
    store.0.execute("UPDATE events SET text = x'ff', model = x'ff'", []).expect("a stranger writes");
    let event = store.ask(&everything()).expect("it reads").events.remove(0);
    assert_eq!((event.state.as_str(), event.text.as_str(), event.model), ("open", "", None));
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

#[test]
fn an_answer_of_events_alone_is_not_told_as_empty() {
    let mut store = Store::open(None).expect("it opens");
    let is_empty = |store: &Store| store.ask(&everything()).expect("it reads").told().is_empty;
    assert!(is_empty(&store));
    let note = Note { at: Duration::ZERO, model: None, event: "gate", state: "open", text: "why".into() };
    store.write(&HashMap::new(), &[(60, "a".into(), Arc::new(note))]).expect("it writes");
    assert!(!is_empty(&store));
}
