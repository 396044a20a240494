//! What this silo takes part in: its policy while the daemon runs, and what becomes of the daemon where a run is refused or over.

use alarms::{Alarm, Kind};
use params::Digest;
use plan::Policy;
use protocol::{ClientInput, RosterOffer, RunEnd};

use super::Driver;
use crate::{Ended, RunError};

impl Driver {
    /// In force from here on: what was declined is answered again.
    pub(super) fn take_policy(&mut self, policy: Policy) -> Result<(), RunError> {
        self.spending.take_policy(policy.clone());
        self.feed(ClientInput::Policy(Box::new(policy)));
        self.answer_claims()
    }

    /// A run is over. The daemon stays for others; what has ended it meanwhile is no less so. A daemon of one run ends with the one that
    /// it takes part in, and with none that ended before it came.
    pub(super) fn finished(&mut self, run: Option<Digest>, reason: &RunEnd) {
        tracing::info!(run = run.map(|run| run.short()), "the run is over: {reason}");
        if let Some(run) = run {
            self.refused_no_more(&run);
        }
        self.alarms.later(Alarm::repeat);
        if self.one_run && run.is_none_or(|run| self.participant.plan(&run).is_some()) {
            self.ended = Some(Ok(Ended::Finished(reason.clone())));
        }
    }

    /// A run is refused as a whole. The daemon stays for others, and for a policy that allows it.
    pub(super) fn refused(&mut self, run: Option<Digest>, why: String) {
        if self.one_run {
            self.ended.get_or_insert(Err(RunError::RefusedRun(why)));
            return;
        }
        let name = run.and_then(|run| self.participant.offered_name(&run));
        let name = name.map_or_else(String::new, |name| format!(" of the plan `{name}`"));
        let digits = run.map_or_else(String::new, |run| format!(" {}", run.short()));
        let text = format!(
            "this silo refuses the run{digits}{name}: {why}. Where it should take part, change the policy in its configuration, which is taken up \
             within seconds; nothing is to be restarted"
        );
        let cause = run.map_or_else(String::new, |run| run.to_string());
        self.alarms.later(move |alarm| alarm.raise_for(Kind::Refused, &cause, &text));
    }

    /// The run is joined or over: what its operator was to look at is not any more.
    pub(super) fn refused_no_more(&mut self, run: &Digest) {
        let cause = run.to_string();
        self.alarms.later(move |alarm| alarm.over(Kind::Refused, &cause));
    }

    /// A session begins. It offers each run that is not over, and what this silo refuses of them it refuses again.
    pub(super) fn asked_anew(&mut self) {
        self.alarms.later(|alarm| alarm.ask_anew(Kind::Refused));
    }

    /// A later roster waits for the operator, in the place of any that waited before.
    pub(super) fn show_roster(&mut self, offer: &RosterOffer) {
        self.offers.offer(offer);
        let digest = offer.roster.digest().to_string();
        let text = format!(
            "a later roster waits for you, and this silo takes part in nothing until you have accepted it: {}. Look at it with \
             `folkmoot-client roster show --config FILE`, then `roster accept --config FILE {digest}`",
            offer.change
        );
        self.alarms.later(move |alarm| {
            alarm.ask_anew(Kind::Roster);
            alarm.raise_for(Kind::Roster, &digest, &text);
        });
    }
}
