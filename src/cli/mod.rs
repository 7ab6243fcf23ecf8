//! Owns the command line: one file a subcommand.

mod aim;
mod answer;
mod benchmark;
mod check;
mod client;
mod compare;
mod completions;
mod diagnose;
mod hash_token;
mod history;
mod monitor;
mod question;
mod serve;
mod table;
mod validate;
mod words;

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::settings;

/// Exit code for bad settings (`EX_USAGE` of sysexits.h).
pub const BAD_SETTINGS: u8 = 64;
/// Exit code of `serve` if only key files of backends cannot be used (`EX_TEMPFAIL` of sysexits.h): they may come a moment later.
pub const NO_KEYS_YET: u8 = 75;

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
    #[command(after_help = "Example:\n  greenroom validate settings/example.toml")]
    Validate {
        /// The file
        file: PathBuf,
        /// The settings in force: tells what a reload would change
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
    /// Print the JSON Schema of settings files, for editors
    #[command(after_help = "Example:\n  greenroom schema > settings/greenroom.schema.json\n\n\
                            An editor that knows TOML, such as one with Taplo, then completes and checks a settings file that begins with\n  \
                            #:schema ./greenroom.schema.json")]
    Schema,
    Check(check::Check),
    Monitor(monitor::Monitor),
    Benchmark(benchmark::Benchmark),
    Compare(compare::Compare),
    Diagnose(diagnose::Diagnose),
    History(history::History),
    /// Print the completions script of a shell
    #[command(after_help = "Example:\n  eval \"$(greenroom completions bash)\"")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Read a token from standard input and print the digest for `token_sha256`
    #[command(after_help = "Example:\n  printf %s \"your-token\" | greenroom hash-token")]
    HashToken,
}

/// Runs the subcommand.
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Serve(serve) => serve::run(&serve),
        Command::Validate { file, against } => validate::run(&file, against.as_deref()),
        Command::Schema => {
            say(format_args!("{:#}", settings::schema()));
            ExitCode::SUCCESS
        }
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
fn complain(text: impl Display) {
    // Where standard error is gone, nobody is left to tell.
    let _ = writeln!(io::stderr(), "greenroom: {text}");
}

/// Says something to the person at the terminal, on standard output.
fn say(text: impl Display) {
    // A reader that has heard enough, such as `head`, is no fault of ours.
    let _ = try_say(text);
}

/// As `say`, for who has to know whether anybody still listens.
fn try_say(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}
