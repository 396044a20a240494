//! Model and optimiser files: staged under their own digests first, published under their round later.
//!
//! A crash may fall between the journal's record of a round and its publication, so the files are durable in
//! staging before the record is written.

use std::collections::BTreeMap;
use std::io::Read;

use attest::ModelKey;
use card::Declarations;
use checkpoint::{Manifest, ModelArtifact, OptimizerArtifact, SignedManifest};
use optim::State;
use params::{Digest, Params};
use plan::Plan;
use protocol::{Artifacts, Attempt, NextModel};
use published::{Folder, Records};
use store::{StageKey, Staged, Store};

use crate::RunFolderError;

/// The bytes of one version.
pub(crate) struct Files {
    pub(crate) model: Vec<u8>,
    pub(crate) optimizer: Vec<u8>,
    /// The opened sum and its name in the record; the initial model has none.
    pub(crate) aggregate: Option<(Digest, Vec<u8>)>,
}

impl Files {
    /// Encodes version 0, which is made before its run has an id.
    pub(crate) fn initial(params: &Params, state: &State) -> Self {
        let model = checkpoint::model_bytes(params, &BTreeMap::new());
        Self { model, optimizer: state.to_bytes(), aggregate: None }
    }

    /// Encodes a stepped version for the chain.
    pub(crate) fn stepped(next: &NextModel, run_id: &Digest, round: u64) -> Self {
        let model = checkpoint::model_bytes(&next.params, &checkpoint::model_metadata(run_id, round));
        let aggregate = Some((next.aggregate, next.sum.clone()));
        Self { model, optimizer: next.state.to_bytes(), aggregate }
    }

    /// A published version's own, for a record that goes on from the same.
    ///
    /// # Errors
    /// A file that is not the one in the record, or from which no round could go on.
    pub(crate) fn published(
        store: &dyn Store,
        plan: &Plan,
        manifest: &Manifest,
    ) -> Result<Self, RunFolderError> {
        let name = checkpoint::folder_name(manifest.round);
        let (_, files) = published::read_version_files(store, plan, manifest)
            .map_err(RunFolderError::damaged(format!("checkpoint {name} is damaged")))?;
        let optimizer = files
            .optimizer
            .ok_or_else(|| RunFolderError::Lost(format!("checkpoint {name} has no optimiser's state")))?;
        Ok(Self { model: files.model, optimizer, aggregate: None })
    }

    /// What the record will say of them.
    pub(crate) fn artifacts(&self, params: Digest) -> Artifacts {
        Artifacts {
            model: ModelArtifact::of(&self.model, params),
            optimizer: Some(OptimizerArtifact::of(&self.optimizer)),
        }
    }

    /// Makes them durable in staging.
    pub(crate) fn stage(&self, store: &mut dyn Store, at: Attempt) -> Result<(), RunFolderError> {
        let files = [&self.model, &self.optimizer].map(|bytes| (Digest::sha256(bytes), bytes));
        let aggregate = self.aggregate.iter().map(|(name, bytes)| (*name, bytes));
        for (name, bytes) in files.into_iter().chain(aggregate) {
            let key = key(at, name);
            if store.staged_bytes(&key)?.is_some() {
                continue;
            }
            let mut writer = store.stage(&key)?;
            writer.restart()?;
            writer.append(bytes)?;
            writer.commit()?;
        }
        Ok(())
    }
}

