//! What the driver holds of each run beside the core, and how it finds the runs of a data folder.

use std::time::Instant;

use anyhow::Context;
use card::Controls;
use checkpoint::SignedManifest;
use federation::RunNumber;
use params::Digest;
use plan::AuthoredPlan;
use protocol::Record;
use runs::{CardWriter, RunFolder, RunFolders};
use store::{FileStore, Store};

use super::Driver;

/// What a run's store is used through: a test makes one that fails out of it.
pub(crate) type Wrap = Box<dyn FnMut(RunNumber, FileStore) -> Box<dyn Store> + Send>;

/// The folders of all runs, and how a new one is made.
pub(crate) struct Folders {
    pub(crate) runs: RunFolders,
    pub(crate) wrap: Wrap,
    /// What the model cards say of this coordinator.
    pub(crate) controls: Controls,
}

/// A run that is there.
pub(super) struct AtWork {
    pub(super) folder: RunFolder,
    pub(super) metrics: telemetry::RunMetrics,
    /// Its random name.
    pub(super) id: Digest,
    /// When the attempt in progress was opened.
    pub(super) opened_at: Instant,
}

/// A run's folder, opened, with what its journal holds.
pub(super) struct Found {
    pub(super) number: RunNumber,
    pub(super) folder: RunFolder,
    pub(super) journal: Vec<Record>,
}

impl Found {
    /// Whose journal it is, as the audit log names it.
    pub(super) fn later_run(&self) -> Option<Digest> {
        match self.journal.first() {
            Some(Record::RunStarted { run_id, .. }) if self.number != RunNumber::FIRST => Some(*run_id),
            _ => None,
        }
    }
}

impl Folders {
    pub(super) fn wrapped(&mut self, number: RunNumber, store: FileStore, plan: AuthoredPlan) -> RunFolder {
        let card = CardWriter::new(self.controls.clone(), &self.runs.folder(runs::FIRST));
        RunFolder::new((self.wrap)(number, store), plan, card)
    }

    /// All runs, the first one first, which may not have begun; a submission that a crash cut off is removed.
    pub(super) fn find(&mut self, configured: &AuthoredPlan) -> anyhow::Result<Vec<Found>> {
        let (store, plan) = self.runs.open_first(configured)?;
        let mut found = vec![self.found(RunNumber::FIRST, store, plan)?];
        for number in self.runs.later()? {
            let place = || format!("run {number} in `{}`", self.runs.folder(number).display());
            match self.runs.open(number).with_context(place)? {
                Some((store, plan)) => {
                    let place = place();
                    found.push(self.found(RunNumber(number), store, plan).context(place)?);
                }
                None => tracing::warn!(
                    run = number,
                    "a submission that a crash had cut off was removed; nobody was answered that it was taken"
                ),
            }
        }
        Ok(found)
    }

    fn found(&mut self, number: RunNumber, store: FileStore, plan: AuthoredPlan) -> anyhow::Result<Found> {
        let mut folder = self.wrapped(number, store, plan);
        let journal = folder.journal()?;
        Ok(Found { number, folder, journal })
    }
}

impl Driver {
    /// Keeps a run, which has begun.
    pub(super) fn keep(&mut self, number: RunNumber, folder: RunFolder) -> anyhow::Result<()> {
        let id = self.federation.run(number).and_then(|run| run.run_id());
        let id = id.with_context(|| format!("{number} has not begun"))?;
        let metrics = self.outward.metrics.of_run(&format!("{} {}", folder.plan().name, id.short()));
        self.runs.insert(number, AtWork { folder, metrics, id, opened_at: Instant::now() });
        Ok(())
    }

    pub(super) fn at_work(&mut self, number: RunNumber) -> anyhow::Result<&mut AtWork> {
        self.runs.get_mut(&number).with_context(|| format!("{number} has no folder"))
    }

    /// Which run's journal it is, as the audit log names it.
    pub(super) fn later_run(&self, number: RunNumber) -> Option<Digest> {
        self.runs.get(&number).filter(|_| number != RunNumber::FIRST).map(|run| run.id)
    }

    /// For the lines of the log: which run they are about, where it is not the only one.
    pub(super) fn span(&self, number: RunNumber) -> tracing::Span {
        match self.runs.len() {
            0 | 1 => tracing::Span::none(),
            _ => tracing::info_span!("run", number = number.0),
        }
    }

    /// Reads the newest version of a run, so that one that is damaged is found now.
    pub(super) fn load_head(&mut self, number: RunNumber) -> anyhow::Result<&published::Version> {
        let head = self.head(number)?.clone();
        Ok(self.at_work(number)?.folder.version(&head)?)
    }

    pub(super) fn head(&self, number: RunNumber) -> anyhow::Result<&SignedManifest> {
        let head = self.federation.run(number).and_then(|run| run.head_record());
        head.with_context(|| format!("the journal of {number} holds no checkpoint"))
    }
}
