//! Owns `GET /admin/history`: a question about the past, checked, and put to the Recorder.

use std::time::{Duration, UNIX_EPOCH};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::{
    admin::{allowed, is_known, never_heard_of},
    json, shared,
};
use crate::{
    clock,
    error::Error,
    telemetry::history::{
        History,
        answer::{POINTS, Told},
        messages::{Ask, Untold},
        portions::HOUR,
        tally::MINUTE,
    },
};

/// The longest wait for an answer; one that spans months takes time.
const PATIENCE: Duration = Duration::from_secs(30);

/// The furthest that a moment may lie ahead, seconds.
const YEAR: i64 = 366 * 86400;

/// The question as it comes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    backend: Option<String>,
    model: Option<String>,
    from: Option<String>,
    to: Option<String>,
    step: Option<String>,
}

/// Counts, quantiles and events between two moments.
pub(super) async fn history(request: HttpRequest) -> HttpResponse {
    json(&request, async {
        allowed(&request)?;
        let off = || Error::NotFound("History is off; set history.enabled = true to keep it.".to_owned());
        let history = shared(&request).history.as_ref().ok_or_else(off)?;
        let wanted = web::Query::<Wanted>::from_query(request.query_string())
            .map_err(|error| invalid("query", &format!("{error}. Known are backend, model, from, to and step")))?;
        let now = clock::unix_at(clock::now());
        let ask = question(wanted.into_inner(), now)?;
        let answer = put(history, ask.clone()).await?;
        if let (true, Some(name)) = (answer.is_empty, ask.backend)
            && !is_known(&request, &name)
        {
            // A backend that was removed may be known from another time.
            let ever = Ask { backend: Some(name.clone()), model: None, from: 0, to: now + YEAR, step: now + YEAR };
            if put(history, ever).await?.is_empty {
                return Err(never_heard_of(&name));
            }
        }
        Ok(answer.json)
    })
    .await
}

/// Asks the Recorder.
async fn put(history: &History, ask: Ask) -> Result<Told, Error> {
    history.ask(ask, PATIENCE).await.map_err(|untold| match untold {
        Untold::TooMuch => {
            let why = format!(
                "would give more than {POINTS} points; make it longer, or narrow 'backend', 'model' or the time"
            );
            invalid("step", &why)
        }
        Untold::Unreadable(why) => {
            log::error!("history cannot be read: {why}");
            Error::HistoryUnavailable(format!(
                "History cannot be read now: {why}. See history.path in the settings, and the log."
            ))
        }
    })
}

/// Turns text into moments of whole minutes; the last minute includes everything up to now. Several steps of whole hours begin
/// with an hour, as their rows do, unless the beginning is named as a moment.
fn question(wanted: Wanted, now: i64) -> Result<Ask, Error> {
    let step = match &wanted.step {
        None => MINUTE,
        Some(text) => seconds(text).ok_or_else(|| invalid("step", "must be a duration such as 5m or 1h"))?,
    };
    let step = step.max(1).saturating_add(MINUTE - 1) / MINUTE * MINUTE;
    let moment = |name: &str, text: &Option<String>, default: i64| match text {
        None => Ok(default),
        Some(text) => moment(text, now).ok_or_else(|| {
            invalid(
                name,
                "must be RFC 3339, Unix seconds, or a duration before now such as 6h, from 1970 to a year ahead",
            )
        }),
    };
    let to = moment("to", &wanted.to, now + 1)?.saturating_add(MINUTE - 1) / MINUTE * MINUTE;
    let from = moment("from", &wanted.from, to.saturating_sub(HOUR).max(0))?;
    let is_ago = wanted.from.as_deref().is_none_or(|from| named(from).is_none());
    let begins_with = if is_ago && step % HOUR == 0 && step < to - from { HOUR } else { MINUTE };
    let from = from / begins_with * begins_with;
    if from >= to {
        return Err(invalid("from", "must be before 'to'"));
    }
    Ok(Ask { backend: wanted.backend, model: wanted.model, from, to, step })
}

/// A duration, or bare seconds.
fn seconds(text: &str) -> Option<i64> {
    let bare = text.parse().ok();
    bare.or_else(|| humantime::parse_duration(text).ok()?.as_secs().try_into().ok()).filter(|seconds| *seconds >= 0)
}

