//! Owns `greenroom history`: what the database remembers, as a table, a small plot, CSV or JSON.

use std::{collections::BTreeMap, process::ExitCode, time::UNIX_EPOCH};

use actix_web::http::Method;
use clap::Args;
use serde_json::Value;

use super::{
    answer::Verdict,
    client::{Client, Server, escaped, run_work},
    say,
    table::{or_dash, spark, table, width},
    words::Lang,
};

/// Attempts, failures, times and tokens of the past
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  greenroom history --from 6h --step 10m --backend openai_official")]
pub(super) struct History {
    #[command(flatten)]
    server: Server,
    /// Only this backend
    #[arg(long)]
    backend: Option<String>,
    /// Only this model
    #[arg(long)]
    model: Option<String>,
    /// Begin: RFC 3339, Unix seconds, or how long ago, such as 6h
    #[arg(long, default_value = "1h")]
    from: String,
    /// End, in the same forms; now, if left out
    #[arg(long)]
    to: Option<String>,
    /// Length of one step; if left out a minute, or in the plot as long as a bar takes
    #[arg(long)]
    step: Option<String>,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Most bars of a plot.
const BARS: u64 = 60;

/// Seconds of an hour.
const HOUR: u64 = 3600;

/// A step that ends with everything there is.
const LONGEST: &str = "100y";

/// Columns of the CSV, as the answer names them.
const COLUMNS: [&str; 10] =
    ["at", "backend", "model", "attempts", "success", "caller_fault", "failure", "cancelled", "let_go", "rescued"];

pub(super) fn run(history: &History) -> ExitCode {
    run_work(async {
        let client = Client::new(&history.server, Lang::En);
        let ask = async |from: &str, to: Option<&str>, step: Option<&str>| {
            let mut query = format!("from={}", escaped(from));
            let (backend, model) = (history.backend.as_deref(), history.model.as_deref());
            for (name, value) in [("to", to), ("step", step), ("backend", backend), ("model", model)] {
                if let Some(value) = value {
                    query.extend(["&", name, "=", &escaped(value)]);
                }
            }
            client.admin(Method::GET, &format!("/admin/history?{query}")).await
        };
        let steps = async || ask(&history.from, history.to.as_deref(), history.step.as_deref()).await;
        if history.json {
            say(format_args!("{:#}", steps().await?));
        } else if history.csv {
            say(csv(&steps().await?).trim_end());
        } else {
            // Medians do not add up: that of all steps is that of one as long as all.
            let whole = ask(&history.from, history.to.as_deref(), Some(LONGEST)).await?;
            let to = cell(&whole["to"]);
            let step = history.step.clone().unwrap_or_else(|| format!("{}s", bar(&whole)));
            let answer = ask(&history.from, Some(&to), Some(&step)).await?;
            // Steps of hours may begin earlier, with an hour.
            let begins_alike = answer["from"] == whole["from"];
            let whole =
                if begins_alike { whole } else { ask(&cell(&answer["from"]), Some(&to), Some(LONGEST)).await? };
            say(overview(&answer, &whole));
        }
        Ok(Verdict::Well)
    })
}

fn points(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["points"].as_array().into_iter().flatten()
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn csv(answer: &Value) -> String {
    let quoted = |text: String| {
        if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    };
    let mut out = COLUMNS.join(",");
    out.push('\n');
    for point in points(answer) {
        let row: Vec<String> = COLUMNS.iter().map(|column| quoted(cell(&point[column]))).collect();
        out.push_str(&row.join(","));
        out.push('\n');
    }
    out
}

/// A moment, seconds since the epoch.
fn at(moment: &Value) -> Option<u64> {
    let moment = humantime::parse_rfc3339(moment.as_str()?).ok()?;
    moment.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Seconds that a bar stands for, where the time of an answer fills a line.
fn bar(answer: &Value) -> u64 {
    let time = at(&answer["to"]).zip(at(&answer["from"])).map_or(0, |(to, from)| to.saturating_sub(from));
    let bar = time.div_ceil(BARS).max(1);
    // Greenroom answers whole hours fastest. The answer may then begin up to an hour earlier.
    if bar < HOUR { bar } else { (time + HOUR).div_ceil(BARS).next_multiple_of(HOUR) }
}

/// Attempts from the first step to the last, as bars; a blank where there were none.
fn plot(answer: &Value, points: &[&Value]) -> String {
    let (Some(from), Some(to)) = (at(&answer["from"]), at(&answer["to"])) else { return String::new() };
    let step = answer["step_s"].as_u64().unwrap_or(1).max(1);
    // Several steps to a bar, where there are more than a line takes.
    let steps = to.saturating_sub(from).div_ceil(step).max(1);
    let each = step * steps.div_ceil(BARS);
    let mut bars = vec![0.0; (steps * step).div_ceil(each) as usize];
    for point in points {
        let place = at(&point["at"]).and_then(|at| bars.get_mut((at.checked_sub(from)? / each) as usize));
        if let (Some(bar), Some(attempts)) = (place, point["attempts"].as_f64()) {
            *bar += attempts;
        }
    }
    let drawn = spark(&bars);
    drawn.chars().zip(&bars).map(|(bar, attempts)| if *attempts > 0.0 { bar } else { ' ' }).collect()
}

/// One line a backend and model: sums, the median latency as `whole` tells it, in one step, and attempts over time.
fn overview(answer: &Value, whole: &Value) -> String {
    let lane = |point: &Value| (cell(&point["backend"]), cell(&point["model"]));
    let mut lanes: BTreeMap<(String, String), Vec<&Value>> = BTreeMap::new();
    for point in points(answer) {
        lanes.entry(lane(point)).or_default().push(point);
    }
    let medians: BTreeMap<_, _> =
        points(whole).filter_map(|point| Some((lane(point), point["latency_ms"]["p50"].as_f64()?))).collect();
    if lanes.is_empty() {
        return format!("nothing happened between {} and {}", cell(&answer["from"]), cell(&answer["to"]));
    }
    let rows: Vec<Vec<String>> = lanes
        .iter()
        .map(|(lane, points)| {
            let sum = |name: &str| points.iter().filter_map(|p| p[name].as_u64()).sum::<u64>();
            vec![
                lane.0.clone(),
                lane.1.clone(),
                sum("attempts").to_string(),
                sum("success").to_string(),
                sum("failure").to_string(),
                or_dash(medians.get(lane).map(|ms| format!("{ms:.0} ms"))),
                plot(answer, points),
            ]
        })
        .collect();
    let mut out = table(&["BACKEND", "MODEL", "ATTEMPTS", "SUCCESS", "FAILED", "P50", "OVER TIME"], &rows, width());
    for event in answer["events"].as_array().into_iter().flatten() {
        // Some concern a backend as a whole, and no model.
        let cells = ["at", "backend", "model", "text"].map(|name| cell(&event[name]));
        let told: Vec<String> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
        out.extend(["\n", &told.join("  ")]);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An answer for ten minutes, with a point for each of these: minute, attempts, and the median of them.
    fn answer(minutes: &[(usize, u64, f64)]) -> Value {
        let point = |(minute, attempts, median): &(usize, u64, f64)| {
            json!({
                "at": format!("2026-01-01T00:{minute:02}:00Z"), "backend": "a", "model": "m", "attempts": attempts,
                "success": attempts, "latency_ms": {"p50": median},
            })
        };
        json!({
            "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:10:00Z", "step_s": 60,
            "points": minutes.iter().map(point).collect::<Vec<_>>(), "events": [],
        })
    }

    #[test]
    fn the_median_is_that_of_all_steps_and_not_of_the_busiest() {
        let found = answer(&[(1, 1, 900.0), (2, 1, 901.0), (9, 5, 7.0)]);
        let text = overview(&found, &answer(&[(0, 7, 412.4)]));
        assert!(text.contains(" 412 ms "), "{text}");
        assert!(overview(&found, &answer(&[])).contains(" -  "), "{text}");
    }

    #[test]
    fn steps_without_attempts_are_gaps_in_the_plot() {
        let found = answer(&[(1, 1, 1.0), (2, 8, 1.0), (7, 8, 1.0)]);
        assert_eq!(plot(&found, &points(&found).collect::<Vec<_>>()), " ▂█    █  ");
    }

    #[test]
    fn a_long_time_is_drawn_in_as_many_bars_as_a_line_takes() {
        let mut found = answer(&[(0, 1, 1.0), (9, 1, 1.0)]);
        found["to"] = json!("2026-01-02T00:00:00Z");
        let plot = plot(&found, &points(&found).collect::<Vec<_>>());
        assert!(plot.starts_with("█ ") && plot.chars().count() == 60, "{plot:?}");
    }

    #[test]
    fn a_bar_stands_for_as_long_as_lets_all_of_them_fill_a_line() {
        let mut found = answer(&[]);
        assert_eq!(bar(&found), 10);
        found["to"] = json!("2026-01-01T00:10:01Z");
        assert_eq!(bar(&found), 11);
        for (to, hours) in [("03T11:00:00", 1), ("03T12:00:00", 2), ("08T00:00:00", 3), ("31T00:00:00", 13)] {
            found["to"] = json!(format!("2026-01-{to}Z"));
            assert_eq!(bar(&found).div_ceil(HOUR), hours, "{to}");
            assert!(hours == 1 || bar(&found).is_multiple_of(HOUR), "{to}");
        }
        found["to"] = found["from"].clone();
        assert_eq!(bar(&found), 1);
    }
}
