//! A silo whose program was changed: it speaks the protocol with its own real keys, and lies at one point.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::Manifest;
use identity::{IdentityKey, Roster};
use params::Digest;
use plan::Plan;
use protocol::{Attempt, Decline, OfRun, ToClient, ToCoordinator, UploadHeader, round_start};
use rand_core::CryptoRng;
use secagg::{
    Advert, Advertised, ClientId, Delivery, HeldShares, MaskedUpdate, Members, RoundBinding, SharesSent,
    UnmaskShares, adversary, sign_input,
};

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It commits to another self-mask seed than it shares.
    Commitment,
    /// It advertises the end of another chain of noise seeds than it shares.
    NoiseSeeds,
    /// It seals one peer's share badly, and signs for it.
    Seal,
    /// It commits to other shares than it seals, and signs for it.
    ShareCommitment,
    /// It complains about a peer whose shares are sound.
    Complaint,
    /// It sends a vector of random lanes, properly masked and signed.
    Vector,
    /// It sends a vector whose lane behind the parameters, where there is one, takes from the sum of the weights.
    Weight,
    /// It sends other bytes than it announced.
    UploadBytes,
    /// It signs two included sets.
    TwoSignatures,
    /// It returns a share that is not the one that was dealt.
    Share,
    /// It returns a share of noise seeds that is not the one that was dealt.
    NoiseShare,
    /// It returns shares that nobody asked for.
    Owners,
    /// It says everything many times, and much that is out of place.
    Flood,
    /// It falls silent before it shares keys, having advertised.
    SilentAtShares,
    /// It falls silent before its vector.
    SilentAtVector,
    /// It falls silent before it signs the included set.
    SilentAtSignature,
    /// It falls silent before it answers the unmask request.
    SilentAtAnswer,
}

impl Lie {
    /// All of them that every plan knows: not the one about weights, nor those about excess noise.
    pub const ALL: [Self; 14] = [
        Self::Commitment,
        Self::Seal,
        Self::ShareCommitment,
        Self::Complaint,
        Self::Vector,
        Self::UploadBytes,
        Self::TwoSignatures,
        Self::Share,
        Self::Owners,
        Self::Flood,
        Self::SilentAtShares,
        Self::SilentAtVector,
        Self::SilentAtSignature,
        Self::SilentAtAnswer,
    ];
}

/// What a liar wants from the world.
pub(crate) enum Act {
    Say(ToCoordinator),
    /// A header, the vector that goes with it, and what was masked.
    Upload {
        header: UploadHeader,
        masked: MaskedUpdate,
        plaintext: Vec<u32>,
    },
}

/// It lies in the same way in each run.
pub(crate) struct Liars {
    id: ClientId,
    lie: Lie,
    runs: BTreeMap<Option<Digest>, Liar>,
    /// Floods that it can still afford: a network carries only so much.
    floods: u32,
}

impl Liars {
    pub(crate) fn new(id: ClientId, lie: Lie) -> Self {
        Self { id, lie, runs: BTreeMap::new(), floods: FLOODS }
    }

    /// Its process died.
    pub(crate) fn forget(&mut self) {
        self.runs.clear();
    }

    /// What it does about a message, all of it in the message's run.
    pub(crate) fn hear(
        &mut self,
        heard: OfRun<ToClient>,
        roster: &Roster,
        identity: &IdentityKey,
        rng: &mut dyn CryptoRng,
    ) -> Vec<Act> {
        let liar = self.runs.entry(heard.run).or_insert_with(|| Liar::new(self.id, self.lie));
        let said = liar.answer(heard.message, roster, identity, rng).unwrap_or_default();
        if self.lie != Lie::Flood || self.floods == 0 {
            return said;
        }
        self.floods -= 1;
        let mut flood = Vec::new();
        for act in said {
            if let Act::Say(message) = &act {
                flood.extend((0..FLOOD).map(|_| Act::Say(message.clone())));
            }
            flood.push(act);
        }
        flood.extend(liar.out_of_place(roster));
        flood
    }
}

struct Liar {
    lie: Lie,
    id: ClientId,
    run: Option<(Digest, Plan)>,
    /// The newest record that was published to it.
    head: Option<Manifest>,
    at: Option<Attempt>,
    step: Option<Step>,
}

enum Step {
    Advertised(Box<Advertised>),
    Shared(Box<SharesSent>),
    Uploaded(Box<HeldShares>),
}

