//! Operators' actions: their files are staged like a round's, before the core says yes.

use federation::{Input, RunNumber};
use params::Digest;
use protocol::{Act, Artifacts, Coordinator, Rejection};

use super::Driver;
use crate::events::ActReply;

impl Driver {
    /// Does what an operator wants, and answers once it is durable.
    pub(super) fn act(
        &mut self,
        named: Option<Digest>,
        act: Act,
        emergency: bool,
        reply: ActReply,
    ) -> anyhow::Result<()> {
        // What was decided so far is published: an action takes its files from there.
        self.perform()?;
        let removed = if let Act::Remove { client, .. } = &act { Some(*client) } else { None };
        let number = self.number_of(named).ok_or_else(|| no_such_run(named));
        let result = number.and_then(|number| self.acted(number, act, emergency).map(|()| number));
        self.perform()?;
        if let (Ok(_), Some(client)) = (&result, removed) {
            self.sessions.close(client);
        }
        let notices = |number| self.federation.status(number).map_or_else(Vec::new, |status| status.notices);
        // An operator that is gone needs no answer.
        let _ = reply.send(result.map(notices));
        Ok(())
    }

    fn acted(&mut self, number: RunNumber, act: Act, emergency: bool) -> Result<(), Rejection> {
        let run = self.federation.run(number).ok_or_else(|| no_such_run(None))?;
        // To ask twice costs no copy of a model, and is not counted. What is about a member is asked of all runs at once.
        if !matches!(act, Act::Remove { .. } | Act::Restore { .. }) {
            run.changes_something(&act)?;
        }
        if emergency {
            run.operator_may(&act, self.clock.now())?;
        }
        // One round's damaged files stop nothing but the way back to them, and a full disk nothing but what needs room.
        let staged = self.stage_again(number, &act);
        let staged = staged.map_err(|why| Rejection::NotPossible(format!("{why:#}")))?;
        self.input(Input::Act { run: number, act, staged })
    }

    /// Stages the published files that the action's record will name, where it names any.
    fn stage_again(&mut self, number: RunNumber, act: &Act) -> anyhow::Result<Option<Artifacts>> {
        let Some(run) = self.federation.run(number) else { return Ok(None) };
        let round = match act {
            Act::Quarantine { .. } => run.status().head_round,
            Act::Rollback { to_round, .. } => *to_round,
            _ => return Ok(None),
        };
        let at = Coordinator::action_at(run);
        // Where there is no such round, the core says so in its own words.
        Ok(self.at_work(number)?.folder.stage_again(round, at)?)
    }
}

fn no_such_run(named: Option<Digest>) -> Rejection {
    let run = named.map_or_else(String::new, |run| format!(" {}", run.short()));
    Rejection::NotPossible(format!(
        "this federation has no run{run}; `folkmoot runs list` shows those that it has"
    ))
}
