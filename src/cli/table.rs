//! Owns tables, colours and small plots that fit a terminal.

use std::io::{self, IsTerminal};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Width where the output is no terminal: room for an error's whole sentence in a log.
const USUAL_WIDTH: usize = 160;

/// Blanks between two columns of a table.
const GAP: usize = 2;

/// A table's last column gets at least this, where its cells need it.
const LAST_COLUMN: usize = 12;

/// No other column of a table gets narrower than this.
const NARROWEST: usize = 6;

/// Blanks between texts side by side.
const COLUMN_GAP: usize = 3;

/// Texts narrower than this are hard to read.
const COLUMN: usize = 16;

/// Columns of the terminal, or the usual width where the output is none.
pub(super) fn width() -> usize {
    terminal_size::terminal_size_of(io::stdout()).map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0))
}

/// Whether colours may be used: on a terminal, and not against `NO_COLOR`.
pub(super) fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `text` in green or red, where colours may be used.
pub(super) fn tint(text: &str, good: bool) -> String {
    if !coloured() {
        return text.to_owned();
    }
    format!("\x1b[{}m{text}\x1b[0m", if good { 32 } else { 31 })
}

/// Rows under a head, in aligned columns that fit `width`: the last one takes what is left, and where that is too little
/// the widest of the others give way.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], width: usize) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(&head).chain(rows).map(|row| row.iter().map(|cell| visible(cell)).collect()).collect();
    let mut widths = vec![0; head.len()];
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = cell.width().max(*widest);
        }
    }
    let Some((last, fixed)) = widths.split_last_mut() else { return String::new() };
    let least = (*last).min(LAST_COLUMN);
    while fixed.iter().map(|n| n + GAP).sum::<usize>() + least > width {
        match fixed.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    *last = width.saturating_sub(fixed.iter().map(|n| n + GAP).sum()).max(least);
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, room)| padded(&clip(cell, *room), *room)).collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What is shown, or that there is nothing.
pub(super) fn or_dash(shown: Option<String>) -> String {
    shown.unwrap_or_else(|| "-".to_owned())
}

/// `text` without what would command a terminal: a backend's words are not to move a cursor or name a window.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The first words of a text, on one line.
pub(super) fn first_words(text: &str, most: usize) -> String {
    let line = visible(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    if line.chars().count() <= most {
        return line;
    }
    line.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn padded(text: &str, room: usize) -> String {
    format!("{text}{}", " ".repeat(room.saturating_sub(text.width())))
}

/// At most `room` columns of `text`.
fn clip(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let (mut out, mut taken) = (String::new(), 0);
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken + 1 > room {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// Texts side by side under their names, wrapped to columns that fit `width`; below each other where they do not.
pub(super) fn columns(parts: &[(String, String)], width: usize) -> String {
    let abreast = ((width + COLUMN_GAP) / (COLUMN + COLUMN_GAP)).clamp(1, parts.len().max(1));
    let each = (width.saturating_sub(COLUMN_GAP * (abreast - 1)) / abreast).max(1);
    let mut out = String::new();
    for parts in parts.chunks(abreast) {
        let wrapped: Vec<Vec<String>> = parts.iter().map(|(_, text)| wrap(text, each)).collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        let mut lines: Vec<Vec<String>> = vec![parts.iter().map(|(name, _)| clip(&visible(name), each)).collect()];
        lines.push(lines[0].iter().map(|name| "─".repeat(name.width())).collect());
        for n in 0..height {
            lines.push(wrapped.iter().map(|column| column.get(n).cloned().unwrap_or_default()).collect());
        }
        for line in lines {
            let cells: Vec<String> = line.iter().map(|cell| padded(cell, each)).collect();
            out.push_str(cells.join(&" ".repeat(COLUMN_GAP)).trim_end());
            out.push('\n');
        }
        out.push('\n');
    }
    out.pop();
    out
}

fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in visible(&paragraph.replace('\t', " ")).split_whitespace() {
            for piece in pieces(word, room) {
                if !line.is_empty() && line.width() + 1 + piece.width() > room {
                    lines.push(std::mem::take(&mut line));
                }
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(&piece);
            }
        }
        lines.push(line);
    }
    lines
}

/// A word that is longer than a line, cut into lines: Chinese has no blanks to break at.
fn pieces(word: &str, room: usize) -> Vec<String> {
    let (mut pieces, mut piece, mut taken) = (Vec::new(), String::new(), 0);
    for c in word.chars() {
        let wide = c.width().unwrap_or(0);
        if taken + wide > room && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
            taken = 0;
        }
        piece.push(c);
        taken += wide;
    }
    pieces.push(piece);
    pieces
}

/// Values as a row of bars, lowest to highest.
pub(super) fn spark(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| if most > 0.0 { BARS[((value / most * 7.0).round() as usize).min(7)] } else { BARS[0] };
    values.iter().map(bar).collect()
}

/// The quantile `q` of measured values; `None` without any.
pub(super) fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_one_is_clipped() {
        let rows = vec![
            vec!["a".to_owned(), "好".to_owned(), "x".repeat(50)],
            vec!["long".to_owned(), "b".to_owned(), String::new()],
        ];
        let text = table(&["n", "c", "t"], &rows, 32);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "n     c   t");
        assert!(lines[1].starts_with("a     好  xxx") && lines[1].ends_with('…'));
        assert!(lines.iter().all(|line| line.width() <= 32));
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.5), Some(2.0));
        assert_eq!(quantile(&values, 0.95), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_table_fits_a_narrow_terminal() {
        let rows = vec![vec!["a-rather-long-name".to_owned(), "好".repeat(9), "healthy".to_owned(), "x".repeat(50)]];
        for width in 40..90 {
            let text = table(&["BACKEND", "SAYS", "STATE", "MORE"], &rows, width);
            assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
        }
    }

    #[test]
    fn texts_stand_side_by_side_within_the_width_and_lose_nothing() {
        let long = "没有空格的中文".repeat(6);
        let parts =
            [("one", "alpha beta gamma delta"), ("two", long.as_str()), ("three", "https://example.com/a/b/c/d/e")];
        let parts = parts.map(|(name, text)| (name.to_owned(), text.to_owned()));
        for width in [16, 30, 57, 120] {
            let text = columns(&parts, width);
            assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
            assert_eq!(text.chars().filter(|c| *c == '中').count(), 6, "{width}:\n{text}");
            assert!(parts.iter().all(|(name, _)| text.contains(name)) && !text.contains('…'), "{width}:\n{text}");
        }
    }

    #[test]
    fn a_backends_words_do_not_command_the_terminal() {
        let evil = "a\x1b[2Jb\x07c".to_owned();
        let shown = table(&["n", "t"], &[vec![evil.clone(), evil.clone()]], 80) + &columns(&[(evil.clone(), evil)], 80);
        assert!(!shown.contains(['\x1b', '\x07']), "{shown:?}");
        assert_eq!(shown.matches("[2Jb").count(), 4);
    }
}
