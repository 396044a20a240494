//! What the program costs: memory over a thousand rounds, accuracy under noise.
//!
//! Owns: the subcommands of `folkmoot bench` ([`Bench`]), what they measure, and how they print it ([`run`]). Does not: know
//! an exit code.
//!
//! ```text
//! Soak:     demo::DemoFolder, demo::Process × N ── status ──> kills, samples of memory ──> a table, or one object
//! Utility:  rehearsal × seeds ── accuracy, accounting::epsilon ──> reports/*.md
//! ```
//!
//! ```no_run
//! use clap::Parser;
//!
//! #[derive(Parser)]
//! struct Command {
//!     #[command(subcommand)]
//!     bench: bench::Bench,
//! }
//!
//! # async fn measure() -> Result<(), bench::BenchError> {
//! bench::run(Command::parse().bench).await
//! # }
//! ```
// To print is this crate's job.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

// Printing that outlives its reader: see `daemon::out`. Tests print as the test runner captures it.
#[cfg(not(test))]
#[macro_use(eprintln, print, println)]
extern crate daemon;

mod error;
mod soak;
mod utility;

use clap::Subcommand;

pub use error::{BenchError, UtilityError};
pub use soak::SoakArgs;
pub use utility::{Chosen, UtilityArgs};

/// What is measured.
#[derive(Subcommand, Debug)]
pub enum Bench {
    /// Run a thousand small rounds, with silos killed and started again, and watch the processes' memory.
    Soak(SoakArgs),
    /// Measure what privacy costs in accuracy, on public data, and write it down as reports.
    Utility(UtilityArgs),
}

/// Measures, and prints what came of it.
///
/// # Errors
/// [`BenchError`]
pub async fn run(bench: Bench) -> Result<(), BenchError> {
    match bench {
        Bench::Soak(args) => soak::run(args).await,
        Bench::Utility(args) => Ok(utility::run(&args)?),
    }
}
