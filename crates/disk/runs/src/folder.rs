//! One run's folder: its journal, what is staged for it, what it has published.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use attest::ModelKey;
use card::Declarations;
use checkpoint::{Manifest, SignedManifest};
use identity::Roster;
use params::{Digest, Params};
use plan::AuthoredPlan;
use protocol::{Artifacts, Attempt, NextModel, Record, SumJob, UploadHeader};
use published::Version;
use store::{FileStore, Index, JournalKind, OpenedStore, StageKey, StageWriter, Staged, Store, StoreError};
use vault::Vault;

use crate::artifacts::{self, Files};
use crate::model_card::{CardWriter, silos_before};
use crate::{RunFolderError, SumOpening};

/// The index's tree from a model's digest to the round that published it.
const MODELS: &str = "models";

/// A stepped model, encoded for the chain.
pub struct NextVersion {
    next: NextModel,
    files: Files,
}

impl NextVersion {
    /// Encodes what round `round` of the run came to.
    pub fn of(next: NextModel, run_id: &Digest, round: u64) -> Self {
        let files = Files::stepped(&next, run_id, round);
        Self { next, files }
    }
}

/// See the module.
pub struct RunFolder {
    store: Box<dyn Store>,
    plan: AuthoredPlan,
    card: CardWriter,
    /// The newest published version, once it was asked for.
    version: Option<Version>,
}

impl RunFolder {
    /// The run of this plan in an open store.
    pub fn new(store: Box<dyn Store>, plan: AuthoredPlan, card: CardWriter) -> Self {
        Self { store, plan, card, version: None }
    }

    /// What the run asks.
    pub fn plan(&self) -> &AuthoredPlan {
        &self.plan
    }

    /// What the folder holds, for whoever only reads.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Every record of the journal, first to last.
    ///
    /// # Errors
    /// A journal that cannot be read; a record that another version wrote.
    pub fn journal(&mut self) -> Result<Vec<Record>, RunFolderError> {
        let records = self.store.replay()?;
        let decoded = (1..).zip(&records).map(|(number, bytes)| {
            Record::decode(bytes).map_err(|why| RunFolderError::Record { number, why })
        });
        decoded.collect()
    }

