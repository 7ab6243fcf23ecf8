//! Owns `greenroom compare`: one question to several backends at once, answers side by side.

use std::process::ExitCode;

use clap::Args;
use futures_util::future::join_all;

use super::{
    aim::Whom,
    answer::{Answer, Verdict},
    client::{Client, Server, run_work},
    question::Question,
    say,
    table::{columns, or_dash, table, width},
    words::Lang,
};

/// Ask several backends the same question, answers side by side
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  greenroom compare --prompt \"What is 2+2?\" --backends openai_official google_gemini"
)]
pub(super) struct Compare {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    whom: Whom,
    /// The question
    #[arg(long, default_value = "What is 2+2?")]
    prompt: String,
    /// Longest answer, tokens
    #[arg(long, default_value_t = 500)]
    max_tokens: u32,
    /// Stream the answers, and measure the first token
    #[arg(long)]
    stream: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(compare: &Compare) -> ExitCode {
    run_work(async {
        let client = Client::new(&compare.server, Lang::En);
        let aims = client.aims(&compare.whom).await?;
        let question =
            Question { prompt: compare.prompt.clone(), max_tokens: compare.max_tokens, stream: compare.stream };
        let answers = join_all(aims.iter().map(async |aim| {
            let answer = client.ask(aim, &question).await;
            Answer { cost_usd: client.cost(&answer).await, ..answer }
        }));
        let answers = answers.await;
        if compare.json {
            say(serde_json::to_string_pretty(&answers).map_err(|error| error.to_string())?);
            return Ok(Verdict::on(&answers));
        }
        let parts: Vec<(String, String)> = answers
            .iter()
            .map(|answer| (answer.backend.clone(), answer.error.clone().unwrap_or_else(|| answer.text.clone())))
            .collect();
        say(columns(&parts, width()));
        let rows: Vec<Vec<String>> = answers
            .iter()
            .map(|answer| {
                vec![
                    answer.backend.clone(),
                    format!("{:.2} s", answer.seconds),
                    or_dash(answer.first_token_seconds.map(|first| format!("{first:.2} s"))),
                    or_dash(answer.tokens_per_second.map(|speed| format!("{speed:.0}"))),
                    or_dash(answer.cost_usd.map(|cost| format!("${cost}"))),
                    or_dash(answer.finish_reason.clone()),
                    or_dash(answer.served_by.clone()),
                ]
            })
            .collect();
        say(table(&["BACKEND", "TIME", "FIRST TOKEN", "TOKENS/S", "COST", "FINISH", "MODEL"], &rows, width()));
        Ok(Verdict::on(&answers))
    })
}
