//! Owns `greenroom history`: what the database remembers, as a table, a small plot, CSV or JSON.

use std::{collections::BTreeMap, process::ExitCode};

use actix_web::http::Method;
use clap::Args;
use serde_json::Value;

use super::{
    client::{Client, Server, run as run_work},
    say,
    table::{spark, table, width},
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
    /// Begin: RFC 3339, Unix seconds, or so long ago, such as 6h
    #[arg(long, default_value = "1h")]
    from: String,
    /// End, in the same forms; now, if left out
    #[arg(long)]
    to: Option<String>,
    /// Length of one step
    #[arg(long, default_value = "1m")]
    step: String,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Columns of the CSV, as the answer names them.
const COLUMNS: [&str; 8] = ["at", "backend", "model", "attempts", "success", "caller_fault", "failure", "cancelled"];

pub(super) fn run(history: &History) -> ExitCode {
    run_work(async {
        let mut query = format!("from={}&step={}", escaped(&history.from), escaped(&history.step));
        for (name, value) in [("to", &history.to), ("backend", &history.backend), ("model", &history.model)] {
            if let Some(value) = value {
                query.extend(["&", name, "=", &escaped(value)]);
            }
        }
        let client = Client::new(&history.server);
        let answer = client.admin(Method::GET, &format!("/admin/history?{query}")).await?;
        if history.json {
            say(format_args!("{answer:#}"));
        } else if history.csv {
            say(csv(&answer).trim_end());
        } else {
            say(overview(&answer).trim_end());
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Percent-encodes all but what every query may carry.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
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

/// One line a backend and model: sums, the median latency, and attempts over time.
fn overview(answer: &Value) -> String {
    let mut lanes: BTreeMap<(String, String), Vec<&Value>> = BTreeMap::new();
    for point in points(answer) {
        lanes.entry((cell(&point["backend"]), cell(&point["model"]))).or_default().push(point);
    }
    if lanes.is_empty() {
        return format!("nothing happened between {} and {}\n", cell(&answer["from"]), cell(&answer["to"]));
    }
    let rows: Vec<Vec<String>> = lanes
        .iter()
        .map(|((backend, model), points)| {
            let sum = |name: &str| points.iter().filter_map(|p| p[name].as_u64()).sum::<u64>();
            let busiest = points.iter().max_by_key(|p| p["attempts"].as_u64());
            let p50 = busiest.and_then(|p| p["latency_ms"]["p50"].as_f64());
            let plot: Vec<f64> = points.iter().filter_map(|p| p["attempts"].as_f64()).collect();
            vec![
                backend.clone(),
                model.clone(),
                sum("attempts").to_string(),
                sum("success").to_string(),
                sum("failure").to_string(),
                p50.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms")),
                spark(&plot),
            ]
        })
        .collect();
    let mut out = table(&["BACKEND", "MODEL", "ATTEMPTS", "SUCCESS", "FAILED", "P50", "OVER TIME"], &rows, width());
    for event in answer["events"].as_array().into_iter().flatten() {
        out.push_str(&[cell(&event["at"]), cell(&event["backend"]), cell(&event["text"])].join("  "));
        out.push('\n');
    }
    out
}