const FLOOD: usize = 8;
const FLOODS: u32 = 60;

impl Liar {
    fn new(id: ClientId, lie: Lie) -> Self {
        Self { lie, id, run: None, head: None, at: None, step: None }
    }

    fn answer(
        &mut self,
        message: ToClient,
        roster: &Roster,
        identity: &IdentityKey,
        rng: &mut dyn CryptoRng,
    ) -> Option<Vec<Act>> {
        let say = |message| Some(vec![Act::Say(message)]);
        match message {
            ToClient::Welcome { run_id, plan, .. } => {
                self.run = Some((run_id, Plan::from_canonical(plan.plan.as_bytes()).ok()?));
                say(ToCoordinator::CheckIn { head: None, data: None, sandbox: None })
            }
            ToClient::Published(signed) => {
                self.head = Manifest::from_bytes(&signed.manifest_bytes).ok();
                None
            }
            ToClient::Open { at, .. } => {
                if self.at == Some(at) {
                    return None;
                }
                self.at = Some(at);
                say(self.advertise(at, roster, identity, rng)?)
            }
            ToClient::Adverts { at, adverts } if self.at == Some(at) => {
                say(self.share(at, &adverts, roster, identity, rng)?)
            }
            ToClient::Deliver { at, delivery } if self.at == Some(at) => {
                self.upload(at, &delivery, identity, rng)
            }
            ToClient::Included { at, included } if self.at == Some(at) => {
                self.sign(at, &included.into_iter().collect(), identity)
            }
            ToClient::UnmaskRequest { at, included, .. } if self.at == Some(at) => {
                say(self.unmask(at, &included.into_iter().collect())?)
            }
            _ => None,
        }
    }

    fn advertise(
        &mut self,
        at: Attempt,
        roster: &Roster,
        identity: &IdentityKey,
        rng: &mut dyn CryptoRng,
    ) -> Option<ToCoordinator> {
        let (run_id, plan) = self.run.as_ref()?;
        let ctx0 = RoundBinding {
            run_id: *run_id.as_bytes(),
            plan_hash: *plan.digest().as_bytes(),
            roster_hash: *roster.digest().as_bytes(),
            round: at.round,
            attempt: at.attempt,
            model_hash: *round_start(plan, self.head.as_ref()?).as_bytes(),
        }
        .ctx0();
        let (mut state, mut advert) =
            Advertised::new(self.id, ctx0, plan.excess_noise(), identity.signing_key(), rng);
        if self.lie == Lie::Commitment {
            (state, advert) = adversary::claim_commitment(state, [7; 32], identity.signing_key());
        }
        if self.lie == Lie::NoiseSeeds {
            (state, advert) = adversary::claim_noise_seeds(state, [7; 32], identity.signing_key());
        }
        self.step = Some(Step::Advertised(Box::new(state)));
        Some(ToCoordinator::Advertise { at, advert })
    }

    fn share(
        &mut self,
        at: Attempt,
        adverts: &[Advert],
        roster: &Roster,
        identity: &IdentityKey,
        rng: &mut dyn CryptoRng,
    ) -> Option<ToCoordinator> {
        let Some(Step::Advertised(state)) = self.step.take() else { return None };
        if self.lie == Lie::SilentAtShares {
            return None;
        }
        let (_, plan) = self.run.as_ref()?;
        let members: Members = roster.member_keys().ok()?;
        let (state, mut bundle) =
            state.accept_adverts(adverts, &members, &plan.floors(), identity.signing_key(), rng).ok()?;
        let victim = bundle.shares.iter_mut().find(|share| share.recipient != self.id)?;
        match self.lie {
            Lie::Seal => victim.ciphertext[9] ^= 1,
            Lie::ShareCommitment => victim.commitments.self_mask[9] ^= 1,
            _ => {}
        }
        adversary::resign(&mut bundle, state.r1(), identity.signing_key());
        self.step = Some(Step::Shared(Box::new(state)));
        Some(ToCoordinator::ShareKeys { at, bundle })
    }

