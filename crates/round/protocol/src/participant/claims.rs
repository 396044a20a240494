//! The answer to an offer: whether the data's balance has room for a run, found out before the run is joined and said once.

use std::sync::Arc;

use params::Digest;
use plan::{AuthoredPlan, PlanOffer, Refusal};

use super::{CheckIn, ClaimAnswer, ClientEffect, Participant};
use crate::Timestamp;
use crate::record::ClientRecord;

/// A run that the silo is welcomed to, whose claim is not there yet.
pub(super) struct Claiming {
    plan: Arc<AuthoredPlan>,
    /// What was begun for an earlier welcome.
    before: Option<CheckIn>,
    offer: PlanOffer,
    /// What is said where the balance may not be looked at.
    unless_held: Option<Refusal>,
}

impl Participant {
    /// Asks the shell for the run's claim. Nothing is said of the run before it answers.
    pub(super) fn ask_for_claim(
        &mut self,
        now: Timestamp,
        run: Digest,
        plan: AuthoredPlan,
        before: Option<CheckIn>,
    ) {
        let policy = &self.profile.policy;
        let (offer, plan) = (PlanOffer::of(run, &plan, policy), Arc::new(plan));
        let looks = self.facts.offers.may_look(&offer, policy.offers_per_author, self.wall(now).max(now).0);
        let unless_held = looks.err();
        let may_look = unless_held.is_none();
        self.effects.push(ClientEffect::Claim { run, plan: Arc::clone(&plan), may_look });
        self.claiming.insert(run, Claiming { plan, before, offer, unless_held });
    }

    /// The shell has answered.
    ///
    /// # Privacy
    /// That there is no room is said by the one code that is said without a look too, and is durable before it is said.
    pub(super) fn claimed(&mut self, now: Timestamp, run: Digest, answer: ClaimAnswer) {
        let Some(Claiming { plan, before, offer, unless_held }) = self.claiming.remove(&run) else { return };
        self.hand = Some(run);
        let looked_at = match answer {
            ClaimAnswer::Held => return self.joined(now, run, plan, before),
            ClaimAnswer::NotLooked => Err(unless_held.map_or(Refusal::AnsweredBefore, |refusal| refusal)),
            ClaimAnswer::NoRoom(refusal) => self.answered(now, &offer, Err(refusal)),
            ClaimAnswer::Made => {
                let room = self.first_model_may_be_uploaded_on(&run, &plan);
                if room.is_err() {
                    self.effects.push(ClientEffect::ReturnClaim { run });
                }
                self.answered(now, &offer, room)
            }
        };
        match looked_at {
            Ok(()) => self.joined(now, run, plan, before),
            Err(refusal) => {
                self.leave(&run);
                self.refuse(None, &refusal);
            }
        }
    }

    fn answered(
        &mut self,
        now: Timestamp,
        offer: &PlanOffer,
        room: Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.commit(ClientRecord::OfferAnswered(offer.answered(self.wall(now).max(now).0, room.is_ok())));
        room
    }

    /// What the plan of a run is called that this session offers, whether this silo takes part in it or not.
    pub fn offered_name(&self, run: &Digest) -> Option<String> {
        let plan = self.welcomes.get(run)?.0.clone().open().ok()?;
        Some(plan.name.clone())
    }

    /// Whether other runs have left uploads without noise on the model that this one begins with. Later ones are its own.
    fn first_model_may_be_uploaded_on(&self, run: &Digest, plan: &AuthoredPlan) -> Result<(), Refusal> {
        if plan.promises() {
            return Ok(());
        }
        let model = plan.starts_from();
        let (own, made) = (self.facts.uploads_on_in(&model, run), self.facts.uploads_on(&model));
        self.profile.policy.check_repeats_in_run(own, made)
    }
}