/// RFC 3339, seconds since the epoch; `humantime` knows no offsets from UTC. In a query a '+' that is not escaped reads as a
/// blank.
fn date(text: &str) -> Option<i64> {
    let utc = |text: &str| {
        let at = humantime::parse_rfc3339_weak(text).ok()?;
        i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
    };
    let text = text.to_ascii_uppercase();
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (sign, time) = offset.split_at_checked(1)?;
    // Without an offset, what was split off is the end of the time itself.
    if !matches!(sign, "+" | "-" | " ") {
        return utc(&text);
    }
    let (hours, minutes) = time.split_once(':')?;
    let number = |text: &str, below: i64| text.parse().ok().filter(|n| text.len() == 2 && (0..below).contains(n));
    let ahead = 60 * (60 * number(hours, 24)? + number(minutes, 60)?);
    let at = utc(local).filter(|_| !local.ends_with('Z'))?;
    if sign == "-" { at.checked_add(ahead) } else { at.checked_sub(ahead) }
}

/// A moment by its own name: RFC 3339, or bare Unix seconds.
fn named(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| date(text))
}

/// A moment by its name, or by how long ago it was; seconds since the epoch, from then to a year from now.
fn moment(text: &str, now: i64) -> Option<i64> {
    let at = match named(text) {
        Some(at) => at,
        None => now.checked_sub(seconds(text)?)?,
    };
    (0..=now + YEAR).contains(&at).then_some(at)
}

fn invalid(param: &str, why: &str) -> Error {
    Error::invalid(param, format!("'{param}' {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_030;

    fn wanted(from: &str, to: &str, step: &str) -> Wanted {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Wanted { from: some(from), to: some(to), step: some(step), ..Wanted::default() }
    }

    #[test]
    fn the_last_hour_by_the_minute_is_what_one_gets_unasked() {
        let ask = question(Wanted::default(), NOW).expect("a good question");
        assert_eq!((ask.from, ask.to, ask.step), (1_699_996_440, 1_700_000_040, 60));
    }

    #[test]
    fn steps_of_hours_begin_with_an_hour_unless_there_is_only_one() {
        let from = |from: &str, step: &str| question(wanted(from, "", step), NOW).expect("a good question").from;
        assert_eq!([from("24h", "1h"), from("24h", "3h")], [1_699_912_800; 2]);
        assert_eq!([from("24h", "90m"), from("24h", "2d"), from("24h", "100y")], [1_699_913_580; 3]);
        // A day of a zone that is half an hour beside the hour.
        assert_eq!([from("2023-11-13T00:00:00+05:30", "12h"), from("1699813800", "12h")], [1_699_813_800; 2]);
    }

    #[test]
    fn a_moment_is_a_date_a_number_or_how_long_ago() {
        for from in [
            "2023-11-14T21:00:00Z",
            "2023-11-14 21:00:00",
            "2023-11-14T23:00:00+02:00",
            "2023-11-14T23:00:00.5 02:00",
            "2023-11-14T17:30:00-03:30",
            "1699995600",
            "73m",
        ] {
            let ask = question(wanted(from, "", "90s"), NOW).expect("a good question");
            assert_eq!((ask.from, ask.step), (1_699_995_600, 120), "{from}");
        }
    }

    #[test]
    fn questions_without_sense_or_end_are_refused() {
        for from in
            ["2023-11-14T21:00:00+24:00", "2023-11-14T21:00:00+2:00", "2023-11-14T21:00:00Z+02:00", "+02:00", "é+02:00"]
        {
            assert!(question(wanted(from, "", ""), NOW).is_err(), "{from}");
        }
        for (from, to, step) in [("soon", "", ""), ("1h", "2h", ""), ("1h", "", "never"), ("-5", "", ""), ("", "0", "")]
        {
            assert!(question(wanted(from, to, step), NOW).is_err(), "{from} {to} {step}");
        }
    }

    #[test]
    fn a_moment_further_off_than_anybody_can_mean_is_refused_in_every_form_and_the_field_is_named() {
        let ages = format!("{}s", i64::MAX);
        for far in ["9999-12-31T23:00:00Z", "2030-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1900000000", "60y", &ages]
        {
            for (from, to, field) in [(far, "", "from"), ("1h", far, "to")] {
                match question(wanted(from, to, ""), NOW) {
                    Err(Error::Invalid { param, .. }) => assert_eq!(param, field, "{far}"),
                    other => panic!("{field}={far}: {other:?}"),
                }
            }
        }
    }
}
