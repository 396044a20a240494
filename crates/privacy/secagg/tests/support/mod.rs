//! A whole federation in one place, step by step, so that a test can lie between any two steps.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};

use chacha20::ChaCha20Rng;
use dp::{ClippedSum, NoisedUpdate, Scale, WithoutNoise};
use ed25519_dalek::SigningKey;
use rand_core::SeedableRng;
use secagg::{
    Advert, Advertised, ClientId, Complaint, Ctx0, DeliveryRejection, ExcessNoise, FixedCohort, Floors,
    HeldShares, Masking, Members, RoundBinding, ShareBundle, SharedCohort, SharesSent, UnmaskShares,
};

/// These lanes, as an update of a plan that asks for no noise.
pub(crate) fn noised(lanes: Vec<u32>) -> NoisedUpdate {
    let values: Vec<f64> = lanes.into_iter().map(|lane| f64::from(lane.cast_signed())).collect();
    let sum = ClippedSum::new(values, f64::from(u32::MAX), 1 << 20).unwrap();
    let whole = sum.quantize_nearest(Scale::from_bits(0).unwrap(), 1 << 20).unwrap();
    whole.without_noise(WithoutNoise::plan_has_no_privacy())
}

/// The parties and the plan.
pub(crate) struct Federation {
    pub(crate) ctx0: Ctx0,
    pub(crate) floors: Floors,
    pub(crate) members: Members,
    pub(crate) rng: ChaCha20Rng,
    identities: BTreeMap<ClientId, SigningKey>,
}

/// After step 0 at the clients.
pub(crate) struct Keyed {
    pub(crate) clients: BTreeMap<ClientId, Advertised>,
    pub(crate) adverts: Vec<Advert>,
}

/// After the clients' part of step 1.
pub(crate) struct Sharing {
    pub(crate) clients: BTreeMap<ClientId, SharesSent>,
    pub(crate) cohort: FixedCohort,
    pub(crate) bundles: BTreeMap<ClientId, ShareBundle>,
}

/// After delivery.
pub(crate) struct Round {
    pub(crate) masking: BTreeMap<ClientId, Masking>,
    pub(crate) held: BTreeMap<ClientId, HeldShares>,
    pub(crate) shared: SharedCohort,
}

impl Federation {
    /// `n` clients with ids that are not their places.
    pub(crate) fn new(n: usize, corrupt: usize) -> Self {
        let binding = RoundBinding {
            run_id: [1; 32],
            plan_hash: [2; 32],
            roster_hash: [3; 32],
            round: 4,
            attempt: 0,
            model_hash: [5; 32],
        };
        let identities: BTreeMap<ClientId, SigningKey> = (0..n)
            .map(|k| (ClientId(7 * k as u32 + 10), SigningKey::from_bytes(&[k as u8 + 1; 32])))
            .collect();
        Self {
            ctx0: binding.ctx0(),
            floors: Floors {
                cohort_min: 3,
                cohort_max: 255,
                honest_min: 1,
                corrupt,
                excess_noise: ExcessNoise::Kept,
            },
            members: identities.iter().map(|(id, key)| (*id, key.verifying_key())).collect(),
            rng: ChaCha20Rng::from_seed([n as u8; 32]),
            identities,
        }
    }

    /// As [`Federation::new`], under a plan that removes excess noise.
    pub(crate) fn removing_excess(n: usize, corrupt: usize) -> Self {
        let mut federation = Self::new(n, corrupt);
        federation.floors.excess_noise = ExcessNoise::Removed;
        federation
    }

    pub(crate) fn id(&self, place: usize) -> ClientId {
        *self.identities.keys().nth(place).unwrap()
    }

    pub(crate) fn identity(&self, id: ClientId) -> &SigningKey {
        &self.identities[&id]
    }

    pub(crate) fn advertise(&mut self) -> Keyed {
        let mut keyed = Keyed { clients: BTreeMap::new(), adverts: Vec::new() };
        for (id, identity) in &self.identities {
            let (client, advert) =
                Advertised::new(*id, self.ctx0, self.floors.excess_noise, identity, &mut self.rng);
            keyed.clients.insert(*id, client);
            keyed.adverts.push(advert);
        }
        keyed
    }

    /// Every client accepts the one roster.
    pub(crate) fn share(&mut self, keyed: Keyed) -> Sharing {
        let cohort = FixedCohort::new(self.ctx0, &keyed.adverts, &self.members, &self.floors).unwrap();
        let mut sharing = Sharing { clients: BTreeMap::new(), cohort, bundles: BTreeMap::new() };
        for (id, client) in keyed.clients {
            let (sent, bundle) = client
                .accept_adverts(
                    &keyed.adverts,
                    &self.members,
                    &self.floors,
                    &self.identities[&id],
                    &mut self.rng,
                )
                .unwrap();
            assert_eq!(sent.r1(), sharing.cohort.r1());
            sharing.cohort.verify_bundle(&bundle).unwrap();
            sharing.clients.insert(id, sent);
            sharing.bundles.insert(id, bundle);
        }
        sharing
    }

    /// The bundles of `silent` never arrive; all others take delivery.
    pub(crate) fn deliver(&self, mut sharing: Sharing, silent: &[ClientId]) -> Round {
        sharing.bundles.retain(|id, _| !silent.contains(id));
        let shared = sharing.cohort.fix_u2(&sharing.bundles).unwrap();
        let (mut masking, mut held) = (BTreeMap::new(), BTreeMap::new());
        for id in shared.u2() {
            let client = sharing.clients.remove(&id).unwrap();
            let delivery = shared.delivery_for(id).unwrap();
            let (mask, shares) = client.accept_delivery(&delivery, &self.identities[&id]).unwrap();
            assert_eq!((mask.r2(), shares.r2()), (shared.r2(), shared.r2()));
            masking.insert(id, mask);
            held.insert(id, shares);
        }
        Round { masking, held, shared }
    }

    /// All of `u3` sign and answer.
    pub(crate) fn unmask(
        &self,
        round: Round,
        u3: &BTreeSet<ClientId>,
    ) -> (SharedCohort, BTreeMap<ClientId, UnmaskShares>) {
        let mut states = Vec::new();
        let mut signatures = Vec::new();
        for (id, held) in round.held.into_iter().filter(|(id, _)| u3.contains(id)) {
            let (state, signature) = held.sign_included(u3, &self.identities[&id]).unwrap();
            round.shared.verify_included_signature(u3, &signature).unwrap();
            states.push((id, state));
            signatures.push(signature);
        }
        let answers =
            states.into_iter().map(|(id, state)| (id, state.unmask(&signatures).unwrap())).collect();
        (round.shared, answers)
    }

    /// What `victim` complains of when it takes delivery; the complaint verifies.
    pub(crate) fn complaint_of(&self, mut sharing: Sharing, victim: ClientId) -> Complaint {
        let shared = sharing.cohort.fix_u2(&sharing.bundles).unwrap();
        let client = sharing.clients.remove(&victim).unwrap();
        let delivery = shared.delivery_for(victim).unwrap();
        match client.accept_delivery(&delivery, &self.identities[&victim]) {
            Err(DeliveryRejection::Complain(complaint)) => {
                shared.cohort().verify_complaint(&complaint).unwrap();
                complaint
            }
            other => panic!("no complaint but {other:?}"),
        }
    }
}
