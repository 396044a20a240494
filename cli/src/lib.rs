//! The `folkmoot` program: a demonstration, both daemons, and an operator's tools.
//!
//! Owns: the command line, what it prints, and its exit codes ([`Failure`]). Does not: decide anything about a round, or hold
//! state between calls.
//!
//! ```text
//! folkmoot demo ── starts itself as ──> folkmoot coordinator, folkmoot client × N   (child processes)
//! folkmoot bench ── likewise, for a thousand rounds
//! folkmoot status | watch | model fetch ── gRPC ──> any coordinator
//! folkmoot tokens | operators | clients | access | run | runs | incident ── gRPC, as an operator ──> its own coordinator
//! folkmoot doctor ── TLS only ──> a coordinator that cannot be reached
//! folkmoot verify | ledger | audit | audit-privacy | keys | roster | plan | data   files only, as `model export`
//! folkmoot simulate | account | calibrate            nothing but numbers
//! ```
// To print is this crate's job.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

// Printing that outlives its reader: see `daemon::out`. Tests print as the test runner captures it.
#[cfg(not(test))]
#[macro_use(eprintln, print, println)]
extern crate daemon;

mod account;
mod audit;
#[cfg(feature = "trials")]
mod audit_privacy;
mod clients;
mod connect;
mod data;
mod demo;
mod doctor;
mod evaluate;
mod export;
mod failure;
mod files;
mod incident;
mod keys;
mod ledgers;
#[cfg(not(feature = "trials"))]
mod left_out;
mod model;
mod model_card;
mod operators;
mod plan;
mod predict;
mod roster;
mod run;
mod runs;
#[cfg(feature = "trials")]
mod simulate;
mod status;
mod tokens;
#[cfg(feature = "trials")]
mod trials;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;
#[cfg(not(feature = "trials"))]
use left_out as trials;

/// Federated learning with secure aggregation and distributed differential privacy.
#[derive(Parser, Debug)]
#[command(
    name = "folkmoot",
    version,
    after_help = "Exit codes: 0 it is as was asked for, also where it was so already; 1 failed, or the coordinator said no; \
                  2 usage or configuration; 3 verification failed; 4 no answer came from the coordinator.\n\n\
                  Examples:\n  \
                  folkmoot demo\n  \
                  folkmoot status --coordinator http://127.0.0.1:7440\n  \
                  folkmoot model export --data fed/data --master fed/master.key chain\n  \
                  folkmoot verify chain --key HEX"
)]
pub struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Train one model over real data on this machine: a coordinator and its clients as separate processes.
    Demo(demo::Args),
    /// Run the coordinator daemon.
    #[command(version)]
    Coordinator(coordinator::Args),
    /// Run a silo's client daemon.
    #[command(version)]
    Client(client::Args),
    /// What a silo's daemon starts to read its data and to train on it; not to be started by hand.
    #[command(hide = true)]
    Trainer(trainer::program::Args),
    /// Show a run at this moment.
    Status(status::StatusArgs),
    /// Show a run whenever it changes.
    Watch(status::WatchArgs),
    /// Models that a coordinator has published.
    #[command(subcommand)]
    Model(model::Model),
    /// The federation's runs: submitted, listed, held and ended.
    #[command(subcommand)]
    Runs(runs::Runs),
    /// Stop a run and let it go on.
    #[command(subcommand)]
    Run(run::Run),
    /// Tokens: what a silo joins with, and what operators without a certificate call with.
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Certificates of people and programs.
    #[command(subcommand)]
    Operators(operators::Operators),
    /// Silos: who asks to join, who is let in, who is put out.
    #[command(subcommand)]
    Clients(clients::Clients),
    /// What people and programs may no longer do.
    #[command(subcommand)]
    Access(run::Access),
    /// Incidents: what happened, and what was done.
    #[command(subcommand)]
    Incident(incident::Incident),
    /// Find out why the coordinator cannot be reached.
    Doctor(doctor::Args),
    /// Check a chain of checkpoints offline.
    Verify(verify::Args),
    /// Tamper-evident audit logs: checked, read and copied offline.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Identity keys, and the keys that seal what lies on disk.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Rosters: who the members of a federation are.
    #[command(subcommand)]
    Roster(roster::Roster),
    /// Plans: what a run asks of its silos.
    Plan(plan::Args),
    /// A silo's files: what they are, proposed for a person to confirm.
    #[command(subcommand)]
    Data(data::Data),
    /// Measure a model on data that no silo trained on, for its card.
    Evaluate(evaluate::Args),
    /// Ask a published model about rows of a table.
    Predict(predict::Args),
    /// What a silo's data has spent, whichever run spent it.
    #[command(subcommand)]
    Ledger(ledgers::Ledgers),
    /// What noise is worth: epsilon of a run.
    Account(account::AccountArgs),
    /// How much noise keeps a promise.
    Calibrate(account::CalibrateArgs),
    #[command(flatten)]
    Trials(trials::Trials),
}

/// The whole program.
pub fn main() -> ExitCode {
    let status = perform(Command::parse()).unwrap_or_else(|why| {
        eprintln!("error: {why}");
        why.exit_code()
    });
    daemon::out::finish(status)
}

/// One command; what it says goes to this process's streams.
///
/// # Errors
/// [`Failure`].
pub fn perform(command: Command) -> Result<ExitCode, Failure> {
    match command.what {
        What::Coordinator(args) => return Ok(coordinator::main_with(args)),
        What::Client(args) => return Ok(client::main_with(args, Some("trainer"))),
        What::Trainer(args) => return Ok(trainer::program::main_with(&args, &train::trainers())),
        What::Demo(args) => on_runtime(demo::run(args)),
        What::Status(args) => on_runtime(status::status(args)),
        What::Watch(args) => on_runtime(status::watch(args)),
        What::Model(model) => on_runtime(model::run(model)),
        What::Verify(args) => verify::run(&args).map_err(Failure::from),
        What::Data(data) => data::run(&data),
        What::Evaluate(args) => evaluate::run(&args),
        What::Predict(args) => predict::run(&args),
        What::Ledger(ledgers) => ledgers::run(&ledgers),
        What::Account(args) => account::account(&args),
        What::Calibrate(args) => account::calibrate(&args),
        What::Audit(audit) => audit::run(&audit),
        What::Run(run) => on_runtime(run::run(run)),
        What::Runs(runs) => on_runtime(runs::run(runs)),
        What::Tokens(tokens) => on_runtime(tokens::run(tokens)),
        What::Operators(operators) => on_runtime(operators::run(operators)),
        What::Clients(clients) => on_runtime(clients::run(clients)),
        What::Access(access) => on_runtime(run::access(access)),
        What::Incident(incident) => on_runtime(incident::run(incident)),
        What::Doctor(args) => on_runtime(doctor::run(args)),
        What::Keys(keys) => match keys.remote() {
            Some(remote) => on_runtime(run::rotate_keys(remote)),
            None => keys::run(&keys),
        },
        What::Roster(roster) => on_runtime(roster::run(roster)),
        What::Plan(plan) => plan::run(&plan),
        What::Trials(trials) => trials::run(trials),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn on_runtime<E: Into<Failure>>(work: impl Future<Output = Result<(), E>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::failed(format!("cannot start worker threads: {why}")))?
        .block_on(work)
        .map_err(Into::into)
}
