//! Owns `greenroom check`: one short pinned request to each backend, side by side.

use std::process::ExitCode;

use clap::Args;
use futures_util::future::join_all;

use super::{
    aim::Whom,
    answer::{Answer, Verdict},
    client::{Client, Server, run_work},
    question::Question,
    say,
    table::{first_words, or_dash, table, tint, width},
    words::Lang,
};

/// Ask each backend for a few tokens; exit code 0 only if all are healthy and each model has one
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  greenroom check --backends openai_official anthropic_claude --streaming")]
pub(super) struct Check {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    whom: Whom,
    /// Stream the answers, and measure the first token
    #[arg(long)]
    streaming: bool,
    /// One after the other rather than all at once
    #[arg(long)]
    serial: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Language
    #[arg(long)]
    lang: Option<Lang>,
}

/// The question of a health check: few tokens, since each one is paid for.
pub(super) fn ping(stream: bool) -> Question {
    Question { prompt: "Say hello.".to_owned(), max_tokens: 5, stream }
}

pub(super) fn run(check: &Check) -> ExitCode {
    run_work(async {
        let lang = Lang::chosen(check.lang);
        let client = Client::new(&check.server, lang);
        let aims = client.aims(&check.whom).await?;
        let question = ping(check.streaming);
        let mut answers: Vec<Answer> = if check.serial {
            let mut answers = Vec::new();
            for aim in &aims {
                answers.push(client.ask(aim, &question).await);
            }
            answers
        } else {
            join_all(aims.iter().map(|aim| client.ask(aim, &question))).await
        };
        // Asked last: what a question has shown counts.
        answers.extend(client.unserved(&check.whom).await.unwrap_or_default());
        let healthy = answers.iter().filter(|answer| answer.healthy).count();
        if check.json {
            say(serde_json::to_string_pretty(&answers).map_err(|error| error.to_string())?);
        } else {
            let table = rows(&answers, lang);
            say(&table);
            for cause in causes(&answers, &table) {
                say(cause);
            }
            say(format_args!("{healthy} {} {} {}", lang.of(), answers.len(), lang.are_healthy()));
            if answers.iter().any(|answer| answer.verdict() == Verdict::Fails) {
                say(lang.why_one_fails());
            }
        }
        Ok(Verdict::on(&answers))
    })
}

/// The answers as a table.
pub(super) fn rows(answers: &[Answer], lang: Lang) -> String {
    let rows: Vec<Vec<String>> = answers
        .iter()
        .map(|answer| {
            let state = if answer.healthy { lang.healthy() } else { lang.failing() };
            vec![
                answer.aim().name(),
                state.to_owned(),
                or_dash(answer.status.map(|status| status.to_string())),
                format!("{:.2} s", answer.seconds),
                or_dash(answer.first_token_seconds.map(|first| format!("{first:.2} s"))),
                first_words(answer.error.as_ref().unwrap_or(&answer.text), 200),
            ]
        })
        .collect();
    let head = [lang.backend(), lang.state(), lang.status(), lang.time(), lang.first_token(), lang.says()];
    tinted(&table(&head, &rows, width()), lang)
}

/// The errors for which a table on a narrow terminal has no room, one a line.
fn causes<'a>(answers: &'a [Answer], table: &'a str) -> impl Iterator<Item = String> + 'a {
    let whole = |answer: &'a Answer| {
        let error = first_words(answer.error.as_ref()?, usize::MAX);
        (!table.contains(&error)).then(|| format!("{}: {error}", answer.aim().name()))
    };
    answers.iter().filter_map(whole)
}

/// A table with its states coloured: last of all, since escape sequences have no width.
pub(super) fn tinted(text: &str, lang: Lang) -> String {
    text.replace(&format!("  {}  ", lang.failing()), &format!("  {}  ", tint(lang.failing(), false)))
        .replace(&format!("  {}  ", lang.healthy()), &format!("  {}  ", tint(lang.healthy(), true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_the_table_cuts_stands_whole_below_it() {
        let error = "upstream_error: The backend failed: it answered 500 (server_error).";
        let failing = Answer { healthy: false, error: Some(error.to_owned()), ..Answer::healthy_after(0.1) };
        let answers = [failing, Answer::healthy_after(0.1)];
        let below = |says: &str| causes(&answers, &format!("one  failing  502  {says}\n")).collect::<Vec<_>>();
        assert_eq!(below("upstream_error: The…"), [format!("one: {error}")]);
        assert_eq!(below(error), [""; 0]);
    }
}
