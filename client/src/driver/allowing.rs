//! What this silo allows: its policy while the daemon runs, and what the operator hears of a run that is refused.

use alarms::Kind;
use params::Digest;
use plan::Policy;
use protocol::ClientInput;

use super::Driver;
use crate::RunError;

impl Driver {
    /// In force from here on: what was declined is answered again.
    pub(super) fn take_policy(&mut self, policy: Policy) -> Result<(), RunError> {
        self.spending.take_policy(policy.clone());
        self.feed(ClientInput::Policy(Box::new(policy)));
        self.answer_claims()
    }

    /// A run is refused as a whole. The daemon stays for others, and for a policy that allows it.
    pub(super) fn refused(&mut self, run: Option<Digest>, why: String) {
        if self.one_run {
            self.ended.get_or_insert(Err(RunError::RefusedRun(why)));
            return;
        }
        let run = run.map_or_else(String::new, |run| format!(" {}", run.short()));
        let text = format!(
            "this silo refuses the run{run}: {why}. Where it should take part, change the policy in its configuration, which is taken up \
             within seconds; nothing is to be restarted"
        );
        self.alarms.later(move |alarm| alarm.raise(Kind::Refused, &text, ""));
    }
}
