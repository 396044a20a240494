//! What the driver itself reads of the published chain.

use anyhow::Context;
use checkpoint::{Manifest, SignedManifest};
use params::Digest;
use published::Version;
use store::{Store, StoreError};

use super::{Driver, MODELS};
use crate::artifacts;
use crate::model_card;
use crate::outbox::CHAIN_AT_ONCE;

impl Driver {
    pub(super) fn load_head(&mut self) -> anyhow::Result<&Version> {
        if self.version.is_none() {
            let head = self.core.head_record().context("the journal holds no checkpoint")?;
            let manifest = head.verify_strict()?;
            let version = published::read_version(self.store.as_ref(), &self.plan, &manifest)
                .context("the newest checkpoint is damaged; restore it from a copy")?;
            self.version = Some(version);
        }
        self.version.as_ref().context("the newest version was just read")
    }

    /// Publishes a version with its model card.
    pub(super) fn publish(&mut self, signed: &SignedManifest) -> anyhow::Result<()> {
        let (plan, roster) = (&self.plan, self.outward.roster.borrow().clone());
        // Those of the newest result: a later version is an operator's, and no silo is in it.
        let versions = self.core.data_declared().iter().map(|(client, data)| (client.0, *data)).collect();
        let card = |store: &dyn Store, manifest: &Manifest| {
            let before = model_card::silos_before(store, manifest)?;
            self.card.files(manifest, plan, &roster, &before, &versions)
        };
        artifacts::publish(self.store.as_mut(), signed, self.model_key.as_ref(), card)?;
        self.version = None;
        Ok(())
    }

    /// The round that published this model.
    pub(super) fn find_model(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let round = self.store.index_get(MODELS, digest.as_bytes())?;
        Ok(round.and_then(|round| round.as_slice().try_into().ok()).map(u64::from_le_bytes))
    }

    pub(super) fn read_chain(&self, after: Option<u64>) -> anyhow::Result<Vec<wire::CheckpointRecord>> {
        artifacts::read_chain(self.store.as_ref(), after, self.core.status().head_round, CHAIN_AT_ONCE)
    }
}
