use operate::ConnectError;

use crate::folder::DemoFolderError;
use crate::follow::FollowError;
use crate::process::ProcessError;

/// Why a run on this machine did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoRunError {
    /// A silo's configuration cannot be written.
    #[error(transparent)]
    Folder(#[from] DemoFolderError),
    /// A process does what it should not.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The coordinator is not reached, or refuses.
    #[error(transparent)]
    Call(#[from] ConnectError),
    /// A published model cannot be judged.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// Whoever judges them ended.
    #[error("the published models are no longer followed")]
    NotFollowed,
}
