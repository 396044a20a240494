use std::io;
use std::num::TryFromIntError;
use std::path::PathBuf;

use accounting::AccountingError;
use datasets::DatasetError;
use datasets::idx::IdxError;
use demo::{DemoFolderError, DemoPlanError, DemoRunError, StoppedError};
use published::CheckpointFault;
use rehearsal::RehearsalError;
use trainer::TrainError;

/// Why nothing was measured, or what was measured is too much.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// More silos than this machine can count.
    #[error(transparent)]
    Clients(#[from] TryFromIntError),
    /// The options make no plan.
    #[error(transparent)]
    Plan(#[from] DemoPlanError),
    /// The system gives no folder.
    #[error("no temporary folder: {0}")]
    NoTemporary(#[source] io::Error),
    /// There is nowhere to work.
    #[error(transparent)]
    Folder(#[from] DemoFolderError),
    /// The run did not go on as long as was asked.
    #[error(transparent)]
    Run(#[from] DemoRunError),
    /// What the run left does not hold.
    #[error(transparent)]
    Chain(#[from] CheckpointFault),
    /// The result has no text.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Somebody ended it.
    #[error(transparent)]
    Stopped(#[from] StoppedError),
    /// The coordinator holds more and more memory.
    #[error(
        "the coordinator's resident memory grew by {percent:.1} % after round {after_round}; at most {most} % is no leak"
    )]
    Grew {
        /// Growth to the last round.
        percent: f64,
        /// Where it counts from.
        after_round: u64,
        /// What is allowed, in per cent.
        most: f64,
    },
    /// A report on accuracy is not made.
    #[error(transparent)]
    Utility(#[from] UtilityError),
}

/// Why there is no report on accuracy.
#[derive(Debug, thiserror::Error)]
pub enum UtilityError {
    /// The data that the one wanted report is about was not named.
    #[error("{file} needs {data}: name its folder with --data")]
    NoData {
        file: &'static str,
        /// Its place in the folder of data sets.
        data: &'static str,
    },
    /// A table has no column of hospitals.
    #[error("the first column is not `hospital`")]
    NoHospitals,
    /// A line without a comma.
    #[error("a row has no hospital")]
    NoHospital,
    /// A file of a data set, or a report.
    #[error("`{}`: {why}", path.display())]
    File {
        path: PathBuf,
        /// What the system says.
        #[source]
        why: io::Error,
    },
    /// A table is not what its report takes it for.
    #[error(transparent)]
    Table(#[from] DatasetError),
    /// Images or their labels are not.
    #[error(transparent)]
    Images(#[from] IdxError),
    /// A silo's share of a table goes beyond it.
    #[error("a row of the table is not there")]
    NoRow,
    /// A run ended early.
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    /// A model cannot be judged.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Steps have no epsilon.
    #[error(transparent)]
    Accounting(#[from] AccountingError),
}
