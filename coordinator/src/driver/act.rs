//! Operators' actions: their files are staged like a round's, before the core says yes.

use protocol::{Act, Artifacts, Input, Rejection};
use store::StoreError;

use super::Driver;
use crate::artifacts::{self, Files, Version};
use crate::events::ActReply;

impl Driver {
    /// Does what an operator wants, and answers once it is durable.
    pub(super) fn act(&mut self, act: Act, emergency: bool, reply: ActReply) -> anyhow::Result<()> {
        // What was decided so far is published: an action takes its files from there.
        self.perform()?;
        let removed = if let Act::Remove { client, .. } = &act { Some(*client) } else { None };
        let result = self.acted(act, emergency);
        self.perform()?;
        if let (Ok(()), Some(client)) = (&result, removed) {
            self.sessions.close(client);
        }
        // An operator that is gone needs no answer.
        let _ = reply.send(result.map(|()| self.core.status().notices));
        Ok(())
    }

    fn acted(&mut self, act: Act, emergency: bool) -> Result<(), Rejection> {
        // To ask twice costs no copy of a model, and is not counted.
        self.core.changes_something(&act)?;
        if emergency {
            self.core.operator_may(&act, self.clock.now())?;
        }
        // One round's damaged files stop nothing but the way back to them, and a full disk nothing but what needs room.
        let staged = self
            .version_for(&act)
            .and_then(|version| version.map(|version| self.stage_again(&version)).transpose());
        let staged = staged.map_err(|why| Rejection::NotPossible(format!("{why:#}")))?;
        self.input(Input::Act { act, staged })
    }

    /// The published version whose files the action's record will name.
    fn version_for(&self, act: &Act) -> anyhow::Result<Option<Version>> {
        let round = match act {
            Act::Quarantine { .. } => self.core.status().head_round,
            Act::Rollback { to_round, .. } => *to_round,
            Act::Pause { .. }
            | Act::Resume { .. }
            | Act::Restore { .. }
            | Act::Reconcile { .. }
            | Act::Remove { .. } => return Ok(None),
        };
        match artifacts::read_record(self.store.as_ref(), round) {
            Ok(signed) => artifacts::read(self.store.as_ref(), &self.plan, &signed).map(Some),
            // No such round: the core says so in its own words.
            Err(why) if matches!(why.downcast_ref(), Some(StoreError::NotPublished { .. })) => Ok(None),
            Err(why) => Err(why),
        }
    }

    fn stage_again(&mut self, version: &Version) -> anyhow::Result<Artifacts> {
        let files = Files::from(version);
        files.stage(self.store.as_mut(), self.core.action_at())?;
        Ok(files.artifacts(version.digest))
    }
}
