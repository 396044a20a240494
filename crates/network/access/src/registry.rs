//! What the coordinator knows of access: tokens, requests for admission, who is barred, incidents.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use identity::is_printable;
use tokio::sync::watch;

use crate::denied::{Denied, DeniedSet};
use crate::error::RegistryError;

mod bars;
mod file;
mod incidents;
mod members;
mod state;
mod tokens;

pub use file::RegistryFileError;
pub use members::Admission;
pub use state::{Denial, Incident, IncidentNote, Lifted, Purpose, RequestState, Token, TokenState, Whom};
pub use tokens::{JoinRequest, RequestStanding};

use file::RegistryFile;
use state::State;

/// Bytes of a reason, a title, a note.
const TEXT_BYTES_MAX: usize = 1 << 10;

/// The registry, in one file that is replaced whole and durably by each change.
///
/// A change that cannot be saved is not made. Readers never wait for the disk.
#[derive(Debug)]
pub struct Registry {
    state: RwLock<Arc<State>>,
    /// Held while a change is made: changes come one after the other.
    file: Mutex<RegistryFile>,
    denied: watch::Sender<Arc<DeniedSet>>,
    /// Operators that have called with a certificate since the start.
    callers: Mutex<BTreeSet<String>>,
}

impl Registry {
    /// Opens the registry in `path`, or begins one there.
    ///
    /// # Errors
    /// [`RegistryFileError`]: a damaged file is never begun anew, as that would forget who is barred.
    pub fn open(path: &Path) -> Result<Self, RegistryFileError> {
        let (file, state) = RegistryFile::open(path)?;
        let denied = watch::Sender::new(Arc::new(state.denied_set()));
        Ok(Self {
            state: RwLock::new(Arc::new(state)),
            file: Mutex::new(file),
            denied,
            callers: Mutex::default(),
        })
    }

    /// The live list of who is barred.
    pub fn denied(&self) -> Denied {
        Denied(self.denied.subscribe())
    }

    /// All denials, in order of time.
    pub fn denials(&self) -> Vec<Denial> {
        self.now().denied.clone()
    }

    fn now(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a change: durable first, visible then.
    fn change<T>(
        &self,
        edit: impl FnOnce(&mut State) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.now();
        let mut after = State::clone(&before);
        let done = edit(&mut after)?;
        if after != *before {
            file.save(&after).map_err(|why| {
                tracing::error!(%why, "the registry was not saved");
                RegistryError::NotSaved
            })?;
            let denied = Arc::new(after.denied_set());
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
            self.denied.send_if_modified(|shown| {
                let differs = **shown != *denied;
                *shown = denied;
                differs
            });
        }
        Ok(done)
    }
}

/// A text for people, as an administrator gave it.
pub(crate) fn text(what: &'static str, text: &str) -> Result<String, RegistryError> {
    let text = text.trim();
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || !text.chars().all(|c| c == '\n' || is_printable(c)) {
        return Err(RegistryError::Invalid(format!(
            "{what} must have 1 to {TEXT_BYTES_MAX} bytes of printable text; say it in fewer words"
        )));
    }
    Ok(text.to_owned())
}