/// Puts a record, its staged files and what is published beside them into the chain's folder. Does nothing where they are there
/// already.
pub(crate) fn publish(
    store: &mut dyn Store,
    signed: &SignedManifest,
    declared: &Declarations,
    key: Option<&ModelKey>,
    beside: impl FnOnce(&dyn Store, &Manifest) -> Result<Vec<(&'static str, Vec<u8>)>, RunFolderError>,
) -> Result<(), RunFolderError> {
    let manifest = Manifest::from_bytes(&signed.manifest_bytes)?;
    let folder = checkpoint::folder_name(manifest.round);
    if store.read(&folder, checkpoint::MANIFEST_FILE)?.is_some() {
        return Ok(());
    }
    let at = Attempt { round: manifest.round, attempt: manifest.attempt };
    let model = staged(store, at, manifest.model.sha256, Digest::sha256)?;
    let optimizer = match &manifest.optimizer {
        Some(artifact) => Some(staged(store, at, artifact.sha256, Digest::sha256)?),
        None => None,
    };
    let aggregate = match manifest.aggregate_digest {
        Some(name) => Some(staged(store, at, name, protocol::aggregate_digest)?),
        None => None,
    };
    let mut files = vec![
        (checkpoint::MANIFEST_FILE, signed.manifest_bytes.as_slice()),
        (checkpoint::SIGNATURE_FILE, signed.signature.as_slice()),
        (checkpoint::MODEL_FILE, model.as_slice()),
    ];
    files.extend(optimizer.as_deref().map(|bytes| (checkpoint::OPTIMIZER_FILE, bytes)));
    files.extend(aggregate.as_deref().map(|bytes| (checkpoint::AGGREGATE_FILE, bytes)));
    let beside = beside(store, &manifest)?;
    files.extend(beside.iter().map(|(name, bytes)| (*name, bytes.as_slice())));
    let sandboxes = declared.sandboxes_of(&manifest.included);
    let attested = key.map(|key| attest_files(&folder, &files, signed, sandboxes, key)).transpose()?;
    if let Some((bundle, evidence)) = &attested {
        files.push((attest::BUNDLE_FILE, bundle));
        files.push((attest::EVIDENCE_FILE, evidence));
    }
    store.publish(&folder, &files)?;
    Ok(())
}

/// The files' signature for public tools, and the round's evidence about the same files. Both are deterministic: after a
/// crash the same bytes are published.
fn attest_files(
    folder: &str,
    files: &[(&str, &[u8])],
    signed: &SignedManifest,
    sandboxes: BTreeMap<String, u64>,
    key: &ModelKey,
) -> Result<(Vec<u8>, Vec<u8>), RunFolderError> {
    let digests: Vec<(String, Digest)> =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), Digest::sha256(bytes))).collect();
    let model = attest::sign_model(folder, &digests, &attest::IGNORED_PATHS, key)?;
    let evidence = attest::RoundEvidence::of(signed, env!("CARGO_PKG_VERSION"))?.with_sandboxes(sandboxes);
    let evidence = attest::sign_round(folder, &model.root, &evidence, key)?;
    Ok((model.bundle, evidence))
}

/// So many published records after this round up to `newest`, oldest first; from the first where there is none. Each with its round.
///
/// # Errors
/// A record that cannot be read, is not validly signed, or does not follow from the one before it.
pub(crate) fn read_chain(
    store: &dyn Store,
    after: Option<u64>,
    newest: u64,
    most: usize,
) -> Result<Vec<(u64, SignedManifest)>, RunFolderError> {
    let mut records = Records::new(after.map_or(0, |after| after.saturating_add(1)), newest);
    std::iter::from_fn(|| next_record(&mut records, store).transpose()).take(most).collect()
}

/// The next of some published records, with its round.
///
/// # Errors
/// A record that cannot be read, is not validly signed, or does not follow from the one before it.
pub fn next_record<F: Folder + ?Sized>(
    records: &mut Records,
    folder: &F,
) -> Result<Option<(u64, SignedManifest)>, RunFolderError> {
    records.next(folder).map_err(RunFolderError::damaged("the published chain is damaged"))
}

fn staged(
    store: &dyn Store,
    at: Attempt,
    name: Digest,
    of: fn(&[u8]) -> Digest,
) -> Result<Vec<u8>, RunFolderError> {
    let mut bytes = Vec::new();
    store
        .open_staged(&key(at, name))
        .map_err(RunFolderError::damaged(format!("the staged files of round {} are gone", at.round)))?
        .read_to_end(&mut bytes)?;
    if of(&bytes) != name {
        return Err(RunFolderError::Lost(format!("a staged file of round {} is damaged", at.round)));
    }
    Ok(bytes)
}

fn key(at: Attempt, digest: Digest) -> StageKey {
    StageKey { round: at.round, attempt: at.attempt, what: Staged::File { digest } }
}
