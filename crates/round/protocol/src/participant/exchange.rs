//! From the cohort's roster to the unmask answer. Every step consumes the secrets of the one before.

use std::collections::BTreeSet;
use std::sync::Arc;

use params::Digest;
use rand_core::CryptoRng;
use secagg::{Advert, ClientId, Delivery, DeliveryRejection, IncludedSignature, unmask_request_digest};
use zeroize::Zeroizing;

use super::round::{Step, cohort_of};
use super::{ClientEffect, JobId, MaskJob, Participant, Vector};
use crate::Timestamp;
use crate::invariant::invariant;
use crate::record::ClientRecord;
use messages::{Attempt, CoordinatorFault, Decline, ToCoordinator, UploadHeader};

impl Participant {
    pub(super) fn adverts(&mut self, rng: &mut dyn CryptoRng, at: Attempt, adverts: Vec<Advert>) {
        let Some(mut round) = self.take_round(at) else { return };
        let (identity, work) = (self.profile.identity.signing_key(), round.work);
        let floors = round.plan.floors();
        let floors = secagg::Floors {
            cohort_min: floors.cohort_min.max(self.profile.policy.cohort_min),
            honest_min: floors.honest_min.max(self.profile.policy.honest_min),
            ..floors
        };
        match round.step {
            Step::Advertised { state, .. } => {
                match state.accept_adverts(&adverts, round.roster.keys(), &floors, identity, rng) {
                    Ok((state, bundle)) => {
                        round.adverts = adverts;
                        round.bundle = Some(bundle.clone());
                        round.step = Step::Shared { state };
                        self.round = Some(round);
                        self.say(ToCoordinator::ShareKeys { at, bundle });
                    }
                    Err(why) => {
                        self.deceived(at, work, CoordinatorFault::Cohort, &why);
                    }
                }
            }
            step if round.bundle.is_some() && round.adverts == adverts => {
                round.step = step;
                if let Some(bundle) = round.bundle.clone() {
                    self.say(ToCoordinator::ShareKeys { at, bundle });
                }
                self.round = Some(round);
            }
            _ => self.equivocated(at, work),
        }
    }

    pub(super) fn deliver(&mut self, rng: &mut dyn CryptoRng, at: Attempt, delivery: Delivery) {
        let Some(mut round) = self.take_round(at) else { return };
        let work = round.work;
        match round.step {
            Step::Shared { state } => {
                match state.accept_delivery(&delivery, self.profile.identity.signing_key()) {
                    Ok((masking, held)) => {
                        let mut noise_seed = Zeroizing::new([0u8; 32]);
                        rng.fill_bytes(noise_seed.as_mut());
                        let (id, plan, origin) = (self.jobs.draw(), Arc::clone(&round.plan), round.origin);
                        round.delivery = Some(delivery);
                        round.step = Step::Masking { job: id, r2: Digest::from_bytes(masking.r2().0), held };
                        self.round = Some(round);
                        let job = MaskJob { id, trained: work, at, plan, origin, masking, noise_seed };
                        self.effects.push(ClientEffect::Mask(Box::new(job)));
                    }
                    Err(DeliveryRejection::Complain(complaint)) => {
                        self.last_reason =
                            format!("client {} sent shares that do not open", complaint.accused);
                        self.effects.push(ClientEffect::Forget(work));
                        self.say(ToCoordinator::Complain { at, complaint });
                    }
                    Err(DeliveryRejection::Coordinator(why)) => {
                        self.deceived(at, work, CoordinatorFault::Delivery, &why);
                    }
                }
            }
            step if round.delivery.as_ref() == Some(&delivery) => {
                if let Step::Uploaded { header, .. } = &step {
                    // The same bytes under the same transcript: the same upload, no second debit.
                    let header = self.of_hand(header.clone());
                    self.effects.push(ClientEffect::Upload(header));
                }
                round.step = step;
                self.round = Some(round);
            }
            _ => self.equivocated(at, work),
        }
    }

