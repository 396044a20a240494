//! `folkmoot-coordinator`: the coordinator as a program of its own.

use std::process::ExitCode;

use clap::Parser;

/// Runs one federated training run: opens rounds, sums masked updates, publishes signed checkpoints.
#[derive(Parser)]
#[command(name = "folkmoot-coordinator", version)]
struct Command {
    #[command(flatten)]
    args: coordinator::Args,
}

fn main() -> ExitCode {
    coordinator::main_with(Command::parse().args)
}
