//! Owns what a watch looks like: a table in place, lines for pipes, the summary.

use std::{io, time::SystemTime};

use super::{SHOWN, Watched};
use crate::cli::{
    check::tinted,
    table::{or_dash, spark, table, width},
    try_say,
    words::Lang,
};

/// How the watch is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// One table that stays in place, on a terminal.
    Live,
    /// A line a check, for pipes and logs.
    Lines,
    /// One table, for `--once`.
    Table,
}

pub(super) fn shown(watched: &[Watched], lang: Lang, show: Show) -> io::Result<()> {
    let text = match show {
        Show::Lines => lines(watched, lang),
        Show::Table => rows(watched, lang),
        // Home, the table, and what an earlier, longer one has left below it.
        Show::Live => format!("\x1b[H\x1b[2J{}", rows(watched, lang)),
    };
    try_say(text)
}

fn rows(watched: &[Watched], lang: Lang) -> String {
    let rows: Vec<Vec<String>> = watched
        .iter()
        .map(|one| {
            vec![
                one.aim.name(),
                one.state(lang).to_owned(),
                one.success(),
                or_dash(one.recent.last().map(|time| format!("{time:.2} s"))),
                format!("{:<SHOWN$}", spark(&one.recent)),
                one.says.clone(),
            ]
        })
        .collect();
    let head = [lang.backend(), lang.state(), lang.success(), lang.time(), lang.latency(), lang.says()];
    tinted(&table(&head, &rows, width()), lang)
}

/// One line a backend, each with its time.
fn lines(watched: &[Watched], lang: Lang) -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let line = |one: &Watched| {
        let time = one.recent.last().copied().unwrap_or_default();
        format!("{now}  {}  {}  {}  {time:.2} s  {}", one.aim.name(), one.state(lang), one.success(), one.says)
    };
    watched.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What the whole watch came to; times are those of good answers.
pub(super) fn summary(watched: &[Watched], lang: Lang) -> String {
    let rows: Vec<Vec<String>> = watched
        .iter()
        .map(|one| {
            let time = |value: f64| or_dash((one.good > 0).then(|| format!("{value:.2} s")));
            let mean = one.sum / f64::from(one.good.max(1));
            vec![one.aim.name(), one.state(lang).to_owned(), one.success(), time(one.min), time(mean), time(one.max)]
        })
        .collect();
    let head = [lang.backend(), lang.state(), lang.success(), lang.min(), lang.mean(), lang.max()];
    tinted(&table(&head, &rows, width()), lang)
}
