//! Where the folders of a federation's runs lie, and what makes one of them.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use params::Digest;
use plan::{AuthorError, AuthoredPlan, PLAN_FILE, SignedPlan};
use protocol::{Record, RecordError};
use store::{FileStore, Published, Store, StoreError};
use vault::Vault;

use crate::folder::open_store;

/// The folder of the data folder that holds every run but the first.
pub const RUNS_FOLDER: &str = "runs";
/// The first run's number: its folder is the data folder itself.
pub const FIRST: u32 = 1;

/// Why a run's folder cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum RunFoldersError {
    /// The store refuses or fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file operation failed.
    #[error("cannot {action} `{}`: check space and permissions", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        path: PathBuf,
        #[source]
        why: io::Error,
    },
    /// What lies at the plan's place is no signed plan.
    #[error("`{}` is not the plan that the run was begun with; restore it from a copy", path.display())]
    Plan {
        path: PathBuf,
        #[source]
        why: AuthorError,
    },
    /// The plan in the folder is another than the journal's.
    #[error(
        "`{}` is plan {found}, and the journal beside it was begun with plan {journal}; restore it from a copy",
        path.display()
    )]
    OtherPlan {
        path: PathBuf,
        /// Of the file, short.
        found: String,
        /// Of the journal, short.
        journal: String,
    },
    /// The run has begun, and the plan that it was begun with is gone.
    #[error("`{}` is gone; restore it from a copy, or put there the signed plan that the run was submitted with", path.display())]
    NoPlan { path: PathBuf },
    /// The first run's plan is not the configured one, and was not written down by the release that began it.
    #[error(
        "the first run of this folder has plan {journal}, and the configured plan is {configured}, which makes it another run; write \
         the first run's signed plan to `{}` and start again: then the configured one is submitted",
        path.display()
    )]
    FirstPlan {
        path: PathBuf,
        /// Of the journal, short.
        journal: String,
        /// Of the configuration, short.
        configured: String,
    },
    /// Versions are published that no journal tells of.
    #[error("`{}` holds published versions and an empty journal; restore the folder from a copy", folder.display())]
    NoJournal { folder: PathBuf },
    /// A journal whose first record is not a run's beginning.
    #[error("the journal in `{}` does not begin with a run's start; restore it from a copy", folder.display())]
    NoStart {
        folder: PathBuf,
        #[source]
        why: Option<RecordError>,
    },
}

/// Whose a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanOf {
    /// The run of this number has it.
    Run(u32),
    /// No plan was written down for the first run, which is begun with it, or was by a release that did not write plans down.
    FirstToBe,
    /// No run has it, and there is a first run.
    AnotherToBe,
}

/// See the module.
#[derive(Clone)]
pub struct RunFolders {
    data_folder: PathBuf,
    vault: Option<Arc<Vault>>,
}

impl RunFolders {
    /// Of the federation whose data folder this is, sealed by `vault` where it is sealed.
    pub fn new(data_folder: &Path, vault: Option<Arc<Vault>>) -> Self {
        Self { data_folder: data_folder.to_owned(), vault }
    }

    /// Where a run's files lie.
    pub fn folder(&self, number: u32) -> PathBuf {
        match number {
            FIRST => self.data_folder.clone(),
            later => self.data_folder.join(RUNS_FOLDER).join(folder_name(later)),
        }
    }

