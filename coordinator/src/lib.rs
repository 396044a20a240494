//! The coordinator's shell: sockets, disk and clock around `protocol::Coordinator`.
//!
//! ```text
//!   gRPC services --Event--> driver (one task, owner of the core and the store) --messages--> sessions
//!                               |  ^
//!                          Compute  Summed            (worker threads)
//! ```
//!
//! Owns: configuration, the driver that performs effects in order, the gRPC services, staging of uploads, the
//! worker that opens sums. Decides nothing about a round: that is the core's.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used))]

// Printing that outlives its reader: see `daemon::out`. Tests print as the test runner captures it.
#[cfg(not(test))]
#[macro_use(eprintln, println)]
extern crate daemon;

mod admin;
mod audit_service;
mod board;
mod certificates;
mod config;
mod driver;
mod events;
mod init;
mod library;
mod operations;
mod outbox;
mod queue;
mod service;
mod serving;
mod sessions;
mod streaming;
mod talk;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use admin::MakeAdmin;
pub use config::{Config, Loaded, LoadedTls, Tls};
pub use daemon::ConfigError;
use daemon::{Daemon, EXIT_CONFIGURATION, EXIT_FAILURE, Stopped};
use init::Init;
pub use serving::{run, run_on};

/// The command line of the daemon.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Exit codes: 0 stopped as asked, 1 a failure while running, 2 the configuration cannot be used.\n\
                  The log goes to standard error; FOLKMOOT_LOG overrides its filter. When the daemon listens it \
                  prints one line, `listening on ADDRESS`, to standard output."
)]
pub struct Args {
    /// The configuration file; `init` writes one, deploy/ holds a commented sample.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Check the configuration, the plan, the roster and the keys, and exit.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Make a federation: its authority, certificates, keys and a configuration.
    Init(Init),
    /// Make an administrator's folder, for whoever has this machine: the way back where no administrator can call.
    Admin(MakeAdmin),
}

/// The whole program behind `folkmoot-coordinator` and `folkmoot coordinator`.
#[allow(clippy::print_stderr)]
pub fn main_with(args: Args) -> ExitCode {
    if let Some(command) = &args.command {
        let done = match command {
            Command::Init(init) => init.run_aloud(),
            Command::Admin(admin) => admin.run_aloud(),
        };
        return match done {
            Ok(()) => daemon::out::finish(ExitCode::SUCCESS),
            Err(why) => {
                eprintln!("error: {why:#}");
                ExitCode::from(EXIT_CONFIGURATION)
            }
        };
    }
    // Required where there is no subcommand.
    daemon::main::<Loaded>(&args.config.unwrap_or_default(), args.check, |_| ())
}

impl Daemon for Loaded {
    fn load(file: &Path) -> Result<Self, ConfigError> {
        Config::load(file)
    }

    fn log(&self) -> (&str, bool) {
        (&self.config.log, self.config.log_json)
    }

    fn check(&self) -> Result<String, String> {
        serving::checked(self)
    }

    #[allow(clippy::print_stdout)]
    async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Stopped> {
        let ended = run(self, |address| println!("listening on {address}"), shutdown).await;
        ended.map_err(|why| Stopped { why: format!("{why:#}"), exit_code: EXIT_FAILURE })
    }
}
