//! Owns `greenroom benchmark`: several rounds to each backend, and what they took.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use clap::Args;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    aim::{Aim, Whom},
    answer::{Answer, Verdict},
    client::{Client, Server, run_work},
    question::Question,
    say,
    table::{first_words, or_dash, quantile, table, width},
    words::Lang,
};

/// Several rounds to each backend: success rate, times, tokens per second
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  greenroom benchmark --rounds 3 --backends openai_official anthropic_claude")]
pub(super) struct Benchmark {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    whom: Whom,
    /// Requests to each backend
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Requests under way at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: u32,
    /// Stream the answers, and measure the first token
    #[arg(long)]
    streaming: bool,
    /// Language
    #[arg(long)]
    lang: Option<Lang>,
}

/// Answers of this length tell something of a backend's speed and still cost little.
const TOKENS: u32 = 50;

pub(super) fn run(benchmark: &Benchmark) -> ExitCode {
    run_work(async {
        let lang = Lang::chosen(benchmark.lang);
        let client = Client::new(&benchmark.server, lang);
        let aims = client.aims(&benchmark.whom).await?;
        let question = Question {
            prompt: "Count from one to twenty in words.".to_owned(),
            max_tokens: TOKENS,
            stream: benchmark.streaming,
        };
        let bar = progress(u64::from(benchmark.rounds) * aims.len() as u64);
        // Round by round, so that a passing disturbance hits all alike.
        let asks = (0..benchmark.rounds).flat_map(|_| aims.iter());
        let answers: Vec<Answer> = stream::iter(asks)
            .map(|aim| async {
                let answer = client.ask(aim, &question).await;
                bar.inc(1);
                answer
            })
            .buffer_unordered(benchmark.concurrency as usize)
            .collect()
            .await;
        bar.finish_and_clear();
        say(summary(&aims, &answers, lang));
        Ok(Verdict::on(&answers))
    })
}

fn progress(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn summary(aims: &[Aim], answers: &[Answer], lang: Lang) -> String {
    let of = |aim: &Aim| -> Vec<&Answer> { answers.iter().filter(|a| a.backend == aim.backend).collect() };
    let times = |aim: &Aim| -> Vec<f64> { of(aim).iter().filter(|a| a.healthy).map(|a| a.seconds).collect() };
    let mean = |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let means: Vec<Option<f64>> = aims.iter().map(|aim| mean(&times(aim))).collect();
    // A backend with any failure is never called the fastest.
    let sound = |aim: &&Aim| of(aim).iter().all(|answer| answer.healthy);
    let best = aims.iter().zip(&means).filter(|(aim, _)| sound(aim)).filter_map(|(_, mean)| *mean).reduce(f64::min);
    let seconds = |value: Option<f64>| or_dash(value.map(|value| format!("{value:.3}")));
    let rows: Vec<Vec<String>> = aims
        .iter()
        .zip(&means)
        .map(|(aim, average)| {
            let (all, times) = (of(aim), times(aim));
            let first: Vec<f64> = all.iter().filter_map(|a| a.first_token_seconds).collect();
            let speed: Vec<f64> = all.iter().filter_map(|a| a.tokens_per_second).collect();
            let is_best = sound(&aim) && average.is_some() && *average == best;
            vec![
                aim.backend.clone(),
                format!("{}/{}", times.len(), all.len()),
                seconds(quantile(&times, 0.0)),
                seconds(*average),
                seconds(quantile(&times, 0.5)),
                seconds(quantile(&times, 0.95)),
                seconds(quantile(&times, 1.0)),
                seconds(mean(&first)),
                or_dash(mean(&speed).map(|speed| format!("{speed:.0}"))),
                if is_best { lang.fastest().to_owned() } else { String::new() },
            ]
        })
        .collect();
    let head = [
        lang.backend(),
        lang.success(),
        lang.min(),
        lang.mean(),
        "P50",
        "P95",
        lang.max(),
        lang.first_token(),
        lang.speed(),
        "",
    ];
    let mut text = table(&head, &rows, width());
    for aim in aims {
        if let Some(error) = of(aim).iter().find_map(|answer| answer.error.as_ref()) {
            text.extend(["\n", &aim.backend, ": ", &first_words(error, 200)]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_time_is_told_of_any_number_of_rounds() {
        let aims = [Aim::of("one", "m")];
        for rounds in [1, 3, 20_001] {
            let answers: Vec<Answer> = (0..rounds).map(|n| Answer::healthy_after(2.0 + f64::from(n))).collect();
            let text = summary(&aims, &answers, Lang::En);
            let row = text.lines().find(|line| line.starts_with("one ")).unwrap_or_default();
            assert_eq!(row.split_whitespace().nth(2), Some("2.000"), "{rounds} rounds: {text}");
        }
    }
}
