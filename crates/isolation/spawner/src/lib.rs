//! The process that starts and ends trainers, and both ends of the socket over which a daemon asks it to.
//!
//! A daemon that has shut itself out of a silo's data would shut out every process that it starts from then on. So it starts
//! a *spawner* first: a process without network and without keys, which starts trainers for as long as the daemon lives.
//! What a trainer is, where it reads and what it may use is fixed on the spawner's command line; over the socket a daemon can
//! only ask for one more of them, for the end of one, and for the text of the one configuration file that was named at the
//! start. So whoever has taken over a daemon can have a trainer started or ended, no more of them at a time than were fixed, and that
//! file read; what else they can do to a trainer is what they say to it over its socket, which is `trainer_protocol`'s to bound.
//!
//! The daemon has a [`Spawner`]; the process itself runs [`serve_daemon`]; a trainer begins with [`tether`] and then speaks over
//! [`standard_input`]. None of them outlives the one before it: the spawner ends with the daemon's end of the socket, and
//! trainers with the spawner.

mod control;
mod exit;
mod serve;
mod spawner;
mod trainer;

use std::ffi::OsString;
use std::path::PathBuf;

use sandbox::Demand;

pub use exit::Exit;
pub use serve::{Broken, SpawnerArgs, serve_daemon};
pub use spawner::{SpawnError, Spawner, Started, TrainerId};
pub use trainer::{NoParent, standard_input, tether};

/// The most bytes of a configuration file that is read for a daemon.
pub const CONFIGURATION_BYTES: usize = 1 << 20;

/// A program that plays several roles, each a subcommand of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where its executable lies.
    pub path: PathBuf,
    /// What stands before the role on its command line.
    pub first: Vec<OsString>,
}

impl Program {
    /// The command line of one of its roles, program first.
    pub fn command<T: Into<OsString>>(
        &self,
        role: &str,
        arguments: impl IntoIterator<Item = T>,
    ) -> Vec<OsString> {
        let head = [self.path.clone().into_os_string()].into_iter().chain(self.first.iter().cloned());
        head.chain([role.into()]).chain(arguments.into_iter().map(Into::into)).collect()
    }
}

/// What holds for a spawner from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The command line of a trainer, program first; paths absolute.
    pub trainer: Vec<OsString>,
    /// The one file whose text [`Spawner::configuration`] gives.
    pub configuration: Option<PathBuf>,
    /// How many trainers there may be that were not ended yet, dead ones included.
    pub trainers_max: usize,
    /// With `off` the spawner keeps its network; else it leaves it where the machine allows that. What a trainer must reach
    /// is its own command line's.
    pub demand: Demand,
}

/// The environment of spawners and trainers: these variables of the daemon's, where it has them, and no others.
pub const ENVIRONMENT: [&str; 2] = ["FOLKMOOT_LOG", "TZ"];

/// Where a trainer finds the number of the process that started it, decimal: [`tether`].
pub const PARENT: &str = "FOLKMOOT_SPAWNER";
