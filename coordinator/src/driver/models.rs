//! What is read of the published chain, for the driver itself and for those who fetch.

use anyhow::Context;
use checkpoint::{Manifest, SignedManifest};
use params::Digest;
use store::{Store, StoreError};
use wire::{Refusal, ServiceError};

use super::{Driver, MODELS};
use crate::artifacts::{self, Version};
use crate::events::{ModelFile, Wanted};
use crate::model_card;

impl Driver {
    pub(super) fn load_head(&mut self) -> anyhow::Result<&Version> {
        if self.version.is_none() {
            let head = self.core.head_record().context("the journal holds no checkpoint")?;
            self.version = Some(artifacts::read(self.store.as_ref(), &self.plan, head)?);
        }
        self.version.as_ref().context("the newest version was just read")
    }

    /// Publishes a version with its model card.
    pub(super) fn publish(&mut self, signed: &SignedManifest) -> anyhow::Result<()> {
        let (plan, roster) = (&self.plan, self.outward.roster.borrow().clone());
        // Those of the newest result: a later version is an operator's, and no silo is in it.
        let versions = self.core.data_told().iter().map(|(client, data)| (client.0, *data)).collect();
        let card = |store: &dyn Store, manifest: &Manifest| {
            let before = model_card::silos_before(store, manifest)?;
            self.card.files(manifest, plan, &roster, &before, &versions)
        };
        artifacts::publish(self.store.as_mut(), signed, self.model_key.as_ref(), card)?;
        self.version = None;
        Ok(())
    }

    pub(super) fn fetch(&mut self, wanted: &Wanted) -> Result<ModelFile, tonic::Status> {
        let found = match wanted {
            Wanted::Model(digest) => self.load_model(*digest),
            Wanted::File { round, file } => self.load_file(*round, file),
        };
        let found = found.map_err(|why| {
            tracing::error!(why = format!("{why:#}"), "cannot read a model");
            ServiceError::Internal.to_status()
        })?;
        found.ok_or_else(|| match wanted {
            Wanted::Model(digest) => {
                ServiceError::NoSuchModel(digest.unwrap_or(Digest::from_bytes([0; 32]))).to_status()
            }
            Wanted::File { round, file } => {
                tonic::Status::not_found(format!("the record of round {round} has no `{file}`"))
            }
        })
    }

    /// A file of a record, as it was published. Whoever fetches it holds it against the signed record.
    pub(super) fn load_file(&self, round: u64, file: &str) -> anyhow::Result<Option<ModelFile>> {
        let folder = checkpoint::folder_name(round);
        let bytes = match self.store.read_published(&folder, file) {
            Ok(bytes) => bytes,
            Err(StoreError::NotPublished { .. }) => return Ok(None),
            Err(why) => return Err(why.into()),
        };
        let manifest = artifacts::read_record(self.store.as_ref(), round)?.verify_strict()?;
        Ok(Some(ModelFile { round, digest: manifest.model.params_digest, file: bytes.into() }))
    }

    pub(super) fn load_model(&mut self, digest: Option<Digest>) -> anyhow::Result<Option<ModelFile>> {
        let head = self.load_head()?;
        if digest.is_none_or(|digest| digest == head.digest) {
            return Ok(Some(ModelFile { round: head.round, digest: head.digest, file: head.file.clone() }));
        }
        let Some(digest) = digest else { return Ok(None) };
        let Some(round) = self.store.index_get(MODELS, digest.as_bytes())? else { return Ok(None) };
        let round = round.as_slice().try_into().map(u64::from_le_bytes)?;
        // The index says where to look; what is there is verified like everything else.
        let signed = artifacts::read_record(self.store.as_ref(), round)?;
        let version = artifacts::read(self.store.as_ref(), &self.plan, &signed)?;
        Ok(Some(ModelFile { round: version.round, digest: version.digest, file: version.file }))
    }

    pub(super) fn read_chain(&self, after: Option<u64>) -> anyhow::Result<Vec<wire::CheckpointRecord>> {
        artifacts::read_chain(self.store.as_ref(), after, self.core.status().head_round)
    }
}