    fn upload(
        &mut self,
        at: Attempt,
        delivery: &Delivery,
        identity: &IdentityKey,
        rng: &mut dyn CryptoRng,
    ) -> Option<Vec<Act>> {
        let Some(Step::Shared(state)) = self.step.take() else { return None };
        let (_, plan) = self.run.as_ref()?;
        let (masking, held) = match state.accept_delivery(delivery, identity.signing_key()) {
            Ok(accepted) => accepted,
            Err(_) => {
                let reason = Decline::Unavailable;
                return Some(vec![Act::Say(ToCoordinator::Declined { round: Some(at.round), reason })]);
            }
        };
        if self.lie == Lie::Complaint {
            let accused = held.u2().into_iter().find(|peer| *peer != self.id)?;
            let complaint = adversary::complain(held.r1(), self.id, accused, identity.signing_key());
            return Some(vec![Act::Say(ToCoordinator::Complain { at, complaint })]);
        }
        let mut plaintext = vec![0u32; plan.lanes()];
        if self.lie == Lie::Vector {
            // Small, so that the sum is still one that a step can be made of.
            plaintext.iter_mut().for_each(|lane| *lane = rng.next_u32() % 1000);
        }
        if self.lie == Lie::Weight {
            let behind = plan.architecture().parameter_count().min(plaintext.len() - 1);
            plaintext[behind] = 0u32.wrapping_sub(1 << 28);
        }
        let r2 = held.r2();
        let masked = adversary::mask_any(masking, plaintext.clone());
        let mut digest = masked.digest();
        if self.lie == Lie::UploadBytes {
            digest[0] ^= 1;
        }
        let header = UploadHeader {
            client: self.id,
            at,
            r2: Digest::from_bytes(r2.0),
            digest: Digest::from_bytes(digest),
            lanes: plan.lanes() as u64,
            signature: sign_input(r2, digest, identity.signing_key()).0,
        };
        self.step = Some(Step::Uploaded(Box::new(held)));
        if self.lie == Lie::SilentAtVector {
            return None;
        }
        Some(vec![Act::Upload { header, masked, plaintext }])
    }

    fn sign(
        &mut self,
        at: Attempt,
        included: &BTreeSet<ClientId>,
        identity: &IdentityKey,
    ) -> Option<Vec<Act>> {
        let Some(Step::Uploaded(held)) = &self.step else { return None };
        let sign = |set: &BTreeSet<ClientId>| {
            let signature = adversary::sign_any_included(self.id, held.r2(), set, identity.signing_key());
            Act::Say(ToCoordinator::SignIncluded { at, signature })
        };
        match self.lie {
            Lie::SilentAtSignature => None,
            Lie::TwoSignatures => {
                let fewer = included.iter().copied().skip(1).collect();
                Some(vec![sign(&fewer), sign(included), sign(&fewer)])
            }
            _ => Some(vec![sign(included)]),
        }
    }

    fn unmask(&mut self, at: Attempt, included: &BTreeSet<ClientId>) -> Option<ToCoordinator> {
        let Some(Step::Uploaded(held)) = &self.step else { return None };
        let mut shares: UnmaskShares = adversary::answer_any(held, included).ok()?;
        match self.lie {
            Lie::SilentAtAnswer => return None,
            Lie::Share => shares.self_mask.iter_mut().for_each(|share| share.share[3] ^= 1),
            Lie::NoiseShare => shares.noise.iter_mut().for_each(|share| share.share[3] ^= 1),
            Lie::Owners => {
                shares.self_mask.pop();
            }
            _ => {}
        }
        Some(ToCoordinator::Unmask { at, shares })
    }

    /// Words that belong to other steps and other rounds.
    fn out_of_place(&self, roster: &Roster) -> Vec<Act> {
        let at = self.at.unwrap_or(Attempt { round: 1, attempt: 1 });
        let later = Attempt { round: at.round + 1, attempt: 1 };
        let shares =
            UnmaskShares { id: self.id, self_mask: Vec::new(), round_seed: Vec::new(), noise: Vec::new() };
        let signature = secagg::IncludedSignature { id: self.id, signature: [1; 64] };
        let other = roster.members.keys().copied().find(|id| *id != self.id).unwrap_or(self.id);
        let stolen = secagg::IncludedSignature { id: other, signature: [1; 64] };
        [
            ToCoordinator::CheckIn { head: Some(u64::MAX), data: None, sandbox: None },
            ToCoordinator::Unmask { at, shares: shares.clone() },
            ToCoordinator::Unmask { at: later, shares },
            ToCoordinator::SignIncluded { at, signature },
            ToCoordinator::SignIncluded { at, signature: stolen },
            ToCoordinator::Declined { round: Some(later.round), reason: Decline::Unavailable },
        ]
        .map(Act::Say)
        .into()
    }
}
