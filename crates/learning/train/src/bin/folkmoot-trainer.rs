//! `folkmoot-trainer`: what a silo's daemon starts to read its data and to train on it.

use std::process::ExitCode;

use clap::Parser;

/// Reads a silo's data and trains on it, without network and without keys. A silo's daemon starts it: there is nothing to start by hand.
#[derive(Parser)]
#[command(name = "folkmoot-trainer", version)]
struct Command {
    #[command(flatten)]
    args: trainer::program::Args,
}

fn main() -> ExitCode {
    trainer::program::main_with(&Command::parse().args, &train::trainers())
}
