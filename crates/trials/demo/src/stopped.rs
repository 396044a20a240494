//! What ends a run from outside.

use std::io;

use tokio::signal::ctrl_c;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why a run is given up that nothing was wrong with.
#[derive(Debug, thiserror::Error)]
pub enum StoppedError {
    /// This process cannot hear signals, or learns nothing of itself.
    #[error(transparent)]
    Process(io::Error),
    /// By the person at the terminal.
    #[error("interrupted")]
    Interrupted,
    /// By the system.
    #[error("terminated")]
    Terminated,
}

/// Hears what asks this process to end.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
}

impl StopSignals {
    /// From now on SIGTERM does not end this process by itself.
    ///
    /// # Errors
    /// [`StoppedError::Process`]: signals cannot be handled.
    pub fn listen() -> Result<Self, StoppedError> {
        let terminate = signal(SignalKind::terminate()).map_err(StoppedError::Process)?;
        Ok(Self { terminate })
    }

    /// What a run comes to, unless the process is asked to end before. The run is dropped then, and its child processes die with
    /// it.
    ///
    /// # Errors
    /// The run's own, or [`StoppedError`].
    pub async fn unless<T, E: From<StoppedError>>(
        mut self,
        run: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            done = run => done,
            _ = ctrl_c() => Err(StoppedError::Interrupted.into()),
            _ = self.terminate.recv() => Err(StoppedError::Terminated.into()),
        }
    }
}
