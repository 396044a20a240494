//! The commands that try the program itself and its promises. No federation needs them, and who only wants to see one does not
//! build them: the feature `trials`.

use clap::Subcommand;

use crate::audit_privacy::AuditPrivacy;
use crate::{Failure, audit_privacy, on_runtime, simulate};

#[derive(Subcommand, Debug)]
pub(crate) enum Trials {
    /// Measure the program on this machine.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Attack a run's models and say what that contradicts: canaries, membership inference, inversion.
    #[command(subcommand)]
    AuditPrivacy(AuditPrivacy),
    /// Simulate whole federations under faults and lies, each from a seed, and check what must hold.
    Simulate(simulate::Args),
}

pub(crate) fn run(trials: Trials) -> Result<(), Failure> {
    match trials {
        Trials::Bench(bench) => on_runtime(bench::run(bench)),
        Trials::AuditPrivacy(audit) => audit_privacy::run(&audit).map_err(Failure::from),
        Trials::Simulate(args) => simulate::run(&args),
    }
}