    pub(super) fn masked(&mut self, now: Timestamp, job: JobId, vector: Option<Vector>) {
        let Some(mut round) = self.round.take_if(|round| round.is_masked_by(job)) else { return };
        let (at, run, plan, work) = (round.at, round.run, Arc::clone(&round.plan), round.work);
        self.hand = Some(run);
        let Step::Masking { r2, held, .. } = round.step else {
            invariant!("P8", "a round that waits for the vector of {job:?} is {}", round.step.name())
        };
        let Some(Vector { digest, failed, .. }) = vector.filter(|vector| vector.origin == round.origin)
        else {
            self.effects.push(ClientEffect::Forget(work));
            return self.decline(Some(at.round), Decline::Unavailable);
        };
        if let Err(refusal) = self.check_plan(&run, &plan) {
            self.effects.push(ClientEffect::Forget(work));
            return self.refuse_from_now(&run, &refusal);
        }
        let signature =
            secagg::sign_input(held.r2(), *digest.as_bytes(), self.profile.identity.signing_key());
        let header = UploadHeader {
            client: self.profile.id,
            at,
            r2,
            digest,
            lanes: plan.lanes() as u64,
            signature: signature.0,
        };
        let model = round.model;
        let cohort = cohort_of(&round.adverts).into_iter().collect();
        let shared = held.u2().into_iter().collect();
        round.step = Step::Uploaded { held, header: header.clone(), durable: false };
        self.round = Some(round);
        // The reservation is the debit, and it is durable before the first byte leaves.
        let now = self.wall(now);
        self.commit(ClientRecord::SetsFixed { at, cohort, shared });
        if failed {
            self.commit(ClientRecord::TrainingFailed { at });
        }
        let event = plan.event();
        self.commit(ClientRecord::Debited { now, at, model, r2, upload: digest, event });
        let header = self.of_hand(header);
        self.effects.push(ClientEffect::Upload(header));
    }

    pub(super) fn included(&mut self, at: Attempt, included: Vec<ClientId>) {
        let Some(mut round) = self.take_round(at) else { return };
        let set: BTreeSet<ClientId> = included.iter().copied().collect();
        let work = round.work;
        match round.step {
            Step::Uploaded { held, .. } => {
                let r2 = held.r2();
                match held.sign_included(&set, self.profile.identity.signing_key()) {
                    Ok((state, signature)) => {
                        let request = Digest::from_bytes(unmask_request_digest(r2, &set));
                        round.step = Step::Signed { state, included: set, signature };
                        self.round = Some(round);
                        self.commit(ClientRecord::SignedIncluded { at, request });
                        self.say(ToCoordinator::SignIncluded { at, signature });
                    }
                    Err(refused) => {
                        self.deceived(at, work, CoordinatorFault::Included, &refused.reason);
                    }
                }
            }
            Step::Signed { state, included: signed, signature } if signed == set => {
                round.step = Step::Signed { state, included: signed, signature };
                self.round = Some(round);
                self.say(ToCoordinator::SignIncluded { at, signature });
            }
            Step::Answered { included: signed } if signed == set => {
                // The quorum is long complete; nothing is owed.
                round.step = Step::Answered { included: signed };
                self.round = Some(round);
            }
            _ => self.equivocated(at, work),
        }
    }

    pub(super) fn unmask(&mut self, at: Attempt, included: Vec<ClientId>, signatures: &[IncludedSignature]) {
        let set: BTreeSet<ClientId> = included.iter().copied().collect();
        if let Some((_, facts)) = self.run_in_hand()
            && let Some((request, shares)) = facts.answer(at)
        {
            let same = facts.transcript(at).is_some_and(|r2| {
                Digest::from_bytes(unmask_request_digest(secagg::R2(*r2.as_bytes()), &set)) == *request
            });
            if same {
                let message = ToCoordinator::Unmask { at, shares: shares.clone() };
                self.say(message);
            } else {
                self.fault(at, CoordinatorFault::UnmaskRequest);
            }
            return;
        }
        let Some(mut round) = self.take_round(at) else { return };
        if matches!(round.step, Step::Uploaded { .. }) {
            // The request stands alone: a silo that was away while U3 was said signs it now, like everyone else.
            self.round = Some(round);
            self.included(at, included.clone());
            if self.round.as_ref().is_some_and(|round| round.is(self.hand, at)) {
                self.unmask(at, included, signatures);
            }
            return;
        }
        let work = round.work;
        let Step::Signed { state, included: signed, signature } = round.step else {
            return self.given_up(at, work, CoordinatorFault::UnmaskRequest);
        };
        if signed != set {
            return self.equivocated(at, work);
        }
        let r2 = state.r2();
        match state.unmask(signatures) {
            Ok(shares) => {
                round.step = Step::Answered { included: set.clone() };
                let request = Digest::from_bytes(unmask_request_digest(r2, &set));
                self.round = Some(round);
                self.commit(ClientRecord::Unmasked { at, request, shares: shares.clone() });
                self.say(ToCoordinator::Unmask { at, shares });
            }
            Err(refused) => {
                // A request without a quorum is refused; the one with a quorum may still come.
                self.last_reason = refused.reason.to_string();
                round.step = Step::Signed { state: *refused.state, included: signed, signature };
                self.round = Some(round);
            }
        }
    }
}