    /// Makes encoded records durable, all or none. Gives the number of the first, counted from 0.
    ///
    /// # Errors
    /// More than one append takes; a disk that fails.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<u64, RunFolderError> {
        let last = self.store.append_all(records)?;
        Ok(last - records.len() as u64)
    }

    /// Notes which model a record of the journal publishes, for [`RunFolder::find_model`].
    ///
    /// # Errors
    /// An index that fails.
    pub fn note(&mut self, record: &Record) -> Result<(), RunFolderError> {
        if let Some((model, round)) = published_model(record) {
            self.store.index_put(MODELS, model.as_bytes(), &round.to_le_bytes())?;
        }
        Ok(())
    }

    /// The round that published this model.
    ///
    /// # Errors
    /// An index that fails.
    pub fn find_model(&self, digest: &Digest) -> Result<Option<u64>, RunFolderError> {
        let round = self.store.index_get(MODELS, digest.as_bytes())?;
        Ok(round.and_then(|round| round.as_slice().try_into().ok()).map(u64::from_le_bytes))
    }

    /// The version that the newest record of the run's chain names.
    ///
    /// # Errors
    /// A version that is gone or damaged.
    pub fn version(&mut self, head: &SignedManifest) -> Result<&Version, RunFolderError> {
        let version = match self.version.take() {
            Some(version) => version,
            None => published::read_version(self.store.as_ref(), &self.plan, &head.verify_strict()?)
                .map_err(RunFolderError::damaged("the newest checkpoint is damaged"))?,
        };
        Ok(self.version.insert(version))
    }

    /// Publishes a version with its model card and the signed plan, from what was staged for it; `declared` is what the silos in its sum say.
    ///
    /// # Errors
    /// Files that are gone or damaged; a disk that fails.
    pub fn publish(
        &mut self,
        signed: &SignedManifest,
        roster: &Roster,
        declared: &Declarations,
        key: Option<&ModelKey>,
    ) -> Result<(), RunFolderError> {
        let beside = |store: &dyn Store, manifest: &Manifest| {
            let before = silos_before(store, manifest)?;
            let card = self.card.files(manifest, &self.plan, roster, &before, declared)?;
            // With it whoever has the version needs nothing else to use it.
            let plan = (plan::PLAN_FILE, (self.plan.signed().to_json() + "\n").into_bytes());
            Ok(card.into_iter().chain([plan]).collect())
        };
        artifacts::publish(self.store.as_mut(), signed, declared, key, beside)?;
        self.version = None;
        Ok(())
    }

    /// So many published records after this round up to `newest`, oldest first, each with its round; from the first where there is
    /// none.
    ///
    /// # Errors
    /// A record that cannot be read, is not validly signed, or does not follow from the one before it.
    pub fn chain(
        &self,
        after: Option<u64>,
        newest: u64,
        most: usize,
    ) -> Result<Vec<(u64, SignedManifest)>, RunFolderError> {
        artifacts::read_chain(self.store.as_ref(), after, newest, most)
    }

    /// Stages version 0: the model that the plan's seed gives, or what the plan goes on from, [`crate::RunFolders::parent_model`].
    ///
    /// # Errors
    /// Another model than the plan begins with; a disk that fails.
    pub fn stage_initial(&mut self, parent: Option<Params>) -> Result<Artifacts, RunFolderError> {
        let params = parent.unwrap_or_else(|| self.plan.initial_model());
        if params.digest() != self.plan.starts_from() {
            return Err(RunFolderError::AnotherStart);
        }
        let state = self.plan.initial_state(params.layout().len());
        let files = Files::initial(&params, &state);
        files.stage(self.store.as_mut(), Attempt { round: 0, attempt: 0 })?;
        Ok(files.artifacts(params.digest()))
    }

    /// Stages what round `round` published once more, for a record that goes on from the same; none where it published nothing.
    ///
    /// # Errors
    /// Published files that are damaged; a disk that fails.
    pub fn stage_again(&mut self, round: u64, at: Attempt) -> Result<Option<Artifacts>, RunFolderError> {
        let record = published::read_record(self.store.as_ref(), &checkpoint::folder_name(round))?;
        let Some(record) = record else { return Ok(None) };
        let manifest = record.verify_strict()?;
        let files = Files::published(self.store.as_ref(), &self.plan, &manifest)?;
        files.stage(self.store.as_mut(), at)?;
        Ok(Some(files.artifacts(manifest.model.params_digest)))
    }

    /// Stages what a sum came to, durable before the record that names it.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn stage_next(
        &mut self,
        version: NextVersion,
        at: Attempt,
    ) -> Result<protocol::Summed, RunFolderError> {
        let NextVersion { next, files } = version;
        files.stage(self.store.as_mut(), at)?;
        let artifacts = files.artifacts(next.params.digest());
        Ok(protocol::Summed { aggregate: next.aggregate, artifacts, metrics: next.metrics })
    }

    /// Where an admitted upload goes; none where all of it is durable already.
    ///
    /// # Errors
    /// [`StoreError::StageBusy`]; a disk that fails.
    pub fn begin_upload(
        &mut self,
        header: &UploadHeader,
    ) -> Result<Option<Box<dyn StageWriter>>, StoreError> {
        let key = stage_key(header);
        match self.store.staged_bytes(&key)? {
            Some(_) => Ok(None),
            None => self.store.stage(&key).map(Some),
        }
    }

    /// All that a worker needs to open a sum; `head` is the newest record of the run's chain.
    ///
    /// # Errors
    /// A staged vector that is gone: [`RunFolderError::Store`]; a version that is damaged.
    pub fn opening(&mut self, job: SumJob, head: &SignedManifest) -> Result<SumOpening, RunFolderError> {
        let opened = job.uploads.iter().map(|header| self.store.open_staged(&stage_key(header)));
        let vectors = opened.collect::<Result<Vec<Box<dyn Read + Send>>, StoreError>>()?;
        let plan = self.plan.clone();
        let Version { params, state } = self.version(head)?.clone();
        Ok(SumOpening { job, plan, vectors, params, state })
    }

    /// Deletes what was staged for rounds before this one.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn discard_staged_before(&mut self, round: u64) -> Result<(), RunFolderError> {
        Ok(self.store.discard_staged_before(round)?)
    }
}

/// Opens a run's store, whose index is rebuilt from the journal where it is in doubt; what is sealed there is bound to `place`.
pub(crate) fn open_store(
    folder: &Path,
    vault: Option<Arc<Vault>>,
    place: &str,
) -> Result<FileStore, StoreError> {
    let rebuild = |index: &Index, _: u64, bytes: &[u8]| {
        // A record that does not decode is reported by the replay.
        match Record::decode(bytes).ok().as_ref().and_then(published_model) {
            Some((model, round)) => index.put(MODELS, model.as_bytes(), &round.to_le_bytes()),
            None => Ok(()),
        }
    };
    let kind = JournalKind::Coordinator;
    let OpenedStore { store, torn_tail, .. } = match vault {
        Some(vault) => FileStore::open_sealed_in(folder, kind, vault, place, rebuild)?,
        None => FileStore::open(folder, kind, rebuild)?,
    };
    if torn_tail.is_some() {
        tracing::warn!(
            folder = %folder.display(),
            "the journal's last append was cut short by a crash; nothing of it had been acknowledged"
        );
    }
    Ok(store)
}

/// Which model a journal record publishes, and in which round: what the index holds, and is rebuilt from.
fn published_model(record: &Record) -> Option<(Digest, u64)> {
    let signed = match record {
        Record::RunStarted { genesis, .. } => genesis,
        Record::Committed { manifest, .. } => manifest,
        _ => return None,
    };
    let manifest = Manifest::from_bytes(&signed.manifest_bytes).ok()?;
    Some((manifest.model.params_digest, manifest.round))
}

fn stage_key(header: &UploadHeader) -> StageKey {
    let what = Staged::Upload { clients: header.r2, client: header.client.0 };
    StageKey { round: header.at.round, attempt: header.at.attempt, what }
}
