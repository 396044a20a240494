//! The watchman and the driver meet: what each says to the other, and what the journal says of the memory.

use std::path::Path;
use std::sync::Arc;

use identity::AuthorisedRoster;
use protocol::{Profile, WitnessState};
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;
use witness::{Prompt, SiloWitness, Uploads};

use super::{Seen, Watchman};
use crate::RunError;
use crate::patience::Patience;

/// What the watchman has seen, waiting for the driver: only the newest matters.
const SEEN_WAITING: usize = 1;

/// The driver's ends of what it and the watchman say to each other.
pub(crate) struct Lookout {
    /// The newest roster of this silo, for the watchman.
    pub(crate) roster: watch::Sender<Arc<AuthorisedRoster>>,
    /// What the watchman sees.
    pub(crate) seen: mpsc::Receiver<Seen>,
    /// Has it look.
    pub(crate) prompt: watch::Sender<Prompt>,
}

impl Watchman {
    /// Opens the memory in the state folder. What this silo has uploaded is not known to the watchman before
    /// [`Watchman::with_journal`].
    pub(crate) fn open(
        state: &Path,
        profile: &Profile,
        channel: Channel,
        patience: Patience,
    ) -> Result<(Self, Lookout), RunError> {
        let mut witness = SiloWitness::open(state, profile)?;
        let (newest, roster) = watch::channel(Arc::new(profile.roster.clone()));
        let (report, seen) = mpsc::channel(SEEN_WAITING);
        match witness.seen_before() {
            Ok(before) if before.cosigned.is_empty() => {}
            // Nothing waits there yet.
            Ok(before) => drop(report.try_send(Seen::Log(before))),
            Err(why) => tracing::warn!("{why}"),
        }
        let (prompts, prompt) = watch::channel(Prompt::default());
        let watchman = Self { channel, witness, roster, patience, report, prompt };
        Ok((watchman, Lookout { roster: newest, seen, prompt: prompts }))
    }

    /// Goes on from what the journal says: which receipts are still to come, and whether there was a memory.
    ///
    /// # Errors
    /// [`RunError::ForgottenLog`].
    pub(crate) fn with_journal(self, journal: WitnessState, uploads: Uploads) -> Result<Self, RunError> {
        Ok(Self { witness: self.witness.with_journal(journal, uploads)?, ..self })
    }
}
