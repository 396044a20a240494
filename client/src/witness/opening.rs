//! The watchman and the driver meet: what each says to the other, and what the journal says of the memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::AuthorisedRoster;
use protocol::{Profile, WitnessState};
use tlog::VerifierKey;
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;

use super::{Prompt, Seen, Uploads, Watchman};
use crate::RunError;
use crate::patience::Patience;

/// What the silo remembers of the coordinator's audit log, in its state folder.
const WITNESS: &str = "witness";
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
        let name = audit::log_name(&profile.roster.federation);
        let log = VerifierKey::new(&name, profile.roster.coordinator())
            .map_err(|why| RunError::Departures(why.into()))?;
        let memory = audit::Witness::open(&memory_file(state), log.clone())?;
        let (newest, roster) = watch::channel(Arc::new(profile.roster.clone()));
        let (report, seen) = mpsc::channel(SEEN_WAITING);
        let (prompts, prompt) = watch::channel(Prompt::default());
        let watchman = Self {
            channel,
            memory,
            log,
            key: profile.identity.signing_key().clone(),
            own: profile.id,
            uploads: Uploads::default(),
            roster,
            patience,
            receipts: state.join("receipts"),
            receipts_after: None,
            report,
            prompt,
        };
        Ok((watchman, Lookout { roster: newest, seen, prompt: prompts }))
    }

    /// Goes on from what the journal says: which receipts are still to come, and whether there was a memory.
    ///
    /// # Errors
    /// [`RunError::ForgottenLog`].
    pub(crate) fn with_journal(
        self,
        state: &Path,
        journal: WitnessState,
        uploads: Uploads,
    ) -> Result<Self, RunError> {
        if journal.remembers && self.memory.last().is_none() {
            return Err(RunError::ForgottenLog { memory: memory_file(state) });
        }
        Ok(Self { uploads, receipts_after: journal.receipts_after, ..self })
    }
}

/// The file of that memory.
pub(crate) fn memory_file(state: &Path) -> PathBuf {
    state.join(WITNESS)
}
