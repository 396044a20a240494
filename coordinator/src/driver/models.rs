//! What the driver itself reads of the published chains, and writes to them.

use anyhow::Context;
use card::Declarations;
use checkpoint::SignedManifest;
use federation::RunNumber;
use params::Digest;
use protocol::{OfRun, SandboxLevel, ToClient};
use runs::RunFolderError;
use secagg::ClientId;

use super::Driver;
use crate::outbox::CHAIN_AT_ONCE;

impl Driver {
    /// Publishes a version with its model card.
    pub(super) fn publish(&mut self, number: RunNumber, signed: &SignedManifest) -> anyhow::Result<()> {
        let run = self.federation.run(number).with_context(|| format!("{number} has not begun"))?;
        let roster = self.outward.roster.borrow().clone();
        // Those of the newest result: a later version is an operator's, and no silo is in it.
        let data = run.data_declared().iter().map(|(client, data)| (client.0, *data)).collect();
        let level = |(client, level): (&ClientId, &SandboxLevel)| (client.0, level.to_string());
        let sandboxes = run.sandboxes_declared().iter().map(level).collect();
        let declared = Declarations { data, sandboxes };
        let Some(at_work) = self.runs.get_mut(&number) else { return Ok(()) };
        at_work.folder.publish(signed, &roster, &declared, self.own.model_key.as_ref())?;
        Ok(())
    }

    /// Shows a silo what it lacks of a run's chain.
    pub(super) fn send_chain(&mut self, number: RunNumber, to: ClientId, after: Option<u64>) {
        match self.read_chain(number, after) {
            Ok(records) => {
                let more = records.len() >= CHAIN_AT_ONCE;
                let run = self.runs.get(&number).map(|run| run.id);
                for signed in records {
                    self.send(to, OfRun { run, message: ToClient::Published(signed) });
                }
                // The rest is for the next session, which begins where this one's part ended.
                if more {
                    self.disconnect(to);
                }
            }
            // The rounds that the others are in go on; this silo comes back, and hears the same until it is put right.
            Err(why) => {
                tracing::error!(client = %to, "cannot show the chain to a silo: {why:#}");
                self.disconnect(to);
            }
        }
    }

    pub(super) fn read_chain(
        &self,
        number: RunNumber,
        after: Option<u64>,
    ) -> anyhow::Result<Vec<SignedManifest>> {
        let run = self.runs.get(&number).with_context(|| format!("{number} has no folder"))?;
        let newest = self.federation.status(number).map_or(0, |status| status.head_round);
        let records = run.folder.chain(after, newest, CHAIN_AT_ONCE)?;
        Ok(records.into_iter().map(|(_, signed)| signed).collect())
    }

    /// The run and the round that published this model: of the run of this name, or of any where none is named, the one that is
    /// meant then before the others.
    pub(super) fn find_model(
        &self,
        named: Option<Digest>,
        digest: &Digest,
    ) -> Result<Option<(RunNumber, u64)>, RunFolderError> {
        let meant = self.number_of(named);
        let others = self.runs.keys().rev().copied().filter(|_| named.is_none());
        for number in meant.into_iter().chain(others) {
            let Some(run) = self.runs.get(&number) else { continue };
            if let Some(round) = run.folder.find_model(digest)? {
                return Ok(Some((number, round)));
            }
        }
        Ok(None)
    }
}
