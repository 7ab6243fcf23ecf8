//! Owns the tables of the history's database, and their version.

/// Version of the tables. A file of an earlier one is brought up to it, and one of a later is left alone.
pub(super) const VERSION: i64 = 5;

/// Makes a table of rows.
macro_rules! rows {
    ($table:literal) => {
        concat!(
            "CREATE TABLE IF NOT EXISTS ",
            $table,
            " (
                at INTEGER NOT NULL,            -- start of the minute, or hour, seconds since the epoch
                backend TEXT NOT NULL,
                model TEXT NOT NULL,
                route TEXT NOT NULL,
                outcomes TEXT NOT NULL,         -- JSON: attempts by outcome
                latency TEXT NOT NULL,          -- JSON: place, count and sum of each part of a bucket; once: counts per bucket
                latency_s REAL NOT NULL,        -- their sum, seconds
                first_token TEXT NOT NULL,
                first_token_s REAL NOT NULL,
                tokens TEXT NOT NULL,           -- JSON: input, output, cached, reasoning
                pins INTEGER NOT NULL,
                cost INTEGER,                   -- nanodollars; null where nothing had a price
                rescued INTEGER NOT NULL DEFAULT 0,
                PRIMARY KEY (at, backend, model, route)
            ) WITHOUT ROWID;"
        )
    };
}

/// Makes the table of users' days.
macro_rules! days {
    () => {
        "CREATE TABLE IF NOT EXISTS days (
            user TEXT NOT NULL,
            dimension TEXT NOT NULL,            -- the limit's key
            size INTEGER NOT NULL,              -- tokens, or nanodollars
            used_ms INTEGER NOT NULL,           -- time from then until all of it is there again
            at INTEGER NOT NULL,                -- then, seconds since the epoch
            PRIMARY KEY (user, dimension)
        ) WITHOUT ROWID;"
    };
}

/// What makes tables of the first version those of the second, and so on.
pub(super) const STEPS: [&str; VERSION as usize - 1] = [
    "ALTER TABLE minutes ADD COLUMN cost INTEGER",
    "ALTER TABLE minutes ADD COLUMN rescued INTEGER NOT NULL DEFAULT 0",
    // Those of what is in the file already come one with each batch.
    rows!("hours"),
    days!(),
];

/// Makes them where they are not there yet. `hours` has the rows of `minutes` once more, added up, of hours that are over: those
/// of a month are some ten thousand and not some million.
pub(super) const TABLES: &str = concat!(
    rows!("minutes"),
    rows!("hours"),
    days!(),
    "CREATE TABLE IF NOT EXISTS events (
        at INTEGER NOT NULL,
        backend TEXT NOT NULL,
        model TEXT,
        event TEXT NOT NULL,
        state TEXT NOT NULL,
        text TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS events_at ON events (at);"
);
