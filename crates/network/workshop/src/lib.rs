//! A silo's trainers as its daemon has them: other processes, with the silo's data and without the network, started when there is
//! something to do, asked over streams, believed within bounds, and ended.
//!
//! Owns: [`TrainerCommand`], what they are started with, and [`RegistrationFile`], what they read by; [`TrainerPool`], which has a trainer for each run
//! that has anything to do; the daemon's side of the stream to one; asks that are over at once ([`sandbox_level`], [`check_files`],
//! [`describe_files`]); and [`Workshop`], which has a run's training done within the plan's time, and what stands for one that fails. Does not: read
//! data, train, know a round, mask, or send anything.
//!
//! # Security
//! What a trainer says is bounded before it is read and believed by `plan` alone; whatever does not fit ends it.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod once;
mod pool;
mod program;
mod registered;
mod timely;
mod trainer;
mod watch;

pub use once::{AskFault, CheckedFiles, check_files, describe_files, sandbox_level};
pub use pool::{TableRead, TrainerPool};
pub use program::{TrainerCommand, TrainerConfig, program};
pub use registered::RegistrationFile;
pub use timely::{TrainingResult, Workshop};
pub use trainer::{EndTrainer, TrainerSource, of_spawner};
pub use watch::watch_spawner;

/// Why a training has no result. For the silo's own log: it may say something of the data.
#[derive(Debug, thiserror::Error)]
pub enum TrainFault {
    /// The data cannot be used.
    #[error("{0}")]
    Data(String),
    /// It was tried, and came to nothing.
    #[error("{0}")]
    Training(String),
    /// The trainer failed as a process, or said what cannot be: it was ended.
    #[error("{0}")]
    Trainer(String),
    /// What starts trainers is gone.
    #[error("{0}")]
    Spawner(String),
    /// Nobody waits for it any more.
    #[error("it took longer than the {0} ms that the plan gives")]
    Late(u128),
    /// Its attempt was over before its time was: it stopped when it was asked to.
    #[error("it was given up, since its attempt was over")]
    GivenUp,
}

impl TrainFault {
    /// Why, for what lies on the disk in the clear: a trainer's own words may quote a cell, and are for the daemon's log alone.
    pub fn without_its_words(&self) -> String {
        match self {
            Self::Data(_) => "the data cannot be used; the daemon's log says why".to_owned(),
            Self::Training(_) => "it came to nothing; the daemon's log says why".to_owned(),
            Self::Trainer(_) | Self::Spawner(_) | Self::Late(_) | Self::GivenUp => self.to_string(),
        }
    }

    /// Of a training that came to nothing.
    pub fn training(why: impl ToString) -> Self {
        Self::Training(why.to_string())
    }
}
