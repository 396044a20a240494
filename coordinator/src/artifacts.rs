//! Model and optimiser files: staged under their own digests first, published under their round later.
//!
//! A crash may fall between the journal's record of a round and its publication, so the files are durable in
//! staging before the record is written.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::Context;
use attest::ModelKey;
use bytes::Bytes;
use checkpoint::{Manifest, ModelArtifact, OptimizerArtifact, SignedManifest};
use optim::State;
use params::{Digest, Params};
use plan::Plan;
use protocol::{Artifacts, Attempt, NextModel};
use store::{StageKey, Store, StoreError};

/// The bytes of one version.
pub(crate) struct Files {
    pub(crate) model: Vec<u8>,
    pub(crate) optimizer: Vec<u8>,
    /// The opened sum and its name in the record; the initial model has none.
    pub(crate) aggregate: Option<(Digest, Vec<u8>)>,
}

/// The newest published version, in memory.
pub(crate) struct Version {
    pub(crate) digest: Digest,
    pub(crate) file: Bytes,
    pub(crate) params: Params,
    pub(crate) state: State,
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

    /// What the record will say of them.
    pub(crate) fn artifacts(&self, params: Digest) -> Artifacts {
        Artifacts {
            model: ModelArtifact {
                file: checkpoint::MODEL_FILE.into(),
                sha256: Digest::sha256(&self.model),
                bytes: self.model.len() as u64,
                params_digest: params,
            },
            optimizer: Some(OptimizerArtifact {
                file: checkpoint::OPTIMIZER_FILE.into(),
                sha256: Digest::sha256(&self.optimizer),
                bytes: self.optimizer.len() as u64,
            }),
        }
    }

    /// Makes them durable in staging.
    pub(crate) fn stage(&self, store: &mut dyn Store, at: Attempt) -> anyhow::Result<()> {
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

/// Puts a record, its staged files and its model card into the chain's folder. Does nothing where they are there already.
pub(crate) fn publish(
    store: &mut dyn Store,
    signed: &SignedManifest,
    key: Option<&ModelKey>,
    card: impl FnOnce(&dyn Store, &Manifest) -> anyhow::Result<[(&'static str, Vec<u8>); 2]>,
) -> anyhow::Result<()> {
    let manifest = Manifest::from_bytes(&signed.manifest_bytes)?;
    let folder = checkpoint::folder_name(manifest.round);
    if is_published(store, &folder)? {
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
    let card = card(store, &manifest)?;
    files.extend(card.iter().map(|(name, bytes)| (*name, bytes.as_slice())));
    let attested = key.map(|key| attest_files(&folder, &files, signed, key)).transpose()?;
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
    key: &ModelKey,
) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let digests: Vec<(String, Digest)> =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), Digest::sha256(bytes))).collect();
    let model = attest::sign_model(folder, &digests, &attest::IGNORED_PATHS, key)?;
    let evidence = attest::RoundEvidence::of(signed, env!("CARGO_PKG_VERSION"))?;
    let evidence = attest::sign_round(folder, &model.root, &evidence, key)?;
    Ok((model.bundle, evidence))
}

/// How a published file is read: through the driver's store, or beside it.
pub(crate) type ReadPublished<'a> = &'a dyn Fn(&str, &str) -> Result<Vec<u8>, StoreError>;

/// Reads a published record back, unverified.
pub(crate) fn read_record(store: &dyn Store, round: u64) -> anyhow::Result<SignedManifest> {
    read_record_by(&|name, file| store.read_published(name, file), round)
}

/// [`read_record`], read by any means.
pub(crate) fn read_record_by(read: ReadPublished<'_>, round: u64) -> anyhow::Result<SignedManifest> {
    let folder = checkpoint::folder_name(round);
    let signature = read(&folder, checkpoint::SIGNATURE_FILE)?;
    Ok(SignedManifest {
        manifest_bytes: read(&folder, checkpoint::MANIFEST_FILE)?,
        signature: signature
            .try_into()
            .map_err(|_| anyhow::anyhow!("the signature of checkpoint {folder} has another length"))?,
    })
}

/// So many published records after this round up to `newest`, oldest first; from the first where there is none.
///
/// # Errors
/// A record that cannot be read, is not validly signed, or does not follow from the one before it.
pub(crate) fn read_chain(
    store: &dyn Store,
    after: Option<u64>,
    newest: u64,
    most: usize,
) -> anyhow::Result<Vec<wire::CheckpointRecord>> {
    let mut chain = Chain::new(after.map_or(0, |after| after.saturating_add(1)), newest);
    let read = |name: &str, file: &str| store.read_published(name, file);
    std::iter::from_fn(|| chain.next(&read).transpose()).take(most).collect()
}

/// The published records, one after the other.
pub(crate) struct Chain {
    round: u64,
    newest: u64,
    before: Option<Digest>,
}

impl Chain {
    /// Those from round `from` up to `newest`.
    pub(crate) fn new(from: u64, newest: u64) -> Self {
        Self { round: from, newest, before: None }
    }

