//! What trains for a silo's daemon, as its configuration says.

use std::path::Path;
use std::sync::Arc;

use sandbox::{Demand, Level};
use spawner::{Program, SpawnError, Spawner};
use workshop::{CheckedFiles, TrainerCommand};

use crate::Config;

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

    /// Has a trainer read the data, before any plan is seen: what its operator should know of it, a line each.
    pub(crate) fn check_data(&self, program: &Program) -> Result<Vec<String>, String> {
        let spawner = self.spawner(program, None).map_err(|why| why.to_string())?;
        let trainers = workshop::of_spawner(Arc::new(spawner));
        let schema = self.policy.schema.as_ref().filter(|_| self.registration.is_none());
        let CheckedFiles { problem, found } =
            workshop::check_files(&trainers, schema).map_err(|why| why.to_string())?;
        let by = self.registration.iter().map(|file| format!("read by {}", file.path().display()));
        problem.map_or(Ok(by.chain(found).collect()), Err)
    }

    /// Starts what starts trainers, which train by the policy in a configuration, or describe the files without one.
    pub(crate) fn spawner(
        &self,
        program: &Program,
        configuration: Option<&Path>,
    ) -> Result<Spawner, SpawnError> {
        let Self { trainer, data, registration, .. } = self;
        let (registration, demand) = (registration.as_ref(), self.demand());
        TrainerCommand { program, trainer, data, registration, demand }.start(configuration)
    }
}
