//! What the driver itself reads of the published chain.

use anyhow::Context;
use checkpoint::SignedManifest;
use published::Version;

use super::Driver;
use crate::outbox::CHAIN_AT_ONCE;

impl Driver {
    pub(super) fn load_head(&mut self) -> anyhow::Result<&Version> {
        let head = self.core.head_record().context("the journal holds no checkpoint")?;
        Ok(self.run.folder.version(head)?)
    }

    /// Publishes a version with its model card.
    pub(super) fn publish(&mut self, signed: &SignedManifest) -> anyhow::Result<()> {
        let roster = self.outward.roster.borrow().clone();
        // Those of the newest result: a later version is an operator's, and no silo is in it.
        let versions = self.core.data_declared().iter().map(|(client, data)| (client.0, *data)).collect();
        self.run.folder.publish(signed, &roster, &versions, self.model_key.as_ref())?;
        Ok(())
    }

    pub(super) fn read_chain(&self, after: Option<u64>) -> anyhow::Result<Vec<wire::CheckpointRecord>> {
        let newest = self.core.status().head_round;
        let records = self.run.folder.chain(after, newest, CHAIN_AT_ONCE)?;
        Ok(records.into_iter().map(|(round, signed)| wire::CheckpointRecord { round, signed }).collect())
    }
}
