//! The program: arguments, then the subcommand they name.

use std::process::ExitCode;

use clap::Parser;
use greenroom::cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::Arguments::parse())
}
