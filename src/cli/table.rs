//! Owns tables, colours and small plots that fit a terminal.

use std::io::IsTerminal;

use unicode_width::UnicodeWidthStr;

/// Width of a terminal that does not tell.
const USUAL_WIDTH: usize = 100;

/// Columns of the terminal, or the usual width where the output is no terminal.
pub(super) fn width() -> usize {
    terminal_size::terminal_size().map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0))
}

/// Whether colours may be used: on a terminal, and not against `NO_COLOR`.
pub(super) fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `text` in green or red, where colours may be used.
pub(super) fn tint(text: &str, good: bool) -> String {
    if !coloured() {
        return text.to_owned();
    }
    format!("\x1b[{}m{text}\x1b[0m", if good { 32 } else { 31 })
}

/// Rows under a head, in aligned columns; the last column takes what is left of `width`.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], width: usize) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.width()).collect();
    for row in rows {
        for (n, cell) in row.iter().enumerate() {
            widths[n] = widths[n].max(cell.width());
        }
    }
    let mut out = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (n, cell) in row.iter().enumerate() {
            if n + 1 == row.len() {
                let room = width.saturating_sub(line.width()).max(20);
                line.push_str(&clip(cell, room));
            } else {
                line.push_str(cell);
                line.push_str(&" ".repeat(widths[n] - cell.width() + 2));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// At most `room` columns of `text`.
pub(super) fn clip(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        if out.width() + 2 > room {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// Texts side by side under their names, wrapped to columns that fit `width`.
pub(super) fn columns(parts: &[(String, String)], width: usize) -> String {
    let gap = 3;
    let each = (width.saturating_sub(gap * parts.len().saturating_sub(1)) / parts.len().max(1)).max(12);
    let wrapped: Vec<Vec<String>> = parts.iter().map(|(_, text)| wrap(text, each)).collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    let mut lines: Vec<Vec<String>> = vec![parts.iter().map(|(name, _)| clip(name, each)).collect()];
    lines.push(parts.iter().map(|(name, _)| "─".repeat(name.width().min(each))).collect());
    for n in 0..height {
        lines.push(wrapped.iter().map(|column| column.get(n).cloned().unwrap_or_default()).collect());
    }
    let mut out = String::new();
    for line in lines {
        let padded: Vec<String> =
            line.iter().map(|cell| format!("{cell}{}", " ".repeat(each - cell.width().min(each)))).collect();
        out.push_str(padded.join(&" ".repeat(gap)).trim_end());
        out.push('\n');
    }
    out
}

fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.width() + 1 + word.width() > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&clip(word, room));
        }
        lines.push(line);
    }
    lines
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
    fn texts_stand_side_by_side_within_the_width() {
        let parts = [("one".to_owned(), "alpha beta gamma delta".to_owned()), ("two".to_owned(), "x".to_owned())];
        let text = columns(&parts, 30);
        assert!(text.lines().all(|line| line.width() <= 30), "{text}");
        assert!(text.contains("one"));
    }
}
