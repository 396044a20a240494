use accounting::AccountingError;
use datasets::DatasetError;
use dp::UpdateError;
use plan::{ProtectError, SumError};
use published::CheckpointFault;
use rehearsal::RehearsalError;
use trainer::TrainError;

/// Why an audit found nothing out.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Records that stand out are few where features are few.
    #[error("the plan's table has room for about {room} canaries that differ; ask for fewer")]
    NoRoom {
        /// How many there were before none was new.
        room: usize,
    },
    /// Nothing to look for.
    #[error("there is no canary")]
    NoCanary,
    /// Nothing to put into a table.
    #[error("every coin said no: run it again, or ask for more canaries")]
    EveryCoinSaidNo,
    /// More than memory holds.
    #[error(
        "the gradients of {rows} canaries, of {parameters} values each, do not fit in 4 GiB: at most about {fit} do"
    )]
    TooMany {
        rows: usize,
        /// Of the plan's model.
        parameters: usize,
        /// Canaries that would fit.
        fit: usize,
    },
    /// What is known to be in would say of the canaries that they are.
    #[error(
        "--members holds canaries, whose part would be taken off as known: name the silo's own tables, not their folder"
    )]
    MembersHoldCanaries,
    /// Canaries and chain do not belong together.
    #[error("the checkpoints are of a run under another plan; name the run's own, as it was signed")]
    AnotherPlan,
    /// What the folder holds is no chain.
    #[error(transparent)]
    Chain(#[from] CheckpointFault),
    /// A file of a chain that holds.
    #[error(transparent)]
    File(CheckpointFault),
    /// A chain without a record.
    #[error("the folder holds no model")]
    NoModel,
    /// The plan's constants make no mechanism.
    #[error(transparent)]
    Mechanism(#[from] plan::Problem),
    /// A table that was given.
    #[error(transparent)]
    Table(DatasetError),
    /// A table that was made here.
    #[error(transparent)]
    OwnTable(DatasetError),
    /// There is no record to read off its gradient.
    #[error("the table has no row")]
    EmptyTable,
    /// A round's sum is none of the plan's.
    #[error(transparent)]
    Sum(#[from] SumError),
    /// What contributions were clipped to is not known.
    #[error("{0}")]
    ClipNorm(String),
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The test federation ended early.
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    /// The claim has no epsilon.
    #[error(transparent)]
    Accounting(#[from] AccountingError),
    /// One record's update is none of the plan's.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// One record's update cannot be sent.
    #[error(transparent)]
    Protect(#[from] ProtectError),
}
