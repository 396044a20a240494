//! Training that is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::TrainError;

/// Asks a training to end early; its clones are one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for it, for good.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`TrainError::Stopped`] where it was asked for.
    pub fn check(&self) -> Result<(), TrainError> {
        if self.0.load(Ordering::Relaxed) { Err(TrainError::Stopped) } else { Ok(()) }
    }
}
