//! `folkmoot bench`: what the program costs on this machine.

mod soak;
mod utility;

use clap::Subcommand;

use crate::Failure;

#[derive(Subcommand, Debug)]
pub(crate) enum Bench {
    /// Run a thousand small rounds, with silos killed and started again, and watch the processes' memory.
    Soak(soak::Args),
    /// Measure what privacy costs in accuracy, on public data, and write it down as reports.
    Utility(utility::Args),
}

pub(crate) async fn run(bench: Bench) -> Result<(), Failure> {
    match bench {
        Bench::Soak(args) => soak::run(args).await,
        Bench::Utility(args) => utility::run(&args),
    }
}
