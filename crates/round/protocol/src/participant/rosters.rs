//! A later roster: accepted by the authority's signature and by a rule of the silo's own policy, never otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::{AuthorisedRoster, ROSTERS_BETWEEN_MAX, RosterError, SignedRoster};
use params::Digest;
use plan::{RefusalCode, RosterChanges, SignedPlan};

use super::round::Round;
use super::{ClientEffect, Offered, Participant, RosterOffer, Shown, fault};
use crate::Timestamp;
use crate::record::ClientRecord;
use messages::{CoordinatorFault, Decline};

impl Participant {
    /// Whether the roster of a welcome is this silo's, or becomes it now.
    pub(super) fn admit_roster(
        &mut self,
        run_id: Digest,
        plan: &SignedPlan,
        shown: &Shown,
    ) -> Result<(), Decline> {
        let roster = self.later_roster(run_id, shown)?;
        let Some(roster) = roster else { return Ok(()) };
        let answered = self.offered.as_ref().filter(|offered| offered.accepted);
        let accepted = answered.is_some_and(|offered| offered.digest == roster.digest());
        if accepted || self.profile.policy.roster_changes == RosterChanges::Auto {
            self.adopt(run_id, roster);
            return Ok(());
        }
        let (digest, change) = (roster.digest(), roster.change_from(&self.roster).to_string());
        let shown_before = self.offered.take_if(|offered| offered.digest == digest);
        let mut waiting = shown_before.map_or_else(BTreeMap::new, |offered| offered.waiting);
        // Each run welcomes under it, and the operator is shown it once a session.
        let is_shown = waiting.insert(run_id, Box::new(plan.clone())).is_none() && waiting.len() > 1;
        self.offered = Some(Offered { roster: shown.clone(), digest, waiting, accepted: false });
        if !is_shown {
            self.effects.push(ClientEffect::Offer(Box::new(RosterOffer { roster, change: change.clone() })));
        }
        self.last_reason = format!("its operator has not accepted {change}");
        Err(Decline::awaits_operator())
    }

    /// The silo's operator accepts the roster that was offered.
    pub(super) fn accept_roster(&mut self, now: Timestamp, roster: Digest) {
        let Some(mut offered) = self.offered.take_if(|offered| offered.digest == roster) else {
            self.last_reason = format!("the accepted roster {} is not the one on offer", roster.short());
            return;
        };
        let (waiting, shown) = (std::mem::take(&mut offered.waiting), offered.roster.clone());
        self.offered = Some(Offered { accepted: true, ..offered });
        for (run_id, plan) in waiting {
            self.hand = Some(run_id);
            self.welcome(now, run_id, plan, shown.clone());
        }
        self.offered = None;
    }

    /// A roster that may follow this silo's; `None` where it is this silo's, or that of the run's attempt in progress, while
    /// another run is under a later one.
    fn later_roster(&mut self, run: Digest, shown: &Shown) -> Result<Option<AuthorisedRoster>, Decline> {
        let is_of_the_round = |round: &Round| round.run == run && *shown.roster == *round.roster.signed();
        if *shown.roster == *self.roster.signed() || self.round.as_ref().is_some_and(is_of_the_round) {
            return Ok(None);
        }
        let authority = self.profile.authority;
        let authorised = |signed: &SignedRoster| signed.clone().authorise(&authority);
        let between = shown.between.iter().take(ROSTERS_BETWEEN_MAX).map(authorised);
        let roster = authorised(&shown.roster).and_then(|roster| {
            let between = between.collect::<Result<Vec<_>, _>>()?;
            roster.succeeds_by(&self.roster, &between)?;
            Ok(roster)
        });
        let own = self.profile.identity.public();
        self.last_reason = match roster {
            Ok(roster) if roster.keys().get(&self.profile.id) == Some(&own) => return Ok(Some(roster)),
            Ok(roster) => {
                format!("the authority's roster {} does not name this silo any more", roster.epoch)
            }
            // A silo that was away for long, or a coordinator that keeps them back: from here both look the same.
            Err(RosterError::Gap(why)) => {
                let code = RefusalCode::RostersMissing;
                self.last_reason = format!(
                    "{code}: {why}; have the authority hand over its newest roster, put it where `roster` of the configuration \
                     points, and start again"
                );
                return Err(Decline::by_policy(code));
            }
            Err(why) => why.to_string(),
        };
        Err(fault(CoordinatorFault::Roster))
    }

    /// An attempt of the run under the roster before it is over: its masks are bound to that one. One of another run goes on
    /// under the roster that it began under, until that run comes under this one too.
    fn adopt(&mut self, run: Digest, roster: AuthorisedRoster) {
        self.erase_if(|round| round.run == run);
        let record = ClientRecord::RosterAdopted { epoch: roster.epoch, roster: roster.signed().clone() };
        self.commit(record);
        self.roster = Arc::new(roster);
    }
}
