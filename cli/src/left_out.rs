//! In place of the commands of the feature `trials`, where it is not built in: each says how to have it.

use std::ffi::OsString;

use clap::Subcommand;

use crate::Failure;

/// The same names as in the whole program, so that nobody takes one for a typing error.
#[derive(Subcommand, Debug)]
pub(crate) enum Trials {
    /// Measure the program on this machine (needs the feature `trials`).
    #[command(disable_help_flag = true)]
    Bench(Rest),
    /// Attack a run's models and say what that contradicts (needs the feature `trials`).
    #[command(disable_help_flag = true)]
    AuditPrivacy(Rest),
    /// Simulate whole federations under faults and lies (needs the feature `trials`).
    #[command(disable_help_flag = true)]
    Simulate(Rest),
}

/// Whatever else was given.
#[derive(clap::Args, Debug)]
pub(crate) struct Rest {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub(crate) fn run(trials: Trials) -> Result<(), Failure> {
    let (name, Rest { rest }) = match trials {
        Trials::Bench(rest) => ("bench", rest),
        Trials::AuditPrivacy(rest) => ("audit-privacy", rest),
        Trials::Simulate(rest) => ("simulate", rest),
    };
    let rest: String = rest.iter().map(|word| format!(" {}", word.to_string_lossy())).collect();
    Err(Failure::usage(format!(
        "this program was built without `folkmoot {name}`, which no federation needs; with it: \
         cargo run --release --features trials --bin folkmoot -- {name}{rest}"
    )))
}
