//! A silo as whoever stands beside its daemon sees it: the policy in force, and where its books lie.

use std::path::{Path, PathBuf};

use daemon::ConfigError;
use plan::{Policy, PolicyError, Problems};
use spending::{SiloBooks, SiloBooksError};
use vault::MasterSource;

use crate::Config;

/// What a silo's configuration says, or its policy alone, of how it answers to plans. Its daemon may run.
pub struct BesideDaemon {
    /// With what the registration of the data adds to it.
    pub policy: Policy,
    /// Not known of a policy alone.
    books: Option<Books>,
}

/// Where the journal and the ledgers lie, and what opens them.
struct Books {
    state: PathBuf,
    ledgers: PathBuf,
    master: Option<MasterSource>,
}

/// Why a silo's configuration does not say how it answers.
#[derive(Debug, thiserror::Error)]
pub enum BesideError {
    /// Its policy cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The rest of it.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl BesideDaemon {
    /// Of `text`, the configuration or the policy alone in `file`, which relative paths are relative to.
    ///
    /// # Errors
    /// What cannot be used of it; a registration that it names and that cannot be read.
    pub fn of_text(file: &Path, text: &str) -> Result<Self, BesideError> {
        let policy = daemon::policy_in(text)?;
        if daemon::is_policy_alone(text) {
            return Ok(Self { policy, books: None });
        }
        let mut config = Config::of_text(file, text)?;
        let mut problems = Problems::default();
        config.register(&mut problems);
        if !problems.0.is_empty() {
            return Err(ConfigError::Meaning(problems.with_lines_of(text)).into());
        }
        let ledgers = config.ledger.folder(&config);
        let master = config.encryption.map(|encryption| encryption.master_key);
        Ok(Self { policy: config.policy, books: Some(Books { state: config.state_dir, ledgers, master }) })
    }

    /// What the data of the ledger at `ledger`, a file or its folder, has spent, and which plans the silo has answered. `master` comes
    /// before the configuration's own. Of a policy alone, the journal is the one in the folder that `ledger` lies in.
    ///
    /// # Errors
    /// [`SiloBooksError`]; a path at which there is nothing, unless the daemon makes it once it is started.
    pub fn inspect(&self, ledger: &Path, master: Option<&MasterSource>) -> Result<SiloBooks, SiloBooksError> {
        // A path that was mistyped is no silo that has spent nothing.
        if !ledger.exists() && !self.makes(ledger) {
            return Err(SiloBooksError::NoLedger { path: ledger.to_owned() });
        }
        let books = self.books.as_ref();
        let state = books.map_or_else(|| vault::files::parent(ledger), |books| &books.state);
        SiloBooks::of(ledger, state, master.or(books.and_then(|books| books.master.as_ref())))
    }

    /// Whether its daemon makes this file or folder, once it is started.
    fn makes(&self, ledger: &Path) -> bool {
        let own = self.books.as_ref().and_then(|books| std::path::absolute(&books.ledgers).ok());
        let named = std::path::absolute(ledger).ok();
        own.zip(named).is_some_and(|(own, named)| named == own || named.parent() == Some(&own))
    }
}
