//! Owns the command line: one file a subcommand.

mod benchmark;
mod check;
mod client;
mod compare;
mod completions;
mod diagnose;
mod hash_token;
mod history;
mod monitor;
mod serve;
mod table;
mod validate;
mod words;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Exit code for bad settings (`EX_USAGE` of sysexits.h).
pub const BAD_SETTINGS: u8 = 64;

/// One address in front of many LLM backends.
#[derive(Debug, Parser)]
#[command(name = "greenroom", version, about, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    Serve(serve::Serve),
    /// Check a settings file; exits 64 if it cannot be used
    Validate {
        /// The file
        file: PathBuf,
        /// The settings in force: tells what a reload would change
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
    Check(check::Check),
    Monitor(monitor::Monitor),
    Benchmark(benchmark::Benchmark),
    Compare(compare::Compare),
    Diagnose(diagnose::Diagnose),
    History(history::History),
    /// Print the completions script of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Read a token from standard input and print the digest for `token_sha256`
    HashToken,
}

/// Runs the subcommand.
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Serve(serve) => serve::run(&serve),
        Command::Validate { file, against } => validate::run(&file, against.as_deref()),
        Command::Check(check) => check::run(&check),
        Command::Monitor(monitor) => monitor::run(&monitor),
        Command::Benchmark(benchmark) => benchmark::run(&benchmark),
        Command::Compare(compare) => compare::run(&compare),
        Command::Diagnose(diagnose) => diagnose::run(&diagnose),
        Command::History(history) => history::run(&history),
        Command::Completions { shell } => completions::run(shell),
        Command::HashToken => hash_token::run(),
    }
}

/// Says something to the person at the terminal, on standard error.
#[expect(clippy::print_stderr, reason = "this is the program speaking to its user")]
fn complain(text: impl std::fmt::Display) {
    eprintln!("greenroom: {text}");
}

/// Says something to the person at the terminal, on standard output.
#[expect(clippy::print_stdout, reason = "this is the program speaking to its user")]
fn say(text: impl std::fmt::Display) {
    println!("{text}");
}
