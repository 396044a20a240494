//! The program that a silo's trainers are, and how it is started beside the daemon.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use plan::Problems;
use sandbox::Demand;
use serde::Deserialize;
use spawner::{Program, Settings, SpawnError, Spawner};

use crate::RegistrationFile;

/// Trainers that were not ended yet: one that trains, one that reads, and those that are just being ended.
const TRAINERS_MAX: usize = 8;
/// What a trainer needs to begin, in mebibytes.
const MEMORY_MB_MIN: u64 = 64;
/// The program that plays both roles, beside the daemon's own.
const PROGRAM: &str = "folkmoot-trainer";

/// The table `[trainer]` of a silo's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// The program, where it is not `folkmoot-trainer` beside the daemon's.
    #[serde(default)]
    pub program: Option<PathBuf>,
    /// The most memory that it may use, in mebibytes.
    #[serde(default)]
    pub memory_mb: Option<u64>,
}

impl TrainerConfig {
    /// Adds what keeps the table from being meant.
    pub fn check(&self, problems: &mut Problems) {
        problems.require(
            self.memory_mb.is_none_or(|most| (MEMORY_MB_MIN..1 << 40).contains(&most)),
            "trainer.memory_mb",
            || format!("must be {MEMORY_MB_MIN} or more, which a trainer takes to begin: the table and the model need theirs beside; leave it out where there is no bound"),
        );
    }
}

/// This process's program where it plays the trainer too, by this subcommand; else the one beside it.
///
/// # Errors
/// A system that does not say which program this process is.
pub fn program(subcommand: Option<&str>) -> io::Result<Program> {
    let path = std::env::current_exe()?;
    Ok(match subcommand {
        Some(subcommand) => Program { path, first: vec![subcommand.into()] },
        None => Program { path: path.with_file_name(PROGRAM), first: Vec::new() },
    })
}

/// What every trainer of a silo is started with. It is fixed before the daemon has met the network: one that is taken over later chooses
/// neither the data nor how it is read.
#[derive(Debug, Clone, Copy)]
pub struct TrainerCommand<'a> {
    /// Where the table names no other.
    pub program: &'a Program,
    pub trainer: &'a TrainerConfig,
    /// A file, or a folder of files.
    pub data: &'a Path,
    /// How its files are written and what their columns mean; without one, as in plain files.
    pub registration: Option<&'a RegistrationFile>,
    pub demand: Demand,
}

impl TrainerCommand<'_> {
    /// Starts what starts trainers. With a configuration they train for plans that the policy in it allows, and it is read for this process
    /// too; without one they describe the files to the operator.
    ///
    /// # Errors
    /// [`SpawnError`]
    pub fn start(&self, configuration: Option<&Path>) -> Result<Spawner, SpawnError> {
        let program = match &self.trainer.program {
            Some(path) => Program { path: path.clone(), first: Vec::new() },
            None => self.program.clone(),
        };
        let mut words = self.words();
        let role = match configuration {
            Some(file) => {
                words.extend(["--configuration".into(), file.into()]);
                "train"
            }
            None => "describe",
        };
        let (trainer, configuration) = (program.command(role, words), configuration.map(Path::to_owned));
        let (trainers_max, demand) = (TRAINERS_MAX, self.demand);
        Spawner::start(&program, &Settings { trainer, configuration, trainers_max, demand })
    }

    /// Of its command line, what both roles have.
    fn words(&self) -> Vec<OsString> {
        let mut words = vec!["--data".into(), self.data.into()];
        words.extend(["--sandbox".into(), self.demand.name().into()]);
        words.extend(self.registration.iter().flat_map(|file| file.words()));
        if let Some(mebibytes) = self.trainer.memory_mb {
            words.extend(["--memory-mb".into(), mebibytes.to_string().into()]);
        }
        words
    }
}
