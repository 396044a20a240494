//! `folkmoot bench`: what the program costs on this machine.

mod soak;

use clap::Subcommand;

use crate::Failure;

#[derive(Subcommand, Debug)]
pub(crate) enum Bench {
    /// Run a thousand small rounds, with silos killed and started again, and watch the processes' memory.
    Soak(soak::Args),
}

pub(crate) async fn run(bench: Bench) -> Result<(), Failure> {
    match bench {
        Bench::Soak(args) => soak::run(args).await,
    }
}
