//! The program that a silo's trainers are, and how it is started beside the daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox::{Demand, Level};
use serde::Deserialize;
use spawner::{Program, Settings, SpawnError, Spawner};

use crate::Config;

/// Trainers that were not ended yet: one that trains, one that reads, and those that are just being ended.
const TRAINERS_MAX: usize = 8;
/// What a trainer needs to begin, in mebibytes.
pub(crate) const MEMORY_MB_MIN: u64 = 64;
/// The program that plays both roles, beside the daemon's own.
const PROGRAM: &str = "folkmoot-trainer";

/// The table `[trainer]`.
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

/// What trains for a daemon.
#[derive(Default)]
pub(crate) struct Trains {
    /// Where it is not the program beside this process's own.
    pub(crate) program: Option<Program>,
    /// Starts it, once this process is [isolated](daemon::Daemon::isolate).
    pub(crate) spawner: Option<Arc<Spawner>>,
    /// What held the first one.
    pub(crate) level: Option<Level>,
}

/// This process's program where it plays the trainer too, by this subcommand; else the one beside it.
pub(crate) fn program(subcommand: Option<&str>) -> io::Result<Program> {
    let path = std::env::current_exe()?;
    Ok(match subcommand {
        Some(subcommand) => Program { path, first: vec![subcommand.into()] },
        None => Program { path: path.with_file_name(PROGRAM), first: Vec::new() },
    })
}

impl Config {
    /// What is asked of the seal: of a configuration from before there was one, what the machine offers.
    pub(crate) fn demand(&self) -> Demand {
        self.sandbox.unwrap_or(Demand::BestEffort)
    }

    /// What its operator should know of the seal.
    pub(crate) fn sandbox_note(&self) -> Option<&'static str> {
        match self.demand() {
            Demand::BestEffort => Some(
                "sandbox: what reads the data is held as far as this machine allows, see the log; \"required\" starts nowhere else",
            ),
            Demand::Off => Some(
                "sandbox: a fault in reading the data, or in training, has this user's rights; set sandbox = \"required\"",
            ),
            Demand::Required => None,
        }
    }

    /// Has a trainer look at what its operator has to look at in the data, before any plan is seen.
    pub(crate) fn check_data(&self, program: &Program) -> Result<(), String> {
        let spawner = self.spawner(program, None).map_err(|why| why.to_string())?;
        let trainers = workshop::of_spawner(Arc::new(spawner));
        let problem = workshop::check_files(&trainers, self.policy.schema.as_ref());
        problem.map_err(|why| why.to_string())?.map_or(Ok(()), Err)
    }

    /// Starts what starts trainers. With a configuration they train for plans that the policy in it allows, and it is read for this process
    /// too; without one they describe the files to the operator.
    pub(crate) fn spawner(
        &self,
        program: &Program,
        configuration: Option<&Path>,
    ) -> Result<Spawner, SpawnError> {
        let program = match &self.trainer.program {
            Some(path) => Program { path: path.clone(), first: Vec::new() },
            None => program.clone(),
        };
        let mut words = vec!["--data".into(), self.data.clone().into_os_string()];
        words.extend(["--sandbox".into(), self.demand().name().into()]);
        if let Some(mebibytes) = self.trainer.memory_mb {
            words.extend(["--memory-mb".into(), mebibytes.to_string().into()]);
        }
        let role = match configuration {
            Some(file) => {
                words.extend(["--configuration".into(), file.into()]);
                "train"
            }
            None => "describe",
        };
        let (trainer, configuration) = (program.command(role, words), configuration.map(Path::to_owned));
        let (trainers_max, demand) = (TRAINERS_MAX, self.demand());
        Spawner::start(&program, &Settings { trainer, configuration, trainers_max, demand })
    }
}
