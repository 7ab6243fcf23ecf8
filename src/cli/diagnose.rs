//! Owns `greenroom diagnose`: asks Greenroom to try a backend step by step, and shows where it breaks.

use std::process::ExitCode;

use actix_web::http::Method;
use clap::Args;

use super::{
    answer::Verdict,
    client::{Client, Server, escaped, run_work},
    say,
    table::{table, width},
    words::Lang,
};
use crate::backend::diagnose::LONGEST;

/// Try one backend step by step: which step fails, what the provider said, the likely fix
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  greenroom diagnose openai_official")]
pub(super) struct Diagnose {
    #[command(flatten)]
    server: Server,
    /// The backend
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(diagnose: &Diagnose) -> ExitCode {
    run_work(async {
        // A backend that hangs does so at more than one step; the diagnosis is worth the wait.
        let client = Client::new(&diagnose.server, Lang::En).patient(LONGEST);
        let path = format!("/admin/backends/{}/diagnose", escaped(&diagnose.name));
        let found = client.admin(Method::POST, &path).await?;
        let steps = found["steps"].as_array().cloned().unwrap_or_default();
        let well = !steps.is_empty() && steps.iter().all(|step| step["outcome"] != "failed");
        if diagnose.json {
            say(format_args!("{found:#}"));
            return Ok(Verdict::of(well));
        }
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let rows: Vec<Vec<String>> = steps
            .iter()
            .map(|step| {
                let time = step["ms"].as_f64().map_or_else(String::new, |ms| format!("{ms:.0} ms"));
                vec![text(&step["step"]), text(&step["outcome"]), time, text(&step["said"])]
            })
            .collect();
        say(table(&["STEP", "OUTCOME", "TIME", "SAID"], &rows, width()));
        for step in steps.iter().filter(|step| step["fix"].is_string()) {
            say(format_args!("likely fix for {}: {}", text(&step["step"]), text(&step["fix"])));
        }
        Ok(Verdict::of(well))
    })
}
