//! One of a federation's runs: what the federation asks of it, and what it leaves to it.

use std::collections::BTreeSet;

use identity::AuthorisedRoster;
use plan::AuthoredPlan;
use secagg::ClientId;

use super::phase::{Phase, Step};
use super::state::Absence;
use super::{Coordinator, Effects};
use crate::Timestamp;
use crate::record::Record;
use messages::{Attempt, RunEnd};

/// What a federation leaves to one of its runs at one moment. It is no part of the journalled state, as sessions are none; a
/// coordinator that stands alone has everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turn {
    /// Whether others go before it, so that it opens no attempt.
    pub queued: bool,
    /// Silos that are in an attempt of another run, or kept for a run that goes before this one.
    pub busy: BTreeSet<ClientId>,
}

impl Coordinator {
    /// What is asked, as its author signed it.
    pub fn plan(&self) -> &AuthoredPlan {
        &self.setup.plan
    }

    /// The roster that silos are welcomed under; of a run that is over, its last.
    pub fn roster_in_force(&self) -> &AuthorisedRoster {
        &self.state.roster
    }

    /// Why the run is over, once it is.
    pub fn ended(&self) -> Option<&RunEnd> {
        match &self.state.phase {
            Phase::Ended(reason) => Some(reason),
            Phase::NotStarted | Phase::Idle | Phase::InRound(..) => None,
        }
    }

    /// Whether an operator holds it, by a pause or by a quarantine of its newest model. An attempt in progress goes on.
    pub fn is_held(&self) -> bool {
        self.state.is_held()
    }

    /// When its newest attempt opened.
    pub fn last_opened(&self) -> Option<Timestamp> {
        self.state.last_opened
    }

    /// The silos of the attempt in progress, those too that fell out of it; nobody between two attempts.
    pub fn cohort(&self) -> Option<&BTreeSet<ClientId>> {
        self.state.phase.round().map(|round| &round.cohort)
    }

    /// Whether this silo was in the cohort of a round that was committed.
    pub fn took_part(&self, client: ClientId) -> bool {
        self.state.tallies.contains_key(&client)
    }

    /// When the run began, as its first record says, in milliseconds since the Unix epoch.
    pub fn begun_ms(&self) -> u64 {
        self.state.begun_ms
    }

    /// Takes its turn; what follows from it is done at the next input. Whether it is another than before.
    pub fn take_turn(&mut self, now: Timestamp, turn: Turn) -> bool {
        if self.turn == turn {
            return false;
        }
        if self.turn.queued && !turn.queued {
            // It waits for everybody from when silos are asked.
            let fresh = self.idle_since == self.started;
            self.idle_since = now;
            self.started = if fresh { now } else { self.started };
        }
        self.turn = turn;
        true
    }

    /// The silos that runs behind this one leave to it: all that are here, where it would open an attempt if nobody else had
    /// one of them. Nobody, where it waits for anything else.
    pub fn reserves(&self, now: Timestamp) -> BTreeSet<ClientId> {
        let gathers = matches!(self.state.phase, Phase::Idle) && !self.state.is_held() && !self.turn.queued;
        let plan = &self.setup.plan;
        let here = self.here();
        let tried = self.tried.as_ref() == Some(&here)
            && now < self.gathers_since().plus_ms(plan.timing.round_deadline_ms);
        if gathers && !tried && here.len() >= plan.cohort.minimum { here } else { BTreeSet::new() }
    }

    /// From when on the wait for a cohort counts: nobody of those that are expected is in another run any more.
    pub(super) fn gathers_since(&self) -> Timestamp {
        self.idle_since.max(self.busy_until)
    }

    /// Takes over what the federation's first run knows and this one does not, which began later: the rosters before its own,
    /// and who is barred.
    pub fn follows_from(&mut self, first: &Self, out: &mut Effects) {
        self.state.lineage.preceded_by(&first.state.lineage);
        if self.ended().is_none() {
            for (client, absence) in first.state.absent.iter().filter(|(_, absence)| !absence.is_declined()) {
                self.bar(*client, absence.reason(), out);
            }
        }
    }

    /// A member is in no later cohort, unless that is so already.
    pub fn bar(&mut self, client: ClientId, reason: &str, out: &mut Effects) {
        if self.state.absent.get(&client).is_none_or(Absence::is_declined) {
            self.commit(Record::Barred { client, reason: reason.to_owned() });
        }
        out.append(&mut self.effects);
    }

    /// Whether the sum of this attempt is being opened.
    pub fn opens_sum_of(&self, at: Attempt) -> bool {
        matches!(self.state.phase.step(at), Ok((_, Step::Summing(_))))
    }

    /// A silo's session is over, and it is in another one already: nothing follows from that it is not in this one any more.
    pub fn forget_session(&mut self, client: ClientId) {
        self.links.remove(&client);
    }

    /// Says to a silo how the run ended, if it has and the silo is of it, and asks nothing: for one that may have joined it, and was
    /// away since.
    pub fn tell_end(&mut self, client: ClientId, out: &mut Effects) {
        if self.newest_roster().keys().contains_key(&client) {
            self.say_end(client);
        }
        out.append(&mut self.effects);
    }

    /// About how many bytes a welcome to this run has, to a silo that knows none of its rosters.
    pub fn welcome_bytes(&self) -> usize {
        let roster = self.state.roster.signed().roster.len();
        self.setup.plan.signed().plan.len() + roster + self.state.lineage.bytes_shown()
    }

    /// Whether the silos that are here, in other runs or not, make a cohort.
    pub fn has_enough_here(&self) -> bool {
        self.here().len() >= self.setup.plan.cohort.minimum
    }

    /// Whether too few silos are willing for any cohort, between two attempts, and nobody holds it: a run with this waits, and takes
    /// no place of another.
    pub fn too_few_willing(&self) -> bool {
        matches!(self.state.phase, Phase::Idle) && !self.state.is_held() && self.lacks_willing()
    }

    /// Whether too few silos are here for any cohort, between two attempts, and were for a round's time, though enough may be willing;
    /// a run with this takes no place of another either, and goes on once they are here.
    pub fn too_few_here(&self) -> bool {
        self.short
            && matches!(self.state.phase, Phase::Idle)
            && !self.state.is_held()
            && !self.has_enough_here()
    }

    /// Since when it waits for willing silos, and when its patience is over; `None` before it has for a round's time.
    pub fn waits(&self) -> Option<(Timestamp, Timestamp)> {
        self.state.waits_since.map(|since| (since, since.plus_ms(self.setup.plan.timing.patience_ms())))
    }
}