    /// The numbers of the runs behind the first, ascending. What else lies there is none of them.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn later(&self) -> Result<Vec<u32>, RunFoldersError> {
        later_in(&self.data_folder).map_err(failed("list", &self.data_folder.join(RUNS_FOLDER)))
    }

    /// What a run has published, for whoever only reads.
    pub fn published(&self, number: u32) -> Published {
        Published::new(self.folder(number).join(store::CHECKPOINTS), self.vault.clone())
    }

    /// Makes the folder of a run that is being submitted, with its plan; the run has begun once its journal says so.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn make(&self, number: u32, plan: &SignedPlan) -> Result<FileStore, RunFoldersError> {
        let (above, folder) = (self.data_folder.join(RUNS_FOLDER), self.folder(number));
        for folder in [&above, &folder] {
            store::create_folder(folder).map_err(failed("create", folder))?;
        }
        self.keep_plan(number, plan)?;
        self.open_store(number)
    }

    /// Writes down a run's plan, durable when this returns.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn keep_plan(&self, number: u32, plan: &SignedPlan) -> Result<(), RunFoldersError> {
        let path = self.folder(number).join(PLAN_FILE);
        let json = serde_json::to_vec(plan).map_err(|why| failed("write", &path)(why.into()))?;
        Ok(store::write_replacing(&path, &json)?)
    }

    /// The plan that was written down for a run; none where there is none.
    ///
    /// # Errors
    /// One that cannot be read, or is no signed plan.
    pub fn plan(&self, number: u32) -> Result<Option<AuthoredPlan>, RunFoldersError> {
        let path = self.folder(number).join(PLAN_FILE);
        let text = match vault::files::read_text(&path, SignedPlan::BYTES_MAX as u64) {
            Ok(text) => text,
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(failed("read", &path)(why)),
        };
        let opened = SignedPlan::from_json(&text).and_then(SignedPlan::open);
        opened.map(Some).map_err(|why| RunFoldersError::Plan { path, why })
    }

    /// Which run has this plan, without opening any of them: for whoever only looks.
    ///
    /// # Errors
    /// A plan that cannot be read.
    pub fn run_of_plan(&self, plan: &Digest) -> Result<PlanOf, RunFoldersError> {
        for number in std::iter::once(FIRST).chain(self.later()?) {
            if self.plan(number)?.is_some_and(|kept| kept.digest() == *plan) {
                return Ok(PlanOf::Run(number));
            }
        }
        // Before plans were written down a folder had one run, and the configuration its plan.
        let kept = self.plan(FIRST)?.is_some();
        Ok(if kept { PlanOf::AnotherToBe } else { PlanOf::FirstToBe })
    }

    /// Opens a run's store, which this process has for itself from then on.
    ///
    /// # Errors
    /// As [`FileStore::open_sealed_in`].
    pub fn open_store(&self, number: u32) -> Result<FileStore, RunFoldersError> {
        Ok(open_store(&self.folder(number), self.vault.clone(), &place(number))?)
    }

    /// Opens the data folder itself with the first run's plan: the configured one where the run has not begun yet; then the one that
    /// it was begun with, whatever is configured.
    ///
    /// # Errors
    /// A folder in use or damaged; one from before plans were written down, where the configured plan is another than its run's.
    pub fn open_first(
        &self,
        configured: &AuthoredPlan,
    ) -> Result<(FileStore, AuthoredPlan), RunFoldersError> {
        let mut store = self.open_store(FIRST)?;
        let folder = self.folder(FIRST);
        let begun = match store.head().sequence {
            0 => configured.digest(),
            _ => plan_of(&mut store, folder.clone())?,
        };
        if let Ok(Some(kept)) = self.plan(FIRST)
            && kept.digest() == begun
        {
            return Ok((store, kept));
        }
        if configured.digest() != begun {
            let (journal, configured) = (begun.short(), configured.digest().short());
            return Err(RunFoldersError::FirstPlan { path: folder.join(PLAN_FILE), journal, configured });
        }
        self.keep_plan(FIRST, configured.signed())?;
        Ok((store, configured.clone()))
    }

    /// Opens the folder of a run behind the first. One whose run never began is what a crash left of a submission that nobody was
    /// answered: it is removed, and there is none.
    ///
    /// # Errors
    /// A folder in use, damaged, or of another plan than its journal.
    pub fn open(&self, number: u32) -> Result<Option<(FileStore, AuthoredPlan)>, RunFoldersError> {
        let folder = self.folder(number);
        let mut store = self.open_store(number)?;
        if store.head().sequence == 0 {
            if !store.list_published()?.is_empty() {
                return Err(RunFoldersError::NoJournal { folder });
            }
            drop(store);
            self.remove(number)?;
            return Ok(None);
        }
        let path = folder.join(PLAN_FILE);
        let plan = self.plan(number)?.ok_or_else(|| RunFoldersError::NoPlan { path: path.clone() })?;
        let begun = plan_of(&mut store, folder)?;
        if begun != plan.digest() {
            let (found, journal) = (plan.digest().short(), begun.short());
            return Err(RunFoldersError::OtherPlan { path, found, journal });
        }
        Ok(Some((store, plan)))
    }

    /// Takes the folder of a run away that has not begun; one that was never made is gone already.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn remove(&self, number: u32) -> Result<(), RunFoldersError> {
        let folder = self.folder(number);
        match fs::remove_dir_all(&folder) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.map_err(failed("delete", &folder))?,
        }
        let above = self.data_folder.join(RUNS_FOLDER);
        vault::files::sync_folder(&above).map_err(failed("fsync", &above))
    }
}

/// The folders of a federation's runs below its data folder, each with its number, the first one's among them. Any other folder is
/// that of one run.
///
/// # Errors
/// A folder that cannot be read.
pub fn run_folders_in(data_folder: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let folders = RunFolders::new(data_folder, None);
    let numbers = std::iter::once(FIRST).chain(later_in(data_folder)?);
    Ok(numbers.map(|number| (number, folders.folder(number))).collect())
}

fn later_in(data_folder: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(data_folder.join(RUNS_FOLDER)) {
        Ok(entries) => entries,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok().filter(|n| folder_name(*n) == name));
        numbers.extend(number.filter(|number| *number > FIRST));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn folder_name(number: u32) -> String {
    format!("{number:04}")
}

/// What a sealed run's records are bound to; the first run's to nothing, as in a folder that has no other.
fn place(number: u32) -> String {
    match number {
        FIRST => String::new(),
        later => format!("run {}", folder_name(later)),
    }
}

/// The digest of the plan that a journal begins with.
fn plan_of(store: &mut FileStore, folder: PathBuf) -> Result<Digest, RunFoldersError> {
    let records = store.replay()?;
    match records.first().map(|first| Record::decode(first)).transpose() {
        Ok(Some(Record::RunStarted { plan, .. })) => Ok(plan),
        Ok(_) => Err(RunFoldersError::NoStart { folder, why: None }),
        Err(why) => Err(RunFoldersError::NoStart { folder, why: Some(why) }),
    }
}

/// For `map_err`: names the action and the path.
fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RunFoldersError + 'a {
    move |why| RunFoldersError::Io { action, path: path.to_owned(), why }
}

#[cfg(test)]
mod tests;
