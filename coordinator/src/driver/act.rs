//! Operators' actions: their files are staged like a round's, before the core says yes.

use protocol::{Act, Artifacts, Input, Rejection};

use super::Driver;
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
        let staged = self.stage_again(&act);
        let staged = staged.map_err(|why| Rejection::NotPossible(format!("{why:#}")))?;
        self.input(Input::Act { act, staged })
    }

    /// Stages the published files that the action's record will name, where it names any.
    fn stage_again(&mut self, act: &Act) -> anyhow::Result<Option<Artifacts>> {
        let round = match act {
            Act::Quarantine { .. } => self.core.status().head_round,
            Act::Rollback { to_round, .. } => *to_round,
            Act::Pause { .. }
            | Act::Resume { .. }
            | Act::Restore { .. }
            | Act::Reconcile { .. }
            | Act::Remove { .. } => return Ok(None),
        };
        // Where there is no such round, the core says so in its own words.
        Ok(self.run.folder.stage_again(round, self.core.action_at())?)
    }
}