    /// The next record; none at the end.
    ///
    /// # Errors
    /// As [`read_chain`].
    pub(crate) fn next(&mut self, read: ReadPublished<'_>) -> anyhow::Result<Option<wire::CheckpointRecord>> {
        while self.round <= self.newest {
            let round = self.round;
            self.round += 1;
            let damaged =
                || format!("checkpoint {round} is damaged or one before it is gone; restore it from a copy");
            let signed = match read_record_by(read, round) {
                // A round that was aborted has no record.
                Err(why) if matches!(why.downcast_ref(), Some(StoreError::NotPublished { file, .. }) if *file == checkpoint::SIGNATURE_FILE) =>
                {
                    continue;
                }
                signed => signed.with_context(damaged)?,
            };
            let manifest = signed.verify_strict().with_context(damaged)?;
            anyhow::ensure!(self.before.is_none() || manifest.parent == self.before, damaged());
            self.before = Some(signed.digest());
            return Ok(Some(wire::CheckpointRecord { round, signed }));
        }
        Ok(None)
    }
}

pub(crate) fn is_published(store: &dyn Store, folder: &str) -> Result<bool, StoreError> {
    match store.read_published(folder, checkpoint::MANIFEST_FILE) {
        Ok(_) => Ok(true),
        Err(StoreError::NotPublished { .. }) => Ok(false),
        Err(why) => Err(why),
    }
}

/// Reads a published version back and checks it against its record.
pub(crate) fn read(store: &dyn Store, plan: &Plan, signed: &SignedManifest) -> anyhow::Result<Version> {
    let manifest = Manifest::from_bytes(&signed.manifest_bytes)?;
    let folder = checkpoint::folder_name(manifest.round);
    let model = store.read_published(&folder, checkpoint::MODEL_FILE)?;
    let optimizer = store.read_published(&folder, checkpoint::OPTIMIZER_FILE)?;
    let layout = plan.architecture().layout();
    let (_, params) = checkpoint::verify_checkpoint(signed, &model, Some(&optimizer), Some(&layout))
        .with_context(|| format!("checkpoint {folder} is damaged; restore it from a copy"))?;
    let state = State::from_bytes(&optimizer)?;
    Ok(Version { digest: manifest.model.params_digest, file: model.into(), params, state })
}

/// A published version's files, as a record that goes on from the same ones needs them.
impl From<&Version> for Files {
    fn from(version: &Version) -> Self {
        Self { model: version.file.to_vec(), optimizer: version.state.to_bytes(), aggregate: None }
    }
}

fn staged(
    store: &dyn Store,
    at: Attempt,
    name: Digest,
    digest: fn(&[u8]) -> Digest,
) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    store
        .open_staged(&key(at, name))
        .with_context(|| format!("the staged files of round {} are gone", at.round))?
        .read_to_end(&mut bytes)?;
    anyhow::ensure!(digest(&bytes) == name, "a staged file of round {} is damaged", at.round);
    Ok(bytes)
}

/// The file's own digest stands where an upload's transcript does, so the two can never be mistaken.
fn key(at: Attempt, name: Digest) -> StageKey {
    StageKey { round: at.round, attempt: at.attempt, r2: name, client: 0 }
}
