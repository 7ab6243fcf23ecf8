//! Owns which parts of a question are read from rows by the hour, and which from rows by the minute (pure).

use std::ops::Range;

use super::messages::Ask;

/// Seconds of an hour.
pub const HOUR: i64 = 3600;

/// A time that is read from one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Portion {
    /// By the hour.
    pub(super) is_hours: bool,
    /// Seconds since the epoch.
    pub(super) time: Range<i64>,
}

/// The time of a question, in order. An hour is read by the hour if it lies within one step and before `until`, the end
/// of the rows by the hour.
pub(super) fn portions(ask: &Ask, until: Option<i64>) -> Vec<Portion> {
    let mut portions: Vec<Portion> = Vec::new();
    let mut add = |is_hours: bool, time: Range<i64>| match portions.last_mut() {
        Some(last) if last.is_hours == is_hours => last.time.end = time.end,
        _ if time.is_empty() => {}
        _ => portions.push(Portion { is_hours, time }),
    };
    let first = ((ask.from + HOUR - 1).div_euclid(HOUR) * HOUR).min(ask.to);
    add(false, ask.from..first);
    let whole = ask.to.min(until.unwrap_or(first));
    let step = |at: i64| (at - ask.from).div_euclid(ask.step);
    for at in (first..ask.to).step_by(HOUR as usize) {
        let end = at + HOUR;
        add(end <= whole && step(at) == step(end - 1), at..end.min(ask.to));
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(from: i64, to: i64, step: i64, until: Option<i64>) -> Vec<(bool, Range<i64>)> {
        let ask = Ask { backend: None, model: None, from, to, step };
        portions(&ask, until).into_iter().map(|portion| (portion.is_hours, portion.time)).collect()
    }

    const DAY: i64 = 24 * HOUR;

    #[test]
    fn what_begins_and_ends_amid_an_hour_is_read_by_the_minute_there_and_by_the_hour_between() {
        let parts = [(false, 60..HOUR), (true, HOUR..DAY), (false, DAY..DAY + 120)];
        assert_eq!(of(60, DAY + 120, DAY, Some(9 * DAY)), parts);
        assert_eq!(of(0, DAY, HOUR, Some(DAY)), [(true, 0..DAY)]);
        assert_eq!(of(60, 120, 60, Some(DAY)), [(false, 60..120)]);
    }

    #[test]
    fn an_hour_that_two_steps_share_and_what_has_no_hours_yet_are_read_by_the_minute() {
        let parts = [(true, 0..HOUR), (false, HOUR..2 * HOUR), (true, 2 * HOUR..3 * HOUR)];
        assert_eq!(of(0, 3 * HOUR, 90 * 60, Some(DAY)), parts);
        assert_eq!(of(0, 3 * HOUR, 60, Some(DAY)), [(false, 0..3 * HOUR)]);
        assert_eq!(of(0, 3 * HOUR, HOUR, Some(HOUR)), [(true, 0..HOUR), (false, HOUR..3 * HOUR)]);
        for none in [Some(0), None] {
            assert_eq!(of(0, 3 * HOUR, HOUR, none), [(false, 0..3 * HOUR)]);
        }
    }
}
