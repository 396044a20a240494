//! `folkmoot-client`: a silo's daemon as a program of its own.

use std::process::ExitCode;

use clap::Parser;

/// Takes part in a federated training run with a silo's own data, which never leaves it.
#[derive(Parser)]
#[command(name = "folkmoot-client", version)]
struct Command {
    #[command(flatten)]
    args: client::Args,
}

fn main() -> ExitCode {
    client::main_with(Command::parse().args, None)
}
